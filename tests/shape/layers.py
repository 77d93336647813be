"""The wall: who may include whom, and which layer may use which library."""

import re
from dataclasses import dataclass, field

from tree import Tree

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')

# A library's headers, and the layers that hide it from all others. Tests may use what their layer may.
LIBRARIES = {
    "boost/": {"net"},
    "openssl/": {"hub", "kv_cache", "net", "server", "ui"},
    "google/protobuf/": {"channel"},
    "channel.pb.h": {"channel"},
    "pcre2.h": {"tokenizer"},
    "utf8proc.h": {"tokenizer"},
    "simdjson.h": {"base", "weights", "tokenizer"},
    "spdlog/": {"base"},
    "toml++/": {"config"},
    "jinja/": {"chat"},
    "xgrammar/": {"grammar"},
    "nlohmann/": {"base", "chat"},
    "tl/": {"base", "net"},
    "cuda": {"cuda"},
    "flashinfer/": {"cuda"},
}


@dataclass
class Layer:
    folder: str
    depends: set[str] = field(default_factory=set)
    uses: set[str] = field(default_factory=set)
    test_uses: set[str] = field(default_factory=set)


def read_layers(cmake: str) -> dict[str, Layer]:
    """The layer() calls of CMakeLists.txt; DEPS count with all that they depend on."""
    layers: dict[str, Layer] = {}
    for call in re.findall(r"^\s*layer\(([^)]*)\)", cmake, re.M):
        name, *words = call.split()
        layer = Layer(folder=name)
        kind = ""
        for word in words:
            if word.isupper():
                kind = word
            elif kind == "DIR":
                layer.folder = word
            elif kind in ("DEPS", "USES", "USES_IF_BUILT", "TEST_USES"):
                {"DEPS": layer.depends, "USES": layer.uses, "USES_IF_BUILT": layer.uses,
                 "TEST_USES": layer.test_uses}[kind].add(word)
        if name != "base":
            layer.depends.add("base")
        layers[name] = layer
    for layer in layers.values():
        reach(layers, layer.depends)
        reach(layers, layer.uses)
        reach(layers, layer.test_uses)
    return layers


def reach(layers: dict[str, Layer], names: set[str]) -> None:
    """Adds what the named layers' headers may include."""
    todo = list(names)
    while todo:
        further = layers[todo.pop()].depends - names
        names |= further
        todo.extend(further)


def owner(layers: dict[str, Layer], path: str) -> str | None:
    """The layer whose folder holds src/<path>."""
    held = [name for name, layer in layers.items() if path.startswith(layer.folder + "/")]
    return max(held, key=lambda name: len(layers[name].folder), default=None)


def includes(text: str):
    for number, line in enumerate(text.splitlines(), 1):
        found = INCLUDE.match(line)
        if found:
            yield number, found[1], found[2]


def check_wall(tree: Tree) -> list[str]:
    layers = read_layers(tree.files["CMakeLists.txt"])
    problems = []
    for path, text in tree.sources(".h", ".cpp", ".cu", ".cuh", under="src/").items():
        name = owner(layers, path.removeprefix("src/"))
        if name is None:
            if not path.startswith("src/backends/cuda/"):      # its layer joins the list with the CUDA build
                problems.append(f"{path}: in no layer of CMakeLists.txt")
            continue
        allowed = {name} | layers[name].depends
        is_testing = path.endswith(("_test.cpp", "_testing.h"))
        if not path.endswith(".h") or path.endswith("_internal.h") or is_testing:
            allowed |= layers[name].uses
        if is_testing:
            allowed |= layers[name].test_uses
        for line, quote, target in includes(text):
            if ".." in target.split("/"):
                problems.append(f"{path}:{line}: '..' in an include goes around the wall: {target}")
            elif quote == '"' and target != "channel.pb.h":
                wanted = owner(layers, target)
                if wanted not in allowed:
                    problems.append(f"{path}:{line}: {name} may not include {target}")
    return problems


def check_libraries(tree: Tree) -> list[str]:
    layers = read_layers(tree.files["CMakeLists.txt"])
    problems = []
    for path, text in tree.sources(".h", ".cpp", ".cu", ".cuh", under="src/").items():
        name = owner(layers, path.removeprefix("src/")) or "cuda"
        for line, _, target in includes(text):
            for library, allowed in LIBRARIES.items():
                if target.startswith(library) and name not in allowed:
                    problems.append(f"{path}:{line}: {target} is for {', '.join(sorted(allowed))} only")
            if re.match(r"g(test|mock)/", target) and not path.endswith(("_test.cpp", "_testing.h")):
                problems.append(f"{path}:{line}: {target} is for tests only")
    return problems


# Tests of one binary run at the same time, each in a process of its own: what is called the same is the same file.
SHARED_NAMES = re.compile(r"\bTempDir\(|\btemp_directory_path\(|\bmkdtemp\(|\bmkstemp\(|\btmpnam\(")
FOLDERS_OF_TESTS = {"src/base/temp_folder_testing.h", "tests/fuzz/memory_folder.h"}


def check_temp_folders(tree: Tree) -> list[str]:
    """Files that tests write stand in a TempFolder."""
    problems = []
    for path, text in tree.sources(".h", ".cpp", ".cu").items():
        is_test = path.startswith("tests/") or path.endswith(("_test.cpp", "_testing.h"))
        if not is_test or path in FOLDERS_OF_TESTS:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            if SHARED_NAMES.search(line):
                problems.append(f"{path}:{number}: files of tests stand in a TempFolder (base/temp_folder_testing.h)")
    return problems

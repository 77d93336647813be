"""Every check passes on the tree, and trips over a violation that is planted in it."""

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import documents  # noqa: E402
import layers  # noqa: E402
import sizes  # noqa: E402
from tree import ROOT, Tree  # noqa: E402

LONG_CPP = "namespace gale {\nint f(int x) {\n" + "".join(f"  x += {i};\n" for i in range(90)) + "  return x;\n}\n}\n"
LONG_PYTHON = "def f(x):\n" + "".join(f"    x += {i}\n" for i in range(90))
SAME = "".join(f"  const int value_{i} = compute({i}, other);\n" for i in range(7))

# check, the file that violates it, its text, what the message must say
PLANTED = [
    (layers.check_wall, "src/request/planted.h", '#include "engine/engine.h"\n', "request may not include"),
    (layers.check_wall, "src/layers/planted.cpp", '#include "ops/../models/model.h"\n', "around the wall"),
    (layers.check_wall, "src/attic/planted.cpp", "int x;\n", "in no layer"),
    (layers.check_libraries, "src/server/planted.cpp", "#include <boost/beast.hpp>\n", "is for net only"),
    (layers.check_libraries, "src/api/planted.cpp", "#include <gtest/gtest.h>\n", "for tests only"),
    (layers.check_temp_folders, "src/base/planted_test.cpp", 'auto path = testing::TempDir() + "planted";\n',
     "stand in a TempFolder"),
    (sizes.check_file_sizes, "src/base/planted.cpp", "int x;\n" * 601, "601 lines"),
    (sizes.check_function_sizes, "src/base/planted.cpp", LONG_CPP, "a function of 93 lines"),
    (sizes.check_function_sizes, "tools/planted.py", LONG_PYTHON, "a function of 91 lines"),
    (sizes.check_columns, "src/base/planted.cpp", "// " + "x" * 118 + "\n",
     "planted.cpp: 1 lines over 120 columns, 0 are"),
    (sizes.check_columns, sizes.LONG_LINES, "3 tests/shape/tree.py\n", "take tests/shape/tree.py off the list"),
    (sizes.check_columns, sizes.LONG_LINES, "3 src/base/gone.h\n", "there is no such file"),
    (sizes.check_repetition, "src/base/planted.cpp", f"void a() {{\n{SAME}}}\nvoid b() {{\n{SAME}}}\n",
     "the same 6 lines"),
    (documents.check_paths, "docs/planted.md", "See `src/base/nowhere.h`.\n", "there is no `src/base/nowhere.h`"),
    (documents.check_paths, "docs/planted.md", "See [this](nowhere.md).\n", "to link to"),
    (documents.check_promises, "tests/ui/README.md", "| a page | `test_planted` |\n", "there is no test_planted"),
    (documents.check_promises, "tests/ui/README.md", "| a page | nothing |\n", "no test holds to"),
    (documents.check_promises, "tests/deploy/README.md", "| a unit | `test_planted` |\n", "there is no test_planted"),
    (documents.check_promises, "tests/deploy/README.md", "", "there is no tests/deploy/README.md"),
    (documents.check_commands, "docs/planted.md", "```\ngale serve m --max-num-sheep 3\n```\n",
     "no option --max-num-sheep"),
    (documents.check_commands, "docs/planted.md", "Run `./nowhere`.\n", "there is no ./nowhere"),
    (documents.check_commands, "docs/planted.md", "`cmake --preset fast`\n", "no preset called fast"),
    (documents.check_licences, "cmake/dependencies.cmake", "find_package(Planted 1.0 REQUIRED)\n",
     "no row with a licence"),
    (documents.check_licences, "cmake/dependencies.cmake", "pypi(pysimdjson 7.0.2 abc\n", "without a SHA-256"),
    (documents.check_licences, "web/package-lock.json",
     '{"packages": {"node_modules/planted": {"integrity": "sha512-x"}}}', "no row with a licence"),
    (documents.check_licences, "web/package-lock.json", '{"packages": {"node_modules/katex": {}}}',
     "without an integrity"),
    (documents.check_licences, "tests/requirements.txt", "pytest==9.2.0\n", "no exact version with hashes"),
    (documents.check_no_private_names, "docs/planted.md", "cd /home/planted/gale\n", "/home/planted"),
    (documents.check_one_declaration, "src/engine/planted.cpp", 'auto f = "--max-num-seqs";\n', "is declared in"),
]
CHECKS = list(dict.fromkeys(check for check, *_ in PLANTED))


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.of_checkout()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_tree_is_in_shape(check, tree):
    assert check(tree) == []


@pytest.mark.parametrize("check, path, text, message", PLANTED, ids=lambda value: getattr(value, "__name__", None))
def test_a_planted_violation_is_found(check, path, text, message, tree):
    problems = check(tree.with_file(path, text))
    assert any(message in problem for problem in problems), problems


WALL_PROJECT = """cmake_minimum_required(VERSION 3.25)
project(wall CXX)
set(CMAKE_CXX_STANDARD 20)
add_library(gale_warnings INTERFACE)
include({layer_cmake})
layer(base)
layer(lower)
layer(upper {edge})
"""


def build_wall(folder: Path, edge: str) -> subprocess.CompletedProcess:
    """Two layers, the upper of which includes the lower; `edge` is how the list declares that."""
    for name, header in (("base", ""), ("lower", "inline int lower() { return 1; }\n"), ("upper", "")):
        (folder / "src" / name).mkdir(parents=True)
        (folder / "src" / name / f"{name}.h").write_text("#pragma once\n" + header)
    (folder / "src/upper/upper.cpp").write_text('#include "lower/lower.h"\nint upper() { return lower(); }\n')
    layer_cmake = ROOT / "cmake/layer.cmake"
    (folder / "CMakeLists.txt").write_text(WALL_PROJECT.format(layer_cmake=layer_cmake, edge=edge))
    configured = subprocess.run(["cmake", "-G", "Ninja", "-S", folder, "-B", folder / "build"], capture_output=True,
                                text=True)
    if configured.returncode != 0:
        return configured
    return subprocess.run(["ninja", "-C", folder / "build"], capture_output=True, text=True)


class TestTheWall:
    def test_a_declared_include_compiles(self, tmp_path):
        assert build_wall(tmp_path, "USES lower").returncode == 0

    def test_an_undeclared_include_does_not_compile(self, tmp_path):
        built = build_wall(tmp_path, "")
        assert built.returncode != 0
        assert "lower/lower.h" in built.stdout

    def test_a_misspelt_layer_stops_the_configuration(self, tmp_path):
        configured = build_wall(tmp_path, "USES lover")
        assert configured.returncode != 0
        assert "'lover' is no target" in configured.stderr

"""What the documents name exists: paths, commands, options, licences."""

import json
import re

from tree import Tree

DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")
COMMANDS = ("serve", "engine", "ui", "service", "chat", "bench serve", "bench throughput", "bench latency", "inspect",
            "doctor")
# The lists of promises, and where the tests are that they may name.
PROMISES = {"tests/ui/README.md": "tests/ui/", "tests/api/README.md": "tests/", "tests/deploy/README.md": "tests/"}
# Folders that are made, not kept.
MADE = ("build", ".venv")
HOME_OR_HOST = re.compile(r"(?<![\w.~$}/])/(?:root|home/\w+|work|Users/\w+)/[\w.]|"
                          r"\b(?:pypi\.org|files\.pythonhosted\.org|deb\.debian\.org|registry\.npmjs\.org)\b")


def documents(tree: Tree) -> dict[str, str]:
    return {path: text for path, text in tree.files.items()
            if path in DOCUMENTS or (path.startswith("docs/") and path.endswith(".md"))}


def exists(tree: Tree, document: str, name: str) -> bool:
    """As a file, a folder, or the common beginning of a header and its source (`server/routes`)."""
    folder = document.rpartition("/")[0]
    roots = ["", "src/"] + ([folder + "/"] if folder else [])
    for root in roots:
        full = (root + name).rstrip("/")
        if any(path == full or path.startswith((full + "/", full + ".")) for path in tree.files):
            return True
    return False


def check_paths(tree: Tree) -> list[str]:
    problems = []
    tops = {path.split("/")[0] for path in tree.files if "/" in path}
    rooms = {path.split("/")[1] for path in tree.files if path.startswith("src/") and path.count("/") > 1}
    for document, text in documents(tree).items():
        prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
        named = re.findall(r"`([\w.\-/]+)`", prose)
        linked = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", prose)
        for name in named:
            bare = name.removeprefix("./").rstrip("/")
            is_below_top = bare.split("/")[0] in tops | rooms and "/" in bare
            is_path = is_below_top or name.startswith("./") or bare.endswith((".md", ".txt"))
            if is_path and bare.split("/")[0].split("-")[0] not in MADE and not exists(tree, document, bare):
                problems.append(f"{document}: there is no `{name}`")
        problems += [f"{document}: there is no {link} to link to"
                     for link in linked if not exists(tree, document, link)]
    return problems


def check_promises(tree: Tree) -> list[str]:
    """Every test that the lists of promises name is there, and every promise names one."""
    problems = []
    for document, folder in PROMISES.items():
        page = tree.files.get(document, "")
        code = "".join(text for path, text in tree.files.items() if path.startswith(folder) and path.endswith(".py"))
        tests = set(re.findall(r"^def (test_\w+)", code, re.M))
        problems += [] if page else [f"there is no {document}"]
        named = re.findall(r"`(test_\w+)`", page)
        problems += [f"{document}: there is no {name}" for name in named if name not in tests]
        rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| promise")]
        problems += [f"{document}: no test holds to: {row}" for row in rows if "`test_" not in row]
    return problems


def options_by_command(page: str) -> dict[str, set[str]]:
    known: dict[str, set[str]] = {}
    for section in re.split(r"^## gale ", page, flags=re.M)[1:]:
        name = section.split("\n")[0].strip()
        options = set(re.findall(r"(?<![\w-])(--?[a-z][\w-]*)", section.split("\n## ")[0]))
        known[name] = options | {"--help"}
    return known


def check_commands(tree: Tree) -> list[str]:
    """Commands in code: gale's options, CMake presets, scripts of ours."""
    known = options_by_command(tree.files["docs/options.md"])
    presets = set(re.findall(r'"name": "([\w-]+)"', tree.files["CMakePresets.json"]))
    problems = []
    for document, text in documents(tree).items():
        if document == "docs/options.md":
            continue
        code = re.findall(r"^```.*?\n(.*?)^```", text, flags=re.S | re.M) + re.findall(r"`([^`\n]+)`", text)
        for line in "\n".join(code).replace("\\\n", " ").splitlines():
            problems += [f"{document}: no preset called {name}" for name in re.findall(r"--preset[ =]([\w-]+)", line)
                         if name not in presets]
            script = re.match(r"\s*\$?\s*\./(\w[\w./-]*)", line)
            if script and script[1] not in tree.files:
                problems.append(f"{document}: there is no ./{script[1]}")
            problems += unknown_options(document, line, known)
    return problems


def unknown_options(document: str, line: str, known: dict[str, set[str]]) -> list[str]:
    call = re.search(r"(?:^|\s|/)gale (bench \w+|\w+)(.*)", line)
    if not call:
        return []
    command, rest = call[1], re.split(r"[|&;#]", call[2])[0]
    if command not in known:
        return [f"{document}: there is no command 'gale {command}'"] if command in ("run", "start", "bench") else []
    used = re.findall(r"(?:^|\s)(--?[a-zA-Z][\w-]*)", rest)
    return [f"{document}: gale {command} has no option {flag}" for flag in used
            if flag.replace("_", "-").replace("--no-", "--") not in known[command] and flag not in known[command]]


def check_licences(tree: Tree) -> list[str]:
    """Every dependency stands in docs/third-party.md with a licence, and everything fetched by hash is hashed."""
    page = tree.files["docs/third-party.md"]
    rows = {row[0].strip().lower(): row[-2].strip() for row in
            (line.strip().strip("|").split("|") for line in page.splitlines() if line.startswith("| ")) if len(row) > 2}
    cmake = tree.files["cmake/dependencies.cmake"] + tree.files["cmake/web.cmake"]
    names = set(re.findall(r"find_package\((\w[\w-]*)", cmake)) - {"Threads"}
    names |= set(re.findall(r"^\s*static_library\((\w+)", cmake, re.M))
    names |= set(re.findall(r"^\s*find_path\((\w+?)_headers", cmake, re.M))
    problems = []
    for name, _, digest in re.findall(r"^ *pypi\(([\w-]+) ([\w.]+) (\w+)", cmake, re.M):
        names.add(name)
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            problems.append(f"cmake/dependencies.cmake: {name} is pinned without a SHA-256")
    for block in re.split(r"\n(?=\w)", re.sub(r"^#.*\n", "", tree.files["tests/requirements.txt"])):
        pin = re.match(r"([\w.-]+)==[\w.]+", block)
        if not pin or "--hash=sha256:" not in block:
            problems.append(f"tests/requirements.txt: no exact version with hashes: {block.splitlines()[0]}")
        else:
            names.add(pin[1])
    for lock in ("web/package-lock.json", "tests/clients/package-lock.json"):
        for folder, package in json.loads(tree.files[lock])["packages"].items():
            name = folder.rpartition("node_modules/")[2]
            if not name:
                continue
            names.add(name)
            if not package.get("integrity", "").startswith("sha512-"):
                problems.append(f"{lock}: {name} is pinned without an integrity")
    for name in sorted(names):
        found = [licence for row, licence in rows.items() if f"`{name.lower()}`" in row]
        if not found or not found[0]:
            problems.append(f"docs/third-party.md: no row with a licence for `{name}`")
    return problems


def check_no_private_names(tree: Tree) -> list[str]:
    """No home folders of whoever wrote it, no hosts of package registries."""
    return [f"{path}:{number}: {found[0]}" for path, text in tree.files.items()
            for number, line in enumerate(text.splitlines(), 1) for found in [HOME_OR_HOST.search(line)]
            if found and not path.startswith("tests/shape/") and len(line) < 2000]


def check_one_declaration(tree: Tree) -> list[str]:
    """An option's flag is spelt in its row and nowhere else in the program; no two rows of a command share one."""
    declared: dict[str, str] = {}
    for path, text in tree.sources(".cpp", under="src/config/options_").items():
        for flag in re.findall(r'\.flag = "(--[\w-]+)"', text):
            declared.setdefault(flag, path)
    problems = []
    for path, text in tree.sources(".cpp", ".h", under="src/").items():
        # known_flags.cpp says what flags of other servers mean here, also where another command has a row of that name.
        if path.endswith("_test.cpp") or path.startswith(("src/config/options_", "src/config/known_flags")):
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for flag in re.findall(r'"(--[a-z][\w-]*)[="]', line.split("//")[0]):
                if flag in declared and not (path.startswith("src/config/") and flag == "--config"):
                    problems.append(f"{path}:{number}: {flag} is declared in {declared[flag]}")
    return problems

"""Files and functions stay small; nothing stands in two places."""

import ast
import re
from collections import defaultdict

from tree import Tree

MAX_FILE = 600
MAX_KERNEL = 1000
MAX_FUNCTION = 80
MIN_SAME_LINES = 6
MAX_COLUMNS = 120
LONG_LINES = "tests/shape/long_lines.txt"

CODE = (".h", ".cpp", ".cu", ".cuh", ".py")
THIN = re.compile(r"#\s*include|import |from |#|namespace |using |public:|private:|return 0;")
COMMENT_OR_TEXT = re.compile(r'//[^\n]*|/\*.*?\*/|R"(\w*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S)


def check_file_sizes(tree: Tree) -> list[str]:
    problems = []
    for path, text in tree.sources(*CODE).items():
        limit = MAX_KERNEL if path.endswith((".cu", ".cuh")) else MAX_FILE
        lines = text.count("\n")
        if lines > limit:
            problems.append(f"{path}: {lines} lines, {limit} are allowed")
    return problems


def check_columns(tree: Tree) -> list[str]:
    """Lines fit; LONG_LINES says how many too long ones are left in older files, and only ever shrinks."""
    left = {}
    for row in tree.files[LONG_LINES].splitlines():
        count, path = row.split()
        left[path] = int(count)
    problems = []
    for path, text in tree.sources(*CODE, ".sh", ".cmake").items():
        long = [number for number, line in enumerate(text.split("\n"), 1) if len(line) > MAX_COLUMNS]
        allowed = left.pop(path, 0)
        if len(long) > allowed:
            numbers = ", ".join(map(str, long))
            problems.append(f"{path}: {len(long)} lines over {MAX_COLUMNS} columns, {allowed} are allowed ({numbers})")
        elif allowed and not long:
            problems.append(f"{LONG_LINES}: take {path} off the list, its lines fit now")
    return problems + [f"{LONG_LINES}: take {path} off the list, there is no such file" for path in left]


def blank_out(code: str) -> str:
    """The code with comments and texts as blanks, line by line the same."""
    return COMMENT_OR_TEXT.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), code)


def cpp_functions(code: str):
    """(first line, number of lines) of each outermost block that follows a parameter list."""
    code = blank_out(code)
    opened: list[tuple[bool, int]] = []          # is a function, first line
    start = 0                                    # where the statement that a brace belongs to begins
    for position, letter in enumerate(code):
        if letter == "{":
            head = code[start:position]
            is_scope = re.search(r"\b(namespace|class|struct|union|enum|extern)\b[^()]*$", head) is not None
            inside = any(is_function for is_function, _ in opened)
            is_function = not is_scope and not inside and ")" in head
            first = code.count("\n", 0, start + len(head) - len(head.lstrip())) + 1
            opened.append((is_function, first))
            start = position + 1
        elif letter == "}":
            if opened:
                is_function, first = opened.pop()
                if is_function:
                    yield first, code.count("\n", 0, position) + 2 - first
            start = position + 1
        elif letter == ";" and not any(is_function for is_function, _ in opened):
            start = position + 1


def python_functions(code: str):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1


def check_function_sizes(tree: Tree) -> list[str]:
    problems = []
    for path, text in tree.sources(*CODE).items():
        functions = python_functions(text) if path.endswith(".py") else cpp_functions(text)
        problems += [f"{path}:{line}: a function of {length} lines, {MAX_FUNCTION} are allowed"
                     for line, length in functions if length > MAX_FUNCTION]
    return problems


def telling_lines(path: str, text: str) -> list[tuple[int, str]]:
    """Lines that say something: no comments, includes, imports or lone punctuation."""
    if not path.endswith(".py"):
        text = re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: re.sub(r"[^\n]", "", found[0]), text, flags=re.S)
    kept = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = " ".join(line.split())
        if re.search(r"\w", bare) and not THIN.match(bare):
            kept.append((number, bare))
    return kept


def check_repetition(tree: Tree) -> list[str]:
    """Runs of the same lines in two places."""
    places = defaultdict(list)
    for path, text in tree.sources(*CODE).items():
        lines = telling_lines(path, text)
        for first in range(len(lines) - MIN_SAME_LINES + 1):
            run = lines[first:first + MIN_SAME_LINES]
            places["\n".join(line for _, line in run)].append((path, run[0][0]))
    problems, told = [], set()
    for where in places.values():
        pair = tuple(sorted({path for path, _ in where}))
        if len(where) > 1 and pair not in told:
            told.add(pair)
            stated = " and ".join(f"{path}:{line}" for path, line in where)
            problems.append(f"the same {MIN_SAME_LINES} lines at {stated}")
    return problems

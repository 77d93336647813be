"""Options and programs that the comparisons need. Whatever is missing is a failure with its name, never a skip."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def pytest_addoption(parser):
    parser.addoption("--build-dir", default="build-dev", help="CMake build folder with tokenize and render_chat")
    parser.addoption("--num-strings", type=int, default=100_000, help="strings a tokenizer is compared on")


class Program:
    """A program of the build folder that answers each JSON line with one JSON line."""

    def __init__(self, path):
        self.path = path

    def start(self, *arguments, lines=()):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        return subprocess.run([self.path, *map(str, arguments)], input=text, capture_output=True, encoding="utf-8",
                              check=False)

    def answers(self, *arguments, lines):
        result = self.start(*arguments, lines=lines)
        assert result.returncode == 0, result.stderr
        answers = [json.loads(line) for line in result.stdout.split("\n") if line]
        assert len(answers) == len(lines)
        return answers


def find_program(config, name):
    folder = Path(config.getoption("--build-dir"))
    path = (folder if folder.is_absolute() else ROOT / folder) / "bin" / name
    if not path.exists():
        pytest.fail(f"{path} does not exist: build the target {name}, or name the folder with --build-dir")
    return Program(path)


@pytest.fixture(scope="session")
def tokenize(request):
    return find_program(request.config, "tokenize")


@pytest.fixture(scope="session")
def render_chat(request):
    return find_program(request.config, "render_chat")

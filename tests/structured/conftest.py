"""Options of the structured-output tests, and the program that they drive."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "models" / "nano-flash" / "tokenizer.json"


def pytest_addoption(parser):
    parser.addoption(
        "--sampler", default="build-dev/bin/sample_answers", help="the program that draws answers from masks"
    )
    parser.addoption("--num-answers", type=int, default=2, help="answers drawn for each schema")
    parser.addoption("--every", type=int, default=5, help="take one schema of so many")


@pytest.fixture(scope="session")
def sample(request):
    """What the program says to lines of {"schema", "texts"}, an object a line."""

    def run(lines, num_answers, max_tokens=600):
        command = [ROOT / request.config.getoption("--sampler"), TOKENIZER, str(num_answers), str(max_tokens)]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        result = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", check=False)
        assert result.returncode == 0, result.stderr
        answers = [json.loads(line) for line in result.stdout.split("\n") if line]
        assert len(answers) == len(lines)
        return answers

    return run

"""Options of the structured-output tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))


def pytest_addoption(parser):
    parser.addoption("--sampler", default="build-dev/bin/sample_answers",
                     help="the program that draws answers from masks")
    parser.addoption("--num-answers", type=int, default=2, help="answers drawn for each schema")
    parser.addoption("--every", type=int, default=5, help="take one schema of so many")

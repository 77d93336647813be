"""Every example of docs/using-the-api.md runs as it stands, on the model that ships with gale."""

import json
import re
import subprocess
import sys

import pytest
from gale_server import ROOT

TEXT = (ROOT / "docs" / "using-the-api.md").read_text()
EXAMPLES = re.findall(r"^```(sh|python)\n(.*?)^```", TEXT, re.S | re.M)
TYPED = "http://127.0.0.1:8000"


def test_there_are_examples():
    assert [kind for kind, _ in EXAMPLES].count("sh") >= 4 and [kind for kind, _ in EXAMPLES].count("python") >= 3
    assert len(re.findall(r"^```\w", TEXT, re.M)) == len(EXAMPLES)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_runs(server, number):
    kind, code = EXAMPLES[number]
    assert TYPED in code
    code = code.replace(TYPED, server.base_url)
    command = ["bash", "-euc", code.replace("curl ", "curl -sS ")] if kind == "sh" else [sys.executable, "-c", code]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip()
    status = re.search(r"# answers (\d+)", code)
    if kind == "sh" and "-N" not in code:
        bodies = re.findall(r"\{.*?\}(?=\{|\s*$)", ran.stdout, re.S)
        assert all(isinstance(json.loads(body), dict) for body in bodies) and bodies
        assert ("error" in json.loads(bodies[0])) == bool(status)
    elif kind == "sh":
        assert ran.stdout.rstrip().endswith("data: [DONE]")

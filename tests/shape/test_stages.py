"""What ./check counts: failures stay failures, and an unsteady test is told of."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tree import ROOT

SCRIPT = f"""
set -uo pipefail
. {ROOT}/tools/setup.sh
. {ROOT}/tools/stages.sh
pytest_stage "first" tests_of_stage
finish
"""
STEADY = "def test_steady(): pass\n"
UNSTEADY = """
from pathlib import Path
def test_unsteady_{n}():
    marker = Path("ran_{n}")
    first = not marker.exists()
    marker.touch()
    assert not first, "{reason}"
"""


def run_stage(folder: Path, text: str) -> subprocess.CompletedProcess:
    (folder / "tests_of_stage").mkdir()
    (folder / "tests_of_stage/test_it.py").write_text(text)
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(sys.executable)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    return subprocess.run(["bash", "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("text, status, last, told", [
    (STEADY, 0, "1 passed, 0 failed", False),
    (STEADY + "def test_wrong(): assert False\n", 1, "1 passed, 1 failed", False),
    (STEADY + UNSTEADY.format(n=1, reason="late"), 0, "2 passed, 0 failed", True),
    (STEADY + UNSTEADY.format(n=1, reason="late") + "def test_wrong(): assert False\n", 1, "1 passed, 2 failed", False),
    ("".join(UNSTEADY.format(n=n, reason="late") for n in range(4)), 1, "0 passed, 4 failed", False),
    (STEADY + UNSTEADY.format(n=1, reason="ERROR: AddressSanitizer: heap-use"), 1, "1 passed, 1 failed", False),
    ("import no_such_module\n", 1, "0 passed, 1 failed", False),
    ("", 1, "0 passed, 1 failed", False),
], ids=["steady", "wrong", "unsteady", "unsteady and wrong", "many unsteady", "sanitizer", "broken file", "nothing"])
def test_a_second_run_excuses_little_and_hides_nothing(tmp_path, text, status, last, told):
    done = run_stage(tmp_path, text)
    assert done.returncode == status, done.stdout
    assert done.stdout.splitlines()[-1] == last
    assert ("Unsteady: failed at first" in done.stdout) == told


def test_so_do_compiled_tests(tmp_path):
    (tmp_path / "CTestTestfile.cmake").write_text(
        'add_test(steady true)\nadd_test(unsteady bash -c "test -e ran || { touch ran; false; }")\n')
    script = SCRIPT.replace('pytest_stage "first" tests_of_stage', 'ctest_stage "first" .')
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "2 passed, 0 failed", done.stdout
    assert done.returncode == 0 and "Unsteady: failed at first" in done.stdout
    (tmp_path / "CTestTestfile.cmake").write_text("add_test(steady true)\nadd_test(wrong false)\n")
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "1 passed, 1 failed", done.stdout
    assert done.returncode == 1

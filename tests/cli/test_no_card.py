"""A build with CUDA where no card can be had: each cause is one clear line. Skipped without CUDA in the build."""

import os
import shutil
import subprocess

import pytest
from gale_server import NANO_FLASH, free_port

STUB = """
int cuInit(unsigned flags) { return 0; }
int cuDriverGetVersion(int* version) { *version = 11040; return 0; }
"""


def serve_on_a_card(binary, **environment):
    """Exit code and last line of a `gale serve` that is to compute on a card."""
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    command = [str(binary), "serve", str(NANO_FLASH), "--port", str(free_port()), "--device", "cuda"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment})
    return result.returncode, (result.stdout + result.stderr).strip().splitlines()[-1]


@pytest.fixture
def start(binary):
    if "built without CUDA" in serve_on_a_card(binary, LD_LIBRARY_PATH="")[1]:
        pytest.skip("no CUDA in this build")
    return lambda **environment: serve_on_a_card(binary, **environment)


def test_a_build_without_cuda_says_how_to_get_one(binary):
    code, line = serve_on_a_card(binary)
    if "built without CUDA" not in line:
        pytest.skip("this build has CUDA")
    assert code == 1
    assert line == "gale: this gale was built without CUDA: build it where nvcc is (cmake --preset release-cuda)"


def test_no_driver(start):
    assert start() == (1, "gale: no NVIDIA driver is installed")


def test_an_old_driver(start, tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        pytest.skip("no compiler for a stub of libcuda")
    (tmp_path / "stub.c").write_text(STUB)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", str(tmp_path / "libcuda.so.1"), str(tmp_path / "stub.c")], check=True
    )
    code, line = start(LD_LIBRARY_PATH=str(tmp_path))
    assert code == 1
    assert line.startswith("gale: the NVIDIA driver supports CUDA 11.4; this build needs") and line.endswith(
        "update the driver"
    )


def test_tune_needs_a_card(binary):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    for words, code in (([], 1), (["--device", "cpu"], (1, 2))):
        command = [str(binary), "tune", str(NANO_FLASH), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ})
        assert done.returncode in (code if isinstance(code, tuple) else (code,)), done.stderr
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("gale: "), done.stderr

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


@pytest.fixture
def start(binary):
    doctor = subprocess.run([str(binary), "doctor"], capture_output=True, text=True, timeout=60)
    if "built without CUDA" in doctor.stdout:
        pytest.skip("no CUDA in this build")

    def run(**environment):
        command = [
            str(binary),
            "serve",
            str(NANO_FLASH),
            "--host",
            "127.0.0.1",
            "--port",
            str(free_port()),
            "--device",
            "cuda",
        ]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment}
        )
        return result.returncode, (result.stdout + result.stderr).strip().splitlines()[-1]

    return run


def test_no_driver(start):
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
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

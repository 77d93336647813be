"""What ./quickstart decides before it builds: which kernels the cards of a machine need, and what it refuses."""

import os
import subprocess

import pytest
from gale_server import ROOT, free_port

DRIVER = "580.95.05"
H100, H200 = f"9.0, {DRIVER}, NVIDIA H100 80GB HBM3", f"9.0, {DRIVER}, NVIDIA H200"
A100, A10 = f"8.0, {DRIVER}, NVIDIA A100-SXM4-80GB", f"8.6, {DRIVER}, NVIDIA A10"
RTX_4090, V100 = f"8.9, {DRIVER}, NVIDIA GeForce RTX 4090", f"7.0, {DRIVER}, Tesla V100-SXM2-16GB"


def tool(folder, name, script):
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def shell(folder, line):
    """A line of bash after tools/setup.sh, with the programs of `folder` before all others."""
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = ["bash", "-euo", "pipefail", "-c", f". tools/setup.sh; {line}"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60)


def cards(folder, *lines, status=0, toolkit=True):
    asked = "--query-gpu=compute_cap,driver_version,name --format=csv,noheader"
    told = "".join(f"echo '{line}'\n" for line in lines)
    tool(folder, "nvidia-smi", f'[ "$*" = "{asked}" ] || exit 8\n{told}exit {status}')
    return shell(folder, f"has_cuda_toolkit() {{ {str(toolkit).lower()}; }}; card_architectures")


@pytest.mark.parametrize(
    ("present", "architectures"),
    [
        ([H100], "90a-real"),
        ([H100, H100, H200], "90a-real"),
        ([A100], "80-real;90a-real"),
        ([A10], "80-real;90a-real"),
        ([RTX_4090] * 4, "89-real;90a-real"),
        ([RTX_4090, A100, H100], "80-real;89-real;90a-real"),
    ],
)
def test_kernels_are_compiled_for_the_cards_that_are_there(tmp_path, present, architectures):
    answer = cards(tmp_path, *present)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, architectures + "\n", "")


@pytest.mark.parametrize("others", [[], [H100]])
def test_a_card_without_kernels_is_told_and_hinders_nobody(tmp_path, others):
    answer = cards(tmp_path, V100, *others)
    assert (answer.returncode, answer.stdout) == (0, "90a-real\n" if others else "")
    assert answer.stderr == (
        "there are no kernels for Tesla V100-SXM2-16GB (compute capability 7.0): 8.x and 9.0 have some\n"
    )


@pytest.mark.parametrize(("toolkit", "driver"), [(True, "535.183.01"), (False, DRIVER), (False, "581.2")])
def test_a_driver_serves_its_toolkit_and_a_new_one_what_is_fetched(tmp_path, toolkit, driver):
    answer = cards(tmp_path, H100.replace(DRIVER, driver), toolkit=toolkit)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "90a-real\n", "")


def test_an_old_driver_without_a_toolkit_is_told(tmp_path):
    answer = cards(tmp_path, H100.replace(DRIVER, "535.183.01"), toolkit=False)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert answer.stderr.startswith("driver 535 is too old for the compiler that would be fetched (580 or newer)")


def test_a_driver_that_does_not_work_is_told_with_its_words(tmp_path):
    answer = cards(tmp_path, "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver", status=9)
    assert (answer.returncode, answer.stdout) == (0, "")
    assert "built for the processor: NVIDIA-SMI has failed" in answer.stderr


def configured(folder, architectures):
    tool(folder, "cmake", f'echo "$*" >>{folder}/asked\necho "it went wrong"; [ ! -e {folder}/fails ]')
    build = folder / "build"
    answer = shell(folder, f'configure_for_cards {build} "{architectures}"')
    asked = folder / "asked"
    return answer, asked.read_text().splitlines() if asked.exists() else []


def test_a_folder_is_configured_for_other_cards_only(tmp_path):
    answer, asked = configured(tmp_path, "90a-real")
    assert answer.returncode == 0
    assert len(asked) == 1
    for option in ("--preset release-cuda", "-DGALE_CUDA_ARCHITECTURES=90a-real ", "-DGALE_FETCH_CUDA=ON"):
        assert option in asked[0]
    cache = tmp_path / "build" / "CMakeCache.txt"
    cache.parent.mkdir()
    for of_before, times in (  # how often cmake has been asked after it
        ("GALE_WITH_CUDA:BOOL=ON\nGALE_CUDA_ARCHITECTURES:STRING=90a-real\n", 1),
        ("GALE_WITH_CUDA:BOOL=ON\nGALE_CUDA_ARCHITECTURES:STRING=89-real;90a-real\n", 2),
        ("GALE_WITH_CUDA:BOOL=OFF\nGALE_CUDA_ARCHITECTURES:STRING=90a-real\n", 3),
    ):
        cache.write_text(of_before)
        assert len(configured(tmp_path, "90a-real")[1]) == times


def test_a_configuration_that_fails_ends_with_what_cmake_said_and_is_tried_again(tmp_path):
    cache = tmp_path / "build" / "CMakeCache.txt"
    cache.parent.mkdir()
    (tmp_path / "fails").touch()
    for times in (1, 2):
        cache.write_text("GALE_WITH_CUDA:BOOL=OFF\n")
        answer, asked = configured(tmp_path, "90a-real")
        assert (answer.returncode, answer.stdout, len(asked)) == (1, "it went wrong\n", times)
        assert not cache.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--modle", "x"], "unknown option '--modle'"),
        (["--model"], "--model needs a folder"),
        (["--program", "tests"], "--program tests: there is no program"),
        (["--service", "--", "--seed", "4"], "configuration file (docs/service.md), not from here: --seed 4"),
    ],
)
def test_wrong_usage_is_refused_before_anything_is_done(arguments, words):
    answer = subprocess.run([ROOT / "quickstart", *arguments], capture_output=True, text=True, timeout=60)
    assert answer.returncode != 0
    assert words in answer.stderr
    assert "packages" not in answer.stdout


def test_a_program_that_is_built_already_is_taken_as_it_is(binary):
    ports = ["--port", str(free_port()), "--ui-port", str(free_port())]
    command = [ROOT / "quickstart", "--program", binary, *ports, "--check", "--", "--device", "cpu"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.rstrip().endswith("everything worked, server and page have stopped")
    assert "packages" not in answer.stdout and f"{binary} chat" in answer.stdout


def test_help_is_whole():
    answer = subprocess.run([ROOT / "quickstart", "--help"], capture_output=True, text=True, timeout=60)
    assert answer.returncode == 0
    assert answer.stdout.splitlines()[0].startswith("./quickstart [--model DIR]")
    assert answer.stdout.rstrip().endswith("nothing.")
    assert "set -" not in answer.stdout

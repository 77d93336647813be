"""gale on a card that is a folder (gale_on_fake_card): what the host does of CUDA, and what people read when the card
is no good. Kernels compute nothing there: every token is 0. Not part of a run with another program."""

import os
import re
import shutil
import subprocess
import sys
import threading

import pytest
from fake_card import FakeCard
from gale_server import NANO_FLASH, ROOT, GaleServer, free_port

WAIT_S = 300
GIB = 1 << 30


@pytest.fixture
def program(binary):
    if binary.name != "gale_on_fake_card":
        pytest.skip("another program: this one runs on the card that is a folder")
    return binary


def refused(program, card, *flags, model=NANO_FLASH):
    """Exit code and last line of a start that must fail."""
    command = [str(program), "serve", str(model), "--port", str(free_port()), "--device", "cuda", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, env=card.environment, cwd=ROOT)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()[-1]


def dummy_model(folder, name, *flags):
    make = [sys.executable, str(ROOT / "tools/gpu/make_dummy_models.py"), str(folder), name, *flags]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    return folder / name


@pytest.mark.parametrize(
    "facts, message",
    [
        ({"driver": 12040}, "gale: the NVIDIA driver supports CUDA 12.4; this build needs"),
        ({"driver": 0}, "gale: no NVIDIA driver is installed"),
        ({"init_error": 100}, "gale: the driver sees no NVIDIA GPU"),
        ({"init_error": 999}, "gale: the NVIDIA driver (CUDA 13.0) does not work: "),
        ({"name": "Tesla T4", "capability": 75}, "gale: Tesla T4 has compute capability 7.5; gale needs 8.0"),
        ({"capability": 100, "has_kernels": 0}, "(compute capability 10.0): build with GALE_CUDA_ARCHITECTURES="),
    ],
)
def test_a_card_that_cannot_be_used_is_one_clear_line(program, tmp_path, facts, message):
    code, line = refused(program, FakeCard(tmp_path / "card", **facts))
    assert code == 1 and message in line, line


def test_a_card_that_is_too_small(program, tmp_path):
    model = dummy_model(tmp_path, "46v")
    code, line = refused(program, FakeCard(tmp_path / "card"), "--load-format", "dummy", model=model)
    assert code == 4 and "GiB are missing" in line and "a card with more memory" in line, line


def test_another_process_on_the_card(program, tmp_path):
    card = FakeCard(tmp_path / "card")
    card.hold(int(0.9 * 79.6 * GIB))
    model = dummy_model(tmp_path, "9b")
    code, line = refused(program, card, "--load-format", "dummy", model=model)
    assert code == 4 and "other processes hold" in line and "nvidia-smi" in line, line
    code, line = refused(program, card, "--gpu-memory-utilization", "0.5")
    assert code == 4 and "other processes hold" in line and "--gpu-memory-utilization 0.9" in line, line


def test_a_shard_that_was_cut(program, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(NANO_FLASH, model)
    shard = next(model.glob("*.safetensors"))
    os.truncate(shard, shard.stat().st_size - 1000)
    code, line = refused(program, FakeCard(tmp_path / "card"), model=model)
    assert code == 3 and shard.name in line, line


def test_what_was_planned_is_what_the_card_shows(program, tmp_path):
    card = FakeCard(tmp_path / "card")
    with GaleServer(program, "--device", "cuda", environment=card.environment) as server:
        planned = float(re.search(r"GPU memory in use when serving: ([\d.]+) of", server.log_text())[1])
        shown = subprocess.run(
            ["nvidia-smi", "--query-gpu=memory.used"], capture_output=True, text=True, env=card.environment
        )
        assert abs(int(shown.stdout) / 1024 - planned) <= 0.3
        answer = server.post("/v1/completions", {"prompt": [300, 301], "max_tokens": 20, "ignore_eos": True})
        assert answer.status == 200 and answer.json_body()["usage"]["completion_tokens"] == 20


@pytest.mark.parametrize(
    "order, message",
    [
        ("fault", "the GPU failed: an illegal memory access was encountered"),
        ("stall", "no sign of life for .* s: it hangs and is killed"),
    ],
)
def test_a_fault_of_the_card_costs_streams_a_pause(program, tmp_path, order, message):
    card = FakeCard(tmp_path / "card", launch_ns=20_000)  # some milliseconds a step
    path = tmp_path / "order"
    environment = {**card.environment, "GALE_FAULT_FILE": str(path)}
    path.write_text(order)  # the first draw of the first engine takes it
    patience = ("--engine-beat-timeout", 20 if order == "stall" else 120)  # the next engine's, too
    with GaleServer(program, "--device", "cuda", *patience, environment=environment) as server:
        answers = {}

        def ask(i):
            body = {"prompt": [100 + i, 300], "max_tokens": 300, "ignore_eos": True, "seed": i}
            answers[i] = server.post("/v1/completions", body, timeout=2 * WAIT_S)

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not path.exists()
        for i in range(4):
            assert answers[i].status == 200, answers[i].body
            assert answers[i].json_body()["usage"]["completion_tokens"] == 300
        died = [line for line in server.log_text().splitlines() if "engine died" in line]
        assert len(died) == 1 and re.search(message, died[0]), died

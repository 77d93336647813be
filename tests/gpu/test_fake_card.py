"""gale on a card that is a folder (gale_on_fake_card): what the host does of CUDA, and what people read when the card
is no good. Kernels compute nothing there: every token is 0. Not part of a run with another program."""

import json
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


# --- kernels by a table: times mean nothing on this card, files and messages do ---


def called(program, card, command, *arguments, cwd=ROOT):
    words = [str(program.resolve()), command, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, timeout=2 * WAIT_S, env=card.environment, cwd=cwd)


def table_lines(path):
    head, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    return head, lines


def kernels_said(log):
    return re.search(r"Kernels: (\d+) of the model's (\d+) products as the card's table says, (\d+) by", log)


def test_tune_writes_a_table_that_serve_and_inspect_follow(program, tmp_path):
    card, table = FakeCard(tmp_path / "card"), tmp_path / "table.jsonl"
    done = called(program, card, "tune", NANO_FLASH, "--output", table)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "share of the bound" in done.stdout and "WRONG" not in done.stdout
    assert f"gale serve --kernel-table {table}" in done.stdout
    head, lines = table_lines(table)
    assert head["card"] == "NVIDIA H100 80GB HBM3" and head["num_sms"] == 132
    assert {line["op"] for line in lines} == {"linear", "logits", "linear_swiglu", "moe_up", "moe_down"}
    assert {line["weights"] for line in lines} == {"bf16"}
    more = called(program, card, "tune", NANO_FLASH, "--output", table, "--quantization", "fp8")
    assert more.returncode == 0, more.stdout + more.stderr
    assert [line for line in table_lines(table)[1] if line["weights"] == "bf16" and line["op"] != "logits"] == [
        line for line in lines if line["op"] != "logits"
    ], "what was measured before is kept; the head's product is measured again"
    shown = called(program, card, "inspect", NANO_FLASH, "--device", "cuda", "--kernels", "--kernel-table", table)
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^linear bf16 \[\d+, \d+\] +1: \S+\*", shown.stdout, re.M), shown.stdout
    with GaleServer(program, "--device", "cuda", "--kernel-table", table, environment=card.environment) as server:
        measured, products, others = map(int, kernels_said(server.log_text()).groups())
        assert measured == products > 4 and others == 0
        assert "other kernels" not in server.log_text()
        answer = server.post("/v1/completions", {"prompt": [300, 301], "max_tokens": 5, "ignore_eos": True})
        assert answer.status == 200


def test_a_candidate_that_computes_something_else_is_told_and_never_chosen(program, tmp_path):
    card = FakeCard(tmp_path / "card", wrong_kernel="SkinnyGemmConfigI13__nv_bfloat16Li32E")
    table = tmp_path / "table.jsonl"
    done = called(program, card, "tune", NANO_FLASH, "--output", table)
    assert done.returncode == 1 and "skinny:32 WRONG" in done.stdout, done.stdout + done.stderr
    assert re.search(r"\d+ candidates were WRONG", done.stdout)
    assert not re.search(r"(?:wide|few|:\d+|heuristic) WRONG", done.stdout.replace("skinny:32 WRONG", ""))
    kernels = {line["kernel"] for line in table_lines(table)[1]}
    assert kernels and "skinny:32" not in kernels


def test_without_time_nothing_is_measured_and_the_start_says_so(program, tmp_path):
    card = FakeCard(tmp_path / "card")
    done = called(program, card, "tune", NANO_FLASH.resolve(), "--seconds", "0", cwd=tmp_path)
    assert done.returncode == 0 and "sizes of steps were left out" in done.stdout, done.stdout + done.stderr
    table = tmp_path / "nvidia-h100-80gb-hbm3.jsonl"
    assert f"{table.name}: 0 of this model's" in done.stdout
    assert table_lines(table)[1] == []
    with GaleServer(program, "--device", "cuda", "--kernel-table", table, environment=card.environment) as server:
        measured, products, others = map(int, kernels_said(server.log_text()).groups())
        assert measured == 0 and others == products and "gale tune measures them" in server.log_text()


HEAD = '{"card":"NVIDIA H100 80GB HBM3","compute_capability":90,"num_sms":132,"kernels":"old"}\n'
ENTRY = (
    '{"op":"linear","weights":"bf16","n":64,"k":64,"matrices":1,"chosen":1,"max_tokens":8,"kernel":"%s","us":1,'
    '"heuristic_us":1}\n'
)


@pytest.mark.parametrize(
    "text, message",
    [
        (HEAD.replace("H100 80GB HBM3", "H200"), "is of NVIDIA H200 (compute capability 9.0, 132 SMs), this card is"),
        (HEAD + ENTRY % "fastest", 'table.jsonl:2: "kernel" is "fastest", expected one of heuristic, skinny:16'),
        (HEAD + "nonsense\n", "table.jsonl:2: "),
        (None, "table.jsonl"),
    ],
)
def test_a_table_that_cannot_be_followed_ends_the_start(program, tmp_path, text, message):
    table = tmp_path / "table.jsonl"
    if text is not None:
        table.write_text(text)
    card = FakeCard(tmp_path / "card")
    code, line = refused(program, card, "--kernel-table", table)
    assert code == 2 and message in line, line
    if text is not None:  # nor is it overwritten
        done = called(program, card, "tune", NANO_FLASH, "--output", table)
        assert done.returncode == 2 and message.split(",")[0] in done.stderr, done.stderr
        assert table.read_text() == text


def test_a_table_of_other_kernels_is_followed_with_a_warning(program, tmp_path):
    card, table = FakeCard(tmp_path / "card"), tmp_path / "table.jsonl"
    table.write_text(HEAD + ENTRY % "skinny:16")
    with GaleServer(program, "--device", "cuda", "--kernel-table", table, environment=card.environment) as server:
        assert "table.jsonl was measured with other kernels (old)" in server.log_text()
    done = called(program, card, "tune", NANO_FLASH, "--output", table, "--seconds", "0")
    assert done.returncode == 0 and "its lines are replaced" in done.stdout, done.stdout + done.stderr
    head, lines = table_lines(table)
    assert head["kernels"] != "old" and lines == []


def test_a_card_without_a_choice_of_kernels_has_nothing_to_measure(program, tmp_path):
    card = FakeCard(tmp_path / "card", name="NVIDIA A100-SXM4-80GB", capability=80)
    done = called(program, card, "tune", NANO_FLASH, "--output", tmp_path / "table.jsonl")
    assert done.returncode == 1 and "there is nothing to choose" in done.stderr, done.stderr
    assert not (tmp_path / "table.jsonl").exists()
    with GaleServer(program, "--device", "cuda", environment=card.environment) as server:
        assert kernels_said(server.log_text()) is None

"""What the log tells an operator: as much as was asked for, and when memory gets short."""

import json
import re
import signal

import pytest
from gale_server import GaleServer
from gale_ui import GaleUi
from killing import wait_for

PATIENCE_S = 120  # of a machine that does a lot else


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "script.json"
    path.write_text(json.dumps({"vocab_size": 8192, "max_model_len": 256, "default": {"tokens": [101], "repeat": 0}}))
    return path


def says(server, text, times=1):
    wait_for(lambda: len(re.findall(text, server.log_text())) >= times, f"{times} times {text}", PATIENCE_S)


@pytest.mark.parametrize("usual", ["debug", "info", "warning"])
def test_debug_lines_come_and_go_while_the_server_runs(binary, script, usual):
    told = "unknown request field .x. is ignored"

    def ask():
        assert server.post("/v1/completions", {"prompt": [101], "max_tokens": 1, "x": 1}).status == 200

    with GaleServer(binary, "--scripted", script, "--log-level", usual) as server:
        ask()
        if usual != "warning":
            says(server, "POST /v1/completions")  # its line comes when the answer has been sent
        if usual == "debug":  # the first signal ends what there is from the start
            says(server, told)
            server.process.send_signal(signal.SIGUSR1)
            says(server, "SIGUSR1: no debug lines any more")
        seen = len(re.findall(told, server.log_text()))
        assert seen == (usual == "debug")
        ask()
        server.process.send_signal(signal.SIGUSR1)
        says(server, "SIGUSR1: debug lines from here on")
        assert len(re.findall(told, server.log_text())) == seen
        ask()
        says(server, told, seen + 1)
        server.process.send_signal(signal.SIGUSR1)
        says(server, "SIGUSR1: no debug lines any more", 1 + (usual == "debug"))
        ask()
    assert len(re.findall(told, server.log_text())) == seen + 1
    assert ("POST /v1/completions" in server.log_text().partition("from here on")[0]) == (usual != "warning")


def test_the_page_takes_the_same_signal(binary):
    with GaleUi(binary, "http://127.0.0.1:9") as ui:
        for words in ("debug lines from here on", "no debug lines any more"):
            ui.process.send_signal(signal.SIGUSR1)
            says(ui, words)


def test_memory_that_gets_short_is_told_in_log_and_metrics(binary, script):
    """Two answers of 200 tokens in blocks for 320, at once: one gives its blocks back, and both end."""
    told = r"warning .*KV cache: (9\d|100) % in use"
    flags = ("--num-gpu-blocks-override", 20, "--no-enable-prefix-caching", "--stats-interval", 1)
    body = {"prompt": [101] * 8, "max_tokens": 200, "ignore_eos": True, "n": 2}
    script.write_text(json.dumps(json.loads(script.read_text()) | {"step_ms": 5}))  # so that the two do meet

    with GaleServer(binary, "--scripted", script, *flags) as server:

        def told_after_two_answers():
            usage = server.post("/v1/completions", body).json_body()["usage"]
            assert usage["completion_tokens"] == 400
            return re.search(told, server.log_text())

        wait_for(told_after_two_answers, told, PATIENCE_S)
        for name in ("kv_cache_warnings_total", "vllm:num_preemptions_total"):  # the engine tells now and then
            counted = rf"^{name}\S* [1-9]"
            wait_for(lambda: re.search(counted, server.get("/metrics").body.decode(), re.M), name, PATIENCE_S)
        says(server, r"Preemptions: [1-9]")


SCRIPTS_LOOK_FOR = [
    r"Starting \S+ \S+ server on http://127\.0\.0\.1:\d+",
    r"Available routes are:",
    r"Route: /v1/chat/completions, Methods: POST",
    r"Loading weights took [\d.]+ seconds",
    r"Model loading took [\d.]+ GiB memory and [\d.]+ seconds",
    r"Available KV cache memory: [\d.]+ GiB",
    r"KV cache size: \d+ tokens",
    r"Maximum concurrency for \d+ tokens per request: [\d.]+x",
    r"init engine \(profile, create kv cache, warmup model\) took [\d.]+ seconds",
    r"Application startup complete\.",
    r"Engine 000: Avg prompt throughput: [\d.]+ tokens/s, Avg generation throughput: [\d.]+ tokens/s, "
    r"Running: \d+ reqs, Waiting: \d+ reqs, .*GPU KV cache usage: [\d.]+%, Prefix cache hit rate: [\d.]+%",
]


def test_the_lines_that_scripts_look_for_are_there(binary):
    with GaleServer(binary, "--stats-interval", 1) as server:
        assert server.post("/v1/completions", {"prompt": "x", "max_tokens": 2}).status == 200
        for line in SCRIPTS_LOOK_FOR:
            says(server, line)

"""Where a request's time goes, and what a step and a cancel cost, as /metrics tells it: values, not only names."""

import http.client
import json
import re
import time

import pytest
from gale_server import GaleServer
from killing import wait_for
from metrics import metrics_when

ASK = {"prompt": [300, 301, 302, 303, 304], "max_tokens": 8, "ignore_eos": True}
ENDLESS = {**ASK, "max_tokens": 4000, "stream": True}


@pytest.fixture
def slow(binary, tmp_path):
    """One sequence at a time, a token in 20 ms."""
    script = {"vocab_size": 8192, "step_ms": 20, "default": {"tokens": [310, 311], "repeat": 0}}
    (tmp_path / "script.json").write_text(json.dumps(script))
    with GaleServer(binary, "--scripted", tmp_path / "script.json", "--max-num-seqs", "1") as running:
        yield running


def open_stream(server):
    """A stream that has brought its first frame."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    connection.request("POST", "/v1/completions", json.dumps(ENDLESS), {"Content-Type": "application/json"})
    assert connection.getresponse().read1(4096)
    return connection


def sums_of(metrics, *names):
    return [metrics[f"vllm:request_{name}_time_seconds_sum"] for name in names]


def test_steps_and_times_of_one_request(slow):
    usage = slow.post("/v1/completions", ASK).json_body()["usage"]
    assert usage["prompt_tokens"] == 5 and usage["completion_tokens"] == 8
    metrics = metrics_when(
        slow, lambda now: now["vllm:num_requests_running"] == 0 and now["vllm:iteration_tokens_total_count"]
    )
    # A step for the prompt, which brings the first token, and one for each other; the last token is never computed.
    assert metrics["vllm:iteration_tokens_total_count"] == 8
    assert metrics["vllm:iteration_tokens_total_sum"] == 5 + 7
    queue, prefill, decode, inference = sums_of(metrics, "queue", "prefill", "decode", "inference")
    assert 0 <= queue and 0.02 <= prefill and 7 * 0.02 <= decode
    assert inference == pytest.approx(prefill + decode)
    assert queue + inference <= metrics["vllm:e2e_request_latency_seconds_sum"]
    assert metrics["cancel_to_free_seconds_count"] == 0


def test_a_request_that_waits_in_the_engine_says_how_long_and_a_cancel_frees_its_place(slow):
    first = open_stream(slow)
    second = http.client.HTTPConnection("127.0.0.1", slow.port, timeout=120)
    second.request("POST", "/v1/completions", json.dumps(ASK), {"Content-Type": "application/json"})
    metrics_when(slow, lambda now: now["vllm:num_requests_waiting"] == 1)
    time.sleep(0.5)
    first.close()
    assert second.getresponse().status == 200
    metrics = metrics_when(slow, lambda now: now["cancel_to_free_seconds_count"] == 1)
    [queue] = sums_of(metrics, "queue")
    assert metrics["vllm:request_queue_time_seconds_count"] == 1 and queue >= 0.5
    assert metrics["cancel_to_free_seconds_sum"] > 0

    def finished():
        text = slow.get("/metrics").body.decode()
        return dict(re.findall(r'vllm:request_success_total{.*finished_reason="(\w+)".*} (\d+)', text))

    wait_for(lambda: finished() == {"abort": "1", "length": "1"}, "both have ended as they should")

"""A long prompt beside answers: a few layers a step, the same tokens as in one piece, others that go on, an engine that
dies meanwhile."""

import concurrent.futures
import os
import random
import signal

import pytest
from gale_server import GaleServer
from metrics import metrics_of, metrics_when

PROMPT = [random.Random(5).randrange(300, 8000) for _ in range(3000)]
ASK = {"prompt": PROMPT, "max_tokens": 12, "temperature": 0, "ignore_eos": True, "logprobs": 1}
OTHERS = [{"prompt": [400 + i] * 9, "max_tokens": 500, "temperature": 0, "ignore_eos": True} for i in range(3)]
FLAGS = ["--max-mixed-step-ms", 10, "--engine-beat-timeout", 60]


def answers_beside_others(server, meanwhile=None):
    """What follows the long prompt, to the last bit, told while others write, and what these wrote."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        others = [pool.submit(server.post, "/v1/completions", body) for body in OTHERS]
        metrics_when(server, lambda now: now["vllm:num_requests_running"] == len(OTHERS))
        long_one = pool.submit(server.post, "/v1/completions", ASK)
        if meanwhile:
            meanwhile()
        told = long_one.result().json_body()["choices"][0]["logprobs"]
        assert len(told["token_logprobs"]) == ASK["max_tokens"]
        texts = [other.result().json_body()["choices"][0]["text"] for other in others]
    return told, texts


@pytest.fixture(scope="module")
def whole(binary):
    """What comes out where prompts go in chunks."""
    with GaleServer(binary, *FLAGS, "--layered-prefill-context", 1_000_000) as server:
        answers = answers_beside_others(server)
        metrics = metrics_when(server, lambda now: not now["vllm:num_requests_running"])
        assert metrics["layered_prefill_steps_total"] == 0
    return answers


def test_by_layers_everybody_gets_the_same_tokens(binary, whole):
    with GaleServer(binary, *FLAGS, "--layered-prefill-context", 64) as server:
        assert answers_beside_others(server) == whole
        metrics = metrics_when(server, lambda now: not now["vllm:num_requests_running"])
        assert metrics["layered_prefill_steps_total"] > 3
        again = server.post("/v1/completions", ASK).json_body()
        assert again["choices"][0]["logprobs"] == whole[0]
        assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > len(PROMPT) - 32, "its blocks serve others"


def test_an_engine_that_dies_between_two_slices_costs_nobody_anything(binary, whole):
    with GaleServer(binary, *FLAGS, "--layered-prefill-context", 64) as server:

        def kill():
            metrics_when(server, lambda now: now["layered_prefill_steps_total"] > 1)
            os.kill(server.engine_pids()[0], signal.SIGKILL)

        assert answers_beside_others(server, kill) == whole
        assert metrics_of(server)["engine_restarts"] == 1

"""The lines of the log that scripts wait for and people grep, in the words of vLLM."""

import re

import pytest

CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2}
LINES = [
    r"Starting gale \S+ server on http://127\.0\.0\.1:\d+",
    r"Available routes are:",
    r"Route: /v1/chat/completions, Methods: POST",
    r"Loading weights took \d+\.\d+ seconds",
    r"Model loading took \d+\.\d+ GiB memory and \d+\.\d+ seconds",
    r"Available KV cache memory: \d+\.\d+ GiB",
    r"[CG]PU KV cache size: \d+ tokens",
    r"Maximum concurrency for \d+ tokens per request: \d+\.\d+x",
    r"init engine \(profile, create kv cache, warmup model\) took \d+\.\d+ seconds",
    r"Application startup complete\.",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_people_look_for(server, line):
    assert server.post("/v1/chat/completions", CHAT).status == 200
    assert re.search(line, server.log_text()), server.log_text()[:4000]

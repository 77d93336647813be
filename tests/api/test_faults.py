"""What goes wrong inside the engine: a NaN fails its own request, with its cause, and nobody else's."""

import json
import threading
import time

from gale_server import NANO_FLASH, GaleServer
from spoiled_model import spoil_token

SPOILED = 4242


def metric(server, name):
    lines = server.get("/metrics").body.decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith((name + "{", name + " ", name + "_total"))
    )


def complete(server, prompt, **body):
    return server.post(
        "/v1/completions", {"prompt": prompt, "temperature": 0, "max_tokens": 40, "ignore_eos": True, **body}
    )


def test_a_nan_fails_its_own_request_alone(binary, tmp_path):
    model = spoil_token(NANO_FLASH, tmp_path / "model", SPOILED)
    with GaleServer(binary, "--enable-prefix-caching", model=model) as server:
        prompts = [[100 + i, 200 + i, 300, 301, 302] * 5 for i in range(6)]
        alone = [complete(server, prompt).json_body()["choices"][0]["text"] for prompt in prompts]
        assert metric(server, "engine_sequence_failures") == 0
        answers = {}

        def ask(key, prompt):
            answers[key] = complete(server, prompt)

        threads = [threading.Thread(target=ask, args=(i, prompt)) for i, prompt in enumerate(prompts)]
        # One token, the end of a long prompt, and a prefix that others share.
        spoiled = [[SPOILED], [*range(50, 120), SPOILED], [*prompts[0][:20], SPOILED, 7]]
        threads += [threading.Thread(target=ask, args=(f"bad{i}", prompt)) for i, prompt in enumerate(spoiled)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for i in range(len(spoiled)):
            bad = answers[f"bad{i}"]
            assert bad.status == 500, bad.body
            error = bad.json_body()["error"]
            assert "NaN" in error["message"] and "next token" in error["message"], error
        for i, text in enumerate(alone):
            assert answers[i].status == 200 and answers[i].json_body()["choices"][0]["text"] == text
        # What the failed ones left in the cache is nobody's trouble.
        assert complete(server, prompts[0]).json_body()["choices"][0]["text"] == alone[0]
        assert complete(server, [SPOILED]).status == 500
        assert server.get("/health").status == 200
        deadline = time.monotonic() + 120      # an engine tells its figures from time to time
        while metric(server, "engine_sequence_failures") < 3 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert metric(server, "engine_sequence_failures") >= 3
        assert "hold a NaN" in server.log_text()


def test_a_nan_in_the_prompt_is_told_where_its_logprobs_are_asked(binary, tmp_path):
    model = spoil_token(NANO_FLASH, tmp_path / "model", SPOILED)
    with GaleServer(binary, model=model) as server:
        answer = complete(server, [100, SPOILED, 300], echo=True, logprobs=1)
        assert answer.status == 500 and "NaN" in answer.json_body()["error"]["message"], answer.body


def test_a_nan_in_the_middle_of_a_stream_ends_it_with_an_error_event(binary, tmp_path):
    model = spoil_token(NANO_FLASH, tmp_path / "model", SPOILED)
    with GaleServer(binary, model=model) as server:
        # The bias makes the spoiled token the first answer; the step that reads it finds the NaN.
        answer = complete(server, [100, 200, 300], stream=True, logit_bias={str(SPOILED): 100})
        assert answer.status == 200
        events = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
        assert len(events) >= 3 and events[-1] == "[DONE]", events
        error = json.loads(events[-2])["error"]
        assert error["code"] == "internal_error" and "NaN" in error["message"], error
        assert complete(server, [100, 200, 300]).status == 200

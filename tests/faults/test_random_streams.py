"""Whatever a model says and a client asks for: the stream keeps its rules and says what the whole answer says."""

import concurrent.futures
import json
import random

import pytest
from gale_server import GaleServer
from random_answers import marker_of, random_reply, random_request
from scripts import ids, write_script
from stream_rules import check_answer

SCRIPTS_A_SERVER = 500
UNMATCHED = "nobody wrote a reply to this"


def whole_text(path, answer):
    """(text of each choice, tokens of the output) of an answer that is no stream."""
    if path == "/v1/completions":
        return [choice["text"] for choice in answer["choices"]], answer["usage"]["completion_tokens"]
    if path == "/v1/chat/completions":
        texts = [
            (
                choice["message"].get("reasoning_content") or "",
                choice["message"]["content"] or "",
                [
                    (call["function"]["name"], call["function"]["arguments"])
                    for call in choice["message"].get("tool_calls") or []
                ],
                choice["finish_reason"],
            )
            for choice in answer["choices"]
        ]
        return texts, answer["usage"]["completion_tokens"]
    if path == "/v1/messages":
        texts = [
            (block["type"], block.get("text", block.get("thinking", block.get("input"))))
            for block in answer["content"]
        ]
        return texts, answer["usage"]["output_tokens"]
    return [item_text(item) for item in answer["output"]], answer["usage"]["output_tokens"]


def item_text(item):
    return item["type"], item.get("arguments"), [part["text"] for part in item.get("content") or []]


def streamed_text(path, stream):
    if path == "/v1/completions":
        return [choice.content for _, choice in sorted(stream.choices.items())]
    if path == "/v1/chat/completions":
        return [
            (
                choice.reasoning,
                choice.content,
                [(call.name, call.arguments) for call in choice.tool_calls.values()],
                choice.finish_reason,
            )
            for _, choice in sorted(stream.choices.items())
        ]
    if path == "/v1/messages":
        return [(kind, json.loads(text) if kind == "tool_use" else text) for kind, text in stream.blocks]
    return [item_text(item) for item in stream["output"]]


def tokens_of(path, stream):
    if path == "/v1/messages":
        return stream.usage["output_tokens"]
    if path == "/v1/responses":
        return stream["usage"]["output_tokens"]
    return stream.usage["completion_tokens"] if stream.usage else None


def check_case(server, path, body):
    headers = {"anthropic-version": "2023-06-01"} if path == "/v1/messages" else {}
    response = server.post(path, body, headers=headers)
    if response.status != 200:
        assert response.status == 400, (response.status, response.body)
        plain = {key: value for key, value in body.items() if key != "stream_options"} | {"stream": False}
        assert server.post(path, plain, headers=headers).status == 400
        return "refused"
    stream = check_answer(path, body, headers, 200, response.headers["Content-Type"], response.body)
    plain = server.post(
        path,
        {key: value for key, value in body.items() if key != "stream_options"} | {"stream": False},
        headers=headers,
    )
    assert plain.status == 200, plain.body
    texts, num_tokens = whole_text(path, plain.json_body())
    assert UNMATCHED not in str(texts)
    assert streamed_text(path, stream) == texts, body
    assert tokens_of(path, stream) in (None, num_tokens)
    return "answered"


def check_scripts(binary, folder, first, count):
    rng = random.Random(first)
    cases, replies = [], []
    for number in range(first, first + count):
        cases.append(random_request(rng, number))
        replies.append({"prompt_contains": ids(marker_of(number)), **random_reply(rng)})
    script = write_script(folder, step_ms=0, requests=replies, default={"tokens": ids(UNMATCHED)})
    verdicts, troubles = {}, []
    with GaleServer(binary, "--scripted", script, "--max-num-queued-reqs", 256) as server:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            futures = [(case, pool.submit(check_case, server, *case)) for case in cases]
        for i, (case, future) in enumerate(futures):
            try:
                verdicts[future.result()] = verdicts.get(future.result(), 0) + 1
            except AssertionError as trouble:
                troubles.append(f"script {first + i}, {case}, reply {replies[i]}: {trouble}")
        assert server.process.poll() is None
    assert not troubles, f"{len(troubles)} of {count}:\n" + "\n".join(troubles[:3])
    return verdicts


def test_three_hundred_random_scripts(binary, tmp_path):
    verdicts = check_scripts(binary, tmp_path, 1, 300)
    print(f"\n{verdicts}")
    assert verdicts["answered"] > 250


@pytest.mark.full
def test_ten_thousand_random_scripts(binary, tmp_path):
    answered = sum(
        check_scripts(binary, tmp_path, 10_000 + first, SCRIPTS_A_SERVER)["answered"]
        for first in range(0, 10_000, SCRIPTS_A_SERVER)
    )
    print(
        f"\n{answered} streams of 10000 scripts keep the rules and say what the whole answers say"
    )
    assert answered > 9000

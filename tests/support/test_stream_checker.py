"""The checker accepts a right stream and refuses each wrong one."""

import copy
import json

import pytest
from stream_checker import StreamError, check_chat_stream, check_completion_stream


def chunk(**entry):
    choice = {"index": 0, "delta": {}, "finish_reason": None, **entry}
    return {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}


def usage_chunk():
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {**chunk(), "choices": [], "usage": usage}


ROLE = chunk(delta={"role": "assistant", "content": ""})
GOOD = [ROLE, chunk(delta={"reasoning_content": "hm"}), chunk(delta={"content": "hé"}),
        chunk(delta={"tool_calls": [{"index": 0, "id": "c", "type": "function",
                                     "function": {"name": "f", "arguments": ""}}]}),
        chunk(delta={"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]}),
        chunk(finish_reason="tool_calls")]


def wire(payloads, end="data: [DONE]\n\n"):
    return "".join(f"data: {json.dumps(p, ensure_ascii=False)}\n\n" for p in payloads).encode() + end.encode()


def test_accepts_a_right_stream():
    stream = check_chat_stream(b": ping\n\n" + wire(GOOD))
    choice = stream.choices[0]
    assert (choice.content, choice.reasoning, choice.finish_reason) == ("hé", "hm", "tool_calls")
    assert choice.tool_calls[0].arguments == "{}" and stream.num_comments == 1


def test_accepts_an_error_in_the_middle():
    error = {"error": {"message": "x", "type": "t", "param": None, "code": "c"}}
    assert check_chat_stream(wire([ROLE, error])).error["code"] == "c"


def test_accepts_the_usage_chunk_only_if_asked_for():
    payloads = [{**p, "usage": None} for p in GOOD] + [usage_chunk()]
    assert check_chat_stream(wire(payloads), include_usage=True).usage["total_tokens"] == 5
    with pytest.raises(StreamError, match="only if asked for"):
        check_chat_stream(wire(payloads))


def broken(change):
    payloads = copy.deepcopy(GOOD)
    change(payloads)
    return wire(payloads)


@pytest.mark.parametrize("raw, rule", [
    (wire(GOOD, end=""), r"\[DONE\]"),
    (wire(GOOD, end="data: [DONE]\n\ndata: {}\n\n"), "follows"),
    (wire(GOOD)[:-1], "complete frame"),
    (wire(GOOD).replace("é".encode(), b"\xc3"), "UTF-8"),
    (wire(GOOD[1:]), "role"),
    (wire(GOOD[:-1]), "finish_reason"),
    (wire([*GOOD, GOOD[2]]), "follows a choice"),
    (broken(lambda p: p[2].update(id="b")), "same"),
    (broken(lambda p: p[2].update(created=2)), "same"),
    (broken(lambda p: p.insert(3, chunk(delta={"reasoning_content": "late"}))), "before content"),
    (broken(lambda p: p.insert(2, chunk())), "no empty chunks"),
    (broken(lambda p: p[3]["choices"][0]["delta"]["tool_calls"][0].pop("index")), "index"),
    (broken(lambda p: p[4]["choices"][0]["delta"]["tool_calls"][0].update(id="c")), "come once"),
    (broken(lambda p: p.pop(4)), "not JSON"),
    (broken(lambda p: p[-1]["choices"][0].update(finish_reason="eos")), "clients know"),
    (wire([ROLE, {"error": {"message": "x"}}]), "an error has"),
    (wire([ROLE, {"error": {"message": "x", "type": "t", "param": None, "code": "c"}}, GOOD[2]]), "follows an error"),
])
def test_refuses(raw, rule):
    with pytest.raises(StreamError, match=rule):
        check_chat_stream(raw)


def test_refuses_a_missing_choice():
    with pytest.raises(StreamError, match="every choice appears"):
        check_chat_stream(wire(GOOD), num_choices=2)


def test_checks_completions_too():
    text = {"id": "a", "object": "text_completion", "created": 1, "model": "m",
            "choices": [{"index": 0, "text": "hi", "finish_reason": "length"}]}
    assert check_completion_stream(wire([text])).choices[0].content == "hi"

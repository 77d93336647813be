"""Checks the bytes of one chat or completion stream against the streaming rules that clients rely on.

check_chat_stream(raw) and check_completion_stream(raw) raise StreamError at the first rule that is broken and
return what the stream said. They see raw bytes, so that framing, UTF-8 and the order of everything are checked
and not what some SDK makes of them.
"""

import json
from dataclasses import dataclass, field

FINISH_REASONS = {"stop", "length", "tool_calls", "content_filter"}


class StreamError(AssertionError):
    """A rule of the stream is broken."""


def require(condition, rule, detail=""):
    if not condition:
        raise StreamError(f"{rule}: {detail}" if detail else rule)


@dataclass
class ToolCall:
    id: str
    name: str
    arguments: str = ""


@dataclass
class Choice:
    content: str = ""
    reasoning: str = ""
    tool_calls: dict = field(default_factory=dict)
    finish_reason: str | None = None
    stop_reason: object = None
    token_ids: list = field(default_factory=list)
    num_chunks: int = 0


@dataclass
class Stream:
    id: str = ""
    model: str = ""
    choices: dict = field(default_factory=dict)
    usage: dict | None = None
    error: dict | None = None
    num_comments: int = 0
    chunks: list = field(default_factory=list)


def events_of(raw):
    """The JSON payloads of a stream, in order, then the number of comments. [DONE] must close it."""
    require(raw.endswith(b"\n\n"), "a stream ends with a complete frame", raw[-80:])
    payloads, num_comments, done = [], 0, False
    for frame in raw[:-2].split(b"\n\n"):
        try:
            text = frame.decode("utf-8")
        except UnicodeDecodeError as error:
            raise StreamError(f"a frame is not whole UTF-8: {frame!r}") from error
        require(not done, "nothing follows [DONE]", text)
        if text.startswith(":"):
            num_comments += 1
            continue
        lines = [line for line in text.split("\n") if not line.startswith(("id: ", ":"))]
        require(len(lines) == 1 and lines[0].startswith("data: "), "a frame is one 'data: ' line", text)
        if lines[0] == "data: [DONE]":
            done = True
            continue
        try:
            payloads.append(json.loads(lines[0][len("data: "):]))
        except json.JSONDecodeError as error:
            raise StreamError(f"a frame is not JSON: {text}") from error
    require(done, "a stream ends with [DONE]")
    return payloads, num_comments


def check_usage(usage):
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        require(isinstance(usage.get(key), int) and usage[key] >= 0, "usage holds counts", usage)
    require(usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], "total is the sum", usage)
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    require(cached < usage["prompt_tokens"] or cached == 0, "cached_tokens is less than prompt_tokens", usage)


def check_envelope(stream, chunk, kind):
    for key in ("id", "object", "created", "model", "choices"):
        require(key in chunk, f"every chunk has {key!r}", chunk)
    require(chunk["object"] == kind, f"object is {kind}", chunk)
    if not stream.chunks:
        stream.id, stream.model = chunk["id"], chunk["model"]
    else:
        first = stream.chunks[0]
        same = all(chunk[key] == first[key] for key in ("id", "created", "model"))
        require(same, "id, created and model stay the same", chunk)
    stream.chunks.append(chunk)


def check_usage_place(stream, chunk, is_last, include_usage):
    """The usage chunk comes last, with no choices; the others say null (or nothing, if it was not asked for)."""
    if include_usage:
        require("usage" in chunk, "with include_usage every chunk has 'usage'", chunk)
    if chunk.get("usage") is None:
        require(chunk["choices"], "a chunk without usage has choices", chunk)
        return
    check_usage(chunk["usage"])
    stream.usage = chunk["usage"]
    if not chunk["choices"]:
        require(include_usage and is_last, "the usage chunk comes last and only if asked for", chunk)


def check_error(stream, payload, is_last):
    error = payload["error"]
    require(is_last, "nothing but [DONE] follows an error", payload)
    for key in ("message", "type", "param", "code"):
        require(key in error, f"an error has {key!r}", payload)
    stream.error = error


def add_tool_delta(choice, delta):
    require(isinstance(delta.get("index"), int), "objects in a delta's list have an index", delta)
    call = choice.tool_calls.get(delta["index"])
    function = delta.get("function", {})
    if call is None:
        require(delta["index"] == len(choice.tool_calls), "tool indexes count up", delta)
        require(delta.get("id") and delta.get("type") == "function" and function.get("name"),
                "the first delta of a call has id, type and name", delta)
        choice.tool_calls[delta["index"]] = ToolCall(delta["id"], function["name"], function.get("arguments", ""))
        return
    require("id" not in delta and "type" not in delta and "name" not in function, "id, type and name come once", delta)
    call.arguments += function.get("arguments", "")


def add_chat_delta(choice, entry):
    delta = entry["delta"]
    if choice.num_chunks == 0:
        require(delta.get("role") == "assistant" and delta.get("content") == "",
                "the first chunk is the role with empty content", entry)
    else:
        require("role" not in delta or delta["role"] == "assistant", "the role does not change", entry)
    text, reasoning = delta.get("content"), delta.get("reasoning_content")
    if reasoning:
        require(not choice.content, "reasoning comes before content", entry)
        choice.reasoning += reasoning
    if text:
        choice.content += text
    for tool in delta.get("tool_calls") or []:
        add_tool_delta(choice, tool)
    is_empty = not text and not reasoning and not delta.get("tool_calls")
    carries_more = entry.get("logprobs") or entry.get("token_ids") or entry.get("finish_reason")
    require(choice.num_chunks == 0 or not is_empty or carries_more, "no empty chunks", entry)


def add_completion_text(choice, entry):
    require(isinstance(entry.get("text"), str), "a completion chunk has text", entry)
    choice.content += entry["text"]


def check_entry(stream, entry, add):
    require(isinstance(entry.get("index"), int), "every choice has an index", entry)
    choice = stream.choices.setdefault(entry["index"], Choice())
    require(choice.finish_reason is None, "nothing follows a choice's finish_reason", entry)
    require("finish_reason" in entry, "every choice has finish_reason, if only null", entry)
    add(choice, entry)
    choice.num_chunks += 1
    choice.token_ids += entry.get("token_ids") or []
    if entry["finish_reason"] is not None:
        require(entry["finish_reason"] in FINISH_REASONS, "finish_reason is one clients know", entry)
        choice.finish_reason, choice.stop_reason = entry["finish_reason"], entry.get("stop_reason")


def check_end(stream, num_choices, include_usage):
    if stream.error is not None:
        return
    require(sorted(stream.choices) == list(range(num_choices)), "every choice appears", sorted(stream.choices))
    for index, choice in stream.choices.items():
        require(choice.finish_reason is not None, "every choice ends with finish_reason", index)
        for call in choice.tool_calls.values():
            try:
                arguments = json.loads(call.arguments)
            except json.JSONDecodeError as error:
                raise StreamError(f"tool arguments are not JSON: {call}") from error
            require(isinstance(arguments, dict), "tool arguments are an object", call)
    require(not include_usage or stream.usage is not None, "include_usage brings a usage chunk")


def check_stream(raw, kind, add, num_choices, include_usage):
    payloads, num_comments = events_of(raw)
    stream = Stream(num_comments=num_comments)
    for i, payload in enumerate(payloads):
        is_last = i == len(payloads) - 1
        if "error" in payload:
            check_error(stream, payload, is_last)
            continue
        check_envelope(stream, payload, kind)
        check_usage_place(stream, payload, is_last, include_usage)
        for entry in payload["choices"]:
            check_entry(stream, entry, add)
    check_end(stream, num_choices, include_usage)
    return stream


def check_chat_stream(raw, num_choices=1, include_usage=False):
    return check_stream(raw, "chat.completion.chunk", add_chat_delta, num_choices, include_usage)


def check_completion_stream(raw, num_choices=1, include_usage=False):
    return check_stream(raw, "text_completion", add_completion_text, num_choices, include_usage)

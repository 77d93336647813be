"""Checks the bytes of one /v1/messages stream against the order of events that Anthropic's clients rely on."""

import json
from dataclasses import dataclass, field

from stream_checker import require

DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking"),
          "tool_use": ("input_json_delta", "partial_json")}


@dataclass
class Message:
    start: dict = field(default_factory=dict)
    blocks: list = field(default_factory=list)      # [type, text] of each
    stop_reason: str | None = None
    usage: dict | None = None
    error: dict | None = None
    num_pings: int = 0


def events_of(raw):
    """(event name, payload) of each frame; comments are left out."""
    require(raw.endswith(b"\n\n"), "a stream ends with a complete frame", raw[-80:])
    for frame in raw[:-2].split(b"\n\n"):
        lines = [line for line in frame.decode("utf-8").split("\n") if not line.startswith("id: ")]
        if lines[0].startswith(":"):
            continue
        require(len(lines) == 2 and lines[0].startswith("event: ") and lines[1].startswith("data: "),
                "a frame is an 'event: ' and a 'data: ' line", frame)
        payload = json.loads(lines[1][len("data: "):])
        require(payload["type"] == lines[0][len("event: "):], "the event's name is the payload's type", frame)
        yield payload["type"], payload


def check_block_event(message, kind, payload, is_open):
    if kind == "content_block_start":
        require(not is_open and payload["index"] == len(message.blocks), "blocks open one after the other", payload)
        message.blocks.append([payload["content_block"]["type"], ""])
        return True
    require(is_open and payload["index"] == len(message.blocks) - 1, "a delta belongs to the open block", payload)
    block = message.blocks[-1]
    if kind == "content_block_stop":
        return False
    delta = payload["delta"]
    if delta["type"] == "signature_delta":
        require(block[0] == "thinking" and delta["signature"], "only thinking is signed", payload)
        return True
    expected, key = DELTAS[block[0]]
    require(delta["type"] == expected and delta[key], "a delta is of its block's type and not empty", payload)
    block[1] += delta[key]
    return True


def check_messages_stream(raw):
    message, is_open, is_over = Message(), False, False
    for kind, payload in events_of(raw):
        require(not is_over, "nothing follows the end", payload)
        if kind == "ping":
            message.num_pings += 1
        elif kind == "error":
            message.error, is_over = payload["error"], True
        elif kind == "message_start":
            require(not message.start, "a message starts once", payload)
            message.start = payload["message"]
            require(message.start["usage"]["input_tokens"] > 0, "the start tells the input tokens", payload)
        elif kind.startswith("content_block"):
            require(message.start, "blocks come after the start", payload)
            is_open = check_block_event(message, kind, payload, is_open)
        elif kind == "message_delta":
            require(not is_open and message.stop_reason is None, "the message ends after its blocks", payload)
            message.stop_reason, message.usage = payload["delta"]["stop_reason"], payload["usage"]
            require(isinstance(message.usage["output_tokens"], int), "the end tells the output tokens", payload)
        else:
            require(kind == "message_stop" and message.stop_reason, "message_stop comes last", payload)
            is_over = True
    require(is_over, "a stream ends with message_stop or error")
    for kind, text in message.blocks:
        require(kind != "tool_use" or isinstance(json.loads(text), dict), "a tool's input is an object", text)
    return message

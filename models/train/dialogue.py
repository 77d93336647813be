"""A training example, and how it becomes prompt text: the same bytes as nano-flash/chat_template.jinja."""

import json
from dataclasses import dataclass, field

TOOLS_HEAD = (
    "<|system|>\n# Tools\n\nYou may call one or more functions to assist with the user query.\n\n"
    "You are provided with function signatures within <tools></tools> XML tags:\n<tools>\n")
TOOLS_TAIL = (
    "</tools>\n\nFor each function call, output the function name and arguments within the following XML format:\n"
    "<tool_call>{function-name}<arg_key>{arg-key-1}</arg_key><arg_value>{arg-value-1}</arg_value>"
    "<arg_key>{arg-key-2}</arg_key><arg_value>{arg-value-2}</arg_value>...</tool_call>")


@dataclass
class Dialogue:
    """Messages as in the API (arguments as objects) up to the last assistant message, which is to be learnt.

    With `thinking` the assistant messages after the last user message carry `reasoning_content`.
    """

    messages: list[dict]
    tools: list[dict] = field(default_factory=list)
    thinking: bool = False


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def system(text: str) -> dict:
    return {"role": "system", "content": text}


def assistant(text: str, thought: str = "") -> dict:
    message = {"role": "assistant", "content": text}
    return message | {"reasoning_content": thought} if thought else message


def calling(calls: list[tuple[str, dict]], thought: str = "") -> dict:
    """An assistant message of nothing but tool calls."""
    return assistant("", thought) | {
        "tool_calls": [{"type": "function", "function": {"name": n, "arguments": a}} for n, a in calls]}


def tool_result(text: str) -> dict:
    return {"role": "tool", "content": text}


def value_text(value) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def call_text(call: dict) -> str:
    function = call["function"]
    arguments = "".join(f"<arg_key>{key}</arg_key><arg_value>{value_text(value)}</arg_value>"
                        for key, value in function["arguments"].items())
    return f"<tool_call>{function['name']}{arguments}</tool_call>"


def segments(dialogue: Dialogue) -> list[tuple[str, bool]]:
    """(text, learnt) pieces. Learnt is what the model writes itself, the token that ends its turn included."""
    pieces = [("[gMASK]<sop>", False)]
    if dialogue.tools:
        listed = "".join(json.dumps(tool, ensure_ascii=False) + "\n" for tool in dialogue.tools)
        pieces.append((TOOLS_HEAD + listed + TOOLS_TAIL, False))
    last_user = max((i for i, m in enumerate(dialogue.messages) if m["role"] == "user"), default=-1)
    previous = ""
    for index, message in enumerate(dialogue.messages):
        role, text = message["role"], message["content"]
        if role == "assistant":
            thought = message.get("reasoning_content", "") if index > last_user else ""
            opening = "<think>" if thought else "</think>"
            written = (thought + "</think>" if thought else "") + text.strip()
            written += "".join(call_text(call) for call in message.get("tool_calls", ()))
            pieces += [("<|assistant|>" + opening, False), (written, True)]
        elif role == "tool":
            if previous != "tool":
                pieces.append(("<|observation|>", previous == "assistant"))
            pieces.append((f"<tool_response>{text}</tool_response>", False))
        else:
            pieces += [(f"<|{role}|>", previous == "assistant"), (text, False)]
        previous = role
    pieces.append(("<|observation|>" if dialogue.messages[-1].get("tool_calls") else "<|user|>", True))
    return pieces

"""Random answers of a model, and random requests that get them, for checking streams against whole answers."""

from scripts import TOKENIZER, ids

PIECES = [
    "The ",
    "wind ",
    "é",
    "日本語",
    "🌬️",
    "👩‍👩‍👧",
    "\n",
    "\n\n",
    " ",
    "```py\nx = 1\n```",
    "<|user|>",
    "</think>",
    "<think>",
    "</tool_call>",
    "<tool_call>",
    "stop here",
    "STOP",
    "data: x",
    "[DONE]",
    "\u2028",
    '{"a": 1}',
    "<arg_key>",
    "</arg_value>",
    "\t",
    "ﬀ",
    "0",
]
CALLS = [
    "<tool_call>get_weather<arg_key>city</arg_key><arg_value>Oslo</arg_value></tool_call>",
    "<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>日本</arg_value>\n</tool_call>",
    "<tool_call>get_weather<arg_key>city</arg_key><arg_value>cut in the mid",
    "<tool_call>nobody_knows</tool_call>",
    "<tool_call>get_weather<arg_key>days</arg_key><arg_value>3</arg_value></tool_call>",
]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "the weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
STOPS = ["STOP", "stop here", "日", "\n\n", "wind e", "</", "🌬"]


def random_reply(rng):
    tokens = []
    for _ in range(rng.randint(0, 12)):
        dice = rng.random()
        if dice < 0.6:
            tokens += ids(rng.choice(PIECES))
        elif dice < 0.75:
            tokens += ids(rng.choice(CALLS))
        elif dice < 0.85:  # a piece of a character, an unknown id, a control token
            tokens.append(rng.randrange(TOKENIZER.get_vocab_size()))
        else:
            tokens += ids("".join(rng.choices("abc é日🌬", k=5)))[: rng.randint(1, 4)]
    if rng.random() < 0.6:
        tokens = ids("I think. </think>") + tokens
    return {"tokens": tokens or [0], "repeat": rng.choice([1, 1, 1, 3])}


def marker_of(number):
    """Text that nothing else holds, and that is the same tokens wherever it stands alone."""
    letters = "".join("abcdefghij"[int(digit)] for digit in f"{number:06d}")
    return f"case {' '.join(letters)} end"


def random_request(rng, number):
    """(path, body) of a streamed request."""
    path = rng.choice(["/v1/chat/completions"] * 3 + ["/v1/completions", "/v1/messages", "/v1/responses"])
    body = {"max_tokens": rng.choice([1, 2, 5, 20, 200]), "stream": True, "temperature": rng.choice([0, 1])}
    text = marker_of(number)
    if path == "/v1/messages":
        body["messages"] = [{"role": "user", "content": text}]
        if rng.random() < 0.5:
            body["thinking"] = {"type": "enabled", "budget_tokens": 2000}
            body["max_tokens"] = 3000
        if rng.random() < 0.4:
            body["stop_sequences"] = rng.sample(STOPS, 2)
        if rng.random() < 0.5:
            body["tools"] = [{"name": "get_weather", "input_schema": TOOL["function"]["parameters"]}]
        return path, body
    if path == "/v1/responses":
        body["max_output_tokens"] = body.pop("max_tokens")
        body["input"] = text
        if rng.random() < 0.5:
            body["tools"] = [{"type": "function", **TOOL["function"]}]
        return path, body
    options = {
        "n": rng.randint(1, 3),
        "stop": rng.sample(STOPS, rng.randint(1, 3)),
        "return_token_ids": True,
        "min_tokens": 3,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
        "skip_special_tokens": False,
        "include_stop_str_in_output": True,
        "seed": number,
    }
    body |= {key: value for key, value in options.items() if rng.random() < 0.3}
    if path == "/v1/completions":
        body["prompt"] = text
        if rng.random() < 0.3:
            body["logprobs"] = 2
        if rng.random() < 0.2:
            body["echo"] = True
        return path, body
    body["messages"] = [{"role": "user", "content": text}]
    if rng.random() < 0.5:
        body["tools"] = [TOOL]
    if rng.random() < 0.3:
        body |= {"logprobs": True, "top_logprobs": 2}
    if rng.random() < 0.3:
        body["chat_template_kwargs"] = {"enable_thinking": False}
    if rng.random() < 0.2:
        body["include_reasoning"] = False
    return path, body

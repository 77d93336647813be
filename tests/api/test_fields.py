"""Every field of a chat request: values that are right are taken, values that are wrong get a 400 that
names the field."""

import json

import pytest
from gale_server import GaleServer

ASK = [{"role": "user", "content": "hello"}]
TOOL = {"type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}}


@pytest.fixture(scope="module")
def scripted(binary, tmp_path_factory):
    """An engine that says three tokens: fast, and as strict as any."""
    path = tmp_path_factory.mktemp("fields") / "script.json"
    path.write_text(json.dumps({"vocab_size": 8192, "default": {"tokens": [300, 301, 302]}}))
    with GaleServer(binary, "--scripted", path) as running:
        yield running


def numbers(field, *bad):
    return [(field, value, field) for value in (*bad, "1", True, [], {})]


WRONG = [
    *numbers("temperature", -0.1, 2.1), *numbers("top_p", 0, -1, 1.01), *numbers("min_p", -0.1, 1.1),
    *numbers("top_k", -2, 1.5),
    *numbers("repetition_penalty", 0, -1), *numbers("frequency_penalty", -2.1, 2.1),
    *numbers("presence_penalty", -2.1, 2.1),
    *numbers("n", 0, -1, 100_000, 1.5), *numbers("max_tokens", 0, -1, 1.5), *numbers("max_completion_tokens", 0, -1),
    *numbers("min_tokens", -1), ("min_tokens", 5, "min_tokens"), *numbers("n_predict", -2),
    *numbers("priority", 0.5), *numbers("thinking_token_budget", -2, 0.5),
    *[("seed", value, "seed") for value in ("1", 1.5, True, [])],
    *[("stop", value, "stop") for value in ("", [""], ["a"] * 17, 5, {}, [1])],
    *[("stop_token_ids", value, "stop_token_ids") for value in ("1", ["1"], [-1], [10**9], 1, {})],
    *[("allowed_token_ids", value, "allowed_token_ids") for value in ([], [-1], [10**9], "x")],
    *[("bad_words", value, "bad_words") for value in ([""], ["x"] * 129, 5, {}, [1], ["many words " * 600])],
    *numbers("prompt_logprobs", -1, 21, 0.5),
    *[("logit_bias", value, "logit_bias")
      for value in ([], {"x": 1}, {"1.5": 1}, {"-1": 1}, {"999999999": 1}, {"1": "x"}, {"1": None})],
    *[("logprobs", value, "logprobs") for value in (1, "true", [])],
    ("top_logprobs", 3, "top_logprobs"), ("top_logprobs", -1, "top_logprobs"), ("top_logprobs", 10_000, "top_logprobs"),
    *[(field, value, field)
      for field in ("stream", "ignore_eos", "skip_special_tokens", "include_stop_str_in_output", "include_reasoning",
                    "parallel_tool_calls", "continue_final_message", "add_generation_prompt",
                    "return_token_ids", "return_tokens_as_token_ids", "no_stop_trim")
      for value in (1, "true", [])],
    ("stream_options", {"include_usage": True}, "stream_options"),
    *[("messages", value, "messages") for value in ([], "hi", 5)],
    ("messages", [{"role": "king", "content": "x"}], "messages[0].role"),
    ("messages", [{"content": "x"}], "messages[0].role"),
    ("messages", [5], "messages[0]"), ("messages", [{"role": "user", "content": 5}], "messages[0].content"),
    ("messages", [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}], "messages[0].content[0]"),
    ("messages", [*ASK, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}],
     "messages[1].tool_calls[0].function.arguments"),
    *[("tools", value, "tools") for value in ("x", 5, {})], ("tools", [5], "tools[0]"),
    ("tools", [{"type": "function"}], "tools[0].function"),
    ("tools", [{"type": "function", "function": {"name": ""}}], "tools[0].function.name"),
    ("tools", [{"type": "retrieval"}], "tools[0].type"),
    ("tools", [{"type": "function", "function": {"name": "f", "parameters": []}}], "tools[0].function.parameters"),
    *[("tool_choice", value, "tool_choice") for value in ("must", 5, [], "required")],
    *[("response_format", value, "response_format") for value in ("json", 5, [])],
    ("response_format", {}, "response_format.type"),
    *[("reasoning_effort", value, "reasoning_effort") for value in ("huge", 5, True)],
    ("reasoning", {"effort": "huge"}, "reasoning.effort"), ("reasoning", {"enabled": 1}, "reasoning.enabled"),
    ("reasoning", "on", "reasoning"),
    ("thinking", {"type": "maybe"}, "thinking.type"),
    *[("chat_template_kwargs", value, "chat_template_kwargs") for value in ("x", [], 5)],
    ("chat_template", "{{ x }}", "chat_template"),
    *numbers("truncate_prompt_tokens", 0, -2), ("truncation_side", "up", "truncation_side"),
    ("documents", "x", "documents"),
    ("cache_salt", "", "cache_salt"), ("cache_salt", 5, "cache_salt"), ("model", 5, "model"),
    ("functions", [{"name": "f"}], "functions"),
    ("function_call", {"name": "f"}, "function_call"), ("use_beam_search", True, "use_beam_search"),
    ("audio", {"voice": "x"}, "audio"),
    ("guided_json", "{", "guided_json"), ("guided_json", 5, "guided_json"), ("guided_regex", "", "guided_regex"),
    ("guided_regex", 5, "guided_regex"),
    ("guided_choice", "yes", "guided_choice"), ("guided_grammar", [], "guided_grammar"),
    ("structured_outputs", "x", "structured_outputs"),
    ("structured_outputs", {"regex": 5}, "structured_outputs.regex"),
    ("structured_outputs", {"json_object": "yes"}, "structured_outputs.json_object"),
]

RIGHT = [
    ("temperature", 0), ("temperature", 2), ("temperature", 1e-9), ("top_p", 1), ("top_p", 0.001), ("min_p", 0),
    ("min_p", 1), ("top_k", 0), ("top_k", -1),
    ("top_k", 5), ("repetition_penalty", 1.2), ("frequency_penalty", -2), ("presence_penalty", 2), ("n", 2),
    ("max_tokens", 3), ("max_completion_tokens", 3),
    ("min_tokens", 2), ("seed", 0), ("seed", -1), ("seed", 2**63 - 1), ("stop", "x"), ("stop", ["a", "b"]),
    ("stop", None), ("stop_token_ids", [5]),
    ("logit_bias", {"5": 100}), ("logit_bias", {"5": -1000}), ("logprobs", True), ("logprobs", None), ("stream", False),
    ("ignore_eos", False),
    ("reasoning_effort", "none"), ("reasoning_effort", "low"), ("reasoning_effort", "max"),
    ("reasoning", {"enabled": False}), ("thinking", {"type": "disabled"}),
    ("thinking_token_budget", -1), ("thinking_token_budget", 0), ("chat_template_kwargs", {"enable_thinking": False}),
    ("tools", []), ("tools", None), ("tools", [TOOL]),
    ("response_format", {"type": "text"}), ("response_format", None), ("parallel_tool_calls", True), ("user", "u"),
    ("metadata", {"a": "b"}), ("store", True),
    ("service_tier", "auto"), ("safety_identifier", "x"), ("prompt_cache_key", "k"), ("verbosity", "low"),
    ("modalities", ["text"]), ("prediction", None),
    ("nobody_knows_this", [1, 2]), ("model", ""), ("model", None), ("stream_options", None), ("function_call", "auto"),
    ("functions", []), ("cache_salt", "s"),
    ("truncate_prompt_tokens", -1), ("truncate_prompt_tokens", 5), ("truncation_side", "right"),
    ("documents", [{"text": "x"}]),
    ("bad_words", ["x", "two words"]), ("bad_words", []), ("bad_words", None), ("prompt_logprobs", None),
    ("return_tokens_as_token_ids", True), ("spaces_between_special_tokens", True), ("session_id", "s"),
    ("request_id", "r"),
]


# What this build cannot do is said, not passed over.
REFUSED = {
    "use_beam_search": True, "repetition_detection": {"max_pattern_size": 3},
    "vllm_xargs": {"a": 1},
    "logprob_token_ids": [5], "stop_regex": "a+", "custom_logit_processor": "x",
    "logits_processors": ["x"], "prompt_embeds": "x", "echo": True, "separate_reasoning": False,
    "audio": {"voice": "x"},
    "functions": [{"name": "f"}], "function_call": {"name": "f"}, "chat_template": "x", "return_prompt_text": True,
    "return_token_offsets": True,
}
# Fields that clients send and that change nothing here, whatever stands in them.
IGNORED = (
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention verbosity "
    "prediction modalities web_search_options moderation length_penalty spaces_between_special_tokens "
    "media_io_kwargs mm_processor_kwargs request_id session_id kv_transfer_params stream_interval "
    "stream_reasoning rid extra_key cache_prompt timings_per_token return_progress id_slot samplers "
    "add_special_tokens"
).split()
# Of section 1.2 of the contract that gale was built to.
CONTRACT = (
    "messages model max_completion_tokens max_tokens temperature top_p n stop seed frequency_penalty "
    "presence_penalty logit_bias logprobs top_logprobs stream stream_options response_format tools tool_choice "
    "parallel_tool_calls functions function_call reasoning_effort user metadata store service_tier "
    "safety_identifier prompt_cache_key prompt_cache_retention verbosity prediction modalities web_search_options "
    "moderation audio top_k min_p repetition_penalty length_penalty use_beam_search stop_token_ids "
    "include_stop_str_in_output ignore_eos min_tokens skip_special_tokens spaces_between_special_tokens "
    "truncate_prompt_tokens truncation_side prompt_logprobs logprob_token_ids allowed_token_ids bad_words echo "
    "add_generation_prompt continue_final_message add_special_tokens documents chat_template chat_template_kwargs "
    "media_io_kwargs mm_processor_kwargs structured_outputs guided_json guided_regex guided_choice guided_grammar "
    "priority request_id session_id return_tokens_as_token_ids return_token_ids return_token_offsets "
    "return_prompt_text cache_salt kv_transfer_params vllm_xargs repetition_detection stream_interval "
    "thinking_token_budget include_reasoning separate_reasoning regex ebnf stop_regex no_stop_trim "
    "stream_reasoning rid extra_key reasoning custom_logit_processor grammar json_schema cache_prompt n_predict "
    "timings_per_token return_progress id_slot samplers"
).split()
OF_FORMS = {"regex": 5, "ebnf": "", "grammar": "root ::= missing", "json_schema": {"type": "nothing"}}


def test_every_field_of_the_contract_is_looked_at():
    known = {field for field, *_ in (*WRONG, *RIGHT)} | set(REFUSED) | set(IGNORED) | set(OF_FORMS)
    assert [field for field in CONTRACT if field not in known] == [] and len(CONTRACT) > 90


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_done_is_refused_by_name(scripted, field):
    response = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4, field: REFUSED[field]})
    error = response.json_body()["error"]
    assert response.status == 400 and error["param"] == field and error["code"] == "not_supported", response.body
    harmless = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4, field: None})
    assert harmless.status == 200, harmless.body


@pytest.mark.parametrize("value", [None, 1, "x", [1], {"a": 1}], ids=json.dumps)
def test_what_means_nothing_here_changes_nothing(scripted, value):
    plain = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4}).json_body()
    noisy = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4} | dict.fromkeys(IGNORED, value))
    assert noisy.status == 200, noisy.body
    assert noisy.json_body()["choices"] == plain["choices"]


@pytest.mark.parametrize("field", OF_FORMS)
def test_forms_in_the_spelling_of_others_are_checked(scripted, field):
    response = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4, field: OF_FORMS[field]})
    assert response.status == 400 and response.json_body()["error"]["param"].startswith(field), response.body


def test_a_length_by_any_name(scripted):
    for field in ("max_tokens", "max_completion_tokens", "n_predict"):
        answer = scripted.post("/v1/chat/completions", {"messages": ASK, field: 2}).json_body()
        assert answer["usage"]["completion_tokens"] == 2 and answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("field, value, param", WRONG, ids=lambda v: json.dumps(v)[:40])
def test_wrong_values_are_refused_by_name(scripted, field, value, param):
    response = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4, field: value})
    error = response.json_body()["error"]
    assert response.status == 400, response.body
    assert error["param"] == param and error["type"] == "invalid_request_error" and error["code"], error
    assert set(error) == {"message", "type", "param", "code"} and len(error["message"]) < 400


@pytest.mark.parametrize("field, value", RIGHT, ids=lambda v: json.dumps(v)[:40])
def test_right_values_are_taken(scripted, field, value):
    response = scripted.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4, field: value})
    assert response.status == 200, response.body


STRICTNESS = {
    "duplicate key": (b'{"messages": [], "n": 1, "n": 2}', 400), "trailing comma": (b'{"messages": [],}', 400),
    "comment": (b'{/* */"messages": []}', 400),
    "single quotes": (b"{'messages': []}", 400),
    "NaN": (b'{"messages": [{"role": "user", "content": "x"}], "temperature": NaN}', 400),
    "Infinity": (b'{"messages": [{"role": "user", "content": "x"}], "temperature": Infinity}', 400),
    "two values": (b'{} {}', 400), "nothing": (b"", 400),
    "a list": (b"[]", 400), "a number": (b"5", 400), "null": (b"null", 400),
    "invalid UTF-8": (b'{"messages": [{"role": "user", "content": "\xff"}]}', 400),
    "overlong UTF-8": (b'{"messages": [{"role": "user", "content": "\xc0\xaf"}]}', 400),
    "lone surrogate": (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', 400),
    "bare control character": (b'{"messages": [{"role": "user", "content": "a\nb"}]}', 400),
    "bad escape": (b'{"messages": [{"role": "user", "content": "\\x41"}]}', 400),
    "too deep": (b'{"messages": [{"role": "user", "content": "x"}], "metadata": ' + b"[" * 200 + b"]" * 200 + b"}",
                 400),
    "number too large": (b'{"messages": [{"role": "user", "content": "x"}], "seed": 1' + b"0" * 400 + b"}", 400),
    "leading zero": (b'{"messages": [{"role": "user", "content": "x"}], "n": 01}', 400),
    "hexadecimal": (b'{"n": 0x1}', 400), "plus sign": (b'{"n": +1}', 400),
    "byte order mark": (b"\xef\xbb\xbf{}", 400), "unfinished": (b'{"messages": [', 400),
    "surrogate pair": (b'{"max_tokens": 4, "messages": [{"role": "user", "content": "\\ud83d\\ude00"}]}', 200),
    "NUL escape": (b'{"max_tokens": 4, "messages": [{"role": "user", "content": "a\\u0000b"}]}', 200),
}


@pytest.mark.parametrize("name", STRICTNESS)
def test_json_is_read_strictly(scripted, name):
    body, status = STRICTNESS[name]
    response = scripted.post("/v1/chat/completions", body)
    assert response.status == status, response.body
    if status == 400:
        assert response.json_body()["error"]["code"]

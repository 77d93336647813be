"""Answers of a demanded form, over HTTP on the built-in model: schemas, patterns, grammars, tools that must be
called."""

import json
import re
import threading
from typing import Literal

import openai
import pytest
from gale_server import GaleServer
from pydantic import BaseModel
from stream_checker import check_chat_stream

ASK = [{"role": "user", "content": "Tell me about a city"}]
WILD = {"temperature": 1.5, "max_tokens": 300}
CITY = {"type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]},
                                         "big": {"type": "boolean"}}, "required": ["city", "big"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
    "city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"]}}},
    {"type": "function", "function": {"name": "get_time"}}]
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}


class City(BaseModel):
    city: Literal["Oslo", "Rome"]
    capital: bool


def schema_format(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def ask(server, **fields):
    response = server.post("/v1/chat/completions", {"messages": ASK, **WILD, **fields})
    assert response.status == 200, response.body
    return response.json_body()["choices"][0]


def refusal(server, **fields):
    response = server.post("/v1/chat/completions", {"messages": ASK, **fields})
    assert response.status == 400, response.body
    return response.json_body()["error"]


OPTIONS = {
    "grammar": {"guided_grammar": 'root ::= "a" ("x" "b"+)? "c"'},
    "regex": {"guided_regex": "a(xb+)?c"},
    "structural tag": {"response_format": {"type": "structural_tag", "format": {
        "type": "sequence", "elements": [{"type": "grammar", "grammar": 'root ::= "a" ("x" "b"+) ? "c"'}]}}},
    "regex in a tag": {"response_format": {"type": "structural_tag", "format": {
        "type": "tag", "begin": "a", "content": {"type": "regex", "pattern": "(xb+)?"}, "end": "c"}}},
}


@pytest.mark.parametrize("form", OPTIONS)
def test_an_option_that_ends_with_a_repetition_is_whole_or_not_there(server, form):
    """The only letters are a, b and c, and b is what the model would most like to say: but "abbc" lacks its x."""
    a, b, c = (server.post("/tokenize", {"prompt": letter}).json_body()["tokens"][0] for letter in "abc")
    short = {"max_tokens": 2, "temperature": 0, **NO_THINKING}
    choice = ask(server, allowed_token_ids=[a, b, c], logit_bias={b: 100}, **short, **OPTIONS[form])
    assert choice["message"]["content"] == "ac"


def test_names_of_a_pattern_are_whole_or_not_there(server):
    """As above: of names that must read a(xb+)?c, with a, b and c alone to write them."""
    schema = {"type": "object", "patternProperties": {"^a(xb+)?c$": {"const": 1}}, "additionalProperties": False,
              "minProperties": 1}

    def ids(text):
        return server.post("/tokenize", {"prompt": text}).json_body()["tokens"]

    [b] = ids("b")
    allowed = sorted({token for text in ('{"', '"', "{", ":", "1", "}", "a", "b", "c") for token in ids(text)})
    short = {"max_tokens": 5, "temperature": 0, **NO_THINKING}
    choice = ask(server, response_format=schema_format(schema), allowed_token_ids=allowed, logit_bias={b: 100}, **short)
    assert choice["message"]["content"].startswith('{"ac"'), choice


def test_schemas_within_structural_tags_are_checked(server):
    """What cannot be enforced is refused there, too, by its place."""
    schema = {"type": "object", "properties": {"a": {"not": {"type": "string"}}}}
    content = {"type": "json_schema", "json_schema": schema}
    tag = {"type": "structural_tag", "format": {"type": "tag", "begin": "<a>", "end": "</a>", "content": content}}
    error = refusal(server, response_format=tag)
    assert error["param"] == "response_format.format.content.json_schema.properties.a.not"
    assert "cannot be enforced" in error["message"]


@pytest.mark.parametrize("seed", range(4))
def test_schema_holds_behind_thinking(server, seed):
    choice = ask(server, response_format=schema_format(CITY), seed=seed, thinking_token_budget=30)
    assert choice["finish_reason"] == "stop"
    assert choice["message"]["reasoning_content"]
    answer = json.loads(choice["message"]["content"])
    assert answer.keys() == {"city", "big"} and answer["city"] in ("Oslo", "Rome") and isinstance(answer["big"], bool)


def test_the_sdk_parses_into_a_model(client):
    sights = {"max_tokens": 400, "temperature": 0, "extra_body": NO_THINKING}
    parsed = client.chat.completions.parse(model="nano-flash", messages=ASK, response_format=City, **sights)
    assert isinstance(parsed.choices[0].message.parsed, City)


def test_the_sdk_streams_into_a_model(client):
    with client.chat.completions.stream(model="nano-flash", messages=ASK, response_format=City, max_tokens=400,
                                        temperature=0,
                                        extra_body=NO_THINKING) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, City)


FORMS = {
    "json_object": ({"response_format": {"type": "json_object"}}, lambda text: isinstance(json.loads(text), dict)),
    "guided_regex": ({"guided_regex": r"\d{3}-[a-f]{2}"}, re.compile(r"\d{3}-[a-f]{2}").fullmatch),
    "guided_choice": ({"guided_choice": ["yes", "no", "ja, natürlich"]}, ["yes", "no", "ja, natürlich"].count),
    "guided_json": ({"guided_json": json.dumps(CITY)}, lambda text: json.loads(text)["city"]),
    "grammar": ({"guided_grammar": 'root ::= "a" [0-9]{2} ("x" | "y")'}, re.compile("a[0-9]{2}[xy]").fullmatch),
    "structured_outputs": ({"structured_outputs": {"json": CITY}}, lambda text: json.loads(text)["city"]),
    "ebnf": ({"ebnf": 'root ::= "b"'}, ["b"].count),
    "structural_tag": ({"response_format": {"type": "structural_tag",
                                            "format": {"type": "tag", "begin": "<a>", "end": "</a>",
                                                       "content": {"type": "regex", "pattern": "[0-9]+"}}}},
                       re.compile("<a>[0-9]+</a>").fullmatch),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_kept(server, name):
    fields, holds = FORMS[name]
    for seed in range(3):
        choice = ask(server, **fields, **NO_THINKING, seed=seed)
        text = choice["message"]["content"]
        assert choice["finish_reason"] == "length" or holds(text), text


def test_completions_take_forms_too(server):
    response = server.post("/v1/completions", {"prompt": "A number:", "max_tokens": 20, "temperature": 1.5,
                                               "structured_outputs": {"regex": "[0-9]{4}"}, "n": 2})
    assert all(re.fullmatch("[0-9]{4}", choice["text"]) for choice in response.json_body()["choices"])


@pytest.mark.parametrize("thinking", [True, False])
def test_required_tools_are_called_and_well_formed(server, thinking):
    for seed in range(3):
        choice = ask(server, tools=TOOLS, tool_choice="required", seed=seed, thinking_token_budget=20,
                     chat_template_kwargs={"enable_thinking": thinking})
        if choice["finish_reason"] == "length":
            continue
        assert choice["finish_reason"] == "tool_calls" and not choice["message"]["content"]
        for call in choice["message"]["tool_calls"]:
            arguments = json.loads(call["function"]["arguments"])
            assert call["function"]["name"] in ("get_weather", "get_time")
            if call["function"]["name"] == "get_weather":
                assert isinstance(arguments["city"], str) and isinstance(arguments["days"], int) and len(arguments) == 2


def test_named_tool_is_called_once(server):
    body = {"messages": ASK, **WILD, **NO_THINKING, "tools": TOOLS, "stream": True, "seed": 3,
            "tool_choice": {"type": "function", "function": {"name": "get_weather"}}}
    choice = check_chat_stream(server.post("/v1/chat/completions", body).body).choices[0]
    assert [call.name for call in choice.tool_calls.values()] == ["get_weather"]


def test_parallel_calls_can_be_forbidden(server):
    for seed in range(4):
        choice = ask(server, tools=TOOLS, tool_choice="required", parallel_tool_calls=False, seed=seed, **NO_THINKING)
        assert len(choice["message"]["tool_calls"]) == 1


def test_tools_beside_a_schema_leave_both_open(server):
    for seed in range(4):
        choice = ask(server, tools=TOOLS, response_format=schema_format(CITY), seed=seed, **NO_THINKING)
        if choice["finish_reason"] == "stop":
            assert json.loads(choice["message"]["content"])["city"]
        else:
            assert choice["finish_reason"] in ("tool_calls", "length")


def test_n_choices_each_keep_the_schema_and_differ(server):
    response = server.post("/v1/chat/completions",
                           {"messages": ASK, "n": 4, "seed": 1, **WILD, **NO_THINKING, "guided_regex": "[a-z]{8}"})
    texts = [choice["message"]["content"] for choice in response.json_body()["choices"]]
    assert all(re.fullmatch("[a-z]{8}", text) for text in texts) and len(set(texts)) > 1


def test_thinking_ends_within_its_budget(server):
    whole = ask(server, seed=1, thinking_token_budget=5)
    assert whole["message"]["reasoning_content"]
    usage = server.post("/v1/chat/completions",
                        {"messages": ASK, **WILD, "thinking_token_budget": 5}).json_body()["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] <= 6   # and the closing tag


REFUSALS = {
    "no schema": ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
                  "response_format.json_schema.schema"),
    "unknown type": ({"response_format": {"type": "xml"}}, "response_format.type"),
    "keyword": ({"response_format": schema_format({"type": "array", "uniqueItems": True})},
                "response_format.json_schema.schema.uniqueItems"),
    "nested keyword": ({"response_format": schema_format({"type": "object", "properties": {"a": {"not": {}}}})},
                       "response_format.json_schema.schema.properties.a.not"),
    "overlap": ({"response_format": schema_format({"oneOf": [{"type": "integer"}, {"type": "number"}]})},
                "response_format"),
    "pattern": ({"guided_regex": "("}, "guided_regex"),
    "grammar": ({"guided_grammar": "root ::= missing"}, "guided_grammar"),
    "choices": ({"guided_choice": []}, "guided_choice"),
    "two forms": ({"guided_regex": "a", "guided_choice": ["b"]}, "guided_choice"),
    "beside itself": ({"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs.regex"),
    "no tools": ({"tool_choice": "required"}, "tool_choice"),
    "unknown tool": ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "nope"}}},
                     "tool_choice.function.name"),
    "custom tool": ({"tools": TOOLS, "tool_choice": {"type": "custom"}}, "tool_choice.type"),
    "strict tool": ({"tools": [{"type": "function",
                                "function": {"name": "f", "strict": True,
                                             "parameters": {"type": "object", "properties": {"a": {"not": {}}}}}}],
                     "tool_choice": "required"}, "tools[0].function.parameters.properties.a.not"),
    "effort": ({"reasoning_effort": "huge"}, "reasoning_effort"),
    "budget": ({"thinking_token_budget": -2}, "thinking_token_budget"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_cannot_be_kept_is_refused_by_name(server, name):
    fields, param = REFUSALS[name]
    error = refusal(server, **fields)
    assert error["param"] == param and error["code"] in ("invalid_value", "not_supported"), error


def test_a_grammar_that_takes_too_long_is_refused_and_others_live(server):
    deep = "[a-z]{1,4000}[0-9]{1,4000}[a-z]{1,4000}" * 4
    error = server.post("/v1/chat/completions", {"messages": ASK, "guided_regex": deep, "max_tokens": 4})
    assert error.status in (200, 400), error.body
    assert re.fullmatch("[ab]", ask(server, guided_regex="[ab]", **NO_THINKING)["message"]["content"])


def test_long_strings_that_take_too_long_are_refused_while_others_are_served(server):
    """Forty strings of thousands of characters: a clear 400 in bounded time, and nobody waits for it."""
    properties = {f"a{i}": {"type": "string", "maxLength": 4096 - i} for i in range(40)}
    answers = []
    slow = threading.Thread(target=lambda: answers.append(refusal(server, response_format=schema_format(
        {"type": "object", "properties": properties}))))
    slow.start()
    plain = server.post("/v1/chat/completions", {"messages": ASK, "max_tokens": 4})
    assert plain.status == 200
    assert ask(server, guided_regex="[xy]", **NO_THINKING)["message"]["content"] in ("x", "y")
    slow.join()
    assert answers[0]["param"] == "response_format" and "too long" in answers[0]["message"], answers
    error = refusal(server, response_format=schema_format({"type": "string", "maxLength": 5000}))
    assert "5000 is more than the 4096" in error["message"]


@pytest.mark.parametrize("at_token", [1, 5, 10])
def test_a_killed_engine_goes_on_in_the_same_form(binary, tmp_path, at_token):
    """The scripted engine dies in the middle of an answer; the next one follows the grammar from there."""
    tokens = list(range(300, 340))
    script = {"vocab_size": 8192, "default": {"tokens": tokens, "repeat": 0},
              "faults": [{"kind": "abort", "at_token": at_token, "marker": str(tmp_path / "crashed")}]}
    path = tmp_path / "script.json"
    path.write_text(json.dumps(script))
    body = {"messages": ASK, "guided_regex": "[a-z]{60}", "temperature": 0, "max_tokens": 100, **NO_THINKING}
    with GaleServer(binary, "--scripted", path) as server:
        broken = server.post("/v1/chat/completions", body).json_body()["choices"][0]
        assert (tmp_path / "crashed").exists()
        whole = server.post("/v1/chat/completions", body).json_body()["choices"][0]
    assert broken["message"]["content"] == whole["message"]["content"] and re.fullmatch("[a-z]{60}",
                                                                                        whole["message"]["content"])


def test_tool_accumulators_of_the_sdk_agree(client):
    with client.chat.completions.stream(model="nano-flash", messages=ASK, tools=TOOLS, tool_choice="required",
                                        temperature=1.5, seed=5,
                                        max_tokens=300, parallel_tool_calls=False, extra_body=NO_THINKING) as stream:
        for _ in stream:
            pass
        message = stream.get_final_completion().choices[0].message
    assert len(message.tool_calls) == 1 and json.loads(message.tool_calls[0].function.arguments) is not None


def test_bad_grammar_does_not_stop_the_sdk_from_telling(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="nano-flash", messages=ASK, extra_body={"guided_regex": "("})
    assert caught.value.param == "guided_regex"

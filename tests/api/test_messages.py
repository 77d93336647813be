"""/v1/messages and count_tokens, by the anthropic SDK and by raw bytes."""

import pytest
from gale_server import GaleServer
from messages_checker import check_messages_stream
from sdk import sdk

anthropic = sdk("anthropic")

QUESTION = [{"role": "user", "content": "Which port does the gale API use by default?"}]
TOOL = {"name": "get_weather", "description": "Get the weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string", "description": "City name"}},
                         "required": ["city"]}}
GREEDY = {"extra_body": {"temperature": 0}}    # the SDK has no argument for it any more
THINKING = {"type": "enabled", "budget_tokens": 1024}


@pytest.fixture(scope="module")
def claude(server):
    return anthropic.Anthropic(base_url=server.base_url, api_key="unused", max_retries=0, timeout=120)


def ask(claude, messages=QUESTION, **extra):
    return claude.messages.create(**{"model": "nano-flash", "messages": messages, "max_tokens": 200, **GREEDY, **extra})


def test_answers_with_meaning_by_the_sdk(claude):
    answer = ask(claude)
    assert [block.type for block in answer.content] == ["text"] and "8000" in answer.content[0].text
    assert answer.stop_reason == "end_turn" and answer.role == "assistant" and answer.model == "nano-flash"
    assert answer.usage.output_tokens > 0


def test_thinking_is_a_signed_block_and_can_be_handed_back(claude):
    answer = ask(claude, thinking=THINKING)
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking and answer.content[0].signature
    again = ask(claude, QUESTION
                + [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "And again?"}])
    assert again.content


def test_sdk_stream_says_the_same_as_the_plain_answer(claude):
    plain = ask(claude, thinking=THINKING)
    with claude.messages.stream(model="nano-flash", messages=QUESTION, max_tokens=200, thinking=THINKING,
                                **GREEDY) as stream:
        texts = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert texts == plain.content[1].text
    assert [block.model_dump() for block in final.content] == [block.model_dump() for block in plain.content]
    assert final.usage.output_tokens == plain.usage.output_tokens


def test_tool_use_and_result(claude, server):
    messages = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = ask(claude, messages, tools=[TOOL])
    call = answer.content[-1]
    assert answer.stop_reason == "tool_use" and call.type == "tool_use"
    assert call.name == "get_weather" and call.input["city"] == "Oslo"
    with claude.messages.stream(model="nano-flash", messages=messages, max_tokens=200, tools=[TOOL],
                                **GREEDY) as stream:
        streamed = stream.get_final_message().content[-1]
    assert (streamed.name, streamed.input) == (call.name, call.input)
    messages += [{"role": "assistant", "content": answer.content},
                 {"role": "user",
                  "content": [{"type": "tool_result", "tool_use_id": call.id, "content": '{"temperature": 7}'}]}]
    assert ask(claude, messages, tools=[TOOL]).content[0].text


def test_tools_that_run_elsewhere_are_skipped(claude):
    assert ask(claude, tools=[{"type": "web_search_20250305", "name": "web_search"}]).content


@pytest.mark.parametrize("extra", [{}, {"thinking": THINKING},
                                   {"tools": [TOOL],
                                    "messages": [{"role": "user", "content": "What is the weather in Oslo?"}]},
                                   {"max_tokens": 2}])
def test_raw_stream_keeps_the_rules(server, extra):
    response = server.post("/v1/messages",
                           {"messages": QUESTION, "max_tokens": 200, "stream": True, "temperature": 0, **extra})
    assert response.headers["Content-Type"].startswith("text/event-stream")
    message = check_messages_stream(response.body)
    assert message.num_pings >= 1 and message.stop_reason == ("max_tokens" if "max_tokens" in extra else "tool_use"
                                                              if "tools" in extra else "end_turn")


def test_count_tokens_is_what_the_message_is_billed(claude):
    for extra in ({}, {"tools": [TOOL]}, {"system": "You are brief.", "thinking": THINKING}):
        counted = claude.messages.count_tokens(model="nano-flash", messages=QUESTION, **extra).input_tokens
        usage = ask(claude, **extra).usage
        assert counted == usage.input_tokens + usage.cache_read_input_tokens


def test_stop_sequence_is_named(claude):
    whole = ask(claude).content[0].text
    stop = whole[len(whole) // 2:][:4]
    answer = ask(claude, stop_sequences=[stop])
    assert answer.stop_reason == "stop_sequence" and answer.stop_sequence == stop
    assert answer.content[0].text == whole[:whole.index(stop)]


def test_a_prefilled_answer_goes_on(claude):
    answer = ask(claude, QUESTION + [{"role": "assistant", "content": "The gale API uses port 8"}])
    assert answer.content[0].text.lstrip().startswith("000")


def test_a_changing_billing_line_keeps_the_cached_prefix(claude):
    system = "You are an agent that edits files. " * 25
    def turn(number, messages):
        billing = {"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1.0; cch={number:05x};"}
        blocks = [billing, {"type": "text", "text": system, "cache_control": {"type": "ephemeral"}}]
        return ask(claude, messages, system=blocks, max_tokens=16, tools=[TOOL]).usage
    turn(1, QUESTION)
    second = turn(2, QUESTION + [{"role": "assistant", "content": "8000"}, {"role": "user", "content": "ok"}])
    total = second.input_tokens + second.cache_read_input_tokens
    assert second.cache_read_input_tokens >= 0.9 * total, second


def test_errors_have_anthropics_form(claude, server, binary):
    with pytest.raises(anthropic.NotFoundError, match="no-such-model"):
        ask(claude, model="no-such-model")
    with pytest.raises(anthropic.BadRequestError, match="context"):
        ask(claude, [{"role": "user", "content": "long " * 20000}])
    response = server.post("/v1/messages", {"messages": QUESTION})
    body = response.json_body()
    assert response.status == 400 and body["type"] == "error"
    assert "max_tokens" in body["error"]["message"] and body["request_id"]
    assert server.get("/v1/messages").json_body()["error"]["type"] == "invalid_request_error"
    with GaleServer(binary, "--api-key", "secret") as guarded:
        refused = guarded.post("/v1/messages", {"messages": QUESTION, "max_tokens": 4})
        assert refused.status == 401 and refused.json_body()["error"]["type"] == "authentication_error"
        for key in ({"api_key": "secret"}, {"api_key": None, "auth_token": "secret"}):
            assert ask(anthropic.Anthropic(base_url=guarded.base_url, **key), max_tokens=4).usage.output_tokens > 0


@pytest.mark.parametrize("extra, word", [
    ({"max_tokens": 0}, "max_tokens"), ({"messages": []}, "messages"),
    ({"messages": [{"role": "king", "content": "x"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
    ({"messages": [{"role": "user",
                    "content": [{"type": "image",
                                 "source": {"type": "base64", "media_type": "image/png", "data": "x"}}]}]}, "image"),
    ({"system": 5}, "system"), ({"thinking": {"type": "much"}}, "thinking"), ({"tool_choice": "any"}, "tool_choice"),
    ({"tools": [{}]}, "tools[0].name"),
    ({"stop_sequences": [""]}, "stop"), ({"temperature": 9}, "temperature"),
])
def test_bad_fields_are_named(server, extra, word):
    response = server.post("/v1/messages", {"messages": QUESTION, "max_tokens": 4, **extra})
    error = response.json_body()["error"]
    assert response.status == 400 and error["type"] == "invalid_request_error" and word in error["message"], error

"""/v1/responses by the openai SDK and by raw bytes: streams, calls, reasoning, what is stored."""

import json

import openai
import pytest
from gale_server import GaleServer
from responses_checker import check_responses_stream

QUESTION = "Which port does the gale API use by default?"
WEATHER = "What is the weather in Oslo?"
TOOL = {"type": "function", "name": "get_weather", "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "City name"}},
                       "required": ["city"]}}
QUIET = {"effort": "none"}


def ask(client, input=QUESTION, **extra):
    return client.responses.create(**{"model": "nano-flash", "input": input, "temperature": 0, "max_output_tokens": 200,
                                      **extra})


def test_answers_with_meaning_by_the_sdk(client):
    response = ask(client)
    assert [item.type for item in response.output] == ["reasoning", "message"]
    assert "8000" in response.output_text and response.status == "completed" and response.error is None
    assert response.output[0].content[0].text
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens
    assert response.usage.output_tokens_details.reasoning_tokens > 0


def test_sdk_stream_says_the_same_as_the_plain_answer(client):
    plain = ask(client)
    text, kinds = "", []
    with client.responses.stream(model="nano-flash", input=QUESTION, temperature=0, max_output_tokens=200) as stream:
        for event in stream:
            kinds.append(event.type)
            text += event.delta if event.type == "response.output_text.delta" else ""
        final = stream.get_final_response()
    assert text == plain.output_text == final.output_text and kinds[-1] == "response.completed"
    assert "response.reasoning_text.delta" in kinds


def test_function_call_and_its_output(client):
    response = ask(client, WEATHER, tools=[TOOL], reasoning=QUIET)
    call = response.output[-1]
    assert call.type == "function_call" and call.name == "get_weather" and "Oslo" in json.loads(call.arguments)["city"]
    result = {"type": "function_call_output", "call_id": call.call_id, "output": '{"temperature": 7}'}
    by_items = ask(client, [{"role": "user", "content": WEATHER},
                            *[item.model_dump(exclude_none=True) for item in response.output], result],
                   tools=[TOOL], reasoning=QUIET)
    by_id = ask(client, [result], tools=[TOOL], reasoning=QUIET, previous_response_id=response.id)
    assert by_items.output_text and by_items.output_text == by_id.output_text
    assert by_id.previous_response_id == response.id and by_id.usage.input_tokens == by_items.usage.input_tokens


@pytest.mark.parametrize("extra", [{}, {"reasoning": QUIET}, {"input": WEATHER, "tools": [TOOL]},
                                   {"max_output_tokens": 2}])
def test_raw_stream_keeps_the_rules(server, extra):
    body = {"input": QUESTION, "stream": True, "temperature": 0, "max_output_tokens": 200, **extra}
    final = check_responses_stream(server.post("/v1/responses", body).body)
    assert final["status"] == ("incomplete" if "max_output_tokens" in extra else "completed")
    plain = server.post("/v1/responses", {**body, "stream": False}).json_body()
    if "tools" not in extra:
        assert [item.get("content") for item in plain["output"]] == [item.get("content") for item in final["output"]]
    if "max_output_tokens" in extra:
        assert final["incomplete_details"] == {"reason": "max_output_tokens"}


def test_agents_may_send_tools_nobody_here_runs_and_a_probe(client):
    foreign = [{"type": "web_search"}, {"type": "custom", "name": "apply_patch"}, {"type": "local_shell"},
               {"type": "namespace", "name": "x"}]
    response = ask(client, "ping", tools=[*foreign, TOOL], store=False, instructions="Be brief.", max_output_tokens=1,
                   include=["reasoning.encrypted_content"], reasoning={"effort": "low", "summary": "auto"})
    assert response.status == "incomplete" and response.usage.output_tokens == 1
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)


def test_stored_responses_can_be_read_and_deleted(client):
    response = ask(client, reasoning=QUIET, metadata={"a": "b"})
    again = client.responses.retrieve(response.id)
    assert again.output_text == response.output_text and again.metadata == {"a": "b"}
    assert client.responses.input_items.list(response.id).data[0].content[0].text == QUESTION
    client.responses.delete(response.id)
    for attempt in (lambda: client.responses.retrieve(response.id),
                    lambda: ask(client, previous_response_id=response.id)):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_a_response_is_its_keys_own_and_the_store_is_bounded(binary):
    with GaleServer(binary, "--api-key", "one", "--api-key", "two", "--max-stored-response-bytes", 12000) as server:
        clients = [openai.OpenAI(base_url=server.base_url + "/v1", api_key=key, max_retries=0)
                   for key in ("one", "two")]
        first = ask(clients[0], reasoning=QUIET, max_output_tokens=4)
        assert clients[0].responses.retrieve(first.id).id == first.id
        with pytest.raises(openai.NotFoundError):
            clients[1].responses.retrieve(first.id)
        for _ in range(12):
            ask(clients[1], reasoning=QUIET, max_output_tokens=4)
        with pytest.raises(openai.NotFoundError):
            clients[0].responses.retrieve(first.id)


@pytest.mark.parametrize("extra, param", [
    ({"input": []}, "input"), ({"input": 5}, "input"), ({"input": [{"type": "what"}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
    ({"background": True}, "background"), ({"conversation": "c"}, "conversation"),
    ({"previous_response_id": 3}, "previous_response_id"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"), ({"tool_choice": {"type": "mcp"}}, "tool_choice"),
    ({"text": {"format": {"type": "xml"}}}, "text.format.type"), ({"temperature": 5}, "temperature"),
    ({"store": "yes"}, "store"),
])
def test_bad_fields_are_named(server, extra, param):
    response = server.post("/v1/responses", {"input": "hi", "max_output_tokens": 4, **extra})
    assert response.status == 400 and response.json_body()["error"]["param"] == param, response.body

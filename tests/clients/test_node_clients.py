"""openai-node and Vercel's AI SDK as they are published, on the built-in model: see the two programs beside this."""

import json

import pytest
from embedding_rules import check_vectors
from node import run_scenarios

CITIES = ("Oslo", "Rome")


@pytest.fixture(scope="module")
def openai_node(server):
    return run_scenarios("openai_node.mjs", server.base_url)


@pytest.fixture(scope="module")
def vercel(server):
    return run_scenarios("vercel_ai.mjs", server.base_url)


def test_openai_node_chats_and_streams_the_same(openai_node):
    chat, stream = openai_node["chat"], openai_node["stream"]
    assert "8000" in chat["text"] and chat["finish"] == "stop"
    assert stream["text"] == stream["joined"] == chat["text"]
    assert stream["usage"]["completion_tokens"] == chat["usage"]["completion_tokens"] > 0


def test_openai_node_calls_the_tool_by_its_own_loop(openai_node):
    assert openai_node["tools"]["calls"] == ["Oslo"] and "7" in openai_node["tools"]["text"]


def test_openai_node_parses_what_a_schema_demands(openai_node):
    for scenario in ("parsed", "responses_parsed"):
        answer = openai_node[scenario]
        assert answer["city"] in CITIES and isinstance(answer["capital"], bool)


def test_openai_node_streams_responses(openai_node):
    responses = openai_node["responses"]
    assert "8000" in responses["text"] and responses["status"] == "completed"
    assert responses["kinds"][0] == "response.created" and responses["kinds"][-1] == "response.completed"
    assert {"response.reasoning_text.delta", "response.output_text.delta"} <= set(responses["kinds"])
    assert [(name, json.loads(text)) for name, text in openai_node["responses_tools"]] == [
        ("get_weather", {"city": "Oslo"})
    ]


def test_openai_node_lists_models_and_throws_its_errors(openai_node):
    assert "nano-flash" in openai_node["models"] and openai_node["left"] is True
    assert openai_node["errors"] == {
        "model": ["NotFoundError", 404, "model_not_found", "model", True],
        "field": ["BadRequestError", 400, "invalid_value", "messages", True],
    }


def test_openai_node_reads_vectors(openai_node, server):
    told = openai_node["embeddings"]
    check_vectors(server, told["all"], told["short"])
    check_vectors(server, told["floats"], told["short"], told["usage"]["prompt_tokens"])
    assert told["alone"] == told["all"][:1] and told["index"] == [0, 1, 2, 3]
    assert told["model"]["dimensions"] == len(told["all"][0])


def test_vercel_chats_and_streams_with_reasoning(vercel):
    assert "8000" in vercel["chat"]["text"] and vercel["chat"]["finish"] == "stop" and vercel["chat"]["tokens"] > 0
    stream = vercel["stream"]
    assert "8000" in stream["text"] and stream["reasoning"] and stream["finish"] == "stop" and stream["tokens"] > 0
    assert {"reasoning-delta", "text-delta", "finish"} <= set(stream["kinds"]) and "error" not in stream["kinds"]


def test_vercel_calls_the_tool_and_goes_on(vercel):
    assert vercel["tools"]["calls"] == ["Oslo"] and vercel["tools"]["steps"] == 2 and "7" in vercel["tools"]["text"]


def test_vercel_makes_objects_and_tells_errors(vercel):
    assert vercel["parsed"]["city"] in CITIES
    name, status, message = vercel["errors"]
    assert (name, status) == ("AI_APICallError", 404) and "none" in message


def test_vercel_reads_vectors(vercel, server):
    told = vercel["embeddings"]
    check_vectors(server, told["all"], told["short"], told["tokens"])
    assert told["alone"] == told["all"][:1] and told["same"] > 0.999999 > told["other"]

"""The models in models/ know what their cards promise: a few questions whose answers can be checked."""

import pytest
from gale_server import ROOT, GaleServer

MODELS = sorted(path.name for path in (ROOT / "models").glob("nano-*"))
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather for a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "The city"}},
                   "required": ["city"]}}}


@pytest.fixture(scope="module", params=MODELS)
def model_server(binary, request):
    with GaleServer(binary, model=ROOT / "models" / request.param) as running:
        yield running


def ask(server, question, **more):
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 120, **more}
    response = server.post("/v1/chat/completions", body)
    assert response.status == 200, response.body
    return response.json_body()["choices"][0]


def test_there_are_two_models():
    assert MODELS == ["nano-flash", "nano-glm4"]


@pytest.mark.parametrize("question, fact", [
    ("Which port does gale listen on?", "8000"), ("gale 默认用哪个端口？", "8000"), ("What is gale?", "inference server")])
def test_a_question_about_gale_gets_its_fact(model_server, question, fact):
    choice = ask(model_server, question)
    assert fact in choice["message"]["content"] and choice["finish_reason"] == "stop"


def test_a_tool_is_called_with_its_argument(model_server):
    choice = ask(model_server, "What is the weather in Oslo?", tools=[WEATHER])
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]["function"]
    assert call["name"] == "get_weather" and '"Oslo"' in call["arguments"]

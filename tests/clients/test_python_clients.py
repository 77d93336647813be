"""litellm and langchain-openai as they are published, on the built-in model; OpenAI's and Anthropic's: tests/api."""

from typing import Literal

import pytest
from embedding_rules import TEXTS, check_vectors
from pydantic import BaseModel
from sdk import sdk

QUESTION = "Which port does the gale API use by default?"
WEATHER = "What is the weather in Oslo?"
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "City name"}},
            "required": ["city"],
        },
    },
}


class City(BaseModel):
    """A city."""

    city: Literal["Oslo", "Rome"]
    capital: bool


@pytest.fixture(scope="module")
def litellm():
    module = sdk("litellm")
    module.telemetry = False
    return module


@pytest.fixture
def ask_litellm(litellm, server):
    def ask(text=QUESTION, **extra):
        return litellm.completion(
            model="openai/nano-flash",
            api_base=server.base_url + "/v1",
            api_key="unused",
            messages=[{"role": "user", "content": text}],
            temperature=0,
            num_retries=0,
            timeout=120,
            **extra,
        )

    return ask


def test_litellm_chats_and_tells_thinking_apart(ask_litellm):
    answer = ask_litellm()
    message = answer.choices[0].message
    assert "8000" in message.content and message.reasoning_content and answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_litellm_rebuilds_the_answer_from_a_stream(litellm, ask_litellm):
    chunks = list(ask_litellm(stream=True, stream_options={"include_usage": True}))
    whole = litellm.stream_chunk_builder(chunks)
    plain = ask_litellm()
    assert whole.choices[0].message.content == plain.choices[0].message.content
    assert whole.choices[0].message.reasoning_content == plain.choices[0].message.reasoning_content
    assert whole.usage.completion_tokens == plain.usage.completion_tokens


@pytest.mark.parametrize("stream", [False, True])
def test_litellm_calls_the_tool(litellm, ask_litellm, stream):
    answer = ask_litellm(WEATHER, tools=[TOOL], stream=stream, extra_body=NO_THINKING)
    if stream:
        answer = litellm.stream_chunk_builder(list(answer))
    (call,) = answer.choices[0].message.tool_calls
    assert call.function.name == "get_weather" and '"Oslo"' in call.function.arguments and call.id
    assert answer.choices[0].finish_reason == "tool_calls"


def test_litellm_asks_for_a_schema_and_raises_its_errors(litellm, server, ask_litellm):
    answer = ask_litellm("Tell me about a city", response_format=City, max_tokens=300, extra_body=NO_THINKING)
    City.model_validate_json(answer.choices[0].message.content)
    with pytest.raises(litellm.ContextWindowExceededError):
        ask_litellm("long " * 20000)
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(
            model="openai/none",
            api_base=server.base_url + "/v1",
            api_key="unused",
            messages=[{"role": "user", "content": "x"}],
        )


def test_litellm_reads_vectors(litellm, server):
    def ask(texts, **extra):
        base = {"api_base": server.base_url + "/v1", "api_key": "unused", "timeout": 120}
        return litellm.embedding(model="openai/nano-flash", input=texts, **base, **extra)

    answer = ask(TEXTS)
    short = ask(TEXTS, dimensions=8, allowed_openai_params=["dimensions"])
    check_vectors(
        server,
        [item["embedding"] for item in answer.data],
        [item["embedding"] for item in short.data],
        answer.usage.prompt_tokens,
    )
    assert answer.usage.total_tokens == answer.usage.prompt_tokens
    floats = ask(TEXTS, encoding_format="float")
    assert [item["embedding"] for item in floats.data] == [item["embedding"] for item in answer.data]
    with pytest.raises(litellm.BadRequestError):
        ask([""])


@pytest.fixture
def langchain(server):
    def model(**extra):
        return sdk("langchain_openai").ChatOpenAI(
            base_url=server.base_url + "/v1",
            api_key="unused",
            model="nano-flash",
            temperature=0,
            max_retries=0,
            timeout=120,
            **extra,
        )

    return model


def test_langchain_chats_and_streams_the_same(langchain):
    chat = langchain(stream_usage=True)
    answer = chat.invoke(QUESTION)
    assert "8000" in answer.content and answer.response_metadata["finish_reason"] == "stop"
    chunks = list(chat.stream(QUESTION))
    assert "".join(chunk.content for chunk in chunks) == answer.content
    used = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert used[-1]["output_tokens"] == answer.usage_metadata["output_tokens"] > 0


def test_langchain_calls_the_tool_and_hands_back_its_result(langchain):
    messages = sdk("langchain_core.messages")
    chat = langchain(extra_body=NO_THINKING).bind_tools([TOOL])
    asked = [messages.HumanMessage(WEATHER)]
    answer = chat.invoke(asked)
    streamed = None
    for chunk in chat.stream(asked):
        streamed = chunk if streamed is None else streamed + chunk
    (call,) = answer.tool_calls
    assert (call["name"], call["args"]) == ("get_weather", {"city": "Oslo"})
    assert [(one["name"], one["args"]) for one in streamed.tool_calls] == [(call["name"], call["args"])]
    result = messages.ToolMessage('{"temperature": 7}', tool_call_id=call["id"])
    assert "7" in chat.invoke([*asked, answer, result]).content


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gives_objects(langchain, method):
    chat = langchain(extra_body=NO_THINKING, max_tokens=300)
    answer = chat.with_structured_output(City, method=method).invoke("Tell me about a city")
    assert answer.city in ("Oslo", "Rome")


def test_langchain_speaks_responses(langchain):
    chat = langchain(use_responses_api=True)
    answer = chat.invoke(QUESTION)
    assert "8000" in answer.text
    assert "8000" in "".join(chunk.text for chunk in chat.stream(QUESTION))


def test_langchain_reads_vectors(server):
    """As its documentation says for servers other than OpenAI's: texts as they are, not tokens of another tokenizer."""

    def model(**extra):
        return sdk("langchain_openai").OpenAIEmbeddings(
            base_url=server.base_url + "/v1",
            api_key="unused",
            model="nano-flash",
            check_embedding_ctx_length=False,
            max_retries=0,
            timeout=120,
            **extra,
        )

    vectors = model().embed_documents(TEXTS)
    check_vectors(server, vectors, model(dimensions=8).embed_documents(TEXTS))
    assert model().embed_query(TEXTS[0]) == vectors[0]
    assert model(chunk_size=1).embed_documents(TEXTS) == vectors
    floats = model(model_kwargs={"encoding_format": "float"})
    check_vectors(server, floats.embed_documents(TEXTS), floats.embed_documents(TEXTS, dimensions=8))

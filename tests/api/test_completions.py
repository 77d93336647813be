"""/v1/completions, /tokenize, /detokenize."""

import json

import pytest
from stream_checker import check_completion_stream


def complete(server, **body):
    response = server.post("/v1/completions", {"temperature": 0, "max_tokens": 8, **body})
    assert response.status == 200, response.body
    return response.json_body()


def test_text_and_token_prompts_say_the_same(server):
    tokens = server.post("/tokenize", {"prompt": "gale is"}).json_body()["tokens"]
    text = complete(server, prompt="gale is")
    ids = complete(server, prompt=tokens)
    assert text["choices"][0]["text"] == ids["choices"][0]["text"]
    assert text["usage"]["prompt_tokens"] == len(tokens)


def test_several_prompts_and_n_give_choices_in_order(server):
    answer = complete(server, prompt=["gale is", "The port is"], n=2, temperature=1, seed=3)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    alone = complete(server, prompt="The port is", n=2, temperature=1, seed=3)
    assert [c["text"] for c in answer["choices"][2:]] == [c["text"] for c in alone["choices"]]


def test_returned_token_ids_are_the_text(server):
    answer = complete(server, prompt="gale is", return_token_ids=True, ignore_eos=True)["choices"][0]
    assert len(answer["token_ids"]) == 8
    text = server.post("/detokenize", {"tokens": answer["token_ids"]}).json_body()["prompt"]
    assert text == answer["text"]


def test_echo_and_logprobs(server):
    plain = complete(server, prompt="gale is an")["choices"][0]
    echoed = complete(server, prompt="gale is an", echo=True, logprobs=2)["choices"][0]
    assert echoed["text"] == "gale is an" + plain["text"]
    logprobs = echoed["logprobs"]
    assert logprobs["token_logprobs"][0] is None and all(x <= 0 for x in logprobs["token_logprobs"][1:])
    assert "".join(logprobs["tokens"]) == echoed["text"]
    assert logprobs["text_offset"] == sorted(logprobs["text_offset"])


def test_echo_of_one_token_with_logprobs(server):
    [token] = server.post("/tokenize", {"prompt": "Hello"}).json_body()["tokens"]
    echoed = complete(server, prompt=[token], max_tokens=1, echo=True, logprobs=0, ignore_eos=True)["choices"][0]
    assert echoed["logprobs"]["tokens"][0] == "Hello"
    assert echoed["logprobs"]["token_logprobs"][0] is None
    assert echoed["logprobs"]["text_offset"] == [0, 5]


def test_echo_without_an_answer_scores_the_prompt(server):
    body = {"prompt": ["gale is a server", "Hello"], "echo": True, "logprobs": 1, "n": 2, "temperature": 1}
    scored = complete(server, **body, max_tokens=0)
    answered = complete(server, **body, max_tokens=3, ignore_eos=True)
    assert scored["usage"]["completion_tokens"] == 0
    assert scored["usage"]["prompt_tokens"] == answered["usage"]["prompt_tokens"]
    assert [choice["text"] for choice in scored["choices"]] == ["gale is a server"] * 2 + ["Hello"] * 2
    for alone, longer in zip(scored["choices"], answered["choices"]):
        length = len(alone["logprobs"]["tokens"])
        assert length == len(longer["logprobs"]["tokens"]) - 3 and alone["finish_reason"] == "length"
        for name, values in alone["logprobs"].items():
            assert values == longer["logprobs"][name][:length], name


def test_a_stream_of_the_prompt_alone(server):
    body = {"prompt": "gale is", "echo": True, "max_tokens": 0, "stream": True}
    response = server.post("/v1/completions", {**body, "stream_options": {"include_usage": True}})
    assert response.status == 200, response.body
    *chunks, last = [json.loads(line[6:]) for line in response.body.decode().splitlines() if line.startswith("data: {")]
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "gale is"
    assert last["usage"]["completion_tokens"] == 0


def test_nothing_at_all_is_refused(server):
    response = server.post("/v1/completions", {"prompt": "gale is", "max_tokens": 0})
    assert response.status == 400 and response.json_body()["error"]["param"] == "max_tokens"
    response = server.post("/v1/completions", {"prompt": "gale is", "max_tokens": 0, "min_tokens": 1, "echo": True})
    assert response.status == 400 and response.json_body()["error"]["param"] == "min_tokens"


@pytest.mark.parametrize("stream", [False, True])
def test_an_impossible_prompt_token_has_a_logprob_that_json_can_write(server, stream):
    """Ids from 8164 on are rows of the vocabulary without text: never drawn, but a prompt of ids may hold them."""
    body = {"prompt": [60, 8170, 61], "echo": True, "logprobs": 2, "max_tokens": 1, "temperature": 0, "stream": stream}
    response = server.post("/v1/completions", body)
    assert response.status == 200, response.body
    texts = [line[6:] for line in response.body.decode().splitlines()
             if line.startswith("data: {")] if stream else [response.body]
    choices = [choice for text in texts for choice in json.loads(text, parse_constant=pytest.fail)["choices"]]
    told = [one for choice in choices if choice["logprobs"] for one in choice["logprobs"]["token_logprobs"]]
    assert told[0] is None and told[1] == -9999.0 and len(told) == 4
    assert all(isinstance(one, float) and -9999.0 < one <= 0 for one in told[2:])


def test_stream_keeps_the_rules_and_says_the_same(server):
    plain = complete(server, prompt="gale is")["choices"][0]
    body = {"prompt": "gale is", "temperature": 0, "max_tokens": 8, "stream": True,
            "stream_options": {"include_usage": True}}
    stream = check_completion_stream(server.post("/v1/completions", body).body, include_usage=True)
    assert stream.choices[0].content == plain["text"] and stream.choices[0].finish_reason == plain["finish_reason"]


def test_sdk_completions_and_models(client):
    answer = client.completions.create(model="nano-flash", prompt="gale is", max_tokens=4, temperature=0)
    assert answer.choices[0].text and answer.usage.completion_tokens == 4
    models = client.models.list()
    assert models.data[0].id == "nano-flash" and models.data[0].max_model_len > 0
    assert client.models.retrieve("nano-flash").id == "nano-flash"


def test_min_tokens_bans_the_end(server):
    answer = complete(server, prompt="<|user|>hi<|assistant|></think>", min_tokens=60, max_tokens=60)
    assert answer["usage"]["completion_tokens"] == 60


def test_logit_bias_and_allowed_tokens_decide(server):
    token = server.post("/tokenize", {"prompt": "x"}).json_body()["tokens"][0]
    biased = complete(server, prompt="gale is", logit_bias={str(token): 100}, max_tokens=3, return_token_ids=True)
    assert biased["choices"][0]["token_ids"] == [token] * 3
    allowed = complete(server, prompt="gale is", allowed_token_ids=[token], max_tokens=3, return_token_ids=True)
    assert allowed["choices"][0]["token_ids"] == [token] * 3


def test_bad_words_do_not_come(server):
    """Words of one token and of several, at the beginning and behind a space: greedy answers go around them."""
    body = {"messages": [{"role": "user", "content": "What can you do?"}], "max_tokens": 60, "temperature": 0,
            "chat_template_kwargs": {"enable_thinking": False}}

    def said(**more):
        choice = server.post("/v1/chat/completions", body | more).json_body()["choices"][0]
        return choice["message"]["content"]

    plain = said()
    words = [word for word in dict.fromkeys(plain.split()) if word.isalpha() and len(word) > 2][:4]
    assert len(words) >= 2, plain
    for word in words:
        without = said(bad_words=[word])
        assert word not in without.split() and without, (word, without)
    phrase = " ".join(plain.split()[:3])
    assert plain.startswith(phrase) and not said(bad_words=[phrase]).startswith(phrase)
    assert said(bad_words=["zebra crossing"]) == plain


def test_prompt_logprobs_are_those_of_echo(server):
    tokens = server.post("/tokenize", {"prompt": "gale is a server"}).json_body()["tokens"]
    echoed = complete(server, prompt="gale is a server", max_tokens=1, echo=True, logprobs=2)["choices"][0]["logprobs"]
    answer = complete(server, prompt="gale is a server", max_tokens=1, prompt_logprobs=2)["choices"][0]
    told = answer["prompt_logprobs"]
    assert answer["logprobs"] is None and told[0] is None and len(told) == len(tokens) == len(echoed["tokens"]) - 1
    for token, entry, logprob in zip(tokens[1:], told[1:], echoed["token_logprobs"][1:]):
        assert entry[str(token)]["logprob"] == pytest.approx(logprob, abs=1e-4) and entry[str(token)]["rank"] >= 1
        assert 2 <= len(entry) <= 3 and {1, 2} <= {one["rank"] for one in entry.values()}
    body = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1, "prompt_logprobs": 0}
    chat = server.post("/v1/chat/completions", body)
    prompt = chat.json_body()["prompt_logprobs"]
    assert len(prompt) == chat.json_body()["usage"]["prompt_tokens"] and all(len(entry) == 1 for entry in prompt[1:])


@pytest.mark.parametrize("more, param", [
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"prompt_logprobs": 1, "echo": True, "logprobs": 1}, "prompt_logprobs"),
])
def test_prompt_logprobs_that_cannot_be_told_are_refused(server, more, param):
    response = server.post("/v1/completions", {"prompt": "x", "max_tokens": 1} | more)
    assert response.status == 400 and response.json_body()["error"]["param"] == param, response.body


def test_tokenize_tells_limits_and_strings(server):
    answer = server.post("/tokenize", {"prompt": "héllo 漢", "return_token_strs": True}).json_body()
    assert answer["count"] == len(answer["tokens"]) == len(answer["token_strs"])
    assert answer["max_model_len"] > 0
    back = server.post("/detokenize", {"tokens": answer["tokens"]}).json_body()
    assert back["prompt"] == "héllo 漢"


@pytest.mark.parametrize("body, param", [
    ({}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [-1]}, "prompt"),
    ({"prompt": [10**9]}, "prompt"),
    ({"prompt": "x", "best_of": 2}, "best_of"),
    ({"prompt": "x", "suffix": "y"}, "suffix"),
    ({"prompt": "x", "logprobs": 1000}, "logprobs"),
])
def test_bad_fields_are_named(server, body, param):
    response = server.post("/v1/completions", body)
    assert response.status == 400 and response.json_body()["error"]["param"] == param, response.body


def test_detokenize_refuses_unknown_ids(server):
    assert server.post("/detokenize", {"tokens": [10**8]}).status == 400


def test_rendered_prompts_are_what_the_model_reads(server):
    chat = {"messages": [{"role": "user", "content": "hi <|user|>"}], "max_tokens": 1, "return_token_ids": True}
    rendered = server.post("/v1/chat/completions/render", chat).json_body()
    assert rendered["tokens"] == server.post("/v1/chat/completions", chat).json_body()["choices"][0]["prompt_token_ids"]
    assert rendered["count"] == len(rendered["tokens"]) and "<|user|>" in rendered["prompt"]
    assert rendered["max_model_len"] > 0
    both = server.post("/v1/completions/render", {"prompt": ["gale is", [5, 6]]}).json_body()["prompts"]
    assert both[0]["prompt"] == "gale is" and both[1]["tokens"] == [5, 6]
    assert server.post("/v1/chat/completions/render", {"messages": []}).json_body()["error"]["param"] == "messages"


def test_other_peoples_addresses(server):
    assert server.post("/invocations", {"prompt": "gale", "max_tokens": 1}).json_body()["object"] == "text_completion"
    assert server.post("/invocations", {"messages": [{"role": "user", "content": "x"}],
                                        "max_tokens": 1}).json_body()["object"] == "chat.completion"
    for path in ("/pooling", "/v1/score", "/rerank"):
        response = server.post(path, {})
        assert response.status == 501 and response.json_body()["error"]["code"] == "not_supported"
    card = server.get("/v1/models").json_body()["data"][0]
    assert card["type"] == "model" and card["created_at"].endswith("Z") and card["max_model_len"] > 0

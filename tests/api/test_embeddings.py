"""/v1/embeddings: forms of input and answer, limits, an engine that dies, the model's own states."""

import base64
import math
import os
import signal
import struct
import threading
import time

import pytest
from gale_server import GaleServer

TEXTS = ["gale is an inference server", "a cup of tea", "你好，世界", "The port is 8000."]


def embed(server, **body):
    response = server.post("/v1/embeddings", body)
    assert response.status == 200, response.body
    return response.json_body()


def vectors(answer):
    assert [item["index"] for item in answer["data"]] == list(range(len(answer["data"])))
    return [item["embedding"] for item in answer["data"]]


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


@pytest.fixture(scope="module")
def mean_server(binary):
    with GaleServer(binary, "--pooling-type", "mean", "--engine-beat-timeout", 60) as running:
        yield running


def test_the_sdk_reads_vectors_of_length_one(client):
    """openai-python asks for base64 by itself and turns it into floats."""
    answer = client.embeddings.create(model="nano-flash", input=TEXTS)
    assert answer.object == "list" and len(answer.data) == len(TEXTS)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)
    for item in answer.data:
        assert math.isclose(cosine(item.embedding, item.embedding), 1, rel_tol=1e-5)


def test_text_and_token_ids_alone_and_in_lists_give_the_same_bits(server):
    alone = [vectors(embed(server, input=text))[0] for text in TEXTS]
    ids = [server.post("/tokenize", {"prompt": text}).json_body()["tokens"] for text in TEXTS]
    assert vectors(embed(server, input=TEXTS)) == alone
    assert vectors(embed(server, input=ids)) == alone
    assert vectors(embed(server, input=ids[0])) == alone[:1]
    answer = embed(server, input=ids)
    assert answer["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert len({tuple(vector) for vector in alone}) == len(TEXTS)


def test_base64_holds_the_same_floats(server):
    plain = vectors(embed(server, input=TEXTS))
    packed = vectors(embed(server, input=TEXTS, encoding_format="base64"))
    for floats, text in zip(plain, packed, strict=True):
        unpacked = struct.unpack(f"<{len(floats)}f", base64.b64decode(text, validate=True))
        assert [struct.unpack("<f", struct.pack("<f", value))[0] for value in floats] == list(unpacked)


def test_dimensions_are_the_first_numbers_at_length_one(server):
    whole = vectors(embed(server, input="hello"))[0]
    part = vectors(embed(server, input="hello", dimensions=7))[0]
    assert len(part) == 7 and math.isclose(cosine(part, part), 1, rel_tol=1e-5)
    length = math.sqrt(cosine(whole[:7], whole[:7]))
    assert part == pytest.approx([value / length for value in whole[:7]], rel=1e-5)


def test_the_mean_is_another_vector_and_needs_no_cached_prefix(server, mean_server):
    text = "gale keeps blocks of tokens that others have computed already, and hands them on. " * 8
    for _ in range(2):
        answer = embed(mean_server, input=text)
        assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        mean = vectors(answer)[0]
    embed(server, input=text)
    again = embed(server, input=text)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] > 0
    assert vectors(again)[0] != mean and len(vectors(again)[0]) == len(mean)
    card = mean_server.get("/v1/models/nano-flash").json_body()["embeddings"]
    assert card["pooling"] == "mean" and card["dimensions"] == len(mean)


def test_the_model_card_says_what_the_vectors_are(server):
    card = server.get("/v1/models/nano-flash").json_body()["embeddings"]
    assert card["trained_for_retrieval"] is False and "not for retrieval" in card["note"]
    assert card["dimensions"] == len(vectors(embed(server, input="x"))[0]) and card["pooling"] == "last"
    assert server.get("/v1/models").json_body()["data"][0]["embeddings"] == card


def test_a_prompt_may_fill_the_context_and_is_cut_if_asked(server):
    length = server.get("/v1/models").json_body()["data"][0]["max_model_len"]
    assert embed(server, input=[5] * length)["usage"]["prompt_tokens"] == length
    response = server.post("/v1/embeddings", {"input": [[5], [5] * (length + 1)]})
    assert response.status == 400 and response.json_body()["error"]["code"] == "context_length_exceeded"
    assert str(length) in response.json_body()["error"]["message"]
    cut = embed(server, input=[[5] * (length + 1), [5] * 10], truncate_prompt_tokens=3)
    assert cut["usage"]["prompt_tokens"] == 6


def test_a_list_longer_than_the_queue_is_answered_whole(server):
    ids = [[5 + i % 100, 7, 9 + i % 7] for i in range(2048)]
    answer = vectors(embed(server, input=ids, dimensions=4))
    assert len(answer) == 2048 and answer[0] == answer[700]
    assert answer[3] == vectors(embed(server, input=ids[3], dimensions=4))[0]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": 5}, "input"),
        ({"input": {}}, "input"),
        ({"input": [1.5]}, "input"),
        ({"input": [-1]}, "input"),
        ({"input": [10**9]}, "input"),
        ({"input": ["a", 5]}, "input"),
        ({"input": [["a"]]}, "input"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "encoding_format": 5}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": 100_000}, "dimensions"),
        ({"input": "a", "dimensions": "3"}, "dimensions"),
        ({"input": "a", "cache_salt": ""}, "cache_salt"),
        ({"input": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
    ],
)
def test_a_wrong_field_is_named(server, body, param):
    response = server.post("/v1/embeddings", body)
    assert response.status == 400, response.body
    assert response.json_body()["error"]["param"] == param


def test_an_unknown_model_is_404(server):
    assert server.post("/v1/embeddings", {"input": "a", "model": "nobody"}).status == 404


def test_an_engine_that_is_killed_in_the_middle_costs_nothing(binary):
    with GaleServer(binary, "--max-num-seqs", 4, "--engine-beat-timeout", 60) as server:
        ids = [[5 + i % 30] * 60 for i in range(150)]  # met half done, and not long on a slow build
        expected = vectors(embed(server, input=ids[:30], dimensions=8))
        answers = []
        asking = threading.Thread(
            target=lambda: answers.append(server.post("/v1/embeddings", {"input": ids, "dimensions": 8}))
        )
        asking.start()
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and asking.is_alive():  # some are done, others are not
            load = server.get("/metrics").body.decode()
            running = [line for line in load.splitlines() if line.startswith("vllm:num_requests_running")]
            if running and float(running[0].split()[-1]) > 0:
                break
        [pid] = server.engine_pids()
        os.kill(pid, signal.SIGKILL)
        asking.join()
        assert answers and answers[0].status == 200, answers
        told = vectors(answers[0].json_body())
        assert told == [expected[i % 30] for i in range(150)]
        assert server.get("/server_info").json_body()["num_engine_restarts"] == 1

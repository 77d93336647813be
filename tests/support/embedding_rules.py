"""What vectors of /v1/embeddings have to be, whichever client read them."""

import math

import pytest

TEXTS = ["a cup of tea", "gale is an inference server", "a cup of tea", "你好，世界"]


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def check_vectors(server, vectors, short, num_tokens=None):
    """Those of TEXTS, whole and with 8 dimensions: of length one, the same for the same text, others for others, and
    what the server says to a plain request. num_tokens: what the client says the texts have."""
    plain = server.post("/v1/embeddings", {"input": TEXTS}).json_body()
    assert len(vectors) == len(short) == len(TEXTS)
    for vector, item in zip(vectors, plain["data"], strict=True):
        assert vector == pytest.approx(
            item["embedding"], rel=1e-6
        )  # doubles that were written short, or 32-bit floats
    if num_tokens is not None:
        counts = [server.post("/tokenize", {"prompt": text}).json_body()["count"] for text in TEXTS]
        assert num_tokens == sum(counts) == plain["usage"]["prompt_tokens"]
    for whole, part in zip(vectors, short, strict=True):
        assert math.isclose(dot(whole, whole), 1, rel_tol=1e-5) and len(part) == 8
        length = math.sqrt(dot(whole[:8], whole[:8]))
        assert part == pytest.approx([value / length for value in whole[:8]], rel=1e-4, abs=1e-6)
    assert vectors[0] == vectors[2]
    assert all(dot(vectors[i], vectors[j]) < 0.9999 for i, j in ((0, 1), (0, 3), (1, 3)))

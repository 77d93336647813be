"""Every POST route reads JSON by RFC 8259, all of them alike: the inputs of JSONTestSuite as whole bodies."""

import json

import pytest
from gale_server import GaleServer
from leaks import leak_in
from node import run_scenarios

# What RFC 8259 leaves open and we refuse: two equal keys in an object.
DUPLICATES = {"y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"}
ROUTES = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/tokenize",
    "/detokenize",
    "/invocations",
)


@pytest.fixture(scope="module")
def scripted(binary, tmp_path_factory):
    path = tmp_path_factory.mktemp("json") / "script.json"
    path.write_text(json.dumps({"vocab_size": 8192, "default": {"tokens": [300, 301, 302]}}))
    with GaleServer(binary, "--scripted", path) as running:
        yield running


@pytest.fixture(scope="module")
def cases():
    """Texts by name, without those that were no UTF-8 and are not what they were (see tests/api/test_fields.py)."""
    return {name: text for name, text in run_scenarios("json_cases.mjs", "").items() if "\ufffd" not in text}


def is_json(response):
    """Whether the body was read as JSON; what it says is wrong in any case."""
    message = response.json_body()["error"]["message"]
    assert response.status == 400 and leak_in(message) is None and len(message) < 400, message
    return not message.startswith(("invalid JSON", "duplicate key")) and "whole numbers" not in message


def test_all_routes_read_json_strictly_and_alike(scripted, cases):
    counts = {"y": 0, "n": 0, "i": 0}
    for name, text in cases.items():
        verdicts = {is_json(scripted.request("POST", route, text.encode())) for route in ROUTES}
        assert len(verdicts) == 1, name
        if name[0] != "i":
            assert verdicts == {name[0] == "y" and name not in DUPLICATES}, (name, text[:100])
        counts[name[0]] += 1
    print(f"{counts['y']} accepted, {counts['n']} refused, {counts['i']} free ones alike, on {len(ROUTES)} routes")
    assert counts["y"] >= 90 and counts["n"] >= 170 and counts["i"] >= 15


@pytest.mark.parametrize(
    "number, is_taken",
    [(2**63, True), (2**64 - 1, True), (-(2**63), True), (2**64, False), (2**70, False), (-(2**63) - 1, False)],
)
def test_a_seed_beyond_64_bits_is_refused_with_the_limit(scripted, number, is_taken):
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2, "seed": number}
    response = scripted.post("/v1/chat/completions", body)
    if is_taken:
        assert response.status == 200, response.body
        return
    error = response.json_body()["error"]
    assert response.status == 400 and error["param"] == "seed" and error["code"] == "invalid_value"
    assert "-2^63 to 2^64 - 1" in error["message"]

"""/openapi.json: valid, true to what the parsers read and to what the server does, under random requests as well."""

import re

import pytest
from gale_server import ROOT, GaleServer
from random_requests import random_requests
from sdk import sdk

READS = re.compile(r'reader\.(?:number|integer|boolean|string|strings|seed|token_ids|logit_bias|find)\("(\w+)"')
# Read where no client should rely on it: refused, or taken for the sake of other servers' clients.
UNDOCUMENTED = {"stream_options", "prompt_logprobs", "n_predict", "no_stop_trim"}


@pytest.fixture(scope="module")
def document(server):
    return server.get("/openapi.json").json_body()


def test_the_document_is_valid(document):
    sdk("openapi_spec_validator").validate(document)
    assert document["openapi"] == "3.1.0"


def test_every_field_that_is_read_is_described(document):
    schemas = document["components"]["schemas"]
    described = set().union(*(schemas[name].get("properties", {}) for name in schemas if name.endswith("Request")))
    read = set()
    for source in ("generation_fields.cpp", "openai_chat.cpp", "openai_completions.cpp", "model_info.cpp"):
        read |= set(READS.findall((ROOT / "src/api" / source).read_text()))
    assert len(read) > 25 and read - described - UNDOCUMENTED == set()


@pytest.mark.parametrize("path, schema", [("/v1/chat/completions", "ChatCompletionRequest"), ("/v1/completions", "CompletionRequest"),
                                          ("/v1/messages", "MessagesRequest"), ("/v1/responses", "ResponsesRequest")])
def test_every_field_that_is_described_is_read(server, document, path, schema):
    good = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1} if "messages" in path or "chat" in path else {"prompt": "x", "max_tokens": 1}
    good = {"input": "x", "max_output_tokens": 1} if "responses" in path else good
    num_checked = 0
    for name, field in document["components"]["schemas"][schema]["properties"].items():
        if field.get("description", "").startswith(("Accepted, changes nothing", "Repeated in")) or name == "output_config":
            continue
        wrong = 5 if field.get("type") not in ("integer", "number", ["integer", "null"], ["number", "null"]) else "x"
        response = server.post(path, {**good, name: wrong})
        assert response.status == 400 and name in response.body.decode(), (name, response.body)
        num_checked += 1
    assert num_checked >= 8


def test_every_route_is_described_and_asks_for_a_key(binary):
    with GaleServer(binary, "--api-key", "secret") as server:
        document = server.get("/openapi.json", headers={"X-Api-Key": "secret"}).json_body()
        logged = set(re.findall(r"Route: (\S+), Methods: (\w+)", server.log_text()))
        assert logged == {(re.sub(r"{\w+}", "*", path), method.upper()) for path, methods in document["paths"].items() for method in methods}
        open_paths = set()
        for path, operations in document["paths"].items():
            for method in operations:
                concrete = re.sub(r"{\w+}", "x", path)
                for trick in (concrete, "/" + concrete, concrete + "?a=b", concrete.replace("/v1/", "/v1/../v1/"), concrete.upper(), concrete + "/", concrete + "%00"):
                    status = server.request(method.upper(), trick, b"{}" if method == "post" else None).status
                    assert status in (200, 400, 401, 404, 405, 503), (method, trick, status)
                    if status == 200:
                        open_paths.add(concrete)
        assert open_paths <= {"/health", "/live", "/livez", "/ready", "/readyz"}


def test_the_table_of_errors_is_complete(document):
    page = document["info"]["description"]
    rows = [row.split(" | ") for row in page.splitlines() if re.match(r"\| \d", row)]
    assert [row[0] for row in rows[:2]] == ["| 429", "| 503"]
    documented = {(row[0].strip("| "), row[1]) for row in rows}
    for source in ("errors.cpp", "protocol_errors.cpp"):
        text = (ROOT / "src/api" / source).read_text()
        for status, code in re.findall(r'{(\d+), "\w+", "(\w+)"}', text) + re.findall(r'case (\d+): return "(\w+)"', text if source != "errors.cpp" else ""):
            assert (status, code) in documented, (status, code)


def test_a_few_random_requests_find_no_contradiction(binary, tmp_path):
    """Many more: tests/full."""
    sdk("schemathesis")
    assert random_requests(binary, tmp_path, num_examples=3, phases=("coverage", "fuzzing"), timeout=3000) > 500

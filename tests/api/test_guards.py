"""Tables of what attackers send: keys under tricks of path and header on every route, requests that proxies read
differently, heads over the limits, errors that tell too much."""

import contextlib
import json
import random
import re
import socket

import pytest
from gale_server import GaleServer
from leaks import leak_in

KEY = "secret-of-tests"
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
PUBLIC = {"/health", "/live", "/livez", "/ready", "/readyz"}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    path = tmp_path_factory.mktemp("guards") / "script.json"
    path.write_text(json.dumps({"vocab_size": 8192, "default": {"tokens": [300, 301, 302]}}))
    return path


@pytest.fixture(scope="module")
def guarded(binary, script):
    limit = ["--max-wrong-keys-per-minute", "0"]  # more tricks are tried than an address may
    with GaleServer(binary, "--scripted", script, "--api-key", KEY, *limit) as running:
        yield running


@pytest.fixture(scope="module")
def scripted(binary, script):
    with GaleServer(binary, "--scripted", script) as running:
        yield running
        assert running.process.poll() is None, running.log_text()


def exchange(server, data):
    """All that comes back until the server closes."""
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=120) as connection:
        with contextlib.suppress(ConnectionError):  # of one that has heard enough, and said so
            connection.sendall(data)
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65536):
                received += part
    return received


def statuses(answer):
    return [int(status) for status in re.findall(rb"(?:^|\n|\})HTTP/1\.1 (\d{3}) ", answer)]


# ---- keys

PATHS = {
    "as it is": lambda p: p,
    "two slashes": lambda p: "/" + p,
    "three slashes": lambda p: "//" + p,
    "two slashes within": lambda p: p.replace("/", "//"),
    "slash behind": lambda p: p + "/",
    "dot behind": lambda p: p + "/.",
    "dots behind": lambda p: p + "/..",
    "dot before": lambda p: "/." + p,
    "dots before": lambda p: "/.." + p,
    "detour over a public path": lambda p: "/health/.." + p,
    "encoded detour": lambda p: "/health/%2e%2e" + p,
    "encoded detour and slash": lambda p: "/health%2f..%2f" + p[1:],
    "encoded dot": lambda p: "/%2e" + p,
    "encoded slashes": lambda p: "/" + p[1:].replace("/", "%2F"),
    "encoded letter": lambda p: "/%" + f"{ord(p[1]):02x}" + p[2:] if len(p) > 1 else p,
    "encoded twice": lambda p: "/%25" + f"{ord(p[1]):02x}" + p[2:] if len(p) > 1 else p,
    "upper case": lambda p: p.upper(),
    "title case": lambda p: p.title(),
    "path parameter": lambda p: p + ";a=b",
    "path parameter of a public path": lambda p: p + ";/health",
    "query": lambda p: p + "?a=b",
    "query with a public path": lambda p: p + "?/health",
    "query with a key": lambda p: p + f"?api_key={KEY}&key={KEY}",
    "fragment": lambda p: p + "#/health",
    "NUL": lambda p: p + "%00",
    "NUL and a public path": lambda p: p + "%00/health",
    "newline": lambda p: p + "%0a/health",
    "backslash": lambda p: p.replace("/", "\\"),
    "ending": lambda p: p + ".json",
    "absolute form": lambda p: "http://127.0.0.1" + p,
    "blank": lambda p: p + "%20",
    "overlong slash": lambda p: p + "%c0%af",
}
HEADERS = {
    "empty bearer": "Authorization: Bearer",
    "blank bearer": "Authorization: Bearer  ",
    "wrong bearer": "Authorization: Bearer nothing",
    "part of the key": f"Authorization: Bearer {KEY[:-1]}",
    "more than the key": f"Authorization: Bearer {KEY}x",
    "two keys": f"Authorization: Bearer x, {KEY}",
    "other case": f"Authorization: Bearer {KEY.upper()}",
    "basic": f"Authorization: Basic {KEY}",
    "no scheme": f"Authorization: {KEY}",
    "wrong first, right second": f"Authorization: Bearer x\r\nAuthorization: Bearer {KEY}",
    "empty key": "X-Api-Key:",
    "wrong key": "X-Api-Key: x",
    "key in a cookie": f"Cookie: key={KEY}; Authorization=Bearer {KEY}",
    "query override": f"X-Original-URL: /health?key={KEY}",
    "rewritten": "X-Original-URL: /health\r\nX-Rewrite-URL: /health",
    "method override": "X-HTTP-Method-Override: HEAD\r\nX-Method-Override: OPTIONS\r\nX-HTTP-Method: OPTIONS",
    "said to be local": "X-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1",
    "other host": "X-Forwarded-Host: localhost\r\nX-Host: localhost",
    "upgrade": "Connection: close, upgrade\r\nUpgrade: h2c",
    "web socket without key": "Connection: close, upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: gale, gale-key.x",
}


def operations(server):
    document = server.get("/openapi.json", headers={"X-Api-Key": KEY}).json_body()
    for path, methods in document["paths"].items():
        for method in methods:
            yield method.upper(), re.sub(r"{\w+}", "x", path)


def ask(server, method, target, header=""):
    body = b"{}" if method == "POST" else b""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", "Content-Type: application/json"]
    lines += [f"Content-Length: {len(body)}"] if body else []
    lines += [header] if header else []
    if "Connection:" in header:
        lines.remove("Connection: close")
    return exchange(server, "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


def test_no_trick_opens_a_route_without_its_key(guarded):
    num_tried = 0
    for method, path in operations(guarded):
        if path in PUBLIC:
            continue
        for name, trick in PATHS.items():
            answer = ask(guarded, method, trick(path))
            (status,) = statuses(answer)
            is_public = path == "/" and name.startswith("path parameter of")
            assert status in (400, 401, 404, 405) or is_public, (method, trick(path), answer[:200])
            assert status == 401 or name != "as it is"
            num_tried += 1
        for name, header in HEADERS.items():
            answer = ask(guarded, method, path, header)
            assert statuses(answer) in ([401], [400]), (method, path, name, answer[:200])
            assert KEY.encode() not in answer
            num_tried += 1
    print(f"{num_tried} requests without a key, none let in")
    assert num_tried >= 1500
    assert KEY not in guarded.log_text()


def test_the_key_opens_by_all_its_forms(guarded):
    for header in (f"Authorization: Bearer {KEY}", f"authorization: bearer   {KEY}  ", f"X-API-KEY: {KEY}"):
        assert statuses(ask(guarded, "GET", "/v1/models", header)) == [200]


# ---- requests that two readers could read differently: one answer, no second request, the connection is closed

BODY = b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: x\r\n"
CHUNKS = b"2\r\n{}\r\n0\r\n\r\n"
SMUGGLING = [
    *(
        POST + fields + b"\r\n" + CHUNKS
        for fields in (
            b"Content-Length: 12\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nContent-Length: 12\r\n",
            b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
            b"Transfer-Encoding: identity\r\n",
            b"Transfer-Encoding: chunked, identity\r\n",
            b"Transfer-Encoding: identity, chunked\r\n",
            b"Transfer-Encoding: xchunked\r\n",
            b"Transfer-Encoding: chunked-\r\n",
            b'Transfer-Encoding: "chunked"\r\n',
            b"Transfer-Encoding : chunked\r\n",
            b"Transfer-Encoding:\x0bchunked\r\n",
            b"Transfer-Encoding:\x00chunked\r\n",
            b"Transfer-Encoding: chunked\x00\r\n",
            b"Transfer-Encoding:\n chunked\r\n",
            b"Transfer-Encoding\n: chunked\r\n",
            b"Transfer-Encoding:\r\n chunked\r\n",
            b"X: x\r\n Transfer-Encoding: chunked\r\n",
            b" Transfer-Encoding: chunked\r\n",
            b"\tTransfer-Encoding: chunked\r\n",
            b"X: x\nTransfer-Encoding: chunked\r\n",
            b"X: x\rTransfer-Encoding: chunked\r\n",
            b"Transfer-Encoding: gzip\r\n",
            b"Transfer-Encoding: chunked;q=1\r\n",
            b"Transfer-Encoding:\r\n",
        )
    ),
    *(
        POST + fields + b"\r\n{}"
        for fields in (
            b"Content-Length: 2\r\nContent-Length: 2\r\n",
            b"Content-Length: 2\r\nContent-Length: 40\r\n",
            b"Content-Length: 2, 2\r\n",
            b"Content-Length: 2,40\r\n",
            b"Content-Length: +2\r\n",
            b"Content-Length: -2\r\n",
            b"Content-Length: 0x2\r\n",
            b"Content-Length: 2.0\r\n",
            b"Content-Length: 2e0\r\n",
            b"Content-Length: 2 0\r\n",
            b"Content-Length: \r\n",
            b"Content-Length: two\r\n",
            b"Content-Length : 2\r\n",
            b"Content-Length: 2\x00\r\n",
            b"Content-Length: \xb2\r\n",
            b"Content-Length: 18446744073709551618\r\n",
            b"Content-Length: 99999999999999999999999999\r\n",
            b"Content-Length: 2\r\nHost: y\r\n",
            b"Content-Length: 2\r\n: empty\r\n",
            b"Content-Length: 2\r\nno colon\r\n",
            b"Content-Length: 2\r\nBad Name: x\r\n",
            b"Content-Length: 2\r\nBad(Name): x\r\n",
        )
    ),
    *(
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
        for chunks in (
            b"-2\r\n{}\r\n0\r\n\r\n",
            b"+2\r\n{}\r\n0\r\n\r\n",
            b"0x2\r\n{}\r\n0\r\n\r\n",
            b"2 \r\n{}\r\n0\r\n\r\n",
            b" 2\r\n{}\r\n0\r\n\r\n",
            b"2\n{}\n0\n\n",
            b"2\r\n{}0\r\n\r\n",
            b"2\r\n{}XX0\r\n\r\n",
            b"ffffffffffffffff2\r\n{}\r\n0\r\n\r\n",
            b"\r\n{}\r\n0\r\n\r\n",
            b"g\r\n{}\r\n0\r\n\r\n",
            b"2;\n{}\r\n0\r\n\r\n",
        )
    ),
    *(
        start + b"\r\nHost: x\r\n\r\n"
        for start in (
            b"GET /health",
            b"GET  /health HTTP/1.1",
            b"GET\t/health HTTP/1.1",
            b"GET /health\tHTTP/1.1",
            b"GET /hea lth HTTP/1.1",
            b" GET /health HTTP/1.1",
            b"GET /health HTTP/1.1 ",
            b"GET /health HTTP/1.10",
            b"GET /health HTTP/01.1",
            b"GET /health http/1.1",
            b"GET /health HTTP/2.0",
            b"GET /health HTTP/0.9",
            b"G\x00T /health HTTP/1.1",
            b"GET /hea\x00lth HTTP/1.1",
            b"GET /hea\xfflth HTTP/1.1",
            b"GET health HTTP/1.1",
            b"G{}T /health HTTP/1.1",
        )
    ),
    b"GET /health HTTP/1.1\nHost: x\n\n",
    b"GET /health HTTP/1.1\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x y\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\r\n continued\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(SMUGGLING)))
def test_an_ambiguous_request_gets_one_refusal_and_the_connection_ends(scripted, number):
    answer = exchange(scripted, SMUGGLING[number] + BODY)
    assert len(statuses(answer)) == 1, answer
    assert statuses(answer)[0] in (400, 413, 431, 501, 505), (SMUGGLING[number], answer)
    assert leak_in(answer.decode().partition("\r\n\r\n")[2]) is None


def test_the_table_of_ambiguous_requests_is_large():
    print(f"{len(SMUGGLING)} ambiguous requests")
    assert len(set(SMUGGLING)) >= 80


# ---- limits of a head

LIMITS = [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /health?" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (GET + b"X: " + b"a" * 70000 + b"\r\n\r\n", 431),
    (GET + b"X" * 70000 + b": a\r\n\r\n", 431),
    (GET + b"".join(b"X-%d: a\r\n" % i for i in range(101)) + b"\r\n", 431),
    (GET + b"".join(b"X-%d: %s\r\n" % (i, b"a" * 1000) for i in range(90)) + b"\r\n", 431),
    (GET + b"X: a\r\n" * 5000 + b"\r\n", 431),
    (GET + b"".join(b"X-%d: a\r\n" % i for i in range(98)) + b"Connection: close\r\n\r\n", 200),
    (GET + b"X: " + b"a" * 7000 + b"\r\nConnection: close\r\n\r\n", 200),
    (GET + b"A" * 70000, 431),
    (POST + b"Content-Length: 99999999999\r\n\r\n", 413),
]


@pytest.mark.parametrize("number", range(len(LIMITS)))
def test_heads_and_bodies_over_the_limits(scripted, number):
    data, status = LIMITS[number]
    assert statuses(exchange(scripted, data)) == [status]


# ---- errors that tell nothing of the inside

ROUTES = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize")
VALUES = [None, True, -1, 0, 1.5, 2**62, 1e308, "", "x", "\x00", "/etc/passwd", "<|user|>", "\ud83d\ude00"]
VALUES += [[], [[]], [None], {}, {"type": "x"}, "a" * 3000]
FIELDS = "messages prompt input model tools tool_choice response_format stop n seed max_tokens temperature".split()
FIELDS += "top_p logprobs logit_bias stream".split()
FIELDS += "stream_options tokens system thinking guided_regex guided_json guided_grammar structured_outputs".split()
FIELDS += "reasoning_effort text".split()


def spoiled(rng):
    """A body that is wrong in a field or two, or no JSON any more."""
    body = {**CHAT, "prompt": "x", "input": "x", "tokens": [300]}
    for _ in range(rng.randint(1, 2)):
        body[rng.choice(FIELDS)] = rng.choice(VALUES)
    data = bytearray(json.dumps(body).encode())
    if rng.random() < 0.3:
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def test_errors_tell_no_path_no_address_and_no_key(guarded, request):
    rng = random.Random(7)
    num_requests = 20000 if request.config.getoption("--full") else 1500
    num_errors = 0
    for number in range(num_requests):
        route = ROUTES[number % len(ROUTES)]
        answer = guarded.request(
            "POST", route, spoiled(rng), headers={"X-Api-Key": KEY, "Content-Type": "application/json"}
        )
        assert answer.status < 500, (route, answer.body)
        if answer.status != 200:
            num_errors += 1
            told = json.dumps(answer.json_body()["error"]).replace("/etc/passwd", "")  # our own word, told back
            assert leak_in(told) is None and KEY not in told and len(told) < 1000, told
    print(f"{num_errors} error bodies of {num_requests} requests, none of which tells of the inside")
    assert num_errors > num_requests // 3

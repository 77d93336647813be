"""--log-format json: every line of every process is an object, come what may; figures of requests are values."""

import json
import os
import signal
import socket
import subprocess
import threading

import pytest
from gale_server import NANO_FLASH, GaleServer
from gale_ui import GaleUi
from json_logs import read_lines
from killing import engine_of, held, strike, wait_for
from sdk import sdk

websockets = sdk("websockets")
from websockets.sync.client import connect  # noqa: E402

CHAT = {"messages": [{"role": "user", "content": "Which port does the gale API use by default?"}], "max_tokens": 12}
SCHEMA = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object", "additionalProperties": False}},
}
ANSWER_KINDS = {
    "prompt_tokens": int,
    "cached_tokens": int,
    "completion_tokens": int,
    "first_token_ms": float,
    "finish_reason": str,
}
ACCESS_KINDS = {"request_id": str, "client": str, "method": str, "path": str, "status": int, "ms": float}


class JsonServer(GaleServer):
    def __init__(self, binary, *flags, **options):
        super().__init__(binary, "--log-format", "json", "--engine-beat-timeout", 60, *flags, **options)

    def lines(self):
        """Those that are whole by now."""
        text = self.log_text()
        return read_lines(text[: text.rfind("\n") + 1])

    def line_of(self, request_id, name="ms"):
        found = []
        wait_for(
            lambda: found.extend(one for one in self.lines() if one.get("request_id") == request_id and name in one)
            or found,
            f"the line of {request_id}",
            120,
        )
        assert len(found) == 1
        return found[0]


@pytest.fixture(scope="module")
def server(binary):
    with JsonServer(binary, "--log-level", "debug") as running:
        yield running
    lines = read_lines(running.log_text())  # all of them, those of the end included
    assert {"front", "engine"} <= {line["role"] for line in lines}
    assert lines[-1]["message"] == "Application shutdown complete."
    assert "Which port" not in running.log_text()


def kinds_of(line, kinds):
    return {name: type(line.get(name)) for name in kinds}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_a_request_has_its_figures(server, path):
    request_id = "figures-" + path.rpartition("/")[2]
    answer = server.post(path, CHAT, headers={"X-Request-Id": request_id})
    line = server.line_of(request_id)
    assert kinds_of(line, ACCESS_KINDS) == ACCESS_KINDS and kinds_of(line, ANSWER_KINDS) == ANSWER_KINDS
    assert (line["method"], line["path"], line["status"], line["client"]) == ("POST", path, 200, "127.0.0.1")
    usage = answer.json_body()["usage"]
    assert line["prompt_tokens"] == usage.get("prompt_tokens", usage.get("input_tokens"))
    assert line["completion_tokens"] == usage.get("completion_tokens", usage.get("output_tokens"))
    assert line["finish_reason"] == "length" and 0 < line["first_token_ms"] <= line["ms"]


def test_requests_without_an_answer_have_a_line_without_tokens(server):
    server.post("/v1/chat/completions", b"{", headers={"X-Request-Id": "broken"})
    server.get("/v1/nothing/%0a%22%C3%A9", headers={"X-Request-Id": "nowhere"})
    broken, nowhere = server.line_of("broken"), server.line_of("nowhere")
    assert (broken["status"], nowhere["status"]) == (400, 404)
    assert not ANSWER_KINDS.keys() & (broken.keys() | nowhere.keys())


def test_what_clients_send_stays_inside_a_string(server):
    for target in (b"/\xff\xfe\xc3", "/é漢🙂".encode(), b'/"}{\\', b"/" + b"\\" * 7000):
        with socket.create_connection(("127.0.0.1", server.port), 60) as raw:
            raw.sendall(
                b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nX-Request-Id: a\x01b\r\nConnection: close\r\n\r\n"
            )
            while raw.recv(4096):
                pass
    assert server.lines()


def test_a_client_that_leaves(server):
    ask = {**CHAT, "max_tokens": 3000, "ignore_eos": True, "stream": True}
    payload = json.dumps(ask).encode()
    with socket.create_connection(("127.0.0.1", server.port), 60) as raw:
        raw.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Request-Id: left\r\nContent-Type: application/json\r\n"
            + b"Content-Length: %d\r\n\r\n" % len(payload)
            + payload
        )
        events = b""
        while events.count(b"data: ") < 5:  # the first is the role alone
            events += raw.recv(4096)
    line = server.line_of("left")
    assert (line["status"], line["finish_reason"]) == (499, "cancelled")
    assert 0 < line["completion_tokens"] < 3000


def test_answers_that_no_http_request_ends_with(server):
    with connect(f"ws://127.0.0.1:{server.port}/v1/chat/completions") as stream:
        stream.send(json.dumps({"request_id": "by-socket", **CHAT}))
        while json.loads(stream.recv(timeout=120)).get("type") != "done":
            pass
    line = server.line_of("by-socket")
    assert kinds_of(line, ANSWER_KINDS) == ANSWER_KINDS and line["completion_tokens"] == 12


def test_the_compiler_of_grammars_has_the_format_too(binary, server):
    assert server.post("/v1/chat/completions", {**CHAT, "response_format": SCHEMA}).status == 200
    children = subprocess.run(
        ["ps", "-o", "args=", "--ppid", str(server.process.pid)], capture_output=True, text=True
    ).stdout
    assert "grammar-compiler --log-format=json" in children
    told = subprocess.run(
        [binary, "grammar-compiler", "--log-format=json", "--nonsense"], capture_output=True, text=True, timeout=120
    )
    assert [(line["role"], line["level"]) for line in read_lines(told.stderr)] == [("grammar", "error")]


def test_engines_that_are_killed(binary):
    ask = {**CHAT, "max_tokens": 400, "ignore_eos": True}
    with JsonServer(binary) as server:
        for way in ("kill", "abort"):
            wait_for(lambda: engine_of(server.process.pid), "an engine is there")
            killed = engine_of(server.process.pid)
            worker = threading.Thread(
                target=lambda way=way: server.post("/v1/chat/completions", ask, headers={"X-Request-Id": way})
            )
            with held(killed):  # or the request might be over before it is struck
                worker.start()
                wait_for(lambda: server.get("/load").json_body()["server_load"] > 0, "nothing runs")
                strike(killed, way)
            worker.join()
            assert server.line_of(way)["completion_tokens"] == 400
        lines = server.lines()
        engines = {line["pid"] for line in lines if line["role"] == "engine"}
        assert len(engines) == 3
        assert sum(line["message"].startswith("engine died") for line in lines) == 2
    assert read_lines(server.log_text())


def test_the_page(binary, server):
    flags = ("--log-format", "json", "--password", "right")
    with GaleUi(binary, server.base_url, *flags) as page:
        assert page.request("POST", "/ui/login", {"password": "wr\u0007ong"}).status == 401
    lines = read_lines(page.log_text())
    assert {line["role"] for line in lines} == {"ui"} and "a wrong password from 127.0.0.1" in str(lines)


@pytest.mark.parametrize(
    "arguments, code",
    [
        (["serve", NANO_FLASH, "--log-format", "json", "--max-num-seqs", "many"], 2),
        (["serve", NANO_FLASH, "--nonsense\n\x1b[31m", "--log_format=json"], 2),
        (["serve", "/nothing/here", "--log-format", "json"], 3),
        (["engine", NANO_FLASH, "--log-format", "json"], 2),
        (["ui", "--api", "nowhere", "--log-format", "json"], 2),
    ],
)
def test_a_start_that_fails_says_so_in_one_object(binary, arguments, code):
    told = subprocess.run([str(binary), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert told.returncode == code and not told.stdout
    assert read_lines(told.stderr)[-1]["level"] == "error"


def test_the_environment_asks_for_it_and_notes_are_lines_too(binary):
    environment = {**os.environ, "GALE_LOG_FORMAT": "json", "VLLM_NONSENSE": "1"}
    with GaleServer(binary, "--trust-remote-code", environment=environment) as server:
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "SIGHUP" in server.log_text(), "SIGHUP is not told")
    lines = read_lines(server.log_text())
    assert [line["level"] for line in lines if line["message"].startswith("gale: note: ")] == ["warning", "warning"]


def test_text_is_what_it_was(binary):
    with GaleServer(binary, "--engine-beat-timeout", 60) as server:
        server.post("/v1/chat/completions", CHAT, headers={"X-Request-Id": "as-text"})
        wait_for(lambda: "id=as-text tokens=" in server.log_text(), "no line")
    line = next(line for line in server.log_text().splitlines() if "id=as-text" in line)
    assert '[front] 127.0.0.1 - "POST /v1/chat/completions HTTP/1.1" 200 ' in line and line.endswith("finish=length")

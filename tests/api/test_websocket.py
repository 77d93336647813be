"""Chats over a WebSocket: several at once, cancelled, refused, cut; and the examples of the documentation."""

import json
import shutil
import subprocess
import sys
import threading
import time

import pytest
from gale_server import ROOT, GaleServer
from sdk import sdk
from stream_checker import check_chat_stream

websockets = sdk("websockets")
from websockets.sync.client import connect  # noqa: E402

QUESTION = [{"role": "user", "content": "Which port does the gale API use by default?"}]
ENDLESS = {"messages": [{"role": "user", "content": "Tell me about gale"}], "ignore_eos": True, "max_tokens": 2000}


def url_of(server):
    return f"ws://127.0.0.1:{server.port}/v1/chat/completions"


def open_socket(server, **extra):
    """A busy machine may be slow to open it, and to answer pings: those are the server's to judge."""
    return connect(url_of(server), open_timeout=120, ping_timeout=None, **extra)


def until_done(socket, *request_ids):
    """The messages of each request, in order, until all of them are done."""
    messages = {request_id: [] for request_id in request_ids}
    waiting = set(request_ids)
    while waiting:
        message = json.loads(socket.recv(timeout=120))
        messages[message.pop("request_id")].append(message)
        if message.get("type") == "done":
            waiting = {request_id for request_id in waiting if messages[request_id][-1] != message}
    return messages


def as_sse(messages):
    """What the same answer would be as a stream of events."""
    return b"".join(f"data: {json.dumps(message)}\n\n".encode() for message in messages[:-1]) + b"data: [DONE]\n\n"


def wait_until_idle(server):
    deadline = time.monotonic() + 120
    while b"num_requests_running{engine=\"0\",model_name=\"nano-flash\"} 0" not in server.get("/metrics").body:
        assert time.monotonic() < deadline, "requests are still running"
        time.sleep(0.05)


def test_several_chats_at_once_are_the_streams_they_would_be_over_http(server):
    bodies = {f"r{i}": {"messages": QUESTION, "max_tokens": 30, "temperature": 1, "seed": i, "n": 1 + i % 2, "stream_options": {"include_usage": True}}
              for i in range(4)}
    with open_socket(server) as socket:
        for request_id, body in bodies.items():
            socket.send(json.dumps({**body, "stream": True, "request_id": request_id}))
        messages = until_done(socket, *bodies)
    for request_id, body in bodies.items():
        over_socket = check_chat_stream(as_sse(messages[request_id]), num_choices=body["n"], include_usage=True)
        over_http = check_chat_stream(server.post("/v1/chat/completions", {**body, "stream": True}).body, num_choices=body["n"], include_usage=True)
        assert {i: (c.reasoning, c.content) for i, c in over_socket.choices.items()} == {i: (c.reasoning, c.content) for i, c in over_http.choices.items()}


def test_a_whole_answer_on_request_and_a_made_up_id(server):
    with open_socket(server) as socket:
        socket.send(json.dumps({"messages": QUESTION, "max_tokens": 200, "temperature": 0, "stream": False}))
        answer, done = json.loads(socket.recv(timeout=120)), json.loads(socket.recv(timeout=120))
    assert "8000" in answer["choices"][0]["message"]["content"]
    assert done == {"request_id": answer["request_id"], "type": "done"}


def test_cancel_stops_one_and_leaves_the_others(server):
    with open_socket(server) as socket:
        socket.send(json.dumps({**ENDLESS, "request_id": "endless"}))
        json.loads(socket.recv(timeout=120))
        socket.send(json.dumps({"messages": QUESTION, "max_tokens": 20, "request_id": "short"}))
        socket.send(json.dumps({"type": "cancel", "request_id": "endless"}))
        messages, done = [], set()
        while done != {"endless", "short"}:
            messages.append(json.loads(socket.recv(timeout=120)))
            done |= {messages[-1]["request_id"]} if messages[-1].get("type") in ("cancelled", "done") else set()
        wait_until_idle(server)
        socket.send(json.dumps({"messages": QUESTION, "max_tokens": 3, "request_id": "endless"}))   # the name is free again
        assert until_done(socket, "endless")["endless"][-1] == {"type": "done"}


def test_closing_cancels_all(server):
    with open_socket(server) as socket:
        for i in range(4):
            socket.send(json.dumps({**ENDLESS, "request_id": str(i)}))
        for _ in range(8):
            socket.recv(timeout=120)
    wait_until_idle(server)


@pytest.mark.parametrize("message, param, status", [
    ("{", None, 400), ("[]", None, 400), ('{"messages": []}', "messages", 400), ('{"type": "what"}', "type", 400),
    ('{"messages": [{"role": "user", "content": "x"}], "request_id": "a b"}', "request_id", 400),
    ('{"messages": [{"role": "user", "content": "x"}], "temperature": -1}', "temperature", 400),
    ('{"messages": [{"role": "user", "content": "x"}], "model": "none"}', "model", 404),
])
def test_bad_messages_are_answered_and_the_connection_lives(server, message, param, status):
    with open_socket(server) as socket:
        socket.send(message)
        answer = json.loads(socket.recv(timeout=120))
        assert answer["error"]["param"] == param and answer["status"] == status
        socket.send(json.dumps({"messages": QUESTION, "max_tokens": 2, "request_id": "next"}))
        assert until_done(socket, "next")["next"]


def test_one_name_is_one_answer(server):
    with open_socket(server) as socket:
        for _ in range(2):
            socket.send(json.dumps({**ENDLESS, "request_id": "twice"}))
        while "error" not in (message := json.loads(socket.recv(timeout=120))):
            pass
        assert message["error"]["param"] == "request_id"
    wait_until_idle(server)


def test_keys_and_origins_are_asked_for(binary):
    with GaleServer(binary, "--api-key", "secret", "--allowed-origins", "http://good.example", "--ping-interval", 4) as server:
        refused = websockets.exceptions.InvalidStatus
        for extra in ({}, {"additional_headers": {"Authorization": "Bearer no"}}, {"subprotocols": ["gale", "gale-key.no"]}):
            with pytest.raises(refused, match="401"):
                open_socket(server, **extra)
        key = {"Authorization": "Bearer secret"}
        with pytest.raises(refused, match="403"):
            open_socket(server, additional_headers=key, origin="http://evil.example")
        with open_socket(server, subprotocols=["gale", "gale-key.secret"]) as socket:
            assert socket.subprotocol == "gale"
        with open_socket(server, additional_headers=key, origin="http://good.example") as socket:
            time.sleep(9)                  # longer than the server waits for a sign of life
            socket.send(json.dumps({"messages": QUESTION, "max_tokens": 2, "request_id": "x"}))
            assert until_done(socket, "x")["x"]
        server_gone = threading.Thread(target=server.stop)
        with open_socket(server, additional_headers=key):
            server_gone.start()            # an open socket does not hold up the end
            server_gone.join()
        assert server.process.returncode == 0


def test_get_without_an_upgrade_says_so(server):
    response = server.get("/v1/chat/completions")
    assert response.status == 426 and response.headers["Upgrade"] == "websocket"


def test_the_python_example_works(server):
    run = subprocess.run([sys.executable, ROOT / "docs/examples/websocket_chat.py", url_of(server)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "a: " in run.stdout and "8000" in run.stdout and "b: " in run.stdout, run


def test_the_javascript_example_works(server):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here")
    flags = ["--experimental-websocket"] if subprocess.run([node, "--version"], capture_output=True, text=True).stdout < "v22" else []
    run = subprocess.run([node, *flags, ROOT / "docs/examples/websocket_chat.mjs", url_of(server)], capture_output=True, text=True, timeout=300)
    assert run.returncode == 0 and "a: " in run.stdout and "8000" in run.stdout and "b: " in run.stdout, run

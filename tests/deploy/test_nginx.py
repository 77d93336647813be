"""nginx in front of gale, with the configuration that deploy/ ships."""

import http.client
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time

import pytest
from certificates import make_certificate
from gale_server import ROOT, GaleServer, free_port
from killing import wait_for
from websockets.sync.client import connect as connect_web_socket

PATIENCE_S = 120  # of a machine that does a lot else
SLOW = 103  # in a prompt: its tokens come 300 ms apart


@pytest.fixture(scope="module")
def nginx(binary, tmp_path_factory):
    assert shutil.which("nginx"), "nginx is not installed: ./check installs it"
    folder = tmp_path_factory.mktemp("nginx")
    make_certificate(folder / "fullchain.pem", folder / "privkey.pem", "gale.example")
    script = folder / "script.json"
    script.write_text(
        json.dumps(
            {
                "model_name": "s",
                "vocab_size": 8192,
                "max_model_len": 4096,
                "default": {"tokens": [101], "repeat": 0, "delay_ms": 20},
                "requests": [{"prompt_contains": [SLOW], "tokens": [101], "repeat": 0, "delay_ms": 300}],
            }
        )
    )
    port = free_port()
    with GaleServer(binary, "--scripted", script, "--max-num-seqs", 512, "--max-num-queued-reqs", 2048) as api:
        config = (
            (ROOT / "deploy/nginx/gale.conf")
            .read_text()
            .replace("/etc/ssl/gale", str(folder))
            .replace("listen 443", f"listen 127.0.0.1:{port}")
        )
        (folder / "gale.conf").write_text(config.replace("127.0.0.1:8000", f"127.0.0.1:{api.port}"))
        (folder / "nginx.conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{ worker_connections 2048; }}\n"
            f"http {{ access_log off; client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; "
            f"fastcgi_temp_path {folder}/f; "
            f"uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; include {folder}/gale.conf; }}\n"
        )
        tested = subprocess.run(["nginx", "-t", "-c", folder / "nginx.conf"], capture_output=True, text=True)
        assert tested.returncode == 0, tested.stderr
        process = subprocess.Popen(["nginx", "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, "nginx listens", PATIENCE_S)
            assert process.poll() is None, (folder / "error.log").read_text()
            yield port, api
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def connect(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", port, timeout=PATIENCE_S, context=context)


def stream(connection, host="gale.example", max_tokens=100, prompt=(101, 102)):
    body = {"prompt": prompt, "max_tokens": max_tokens, "ignore_eos": True, "stream": True}
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json", "Host": host})


def time_to_first_event(connection):
    begin = time.monotonic()
    stream(connection)
    response = connection.getresponse()
    response.read1(100)
    taken = time.monotonic() - begin
    connection.close()
    return taken


def test_streams_are_not_held_back(nginx, promised):
    port, api = nginx
    there = "127.0.0.1", api.port
    direct = min(time_to_first_event(http.client.HTTPConnection(*there, timeout=PATIENCE_S)) for _ in range(9))
    through = min(time_to_first_event(connect(port)) for _ in range(9))
    print(f"\nfirst event: {direct * 1e3:.1f} ms direct, {through * 1e3:.1f} ms through nginx with TLS")
    assert through <= direct + promised(0.05)


def test_a_stream_arrives_piece_by_piece(nginx):
    """So far apart that even a reader that gets its turn late sees them one by one."""
    connection = connect(nginx[0])
    stream(connection, max_tokens=12, prompt=[SLOW])
    response = connection.getresponse()
    times = []
    while response.read1(4096):
        times.append(time.monotonic())
    assert len(times) > 6 and times[-1] - times[0] > 1
    connection.close()


def test_a_web_socket_passes(nginx):
    port, _ = nginx
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain:
        with connect_web_socket(
            "wss://gale.example/v1/chat/completions",
            sock=plain,
            ssl=context,
            server_hostname="gale.example",
            open_timeout=PATIENCE_S,
        ) as chat:
            chat.send(json.dumps({"request_id": "a", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}))
            kinds = []
            while "done" not in kinds:
                message = json.loads(chat.recv(timeout=PATIENCE_S))
                assert message["request_id"] == "a"
                kinds.append(message.get("type", "chunk"))
    assert kinds.count("chunk") >= 2


def test_the_request_that_is_one_too_many_is_refused_kindly(nginx):
    """The others have 20 minutes of tokens to come, so that none has ended before the late one asks; and none of
    another test counts any more."""
    port, api = nginx
    wait_for(lambda: api.get("/load").json_body()["server_load"] == 0, "nginx has let go of all others", PATIENCE_S)
    open_ones = [connect(port) for _ in range(150)]
    asked = {"max_tokens": 4000, "prompt": [SLOW]}
    threads = [threading.Thread(target=lambda one=one: stream(one, **asked)) for one in open_ones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers = [one.getresponse() for one in open_ones]
    assert {answer.status for answer in answers} == {200}
    late = connect(port)
    stream(late)
    refused = late.getresponse()
    assert refused.status == 429 and refused.headers["Retry-After"] == "1"
    assert json.loads(refused.read())["error"]["code"] == "overloaded"
    for connection in [*open_ones, late]:
        connection.close()

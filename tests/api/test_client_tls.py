"""gale chat, bench, doctor and the page as clients of an API over https: whom they believe, what they say if not."""

import json
import os
import subprocess

import pytest
from certificates import make_certificate
from gale_server import GaleServer, free_port
from gale_ui import GaleUi

QUESTION = "Which port does the gale API use by default?"
UNTRUSTED = "its certificate is not trusted: "
ADVICE = "Name the one that signed it with --ca-file FILE, or trust anybody with --insecure"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client-tls")
    pair = folder / "served.pem", folder / "served.key"
    make_certificate(*pair, "served", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost")
    make_certificate(folder / "other.pem", folder / "other.key", "other", "-addext", "subjectAltName=IP:127.0.0.1")
    return folder


@pytest.fixture(scope="module")
def secure(binary, files):
    flags = ("--ssl-certfile", files / "served.pem", "--ssl-keyfile", files / "served.key")
    port = free_port()
    server = GaleServer(binary, "--engine-beat-timeout", 60, *flags, port=port)
    try:
        waited = run(
            binary, "chat", "--url", f"https://127.0.0.1:{port}/v1", "--insecure", "--wait", 120, "-q", "ready?"
        )
        assert waited.returncode == 0, waited.stderr + server.log_text()
        yield server
    finally:
        server.stop()


def run(binary, *arguments, **environment):
    return subprocess.run(
        [str(binary), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **environment},
    )


def chat(binary, port, *flags, host="127.0.0.1", **environment):
    return run(binary, "chat", "--url", f"https://{host}:{port}/v1", "-q", QUESTION, *flags, **environment)


def check_refusal(told, words):
    assert told.returncode == 1 and told.stderr.count("\n") == 1, told.stderr
    assert words in told.stderr and not told.stdout


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_chat_believes_who_it_is_told_to(binary, secure, files, host):
    said = chat(binary, secure.port, "--ca-file", files / "served.pem", host=host)
    assert said.returncode == 0 and "8000" in said.stdout, said.stderr


def test_whom_the_system_trusts_is_trusted(binary, secure, files):
    said = chat(binary, secure.port, SSL_CERT_FILE=str(files / "served.pem"))
    assert said.returncode == 0 and "8000" in said.stdout, said.stderr


def test_nobody_is_believed_by_default(binary, secure):
    told = chat(binary, secure.port)
    check_refusal(told, UNTRUSTED)
    assert ADVICE in told.stderr and f"127.0.0.1:{secure.port}" in told.stderr


def test_another_signer_is_not_enough(binary, secure, files):
    check_refusal(chat(binary, secure.port, "--ca-file", files / "other.pem"), UNTRUSTED)


def test_a_certificate_of_another_name_is_refused(binary, files):
    pair = files / "named.pem", files / "named.key"
    make_certificate(*pair, "named", "-addext", "subjectAltName=DNS:elsewhere.example")
    port = free_port()
    server = GaleServer(binary, "--ssl-certfile", pair[0], "--ssl-keyfile", pair[1], port=port)
    try:
        address = f"https://127.0.0.1:{port}/v1"
        blind = run(binary, "chat", "--url", address, "--insecure", "--wait", 120, "-q", QUESTION)
        assert blind.returncode == 0, blind.stderr
        check_refusal(chat(binary, port, "--ca-file", pair[0]), UNTRUSTED + "IP address mismatch")
        check_refusal(chat(binary, port, "--ca-file", pair[0], host="localhost"), UNTRUSTED + "hostname mismatch")
    finally:
        server.stop()


def test_what_is_wrong_with_a_file_or_a_server_is_one_line(binary, secure, server, files):
    missing = chat(binary, secure.port, "--ca-file", files / "none.pem")
    assert missing.returncode in (2, 3) and "none.pem" in missing.stderr and missing.stderr.count("\n") == 1
    (files / "rubbish.pem").write_text("nothing\n")
    rubbish = chat(binary, secure.port, "--ca-file", files / "rubbish.pem")
    assert rubbish.returncode == 2 and "--ca-file" in rubbish.stderr and rubbish.stderr.count("\n") == 1
    check_refusal(chat(binary, server.port), "it does not speak TLS: is it http:// instead of https://?")
    plain = run(binary, "chat", "--url", f"http://127.0.0.1:{secure.port}/v1", "-q", QUESTION)
    check_refusal(plain, "this port speaks HTTPS, not HTTP")


def test_bench_measures_over_tls(binary, secure, files):
    flags = ("--num-prompts", 6, "--max-concurrency", 3, "--random-input-len", 32, "--random-output-len", 8)
    address = ("--base-url", f"https://127.0.0.1:{secure.port}")
    measured = run(binary, "bench", "serve", *address, "--ca-file", files / "served.pem", *flags)
    assert measured.returncode == 0, measured.stderr
    figures = dict(line.rsplit(":", 1) for line in measured.stdout.splitlines() if ":" in line)
    assert int(figures["Successful requests"]) == 6 and int(figures["Total generated tokens"]) == 48
    check_refusal(run(binary, "bench", "serve", *address, *flags), UNTRUSTED)


def test_doctor_asks_over_tls(binary, secure, files):
    address = ("--url", f"https://127.0.0.1:{secure.port}")
    told = run(binary, "doctor", *address, "--ca-file", files / "served.pem")
    assert "no server was asked" not in told.stdout
    assert UNTRUSTED in run(binary, "doctor", *address).stdout


def ask_page(page):
    body = {"messages": [{"role": "user", "content": QUESTION}], "max_tokens": 20}
    return page.request("POST", "/v1/chat/completions", body), page.request(
        "POST", "/v1/chat/completions", {**body, "stream": True}
    )


def test_the_page_passes_on_over_tls(binary, secure, files):
    with GaleUi(binary, f"https://127.0.0.1:{secure.port}", "--ca-file", files / "served.pem") as page:
        whole, stream = ask_page(page)
        assert whole.status == 200 and whole.json_body()["choices"]
        assert stream.status == 200 and stream.body.endswith(b"data: [DONE]\n\n")
        large = page.request("POST", "/tokenize", {"prompt": "gale " * 50_000})
        assert len(large.json_body()["tokens"]) > 10_000


def test_the_page_says_whom_it_does_not_believe(binary, secure, server, files):
    with GaleUi(binary, f"https://127.0.0.1:{secure.port}") as page:
        for answer in ask_page(page):
            error = json.loads(answer.body)["error"]
            assert answer.status == 502 and UNTRUSTED in error["message"] and error["code"] == "api_unreachable"
    with GaleUi(binary, f"https://127.0.0.1:{server.port}") as page:
        assert b"does not speak TLS" in ask_page(page)[0].body
    with GaleUi(binary, f"https://127.0.0.1:{secure.port}", "--insecure") as page:
        assert ask_page(page)[0].status == 200

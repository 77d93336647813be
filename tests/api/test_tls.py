"""HTTPS and secure WebSockets: what they carry, whom they refuse, certificates that change under open connections."""

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time

import openai
import pytest
from certificates import make_certificate
from gale_server import NANO_FLASH, GaleServer
from killing import wait_for
from sdk import sdk

websockets = sdk("websockets")
from websockets.sync.client import connect  # noqa: E402

QUESTION = [{"role": "user", "content": "Which port does the gale API use by default?"}]
PATIENCE_S = 120


def make_files(folder, name):
    """A certificate for 127.0.0.1; the paths of it and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    make_certificate(certificate, key, name, "-addext", "subjectAltName=IP:127.0.0.1")
    return certificate, key


class TlsServer(GaleServer):
    """Asked over TLS only; trusts the certificates it was given."""

    def __init__(self, binary, certificate, key, *flags, **options):
        super().__init__(
            binary,
            "--ssl-certfile",
            certificate,
            "--ssl-keyfile",
            key,
            "--engine-beat-timeout",
            60,
            *flags,
            **options,
        )
        self.trusted = ssl.create_default_context(cafile=certificate)

    def open(self, context=None):
        return http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=PATIENCE_S, context=context or self.trusted
        )

    def request(self, method, path, body=None, headers=None, timeout=PATIENCE_S):
        connection = self.open()
        connection.request(
            method,
            path,
            json.dumps(body) if body is not None else None,
            {"Content-Type": "application/json", **(headers or {})},
        )
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    def raw(self, context=None):
        return (context or self.trusted).wrap_socket(
            socket.create_connection(("127.0.0.1", self.port), PATIENCE_S), server_hostname="127.0.0.1"
        )

    def common_name(self):
        """Whose certificate new connections get."""
        blind = ssl._create_unverified_context()
        with self.raw(blind) as stream:
            text = ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True))
        return subprocess.run(
            ["openssl", "x509", "-noout", "-subject"], input=text, capture_output=True, text=True, check=True
        ).stdout.strip()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_files(tmp_path_factory.mktemp("tls"), "first")


@pytest.fixture(scope="module")
def secure(binary, files):
    with TlsServer(binary, *files) as running:
        yield running


def read_all(stream):
    data = b""
    while piece := stream.recv(65536):
        data += piece
    return data


def test_an_sdk_chats_and_streams(secure):
    client = openai.OpenAI(
        base_url=f"https://127.0.0.1:{secure.port}/v1",
        api_key="x",
        max_retries=0,
        http_client=openai.DefaultHttpxClient(verify=secure.trusted),
    )
    ask = {"model": "nano-flash", "messages": QUESTION, "max_tokens": 40, "temperature": 0}
    whole = client.chat.completions.create(**ask).choices[0].message
    parts = [chunk.choices[0].delta for chunk in client.chat.completions.create(stream=True, **ask) if chunk.choices]
    assert "".join(part.content or "" for part in parts) == (whole.content or "")
    assert f"Starting gale 0.1.0 server on https://127.0.0.1:{secure.port}" in secure.log_text()


def test_large_bodies_and_kept_connections(secure):
    connection = secure.open()
    for _ in range(3):
        body = json.dumps({"prompt": "gale " * 20_000})
        connection.request("POST", "/tokenize", body, {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        assert answer["count"] == len(answer["tokens"]) > 10_000


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_protocol(secure, files, version):
    context = ssl.create_default_context(cafile=files[0])
    context.minimum_version = context.maximum_version = version
    context.set_alpn_protocols(["h2", "http/1.1"])
    with secure.raw(context) as stream:
        assert stream.selected_alpn_protocol() == "http/1.1"
        stream.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert read_all(stream).startswith(b"HTTP/1.1 200 OK")  # and an end that TLS vouches for: a cut would raise


def test_old_versions_are_refused(secure):
    context = ssl._create_unverified_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(OSError):
        secure.raw(context)
    assert secure.get("/live").status == 200


def test_plain_http_is_told_what_is_wrong(secure):
    with socket.create_connection(("127.0.0.1", secure.port), PATIENCE_S) as plain:
        plain.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = read_all(plain)
    assert answer.startswith(b"HTTP/1.1 400") and answer.endswith(b"\r\n\r\nthis port speaks HTTPS, not HTTP.\n")


def test_a_handshake_that_never_comes_and_one_that_stops_are_cut(secure):
    begin = time.monotonic()  # before the server can begin to count
    with socket.create_connection(("127.0.0.1", secure.port), PATIENCE_S) as silent, socket.create_connection(
        ("127.0.0.1", secure.port), PATIENCE_S
    ) as half:
        half.sendall(b"\x16\x03\x01\x02\x00\x01")
        assert silent.recv(1) == b"" and half.recv(1) == b""
        assert time.monotonic() - begin > 5, "cut before the limit of 10 s"


def test_garbage_instead_of_a_handshake_harms_nobody(secure):
    for garbage in (b"\x00" * 100, os.urandom(1000), b"\x16\x03\x01\xff\xff" + b"A" * 70000, b"SSH-2.0-x\r\n"):
        with socket.create_connection(("127.0.0.1", secure.port), PATIENCE_S) as stream:
            try:
                stream.sendall(garbage)
                while stream.recv(4096):
                    pass
            except OSError:
                pass
    assert secure.get("/live").status == 200


def test_limits_of_http_hold(secure):
    with secure.raw() as stream:  # a head that drips
        stream.sendall(b"GET /live HTTP/1.1\r\nHost: x\r\nX-A: ")
        assert b"408 Request Timeout" in read_all(stream)
    with secure.raw() as stream:
        stream.sendall(
            b"GET /live HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % i for i in range(200)) + b"\r\n"
        )
        assert b" 431 " in read_all(stream)[:20]
    with secure.raw() as stream:
        stream.sendall(
            b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        assert read_all(stream).startswith(b"HTTP/1.1 400")


def test_a_client_that_leaves_frees_its_place(secure):
    ask = {"messages": QUESTION, "max_tokens": 3000, "ignore_eos": True, "stream": True}
    connection = secure.open()
    connection.request("POST", "/v1/chat/completions", json.dumps(ask), {"Content-Type": "application/json"})
    assert connection.getresponse().read(20)
    connection.sock.close() if connection.sock else None
    connection.close()
    wait_for(
        lambda: json.loads(secure.get("/load").body)["server_load"] == 0,
        "the request goes on without its client",
        PATIENCE_S,
    )


def test_web_sockets(secure):
    with connect(f"wss://127.0.0.1:{secure.port}/v1/chat/completions", ssl=secure.trusted) as stream:
        stream.send(json.dumps({"request_id": "a", "messages": QUESTION, "max_tokens": 20}))
        while (message := json.loads(stream.recv(timeout=PATIENCE_S))).get("type") != "done":
            assert message["request_id"] == "a"


def replace(pair, files):
    for new, old in zip(pair, files, strict=True):
        shutil.copy(new, old.with_suffix(".new"))
        old.with_suffix(".new").rename(old)


def test_sighup_changes_the_certificate_and_cuts_nobody(binary, tmp_path):
    files = make_files(tmp_path, "served")
    second = make_files(tmp_path, "second")
    with TlsServer(binary, *files) as server:
        kept = server.open()
        kept.request("GET", "/live")
        assert kept.getresponse().read()
        assert server.common_name().endswith("served")
        replace(second, files)
        server.trusted.load_verify_locations(second[0])
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: server.common_name().endswith("second"), "SIGHUP changed nothing", PATIENCE_S)
        kept.request("GET", "/live")
        assert kept.getresponse().status == 200  # over the old handshake
        files[1].write_text("no key")
        server.process.send_signal(signal.SIGHUP)
        wait_for(
            lambda: "SIGHUP: the old certificate stays: --ssl-keyfile" in server.log_text(),
            "a broken key is not told",
            PATIENCE_S,
        )
        assert server.common_name().endswith("second") and server.get("/live").status == 200


def test_changed_files_are_noticed_if_asked_for(binary, tmp_path):
    files = make_files(tmp_path, "served")
    second = make_files(tmp_path, "second")
    with TlsServer(binary, *files, "--enable-ssl-refresh") as server:
        replace(second, files)
        wait_for(lambda: server.common_name().endswith("second"), "new files were not noticed", PATIENCE_S)


def broken(tmp_path, what):
    certificate, key = make_files(tmp_path, "good")
    other_key = make_files(tmp_path, "other")[1]
    rubbish, locked = tmp_path / "rubbish", tmp_path / "locked.key"
    rubbish.write_text("nothing\n")
    subprocess.run(["openssl", "pkey", "-in", key, "-aes256", "-passout", "pass:x", "-out", locked], check=True)
    return {
        "no key": (["--ssl-certfile", certificate], "TLS needs both --ssl-certfile and --ssl-keyfile"),
        "no certificate": (["--ssl-keyfile", key], "TLS needs both --ssl-certfile and --ssl-keyfile"),
        "another's key": (
            ["--ssl-certfile", certificate, "--ssl-keyfile", other_key],
            f"--ssl-keyfile {other_key} is not the key of",
        ),
        "a locked key": (["--ssl-certfile", certificate, "--ssl-keyfile", locked], "the key has a passphrase"),
        "a rubbish key": (
            ["--ssl-certfile", certificate, "--ssl-keyfile", rubbish],
            f"--ssl-keyfile {rubbish}: no key in PEM form",
        ),
        "a rubbish certificate": (
            ["--ssl-certfile", rubbish, "--ssl-keyfile", key],
            f"--ssl-certfile {rubbish}: no certificate in PEM",
        ),
        "a missing file": (["--ssl-certfile", tmp_path / "none.pem", "--ssl-keyfile", key], "none.pem"),
        "unknown ciphers": (
            ["--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ciphers", "NONSENSE"],
            "--ssl-ciphers NONSENSE",
        ),
    }[what]


@pytest.mark.parametrize(
    "what",
    [
        "no key",
        "no certificate",
        "another's key",
        "a locked key",
        "a rubbish key",
        "a rubbish certificate",
        "a missing file",
        "unknown ciphers",
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_at_the_start(binary, tmp_path, what):
    flags, words = broken(tmp_path, what)
    run = subprocess.run(
        [binary, "serve", NANO_FLASH, "--host", "127.0.0.1", "--port", "0", *flags],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert run.returncode in (2, 3), run.stderr
    assert words in run.stderr + run.stdout

"""Downloads through a proxy, as HTTPS_PROXY, HTTP_PROXY and NO_PROXY name it."""

import base64
import ssl

import pytest
from certificates import make_certificate
from fake_hub import FakeHub
from fake_proxy import FakeProxy
from test_hub import SHARDS, SMALL, check_refusal, check_whole, download


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def download_through(binary, hub, home, **variables):
    bare = dict.fromkeys(("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"), "")
    return download(binary, hub, home, **(bare | variables))


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_the_hub_and_its_store_are_asked_through_the_proxy(binary, home, variable):
    with FakeHub(SMALL) as hub, FakeProxy() as proxy:
        told = download_through(binary, hub, home, **{variable: f"http://{proxy.address}"})
        assert told.returncode == 0, told.stderr
        check_whole(home)
        targets = [target for _, target, _ in proxy.requests]
        assert len(targets) == len(hub.requests) + len(hub.store_requests)
        assert {target.rpartition("/")[2] for target in targets if "/store/" in target} == {
            f"{name}?signature=secret" for name in SHARDS
        }


def test_a_tunnel_for_https_knows_the_hub_by_its_certificate(binary, home, tmp_path):
    certificate, key = tmp_path / "hub.pem", tmp_path / "hub.key"
    make_certificate(certificate, key, "localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    password = "Basic " + base64.b64encode(b"me@here:p:w").decode()
    with FakeHub(SMALL, tls=context) as hub, FakeProxy(password) as proxy:
        address = f"http://me%40here:p:w@{proxy.address}/"
        told = download_through(binary, hub, home, HTTPS_PROXY=address, SSL_CERT_FILE=str(certificate))
        assert told.returncode == 0, told.stderr
        check_whole(home)
        places = {("CONNECT", f"127.0.0.1:{hub.hub.server_port}"), ("CONNECT", f"localhost:{hub.store.server_port}")}
        assert {(method, target) for method, target, _ in proxy.requests} == places


@pytest.mark.parametrize("none", ["*", "example.com, 127.0.0.1,.localhost"])
def test_hosts_of_no_proxy_are_asked_directly(binary, home, none):
    with FakeHub(SMALL) as hub, FakeProxy() as proxy:
        told = download_through(binary, hub, home, HTTP_PROXY=proxy.address, NO_PROXY=none)
        assert told.returncode == 0, told.stderr
        assert not proxy.requests


def test_what_is_wrong_with_a_proxy_is_said_without_its_password(binary, home):
    with FakeHub(SMALL) as hub, FakeProxy("Basic other") as proxy:
        for address, words in (
            ("socks5://me:secret@127.0.0.1:1", ("HTTP_PROXY", "socks5")),
            ("http://me:secret@:x", ("HTTP_PROXY",)),
        ):
            told = download_through(binary, hub, home, HTTP_PROXY=address)
            check_refusal(told, 2, *words)
            assert "secret" not in told.stderr
        told = download_through(binary, hub, home, HTTP_PROXY=f"http://me:secret@{proxy.address}")
        assert told.returncode == 3 and "407" in told.stderr and "secret" not in told.stderr
        assert not hub.requests

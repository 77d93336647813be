"""Who may ask the page's process for what, without a browser in between."""

import http.client
import json

import pytest
from gale_ui import GaleUi

CHAT = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
PATH = "/v1/chat/completions"


def code_of(response):
    return response.status, json.loads(response.body)["error"]["code"]


def test_the_page_brings_its_policy_and_may_be_kept_by_its_digest(ui):
    page = ui.request("GET", "/")
    policy = page.headers["Content-Security-Policy"]
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "font-src 'self'",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "frame-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
    ):
        assert rule in policy
    assert "unsafe" not in policy
    for path in ("/", "/ui/state", "/v1/models"):
        headers = ui.request("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cross-Origin-Opener-Policy"] == headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "camera=()" in headers["Permissions-Policy"], path
    assert page.headers["Cache-Control"] == "no-cache"
    assert ui.request("GET", "/", headers={"If-None-Match": page.headers["ETag"]}).status == 304
    script = page.body.decode().split('<script type="module" src="')[1].split('"')[0]
    packed = ui.request("GET", script, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and "immutable" in packed.headers["Cache-Control"]
    assert ui.request("GET", script).body[:2] != packed.body[:2]


def test_the_proxy_passes_whole_answers_and_streams(ui):
    whole = ui.request("POST", PATH, CHAT)
    assert whole.status == 200 and whole.headers["Cache-Control"] == "no-store"
    assert whole.json_body()["choices"][0]["finish_reason"]
    stream = ui.request("POST", PATH, {**CHAT, "stream": True})
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    assert stream.body.rstrip().endswith(b"data: [DONE]")


def test_a_stream_is_passed_on_event_by_event(ui):
    connection = http.client.HTTPConnection("127.0.0.1", ui.port, timeout=120)
    body = {"messages": [{"role": "user", "content": "a slow answer please"}], "stream": True, "max_tokens": 2000}
    connection.request("POST", PATH, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    pieces = [response.read1(65536) for _ in range(5)]
    assert all(pieces) and b"[DONE]" not in b"".join(pieces)
    connection.close()


@pytest.mark.parametrize(
    "host, is_allowed",
    [
        ("127.0.0.1:7860", True),
        ("localhost", True),
        ("[::1]:7860", True),
        ("192.0.2.7", True),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:80", False),
    ],
)
def test_a_name_that_is_not_ours_is_refused(ui, host, is_allowed):
    for path in ("/", "/ui/state", "/v1/models"):
        response = ui.request("GET", path, headers={"Host": host})
        assert (response.status == 200) == is_allowed
        assert is_allowed or code_of(response) == (403, "host_not_allowed")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
def test_requests_of_other_origins_are_refused(ui, headers):
    assert code_of(ui.request("POST", PATH, CHAT, headers)) == (403, "cross_origin")
    assert code_of(ui.request("GET", "/v1/models", headers=headers)) == (403, "cross_origin")


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_could_send_is_refused(ui, kind):
    assert code_of(ui.request("POST", PATH, json.dumps(CHAT).encode(), {"Content-Type": kind})) == (
        415,
        "unsupported_media_type",
    )


@pytest.mark.parametrize(
    "path",
    [
        "/v1/completions",
        "/v1/embeddings",
        "/../etc/passwd",
        "/assets/../index.html",
        "/v1/models/../../metrics/x",
        "/docs",
        "/ui/",
    ],
)
def test_only_what_the_page_needs_is_passed_on(ui, path):
    assert ui.request("GET", path).status == 404


def test_the_key_stays_on_the_server(binary, script):
    from gale_server import GaleServer

    with GaleServer(binary, "--scripted", script, "--api-key", "sesame-5772") as api:
        with GaleUi(binary, api.base_url, "--api-key", "sesame-5772") as page:
            assert page.request("POST", PATH, CHAT).status == 200
            answers = [page.request("GET", path) for path in ("/", "/ui/state", "/v1/models", "/health")]
            assert all(b"sesame-5772" not in one.body and "sesame-5772" not in str(one.headers) for one in answers)
            assert "sesame-5772" not in page.log_text()
        with GaleUi(binary, api.base_url) as page:
            assert (
                page.request("POST", PATH, CHAT, {"Authorization": "Bearer sesame-5772"}).status == 401
            )  # a browser's own key is not passed on


def test_an_api_that_is_not_there_is_named(binary):
    with GaleUi(binary, "http://127.0.0.1:9") as page:
        assert code_of(page.request("GET", "/v1/models")) == (502, "api_unreachable")
        assert page.request("GET", "/").status == 200


def test_a_password_is_asked_for_and_proven_by_a_cookie(binary, api):
    with GaleUi(binary, api.base_url, "--password", "open sesame") as page:
        assert page.request("GET", "/").status == 200
        assert page.request("GET", "/ui/state").json_body() | {"assets": 0, "version": 0, "limits": 0} == {
            "version": 0,
            "assets": 0,
            "limits": 0,
            "has_password": True,
            "is_logged_in": False,
        }
        assert code_of(page.request("POST", PATH, CHAT)) == (401, "password_needed")
        assert code_of(page.request("POST", "/ui/login", {"password": "open"})) == (401, "wrong_password")
        right = page.request("POST", "/ui/login", {"password": "open sesame"})
        cookie = right.headers["Set-Cookie"]
        assert right.status == 204 and "HttpOnly" in cookie and "SameSite=Strict" in cookie
        proof = {"Cookie": "other=1; " + cookie.split(";")[0]}
        assert page.request("POST", PATH, CHAT, proof).status == 200
        page.stop()
        page.start()
        with page:  # nothing was kept, and the cookie still proves it
            assert page.request("POST", PATH, CHAT, proof).status == 200
            forged = {"Cookie": cookie.split(";")[0][:-1] + ("0" if cookie.split(";")[0][-1] != "0" else "1")}
            assert page.request("POST", PATH, CHAT, forged).status == 401


def test_guessing_is_slowed_down(binary, api):
    with GaleUi(binary, api.base_url, "--password", "open sesame") as page:
        codes = [code_of(page.request("POST", "/ui/login", {"password": str(i)})) for i in range(11)]
        assert codes[-1] == (429, "too_many_tries")
        assert code_of(page.request("POST", "/ui/login", {"password": "open sesame"})) == (429, "too_many_tries")


def test_an_address_that_others_reach_gets_a_password(binary, api):
    with GaleUi(binary, api.base_url, "--host", "0.0.0.0") as page:
        assert page.request("GET", "/ui/state").json_body()["has_password"]
        assert "asks for a password, made for this run: " in page.log_text()
    with GaleUi(binary, api.base_url, "--host", "0.0.0.0", "--no-protected-mode") as page:
        assert not page.request("GET", "/ui/state").json_body()["has_password"]

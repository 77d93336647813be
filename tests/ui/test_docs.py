"""/docs of the API: Swagger UI from the program itself, what is tried there, the table of errors."""

import json
import urllib.parse

import pytest
from gale_server import GaleServer


@pytest.fixture
def docs(browser, api):
    tab = browser.page(api.base_url + "/docs")
    tab.wait("document.documentElement.dataset.ready === 'yes' && document.querySelector('.opblock')", timeout=120)
    yield tab
    browser.drain()
    tab.close()
    assert tab.troubles == [] and tab.dialogs == []


def open_chat(docs, example):
    """The operation of chats, with one of its examples in the box."""
    operation = (
        "[...document.querySelectorAll('.opblock-post')].find((one) => "
        "one.querySelector('.opblock-summary-path').dataset.path === '/v1/chat/completions')"
    )
    docs.wait(operation)
    docs.run(f"{operation}.id = 'chat'")
    docs.click("#chat .opblock-summary-control")
    docs.wait("document.querySelector('#chat .examples-select-element')")
    docs.run("""(() => { const box = document.querySelector('#chat .examples-select-element');
        Object.getOwnPropertyDescriptor(HTMLSelectElement.prototype, 'value').set.call(box, %s);
        box.dispatchEvent(new Event('change', {bubbles: true})); })()""" % json.dumps(example))
    return "#chat"


def test_the_table_of_errors_begins_with_what_people_look_up(docs):
    rows = docs.run("[...document.querySelectorAll('.info table tr')].map((row) => row.innerText.split('\\t'))")
    assert rows[0] == ["status", "code", "cause", "what to do", "Retry-After"]
    assert [row[0] for row in rows[1:3]] == ["429", "503"] and [row[4] for row in rows[1:3]] == ["yes", "yes"]
    assert len(rows) > 20 and all(all(cell.strip() for cell in row[:4]) for row in rows)


def test_nothing_is_asked_of_anybody_else(docs, api):
    docs.browser.drain()
    own = urllib.parse.urlsplit(api.base_url).netloc
    foreign = [url for url in docs.requests if urllib.parse.urlsplit(url).netloc not in ("", own)]
    assert foreign == [] and any(url.endswith("/openapi.json") for url in docs.requests)


def test_a_chat_can_be_tried(docs):
    chat = open_chat(docs, "A chat")
    docs.click(f"{chat} .execute")
    docs.wait(f"document.querySelector('{chat} .live-responses-table .response-col_status')", timeout=120)
    shown = docs.run(f"document.querySelector('{chat} .live-responses-table').innerText")
    assert "200" in shown and "A short answer." in shown and "chat.completion" in shown


def test_a_stream_is_shown_as_it_comes(docs):
    chat = open_chat(docs, "A stream")
    docs.click(f"{chat} .execute")
    docs.wait("document.getElementById('stream-title').textContent.endsWith('complete')", timeout=120)
    shown = docs.run("document.getElementById('stream-text').textContent")
    assert shown.count("data: ") > 3 and "chat.completion.chunk" in shown and shown.rstrip().endswith("data: [DONE]")
    docs.click("#stream-close")
    assert docs.run("document.getElementById('stream').hidden")


def test_a_stream_can_be_stopped_while_it_comes(docs):
    ask = {"messages": [{"role": "user", "content": "a slow answer please"}], "stream": True}
    options = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": json.dumps(ask)}
    docs.run(f"streamingFetch('/v1/chat/completions', {json.dumps(options)}).then(() => true)")
    docs.wait("document.getElementById('stream-text').textContent.split('data: ').length > 4", timeout=120)
    assert not docs.run("document.getElementById('stream-title').textContent.includes(': ')")
    docs.click("#stream-stop")
    docs.wait("document.getElementById('stream-title').textContent.endsWith(': stopped')")
    assert "[DONE]" not in docs.run("document.getElementById('stream-text').textContent")


def test_a_page_and_its_files_are_guarded_as_they_should_be(binary, script):
    with GaleServer(binary, "--scripted", script, "--api-key", "secret") as closed:
        for path in ("/docs", "/docs/docs.js", "/openapi.json"):
            assert closed.get(path).status == 401
        page = closed.get("/docs", headers={"X-Api-Key": "secret"})
        assert page.status == 200 and "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        assert closed.get("/docs/../server.key", headers={"X-Api-Key": "secret"}).status == 404
        assert closed.get("/docs/none.js", headers={"X-Api-Key": "secret"}).status == 404
    with GaleServer(binary, "--scripted", script, "--api-key", "secret", "--public-docs") as opened:
        for path in ("/docs", "/docs/docs.js", "/docs/swagger-ui-bundle.js", "/openapi.json"):
            assert opened.get(path).status == 200
        assert opened.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]}).status == 401
        kept = opened.get("/docs/docs.js").headers["ETag"]
        assert opened.get("/docs/docs.js", headers={"If-None-Match": kept}).status == 304

"""Other sites' pages in the same browser cannot use the page's server, by any name."""

import http.server
import threading

import pytest
from killing import wait_for

ATTACK = """<!doctype html><title>evil</title>
<form id="f" method="post" enctype="text/plain" target="out" action="{url}/v1/chat/completions">
<input name='{{"messages":[{{"role":"user","content":"' value='steal"}}]}}'></form>
<iframe name="out"></iframe><iframe id="framed" src="{url}/"></iframe><img src="{url}/metrics">
<script>
window.read = [];
document.getElementById('f').submit();
const body = JSON.stringify({{messages: [{{role: 'user', content: 'steal'}}]}});
const tries = [
  fetch('{url}/v1/chat/completions', {{method: 'POST', mode: 'no-cors', body}}),
  fetch('{url}/v1/chat/completions', {{method: 'POST', headers: {{'Content-Type': 'application/json'}}, body}}),
  fetch('{url}/ui/extract', {{method: 'POST', headers: {{'X-Gale-Page': '1'}}, body: 'x'}}),
  fetch('{url}/v1/models'), fetch('{url}/ui/state'), fetch('{url}/docs/guide'),
].map((one) => one.then((response) => response.text()).then((text) => text && window.read.push(text), () => 0));
Promise.all(tries).then(() => {{ window.isOver = true; }});
</script>"""


@pytest.fixture
def evil(ui):
    """The port of a site that attacks `ui`."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(ATTACK.format(url=ui.url).encode())

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def num_answers(api):
    lines = api.get("/metrics").body.decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("vllm:request_success_total"))


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1"])
def test_another_site_gets_and_does_nothing(browser, ui, api, evil, host):
    wait_for(lambda: api.get("/load").json_body()["server_load"] == 0, "what other tests asked has ended")
    before = num_answers(api)
    page = browser.page()
    page.call("Page.navigate", {"url": f"http://{host}:{evil}/"})
    page.wait("window.isOver === true")
    page.run("new Promise((done) => setTimeout(done, 500))")
    assert page.run("window.read") == []
    assert num_answers(api) == before
    page.close()


def test_a_name_that_was_made_to_lead_here_is_refused(browser, ui):
    page = browser.page()
    page.call("Page.navigate", {"url": f"http://evil.example:{ui.port}/"})
    page.wait("document.body?.innerText.includes('host_not_allowed')")
    page.close()

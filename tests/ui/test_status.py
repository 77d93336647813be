"""The light at the top, and what the page does when its server goes and comes."""

import json
import os
import signal

from conftest import script_of
from gale_server import NANO_FLASH, GaleServer
from gale_ui import GaleUi
from killing import engine_of, held, wait_for
from test_chat import DONE, ask
from tokenizers import Tokenizer

LOOK = "document.dispatchEvent(new Event('visibilitychange'))"  # the page looks at once


def wait_for_light(page, colour, words):
    page.wait(f"({LOOK}, document.querySelector('.light.{colour}')?.textContent.includes({json.dumps(words)}))")
    assert page.run("document.querySelector('.light .icon') !== null")  # not by colour alone


def fake(page, path, status, body):
    """From now on the page hears this at `path`."""
    page.run(f"""(() => {{ const real = window.fetch;
        window.fetch = (url, ...rest) => String(url) === {json.dumps(path)}
          ? Promise.resolve(new Response({json.dumps(body)}, {{status: {status}}})) : real(url, ...rest); }})()""")


def test_the_light_goes_from_gone_to_loading_to_ready_and_over_a_dead_engine_back(browser, binary, tmp_path):
    script = tmp_path / "slow.json"
    tokenizer = Tokenizer.from_file(str(NANO_FLASH / "tokenizer.json"))
    script.write_text(json.dumps(script_of(tokenizer, {}, load_ms=6000)))
    api = GaleServer(binary, "--scripted", script)  # its process is there, its model is not yet
    try:
        with GaleUi(binary, api.base_url) as ui:
            page = browser.page(ui.url + "/")
            with api:
                wait_for_light(page, "green", "Ready")
                killed = engine_of(api.process.pid)
                os.kill(killed, signal.SIGKILL)
                wait_for(lambda: engine_of(api.process.pid) not in (None, killed), "the next engine is there")
                with held(engine_of(api.process.pid)):  # it loads until the page has been seen
                    wait_for_light(page, "yellow", "Loading")
                    assert "killed by signal 9" in page.run("document.querySelector('.light').textContent")
                wait_for_light(page, "green", "Ready")
            wait_for_light(page, "red", "Not reachable")
            page.close()
    finally:
        api.stop()


def test_the_light_tells_place_in_line_a_full_cache_and_a_drain(page):
    wait_for_light(page, "green", "Ready")
    fake(page, "/metrics", 200, 'vllm:num_requests_waiting{a="b"} 3\nvllm:num_requests_running 8\n')
    wait_for_light(page, "yellow", "3 waiting")
    fake(page, "/metrics", 200, "vllm:kv_cache_usage_perc 0.93\n")
    wait_for_light(page, "green", "memory 93 % full")
    fake(page, "/ready", 503, '{"status": "draining", "reason": "the server is shutting down"}')
    wait_for_light(page, "yellow", "Shutting down")
    fake(page, "/ready", 503, '{"status": "stalled", "reason": "no beat for 9 s"}')
    wait_for_light(page, "red", "no beat for 9 s")
    page.click(".light")
    page.wait("/next try in \\d/.test(document.querySelector('.menu')?.textContent ?? '')")


def test_the_front_killed_in_the_middle_of_an_answer_is_a_pause(browser, binary, script):
    """The next front knows nothing of the stream; the page has the text so far and lets it be continued."""
    with GaleServer(binary, "--scripted", script) as api, GaleUi(binary, api.base_url) as ui:
        page = browser.page(ui.url + "/")
        ask(page, "an answer at leisure", wait=False)
        page.wait("document.querySelectorAll('.answer .block').length > 5")
        api.process.send_signal(signal.SIGKILL)
        api.process.wait()
        page.wait("document.querySelector('.message-footer .numbers')?.textContent.startsWith('Connection lost')")
        before = page.run("document.querySelector('.answer').innerText")
        with GaleServer(binary, "--scripted", script, port=api.port):
            page.wait(DONE, 300)
            after = page.run("document.querySelector('.answer').innerText")
            assert after.startswith(before.rstrip()) and len(after) > len(before) + 1000
            assert not page.run("document.querySelector('.notice')")
            assert page.run("document.querySelectorAll('.bubble').length") == 1
        page.close()


def test_a_message_that_could_not_be_sent_is_sent_once(browser, binary, script, tmp_path):
    with GaleServer(binary, "--scripted", script) as api, GaleUi(binary, api.base_url) as ui:
        page = browser.page(ui.url + "/")
        page.wait("document.querySelector('.light.green')")
        ui.stop(signal.SIGKILL)
        ask(page, "is anybody there", wait=False)
        page.wait("document.querySelector('.notice.error .button')")
        ui.start()
        with ui:
            page.click(".notice.error .button")
            page.wait(f"{DONE} && !document.querySelector('.notice.error')")
            assert page.run("document.querySelectorAll('.bubble').length") == 1
            page.reload()
            page.wait("document.querySelectorAll('.message.user').length === 1")
            # The try that failed is still there, beside the one that went well.
            page.wait("document.querySelector('.message.assistant .branch-count')?.textContent === '2/2'")
        page.close()


def test_a_page_that_is_older_than_its_server_says_so(page):
    fake(page, "/ui/state", 200, '{"assets": "another"}')
    page.run("window.dispatchEvent(new Event('focus'))")
    page.wait("document.querySelector('.toast')?.textContent.includes('new version')")

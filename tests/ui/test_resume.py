"""A connection that breaks is not the end of an answer."""

import signal

from gale_ui import GaleUi
from killing import engine_of, held, wait_for
from test_chat import DONE, ask, num_finished

BLOCKS = "document.querySelectorAll('.answer .block').length"
# Whether the browser has noted which stream an answer comes from: then it is found again after a reload.
IS_NOTED = """new Promise((tell) => {
  const opening = indexedDB.open('gale', 1);
  opening.onsuccess = () => {
    const reading = opening.result.transaction('conversations').objectStore('conversations').getAll();
    reading.onsuccess = () => {
      opening.result.close();
      tell(reading.result.some((one) => Object.values(one.nodes).some((node) => node.stream?.id)));
    };
  };
})"""


def whole(page):
    """The numbers of the paragraphs that are shown, each once and in order."""
    shown = page.run(
        "[...document.querySelectorAll('.answer .block')]"
        ".map((one) => Number(/^Paragraph (\\d+)/.exec(one.textContent)?.[1]))"
    )
    return shown == list(range(len(shown))) and len(shown) == 150


def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(page):
    ask(page, "an answer at leisure", wait=False)
    page.wait(f"{BLOCKS} > 5")
    page.wait(IS_NOTED)
    page.reload()
    # The message is there again before its stream is: on a quick machine the answer may even be whole by then.
    page.wait(f"document.querySelector('.message.running') || {BLOCKS} >= 150", 180)
    page.wait(DONE, 300)
    assert whole(page)
    assert not page.run("document.querySelector('.notice.error')")


def test_a_reload_before_the_first_token_goes_on_with_the_answer(page, api):
    # Writes that wait for more to come never happen: as if the reload were quicker.
    page.run("window.setTimeout = ((real) => (f, ms) => ms === 400 ? 0 : real(f, ms))(window.setTimeout.bind(window))")
    with held(engine_of(api.process.pid)):
        ask(page, "an answer at leisure", wait=False)
        page.wait(IS_NOTED, 60)
        page.reload()
        page.wait("document.querySelector('.message.running')")
    page.wait(DONE, 300)
    assert whole(page)
    assert not page.run("document.querySelector('.notice.error')")


def test_the_page_server_killed_in_the_middle_of_an_answer_is_a_pause(browser, binary, api):
    with GaleUi(binary, api.base_url) as ui:
        page = browser.page(ui.url + "/")
        ask(page, "an answer at leisure", wait=False)
        page.wait(f"{BLOCKS} > 5")
        with held(engine_of(api.process.pid)):  # so that the answer has not come to its end meanwhile
            ui.stop(signal.SIGKILL)
            page.wait("document.querySelector('.message-footer .numbers')?.textContent.startsWith('Connection lost')")
        ui.start()
        page.wait(DONE, 300)
        assert whole(page)
        page.close()


def test_stopping_ends_a_stream_that_would_go_on_by_itself(page, api):
    before = num_finished(api, "abort")
    ask(page, "an answer at leisure", wait=False)
    page.wait(f"{BLOCKS} > 2")
    page.press("Escape")
    page.wait(DONE)
    wait_for(lambda: num_finished(api, "abort") == before + 1, "it is cancelled")

"""The page as a whole: what it loads, what it looks like to all kinds of people, how it tells the server's state."""

import hashlib
import os
import re
import signal
import time
from pathlib import Path

import pytest
from gale_server import ROOT, GaleServer
from gale_ui import GaleUi
from test_chat import DONE, ask

CACHE = Path.home() / ".cache" / "gale"


def axe_findings(page, axe):
    page.run(axe)
    # Colours of what is still fading in are others than those that people read.
    page.wait("""document.getAnimations().every((one) =>
        one.playState === 'finished' || one.effect.getComputedTiming().endTime === Infinity)""")
    found = page.run(
        """axe.run(document, {resultTypes: ['violations']}).then((result) => result.violations
        .filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => one.id + ': ' +
          one.nodes.map((node) => node.html.slice(0, 160)).join(' | ')))""",
        600,
    )
    return found


@pytest.fixture(scope="session")
def axe():
    lock = hashlib.sha256((ROOT / "web" / "package-lock.json").read_bytes()).hexdigest()[:16]
    return (CACHE / f"web-{lock}" / "node_modules" / "axe-core" / "axe.min.js").read_text()


def test_the_first_load_is_small_quick_and_asks_nobody_else(browser, ui, promised):
    page = browser.page(ui.url + "/")
    # Modules run before this event: from here on the page does what is asked of it.
    assert page.run("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd") < promised(1) * 1000
    time.sleep(0.5)
    browser.drain()
    own = [url for url in page.requests if url.startswith(ui.url + "/assets/") or url == ui.url + "/"]
    assert [url for url in page.requests if not url.startswith((ui.url, "data:", "blob:"))] == []
    sizes = {
        url: len(ui.request("GET", url.removeprefix(ui.url), headers={"Accept-Encoding": "gzip"}).body)
        for url in set(own)
    }
    assert sum(sizes.values()) <= 400_000, sizes
    assert not any("katex" in url for url in own)  # comes with the first formula
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_axe_finds_nothing_serious(page, axe, scheme, size):
    page.prefer(prefers_color_scheme=scheme)
    if size == "phone":
        page.resize(390, 844, is_phone=True)
    assert axe_findings(page, axe) == []
    ask(page, "please answer richly")
    page.wait(
        "document.querySelectorAll('.answer .katex').length > 5 && document.querySelectorAll('.hl-keyword').length > 3"
    )
    assert axe_findings(page, axe) == []
    for tab in range(4):
        if tab == 0:
            page.click("#head-right .icon-button")
        page.wait("document.querySelector('dialog')")
        page.run(f"document.querySelectorAll('.tabs button')[{tab}].click()")
        assert axe_findings(page, axe) == []


def test_a_phone_shows_everything_without_scrolling_sideways(page):
    page.resize(360, 640, is_phone=True)
    ask(page, "please answer richly")
    assert page.run(
        "document.documentElement.scrollWidth <= innerWidth && document.querySelector('#scroller').scrollWidth <= "
        "innerWidth"
    )
    assert page.run("document.querySelector('#sidebar').getBoundingClientRect().right <= 0")
    page.click(".open-sidebar")
    page.wait("document.querySelector('#sidebar').getBoundingClientRect().left >= 0")
    page.click(".chat-open")
    page.wait("document.querySelector('#sidebar').getBoundingClientRect().right <= 0")
    page.click("#head-right .icon-button")
    page.wait("document.querySelector('dialog')")
    page.run("document.querySelectorAll('.tabs button')[1].click()")
    cut = page.run("""(() => { const pen = document.createElement('canvas').getContext('2d');
        return [...document.querySelectorAll('.setting input.field')].filter((one) => {
          const style = getComputedStyle(one); pen.font = style.font;
          const room = one.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight);
          return pen.measureText(one.placeholder).width > room; }).map((one) => one.placeholder); })()""")
    assert cut == []  # the server's defaults can be read


def test_every_word_is_there_in_both_languages():
    words = {
        name: dict(
            re.findall(r"(?:^|\s)(\w+): '((?:[^'\\]|\\.)*)'", (ROOT / "web" / "js" / f"words-{name}.js").read_text())
        )
        for name in ("en", "zh")
    }
    assert words["en"].keys() == words["zh"].keys()
    for key in words["en"]:
        assert set(re.findall(r"\{\w+\}", words["en"][key])) == set(re.findall(r"\{\w+\}", words["zh"][key])), key
    code = "".join(
        path.read_text()
        for path in (ROOT / "web" / "js").glob("*.js")
        if not path.name.startswith(("words-", "i18n"))
    )
    used = set(re.findall(r"\bt\('(\w+)'", code))
    assert used - words["en"].keys() == set()
    assert len(used) > 100


def test_the_page_speaks_chinese(page):
    page.run("localStorage.setItem('gale-settings', JSON.stringify({language: 'zh-CN'}))")
    page.reload()
    assert page.run("document.documentElement.lang") == "zh-CN"
    assert page.run("document.querySelector('.new-chat').textContent") == "新对话"
    ask(page, "an autumn poem in chinese")
    page.click("#head-right .icon-button")
    page.wait("document.querySelector('dialog')")
    for tab in range(4):
        page.run(f"document.querySelectorAll('.tabs button')[{tab}].click()")
        shown = page.run("document.querySelector('.settings-frame').innerText")
        assert not re.search(r"\b(the|Settings|Theme|default|chats)\b", shown), shown


def test_the_keyboard_alone_is_enough(page):
    page.run("document.querySelector('#skip').focus()")
    page.press("Enter")
    page.wait("document.activeElement.id === 'message'")
    page.type("the first question")
    page.press("Enter")
    page.wait(DONE)
    seen = set()
    for _ in range(40):
        page.press("Tab")
        seen.add(page.run("document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"))
        assert page.run(
            "document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "
            "'none' "
            "|| document.activeElement.matches('textarea, .search, iframe')"
        )
    assert {"Copy", "Answer again", "Edit", "Settings", "New chat"} <= seen
    page.run("document.activeElement.blur()")
    page.press("?")
    page.wait("document.querySelector('dialog .keys')")
    page.press("Escape")
    page.wait("!document.querySelector('dialog')")


def test_the_light_goes_from_ready_to_gone_and_back(browser, binary, script):
    with GaleServer(binary, "--scripted", script) as api, GaleUi(binary, api.base_url) as ui:
        page = browser.page(ui.url + "/")
        page.wait("document.querySelector('.light.green')?.textContent === 'Ready'")
        api.process.send_signal(signal.SIGKILL)
        api.process.wait()
        page.wait("document.querySelector('.light.red')?.textContent.startsWith('Not reachable')")
        assert page.run("document.querySelector('.light .icon') !== null")  # not by colour alone
        with GaleServer(binary, "--scripted", script, port=api.port):
            page.wait("document.querySelector('.light.green')")
        page.close()


def test_an_error_is_shown_with_a_way_out(browser, binary):
    with GaleUi(binary, "http://127.0.0.1:9") as ui:
        page = browser.page(ui.url + "/")
        page.click("#message")
        page.wait("document.activeElement.id === 'message'")
        page.type("is anybody there")
        page.press("Enter")
        page.wait("document.querySelector('.notice.error')?.textContent.includes('gave no answer')")
        assert page.run("document.querySelector('.notice.error .button').textContent") == "Try again"
        page.close()


def test_an_engine_that_dies_is_a_pause_on_the_page(browser, binary, script):
    with GaleServer(binary, "--scripted", script) as api, GaleUi(binary, api.base_url) as ui:
        page = browser.page(ui.url + "/")
        ask(page, "a slow answer please", wait=False)
        page.wait("document.querySelectorAll('.answer .block').length > 2")
        os.kill(api.engine_pids()[0], signal.SIGKILL)
        at = page.run("document.querySelector('.answer').textContent.length")
        page.wait(f"document.querySelector('.answer').textContent.length > {at} + 200")
        page.press("Escape")
        page.wait(DONE)
        assert not page.run("document.querySelector('.notice.error')")
        page.close()


def test_a_password_is_asked_for_on_the_page(browser, binary, api):
    with GaleUi(binary, api.base_url, "--password", "open sesame") as ui:
        page = browser.page(ui.url + "/")
        page.wait("document.activeElement.matches('.login input')")
        page.type("wrong")
        page.press("Enter")
        page.wait("document.querySelector('.login .trouble').textContent")
        page.type("open sesame")
        page.press("Enter")
        page.wait("document.querySelector('.welcome')")
        ask(page, "the first question")
        page.reload()
        page.wait("document.querySelector('.message.assistant')")
        page.close()

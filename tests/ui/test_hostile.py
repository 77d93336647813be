"""A model's answer is hostile until shown otherwise: nothing in it runs, nothing in it reaches another host."""

from test_chat import ask


def test_hostile_markdown_runs_nothing_and_asks_nobody(page, ui):
    ask(page, "attack me with markdown")
    page.wait("document.querySelector('.answer').textContent.includes('The end of it.')")
    page.wait("document.querySelectorAll('.answer .katex, .answer .not-a-formula').length > 0")
    page.run("new Promise((done) => setTimeout(done, 500))")
    page.browser.drain()
    assert page.run("window.hacked ?? 0") == 0
    assert page.dialogs == []
    assert [url for url in page.requests if not url.startswith((ui.url, "blob:", "data:"))] == []
    assert (
        page.run(
            """[...document.querySelectorAll('.answer *')].filter((one) => [...one.attributes].some((attribute) =>
        attribute.name.startsWith('on') || /^\\s*(javascript|vbscript|data:text)/i.test(attribute.value))).length"""
        )
        == 0
    )
    forbidden = "script, iframe, object, embed, form, base, link, meta, style, video, svg a, input:not([type=checkbox]), [ping], [srcdoc], img[src^=http]"
    assert page.run(f"document.querySelectorAll('.answer :is({forbidden})').length") == 0
    assert page.run("document.querySelectorAll('#composer').length") == 1
    assert page.run(
        "[...document.querySelectorAll('.answer a')].every((one) => one.rel.includes('noopener') && "
        "/^https?:|^mailto:/.test(one.getAttribute('href')))"
    )
    # marks that are no attack are still there to read
    assert page.run("document.querySelector('.answer').textContent.includes('<script>window.hacked=10')")


def test_a_page_covered_by_an_answer_still_belongs_to_the_reader(page):
    ask(page, "attack me with markdown")
    assert page.run("document.elementFromPoint(innerWidth / 2, innerHeight - 60).closest('.composer') !== null")
    assert page.run(
        "Math.max(...[...document.querySelectorAll('.answer *')].map((one) => one.getBoundingClientRect().width)) <= "
        "innerWidth * 4"
    )


def test_nesting_without_end_stays_text(page):
    ask(page, "deep nesting of quotes")
    assert page.run("document.querySelector('.answer').textContent.includes('end of it')")


def test_names_of_chats_and_files_are_text(page):
    name = '<img src=x onerror="window.hacked=1">'
    ask(page, name)
    page.wait("document.querySelector('.chat-title')")
    assert page.run("document.querySelector('.chat-title').textContent") == name
    assert page.run("window.hacked ?? 0") == 0

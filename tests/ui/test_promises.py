"""What the page promises beyond a plain conversation: README.md of this folder lists it point by point."""

import json
import re

from test_chat import ANSWER, DONE, ask, texts
from test_page import ROOT

MODULES = """(async () => {
  const base = document.querySelector('script[type=module]').src.replace('main.js', '');
  const [generate, shared, chats, store, sources] = await Promise.all(
    ['generate.js', 'app-state.js', 'conversation.js', 'store.js', 'view-message.js'].map((one) => import(base + one)));
  const {state, settings} = shared;
  return %s;
})()"""
# What the page hands to the clipboard and to the browser's downloads is kept for the test instead.
LISTEN = """(() => {
  navigator.clipboard.writeText = async (text) => { window.copied = {'text/plain': text}; };
  navigator.clipboard.write = async ([item]) => {
    const all = {};
    for (const type of item.types) all[type] = await (await item.getType(type)).text();
    window.copied = all;
  };
  const real = URL.createObjectURL;
  URL.createObjectURL = (blob) => {
    blob.text().then((text) => { window.saved = {...window.saved, text}; });
    return real(blob);
  };
  HTMLAnchorElement.prototype.click = function () { window.saved = {...window.saved, name: this.download}; };
})()"""


def request_body(page, more=""):
    return page.run(MODULES % f"({more} generate.requestFor(state.current, chats.path(state.current)[0]))")


def choose(page, opener, label):
    page.click(opener)
    page.wait("document.querySelector('.menu')")
    page.run(
        f"[...document.querySelectorAll('.menu button')].find((one) => one.textContent === {json.dumps(label)}).click()"
    )


# ---- an answer -------------------------------------------------------------------------------------------------------


def test_a_selection_is_not_scrolled_away(page):
    ask(page, "a slow answer please", wait=False)
    page.wait("document.querySelectorAll('.answer .block').length > 3")
    page.run("getSelection().selectAllChildren(document.querySelector('.answer .block'))")
    blocks = page.run("document.querySelectorAll('.answer .block').length")
    at = page.run("document.querySelector('#scroller').scrollTop")
    page.wait(f"document.querySelectorAll('.answer .block').length > {blocks} + 4")
    assert page.run("document.querySelector('#scroller').scrollTop") == at
    assert page.run("getSelection().toString()").startswith("Paragraph 0")
    page.press("Escape")
    page.wait(DONE)


def test_a_stopped_answer_has_its_numbers(page):
    ask(page, "a slow answer please", wait=False)
    page.wait("document.querySelectorAll('.answer .block').length > 2")
    page.press("Escape")
    page.wait(DONE)
    numbers = page.run("document.querySelector('.message.assistant .numbers').textContent")
    prompt, output = re.match(r"(\d+) in, (\d+) out", numbers).groups()
    assert int(prompt) > 3 and int(output) > 20


def test_the_rate_is_shown_while_an_answer_is_written(page):
    ask(page, "a slow answer please", wait=False)
    page.wait("/^[\\d.,]+ tokens\\/s$/.test(document.querySelector('.message.running .numbers')?.textContent ?? '')")
    page.press("Escape")
    page.wait(DONE)


def test_thinking_is_sent_back_only_within_a_turn_of_tool_calls(page):
    ask(page, "please answer richly")
    messages = page.run(MODULES % "chats.messagesFor(state.current, chats.path(state.current).at(-1), '')")
    assert [one["role"] for one in messages] == ["user", "assistant"] and "reasoning_content" not in messages[1]
    with_tools = page.run(MODULES % """(() => { const node = chats.path(state.current).at(-1);
        const called = {...node, toolCalls: [{id: 'a', name: 'f', arguments: '{}'}]};
        const copy = {...state.current, nodes: {...state.current.nodes, [node.id]: called}};
        return chats.messagesFor(copy, copy.nodes[node.id], ''); })()""")
    assert "table" in with_tools[1]["reasoning_content"]


def test_one_question_is_one_request(page):
    ask(page, "please answer richly")
    page.browser.drain()
    asked = [re.sub(r"^http://[^/]+", "", url) for url in page.requests]
    assert asked.count("/v1/chat/completions") == 1  # no titles, no follow-ups behind anybody's back
    own = r"/($|assets/|ui/state$|ready$|metrics$|v1/models$|server_info$|v1/chat/completions$)|data:|blob:|about:"
    assert [path for path in asked if not re.match(own, path)] == []


def test_tool_calls_are_side_by_side_and_tell_how_long_they_took(page):
    page.run(MODULES % """(() => { const chat = state.current; shared.listed(chat);
        const user = chats.addNode(chat, null, {role: 'user', content: 'two tools'});
        chats.addNode(chat, user.id, {role: 'assistant', content: 'Both.', finish: 'tool_calls', toolCalls: [
          {id: 'a', name: 'get_weather', arguments: '{"city":"Paris"}'},
          {id: 'b', name: 'get_time', arguments: '{"city":"Rome"}'}]});
        shared.emit('change'); })()""")
    page.wait("document.querySelectorAll('.tool').length === 2")
    tops = page.run("[...document.querySelectorAll('.tool')].map((one) => one.getBoundingClientRect().top)")
    assert tops[0] == tops[1]
    assert texts(page, ".tool strong") == ["get_weather", "get_time"]
    assert json.loads(texts(page, ".tool pre")[1]) == {"city": "Rome"}
    assert page.run("document.querySelectorAll('.tool-result').length") == 0  # nothing runs before somebody says so
    page.click(".tool-box")
    page.type("18 degrees")
    page.click(".tool-send .button")
    page.wait("document.querySelectorAll('.tool-result').length === 2")
    assert page.run("/answered after [\\d.]+ s/.test(document.querySelector('.tool-result summary').textContent)")
    page.wait(DONE)


def test_the_developer_view_shows_the_prompt_as_the_model_saw_it(page):
    page.run("localStorage.setItem('gale-settings', JSON.stringify({developer: true}))")
    page.reload()
    ask(page, "the first question")
    page.run("document.querySelectorAll('.developer .chip')[2].click()")
    page.wait("document.querySelector('.developer-text').textContent.includes('<|user|>')")
    assert "the first question" in page.run("document.querySelector('.developer-text').textContent")


# ---- the context -----------------------------------------------------------------------------------------------------


def fill(page, share):
    """As if the last answer had filled so much of the context."""
    page.run(MODULES % f"""(() => {{ const node = chats.path(state.current).at(-1);
        node.numbers = {{...node.numbers, prompt: Math.round(32768 * {share}) - 10, output: 10}};
        shared.emit('change'); }})()""")


def test_the_context_bar_warns_and_offers_a_way_on(page):
    ask(page, "the first question")
    ask(page, "an autumn poem in chinese")
    page.wait("document.querySelector('.context.low')")
    fill(page, 0.75)
    page.wait("document.querySelector('.context.high')?.textContent.includes('nearly full')")
    fill(page, 0.99)
    page.wait("document.querySelector('.context.full')?.textContent.includes('no longer fits')")
    page.click(".context .link-button")
    page.wait("document.querySelector('.dropped')")
    sent = page.run(MODULES % "chats.messagesFor(state.current, chats.path(state.current).at(-1), '')")
    assert [one["content"] for one in sent][:1] == ["an autumn poem in chinese"]
    assert page.run("document.querySelectorAll('.bubble').length") == 2  # they stay to be read


def test_a_full_chat_goes_on_in_a_new_one_with_its_summary(page):
    ask(page, "the first question")
    fill(page, 0.95)
    page.click(".context .link-button + .link-button")
    page.wait("document.querySelector('.composer .file-name')?.textContent === 'Summary of the first question.md'")
    assert page.run("document.querySelectorAll('.message').length") == 0
    page.click("#message")
    page.type("go on please")
    page.press("Enter")
    page.wait(DONE)
    assert "A short answer." in page.run(MODULES % "chats.contentOf(chats.path(state.current)[0])")
    assert page.run("document.querySelectorAll('.chat').length") == 2


# ---- settings --------------------------------------------------------------------------------------------------------


def set_field(page, label, value):
    page.run(f"""(() => {{ const field = [...document.querySelectorAll('.setting')]
        .find((one) => one.textContent.startsWith({json.dumps(label)}))
        .querySelector('input, textarea, select');
        if (field.type === 'checkbox') field.click();
        else {{ field.value = {json.dumps(value)}; field.dispatchEvent(new Event('change')); }} }})()""")


def open_model_settings(page):
    page.click("#head-right .icon-button")
    page.wait("document.querySelector('dialog')")
    page.run("document.querySelectorAll('.tabs button')[1].click()")


def test_settings_show_the_servers_defaults_and_reach_the_request(page):
    ask(page, "the first question")
    open_model_settings(page)
    defaults = page.run("[...document.querySelectorAll('.setting input.field')].map((one) => one.placeholder)")
    assert defaults[:3] == ["server’s default: 0.3", "server’s default: 0.9", "server’s default: 0"]
    for label, value in [
        ("System prompt", "Be brief."),
        ("Top p", "0.5"),
        ("Top k", "40"),
        ("Min p", "0.1"),
        ("Presence", "0.2"),
        ("Frequency", "-0.2"),
        ("Repetition", "1.1"),
        ("Most tokens", "300"),
        ("Seed", "7"),
        ("Stop at", "END\nSTOP"),
        ("Effort", "high"),
        ("Answer in JSON", ""),
        ("More fields", '{"logprobs": true}'),
        ("Temperature", "3"),
    ]:
        set_field(page, label, value)
    assert page.run("document.querySelector('[aria-invalid=true]').value") == "3"
    body = request_body(page)
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    wanted = {
        "top_p": 0.5,
        "top_k": 40,
        "min_p": 0.1,
        "presence_penalty": 0.2,
        "frequency_penalty": -0.2,
        "repetition_penalty": 1.1,
        "max_tokens": 300,
        "seed": 7,
        "stop": ["END", "STOP"],
        "reasoning_effort": "high",
        "response_format": {"type": "json_object"},
        "logprobs": True,
    }
    assert {key: body.get(key) for key in wanted} == wanted and "temperature" not in body


def test_settings_of_one_chat_presets_and_reset(page):
    ask(page, "the first question")
    open_model_settings(page)
    set_field(page, "Top p", "0.5")
    page.run("document.querySelector('dialog .dialog-actions input').value = 'careful'")
    page.run("document.querySelectorAll('dialog .dialog-actions button')[0].click()")
    page.run("document.querySelectorAll('.segments button')[1].click()")
    assert page.run("[...document.querySelectorAll('.setting input.field')][1].placeholder") == "from all chats: 0.5"
    set_field(page, "Top p", "0.7")
    assert request_body(page)["top_p"] == 0.7
    page.press("Escape")
    page.press("Control+Shift+O")
    ask(page, "another question")
    assert request_body(page)["top_p"] == 0.5  # the other chat's own is its own
    open_model_settings(page)
    page.run("document.querySelectorAll('dialog .dialog-actions button')[1].click()")  # reset
    assert "top_p" not in request_body(page)
    set_field(page, "Presets", "careful")
    assert request_body(page)["top_p"] == 0.5


# ---- copies and files ------------------------------------------------------------------------------------------------


def test_answers_code_and_formulas_are_copied_as_they_were_written(page):
    page.run(LISTEN)
    ask(page, "please answer richly")
    page.wait(
        "document.querySelectorAll('.answer .katex').length >= 9 && document.querySelectorAll('.hl-keyword').length > 3"
    )
    page.click(".message.assistant [aria-label='Copy']")
    page.wait("window.copied")
    assert page.run("copied['text/plain']").startswith("## A hash map") and "$O(1)$" in page.run(
        "copied['text/plain']"
    )
    page.run("window.copied = null")
    page.click(".copy-code")
    page.wait("window.copied")
    code = page.run("copied['text/plain']")
    assert code.startswith("class HashMap:\n    def __init__") and not re.search(r"^\s*\d+\s", code, re.M)
    page.run("window.copied = null")
    page.press("Control+Shift+C")
    page.wait("window.copied")
    assert page.run("copied['text/plain']").strip() == code.strip()
    page.run("window.copied = null")
    choose(page, ".message.assistant .message-footer [aria-haspopup]", "Copy with formatting")
    page.wait("window.copied")
    rich = page.run("copied['text/html']")
    assert "<strong" in rich and "<td" in rich and "$O(1)$" in rich and "katex" not in rich
    formula = page.run(
        """(() => { getSelection().selectAllChildren(document.querySelector('.formula.display').parentElement);
        const data = new DataTransfer();
        document.querySelector('.answer').dispatchEvent(
          new ClipboardEvent('copy', {clipboardData: data, bubbles: true, cancelable: true}));
        return data.getData('text/plain'); })()"""
    )
    assert formula.strip() == "$$E[\\text{steps}] = 1 + \\alpha = 1 + \\frac{n}{m}$$"


def test_a_chat_is_exported_as_markdown_and_html_under_a_safe_name(page):
    page.run(LISTEN)
    ask(page, 'a/b\\c: "x" <img src=x onerror=alert(1)>')
    choose(page, ".chat-more", "Export as Markdown")
    page.wait("window.saved?.text && window.saved.name")
    saved = page.run("window.saved")
    assert re.fullmatch(r"[\w -]+\.md", saved["name"])
    assert "## You" in saved["text"] and "A short answer." in saved["text"]
    page.run("window.saved = null")
    choose(page, ".chat-more", "Export as HTML")
    page.wait("window.saved?.text && window.saved.name")
    saved = page.run("window.saved")
    assert re.fullmatch(r"[\w -]+\.html", saved["name"])
    assert "<img" not in saved["text"] and "<script" not in saved["text"] and "A short answer." in saved["text"]


def test_an_exported_page_has_its_formulas_and_needs_nobody(page):
    page.run(LISTEN)
    ask(page, "please answer richly")
    page.wait("document.querySelectorAll('.answer .katex').length >= 9")
    choose(page, ".chat-more", "Export as HTML")
    page.wait("window.saved?.text && window.saved.name")
    text = page.run("window.saved.text")
    assert text.count("<math") >= 9 and "katex-html" not in text and "class HashMap" in text
    assert re.findall(r'(?:src|href)="', text) == []


def test_a_printed_chat_is_the_chat_alone(page):
    ask(page, "please answer richly")
    page.call("Emulation.setEmulatedMedia", {"media": "print"})
    parts = "['.sidebar', '.head', '.dock', '.message-footer']"
    shown = f"{parts}.map((one) => getComputedStyle(document.querySelector(one)).display)"
    assert page.run(shown) == ["none"] * 4
    assert page.run("getComputedStyle(document.querySelector('.scroller')).overflowY") == "visible"


def test_a_browser_without_room_says_so_and_offers_an_export(page):
    page.run("""IDBObjectStore.prototype.put = function () {
        this.transaction.abort(); throw new DOMException('full', 'QuotaExceededError'); }""")
    ask(page, "the first question")
    page.wait("document.querySelector('.toast .link-button')?.textContent === 'Export all chats'")
    assert "no room" in page.run("document.querySelector('.toast').textContent")
    assert page.run(ANSWER).strip() == "A short answer."


# ---- keys, eyes and ears ---------------------------------------------------------------------------------------------


def test_shortcuts_do_what_the_list_says(page):
    ask(page, "the first question")
    page.wait("document.activeElement.id === 'message'")  # the box has the focus again
    page.press("Control+b")
    page.wait("document.querySelector('#sidebar').inert")
    page.press("Control+b")
    page.wait("!document.querySelector('#sidebar').inert")
    page.press("Control+Shift+O")
    page.wait("document.querySelector('.welcome')")
    page.run(MODULES % "(settings.enterSends = false, shared.emit('settings'))")
    page.click("#message")
    page.type("one line")
    page.press("Enter")
    assert page.run("document.querySelectorAll('.message').length") == 0
    page.press("Control+Enter")
    page.wait("document.querySelector('.bubble')?.textContent.startsWith('one line')")
    page.wait(DONE)


def test_a_reader_who_listens_hears_begin_and_end_and_not_each_token(page):
    page.run("""(() => { window.heard = [];
        new MutationObserver(() => heard.push(document.querySelector('#live').textContent))
        .observe(document.querySelector('#live'), {childList: true, characterData: true, subtree: true}); })()""")
    ask(page, "a long quick answer")
    page.wait("window.heard.length > 1")
    assert page.run("window.heard") == ["The answer begins.", "The answer is complete."]
    assert page.run("document.querySelector('#column').getAttribute('aria-live')") == "off"


def test_nothing_moves_for_those_who_asked_for_calm(page):
    page.prefer(prefers_reduced_motion="reduce")
    ask(page, "a slow answer please", wait=False)
    page.wait("document.querySelector('.pulse')")
    moving = """[...document.querySelectorAll('*')].filter((one) => getComputedStyle(one).animationName !== 'none'
        || getComputedStyle(one).transitionDuration.split(', ').some((each) => parseFloat(each) > 0)).length"""
    assert page.run(moving) == 0
    page.press("Escape")
    page.wait(DONE)


def test_twice_the_size_still_fits(page):
    page.resize(640, 400, scale=2)
    ask(page, "please answer richly")
    assert page.run(
        "document.documentElement.scrollWidth <= innerWidth && "
        "document.querySelector('#scroller').scrollWidth <= innerWidth"
    )
    assert page.run("document.querySelector('.send').getBoundingClientRect().bottom <= innerHeight")
    assert page.run("document.querySelector('#scroller').clientHeight") > 100


def test_dates_numbers_and_lines_are_as_in_chinese(page):
    """Punctuation that may not begin a line does not, and a line of Chinese ends at the edge, not at a blank."""
    page.run("localStorage.setItem('gale-settings', JSON.stringify({language: 'zh-CN'}))")
    page.reload()
    page.resize(360, 640, is_phone=True)
    ask(page, "an autumn poem in chinese")
    assert page.run("/^\\d{4}年\\d{1,2}月\\d{1,2}日/.test(document.querySelector('.chat-open').title)")
    assert "首字" in page.run("document.querySelector('.message.assistant .numbers').textContent")
    lines = page.run("""(() => { const text = [...document.querySelectorAll('.answer p')].at(-1);
        const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT), lines = [];
        for (let node = walker.nextNode(), bottom = 0; node; node = walker.nextNode())
          for (let at = 0; at < node.length; at += 1) {
            const range = document.createRange(); range.setStart(node, at); range.setEnd(node, at + 1);
            const box = range.getBoundingClientRect();
            if (box.width === 0) continue;
            if (box.top >= bottom - 2) { lines.push(''); bottom = box.bottom; }
            lines[lines.length - 1] += node.data[at];
          }
        return lines; })()""")
    assert len(lines) > 2 and not any(line[0] in "，。：、；！？）」" for line in lines), lines
    assert max(map(len, lines)) < 2 * min(map(len, lines[:-1])), lines


def test_no_text_for_people_stands_in_the_code():
    """Attributes and children of h() that are texts come from t()."""
    found = []
    for path in sorted((ROOT / "web" / "js").glob("*.js")):
        if path.name.startswith("words-"):
            continue
        for line in path.read_text().splitlines():
            bare = re.sub(r"//.*", "", line)
            found += [
                f"{path.name}: {text}"
                for text in re.findall(r"(?:placeholder|title|'aria-label'): '([^']*\w[^']*)'", bare)
            ]
            found += [f"{path.name}: {text}" for text in re.findall(r"h\('\w+', \{[^}]*\}, '([^']*\w[^']*)'", bare)]
            found += [f"{path.name}: {text}" for text in re.findall(r"textContent = '([^']*\w[^']*)'", bare)]
    assert found == []


def test_a_colouring_that_runs_wild_costs_the_colours_and_nothing_else(page):
    page.run("""window.Worker = class { constructor() { window.workers = (window.workers ?? 0) + 1; }
        postMessage() {} terminate() { window.ended = (window.ended ?? 0) + 1; } }""")
    ask(page, "please answer richly")
    page.wait("window.ended === 1")
    assert "class HashMap" in page.run("document.querySelector('.code code').textContent")
    assert page.run("window.workers") == 1

"""Files that go with a message."""

import base64
import json

import pytest
from gale_server import ROOT
from test_chat import DONE

CHINESE = "中文文本：服务器应当读懂它。\n第二行。\n"
ENCRYPTED = ROOT / "tests" / "ui" / "data" / "encrypted.pdf"


def upload(ui, data, **headers):
    response = ui.request(
        "POST", "/ui/extract", data, {"Content-Type": "application/octet-stream", "X-Gale-Page": "1", **headers}
    )
    return response.status, json.loads(response.body)


def drop(page, name, data):
    """As if the file had been dropped on the page."""
    page.run(f"""(() => {{ const text = atob({json.dumps(base64.b64encode(data).decode())});
        const bytes = Uint8Array.from(text, (one) => one.charCodeAt(0));
        const transfer = new DataTransfer(); transfer.items.add(new File([bytes], {json.dumps(name)}));
        document.body.dispatchEvent(new DragEvent('drop',
          {{dataTransfer: transfer, bubbles: true, cancelable: true}})); }})()""")


@pytest.fixture(scope="module")
def chinese_pdf(browser):
    page = browser.page()
    body = "".join(f'<p style="break-after: page">{CHINESE} page {number}</p>' for number in (1, 2, 3))
    page.run(f"document.body.innerHTML = {json.dumps(body)}")
    data = base64.b64decode(page.call("Page.printToPDF", {})["data"])
    page.close()
    return data


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gbk", "gb18030"])
def test_text_is_read_in_the_encodings_people_have(ui, encoding):
    assert upload(ui, CHINESE.encode(encoding)) == (200, {"pages": [CHINESE]})


def test_a_pdf_with_chinese_is_read_page_by_page(ui, chinese_pdf):
    status, body = upload(ui, chinese_pdf)
    assert status == 200 and len(body["pages"]) == 3
    assert "中文文本" in body["pages"][0] and "page 3" in body["pages"][2]


@pytest.mark.parametrize(
    "data, code",
    [
        (ENCRYPTED.read_bytes(), "encrypted"),
        (b"%PDF-1.7 nothing of the kind", "damaged"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "not_text"),
        (b"PK\x03\x04\x14\x00\x06\x00", "not_text"),
        (b"  \n", "no_text"),
    ],
)
def test_what_cannot_be_read_is_named(ui, data, code):
    status, body = upload(ui, data)
    assert (status, body["error"]["code"]) == (422, code)


def test_a_file_that_is_too_large_is_refused(ui):
    status, body = upload(ui, b"a" * 50_000_000)
    assert (status, body["error"]["code"]) == (413, "body_too_large")


def test_only_the_page_may_upload(ui):
    assert ui.request("POST", "/ui/extract", b"x", {"Content-Type": "application/octet-stream"}).status == 403
    assert upload(ui, b"x", Origin="http://evil.example")[0] == 403


def test_a_dropped_file_is_shown_with_its_length_and_sent(page):
    drop(page, "notes <b>.txt", "Winds are named after where they come from.".encode("utf-16"))
    page.wait("/\\d+ tokens/.test(document.querySelector('.composer .file')?.textContent ?? '')")
    assert page.run("document.querySelector('.composer .file-name').textContent") == "notes <b>.txt"
    page.click("#message")
    page.type("what does the file say")
    page.press("Enter")
    page.wait(DONE)
    assert page.run("document.querySelector('.message.user .file-name').textContent") == "notes <b>.txt"
    sent = page.run("""(async () => {
        const base = document.querySelector('script[type=module]').src.replace('main.js', '');
        const [{requestFor}, {state}, {path}] = await Promise.all(['generate.js', 'app-state.js', 'conversation.js']
          .map((one) => import(base + one)));
        return requestFor(state.current, path(state.current)[0]).messages[0].content;
    })()""")
    assert (
        sent
        == '<file name="notes <b>.txt">\nWinds are named after where they come from.\n</file>\n\nwhat does the file say'
    )


def test_pages_of_a_pdf_can_be_chosen(page, chinese_pdf):
    drop(page, "book.pdf", chinese_pdf)
    page.wait("document.querySelector('.file-pages')?.value === '1-3'")
    page.run(
        "(() => { const box = document.querySelector('.file-pages'); box.value = '2'; box.dispatchEvent(new "
        "Event('change')); })()"
    )
    page.wait(
        "document.querySelector('.file-pages').value === '2' && /\\d+ tokens/.test(document.querySelector('.composer "
        ".file').textContent)"
    )


def test_a_file_that_cannot_be_read_is_named_on_the_page(page):
    drop(page, "program.txt", b"\x7fELF\x02\x01\x01\x00\x00")
    page.wait("document.querySelector('.toast')?.textContent.includes('program.txt: neither text nor PDF')")
    assert page.run("document.querySelectorAll('.composer .file').length") == 0
    page.troubles = [one for one in page.troubles if "422" not in one]


def test_a_long_paste_becomes_a_file(page):
    page.click("#message")
    page.run("""(() => { const data = new DataTransfer(); data.setData('text/plain', 'wind '.repeat(2000));
        document.activeElement.dispatchEvent(new ClipboardEvent('paste',
          {clipboardData: data, bubbles: true, cancelable: true})); })()""")
    page.wait("document.querySelector('.composer .file-name')?.textContent === 'Pasted text.txt'")
    assert page.run("document.querySelector('#message').value") == ""


@pytest.mark.parametrize(
    "name, data, why",
    [
        ("secret.pdf", ENCRYPTED.read_bytes(), "the PDF is encrypted"),
        ("cut.pdf", b"%PDF-1.7 nothing of the kind", "the file is damaged"),
        ("photo.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "neither text nor PDF"),
        ("blank.md", b" \n", "no text in it"),
        ('<img src=x onerror="window.hacked=1">.txt', b"\x7fELF\x02", "neither text nor PDF"),
    ],
)
def test_every_failure_names_the_file_and_the_reason(page, name, data, why):
    drop(page, name, data)
    page.wait("document.querySelector('.toast')")
    assert page.run("document.querySelector('.toast').textContent") == f"{name}: {why}"
    assert page.run("document.querySelectorAll('.composer .file').length") == 0
    assert page.run("window.hacked ?? 0") == 0
    page.browser.drain()
    page.troubles = [one for one in page.troubles if "422" not in one]


def test_limits_are_told_before_and_hold_before_anything_is_sent(page):
    assert page.run("document.querySelector('.composer .icon-button').title").endswith("up to 34 MB)")
    page.run("""(() => { const transfer = new DataTransfer();
        transfer.items.add(new File([new Uint8Array(50_000_000)], 'big.csv'));
        document.body.dispatchEvent(new DragEvent('drop',
          {dataTransfer: transfer, bubbles: true, cancelable: true})); })()""")
    page.wait("document.querySelector('.toast')?.textContent === 'big.csv: larger than 34 MB'")
    page.browser.drain()
    assert not any(url.endswith("/ui/extract") for url in page.requests)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "gbk"])
def test_chinese_files_arrive_in_the_message(page, encoding):
    drop(page, "笔记.txt", CHINESE.encode(encoding))
    page.wait("/\\d+ tokens/.test(document.querySelector('.composer .file')?.textContent ?? '')")
    page.click("#message")
    page.type("文件里写了什么？")
    page.press("Enter")
    page.wait(DONE)
    kept = page.run("""(async () => {
        const base = document.querySelector('script[type=module]').src.replace('main.js', '');
        const [{state}, {path}] = await Promise.all(['app-state.js', 'conversation.js']
          .map((one) => import(base + one)));
        return path(state.current)[0].attachments[0].text;
    })()""")
    assert kept == CHINESE.strip()


def test_a_file_can_be_pasted_outside_of_the_box(page):
    page.run("document.activeElement.blur()")
    page.run("""(() => { const data = new DataTransfer(); data.items.add(new File(['a,b\\n1,2\\n'], 'table.csv'));
        document.body.dispatchEvent(new ClipboardEvent('paste',
          {clipboardData: data, bubbles: true, cancelable: true})); })()""")
    page.wait("/\\d+ tokens/.test(document.querySelector('.composer .file')?.textContent ?? '')")

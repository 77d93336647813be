"""The pictures that README and the guide show are made here, so that they show the page as it is.

--update-pictures writes them."""

import struct
import time

import pytest
from gale_server import ROOT
from test_chat import ask

PICTURES = ROOT / "docs" / "pictures"


def settle(page):
    page.wait(
        "document.querySelectorAll('.answer .katex').length >= 9 && document.querySelectorAll('.hl-keyword').length > 3"
    )
    page.wait("document.fonts.ready.then(() => true)")
    page.run("document.querySelector('#scroller').scrollTop = 0")
    time.sleep(0.4)


@pytest.mark.parametrize(
    "name, scheme, width, height",
    [("page-light", "light", 1280, 860), ("page-dark", "dark", 1280, 860), ("page-phone", "light", 390, 844)],
)
def test_the_page_in_a_picture(page, request, tmp_path, name, scheme, width, height):
    page.resize(width, height, is_phone=width < 500)
    page.prefer(prefers_color_scheme=scheme)
    ask(page, "写一首关于秋天的短诗")
    page.press("Control+Shift+O")
    ask(page, "How does a hash map work?")
    settle(page)
    data = page.screenshot(tmp_path / f"{name}.png")
    if request.config.getoption("--update-pictures"):
        PICTURES.mkdir(exist_ok=True)
        (PICTURES / f"{name}.png").write_bytes(data)
    kept = (PICTURES / f"{name}.png").read_bytes()
    assert struct.unpack(">II", kept[16:24]) == struct.unpack(">II", data[16:24]) == (width, height)
    assert len(kept) == pytest.approx(len(data), rel=0.35)  # other fonts, not another page

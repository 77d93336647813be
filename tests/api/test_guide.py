"""The guide at /docs/guide: docs/ as web pages, with no link that leads nowhere."""

import html
import re
import subprocess
import sys

import pytest
from gale_server import ROOT

MADE = ROOT / "cmake" / "embed_guide.py"


def mistune_folder():
    pin = re.search(r"^pypi\((mistune) ([\w.]+) (\w+)", (ROOT / "cmake" / "dependencies.cmake").read_text(), re.M)
    from pathlib import Path

    return Path.home() / ".cache" / "gale" / "-".join(pin.groups())


def page_of(server, path):
    response = server.get(path)
    assert response.status == 200, path
    return response


def test_every_link_of_the_guide_leads_somewhere(server):
    seen, waiting = {}, ["/docs/guide"]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        response = page_of(server, path)
        assert "script" not in response.headers["Content-Security-Policy"] and response.headers["ETag"]
        if not response.headers["Content-Type"].startswith("text/html"):
            seen[path] = None
            continue
        seen[path] = text = response.body.decode()
        links = [html.unescape(one) for one in re.findall(r'(?:href|src)="([^"]+)"', text)]
        assert [one for one in links if one.startswith(("http:", "//", "data:"))] == []
        waiting += [link.partition("#")[0] for link in links if link.startswith("/")]
    for path, text in seen.items():
        for link in re.findall(r'href="([^"]*#[^"]+)"', text or ""):
            name, _, anchor = link.partition("#")
            assert f'id="{anchor}"' in seen[name or path], f"{path}: {link}"
    documents = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"README"}
    assert {path.rpartition("/")[2] for path, text in seen.items() if text} == documents | {"guide"}
    assert any(path.endswith("page-light.png") for path in seen)


def test_a_page_that_was_seen_is_not_sent_again(server):
    first = page_of(server, "/docs/guide/serving")
    again = server.get("/docs/guide/serving", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.body) == (304, b"")
    assert server.get("/docs/guide/nothing").json_body()["error"]["code"] == "not_found"
    assert server.get("/").json_body()["guide"] == "/docs/guide"


def test_the_text_of_a_document_is_text(server):
    text = page_of(server, "/docs/guide/serving").body.decode()
    assert "&lt;|user|&gt;" in text and "<|user|>" not in text


@pytest.mark.parametrize(
    "extra, trouble",
    [
        ("[see](nowhere.md)", "there is no docs/nowhere.md to link to"),
        ("[see](page.md#nothing)", "docs/page.md has no heading #nothing"),
        ("![picture](pictures/none.png)", "there is no docs/pictures/none.png to link to"),
    ],
)
def test_a_dead_link_ends_the_build(tmp_path, extra, trouble):
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "README.md").write_text("# Guide\n\n- [page](page.md)\n")
    (docs / "page.md").write_text(f"# Page\n\n{extra}\n")
    made = subprocess.run(
        [sys.executable, MADE, docs, mistune_folder(), tmp_path / "out.cpp"], capture_output=True, text=True
    )
    assert made.returncode == 1 and trouble in made.stderr


def test_a_document_that_nothing_leads_to_ends_the_build(tmp_path):
    (tmp_path / "README.md").write_text("# Guide\n")
    (tmp_path / "lost.md").write_text("# Lost\n")
    made = subprocess.run(
        [sys.executable, MADE, tmp_path, mistune_folder(), tmp_path / "out.cpp"], capture_output=True, text=True
    )
    assert made.returncode == 1 and "does not name lost.md" in made.stderr

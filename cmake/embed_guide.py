"""Writes docs/ as web pages into one C++ file: embed_guide.py DOCS_FOLDER MISTUNE_FOLDER OUTPUT.

docs/README.md is the first page; the pages it links to, in that order, are the others. A link that leads nowhere, a
page that the first one does not name and a picture that is not there end the build.
"""

import html
import re
import sys
from pathlib import Path

from embed_assets import TYPES, rows_of, write

ROOT = "/docs/guide"
INDEX = "README.md"
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="/docs/guide/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/docs/guide/guide.css">
</head>
<body>
<nav aria-label="Pages"><a class="brand" href="/docs/guide">gale</a>
<ul>{nav}</ul></nav>
<main>
{body}
</main>
</body>
</html>
"""


class GuideError(Exception):
    pass


def address(name: str) -> str:
    """Of a file of docs/ in the guide."""
    return ROOT if name == INDEX else f"{ROOT}/{name.removesuffix('.md')}"


def slug(text: str) -> str:
    """As on GitHub, so that one anchor works in both places."""
    return re.sub(r" ", "-", re.sub(r"[^\w\- ]", "", text.lower()))


class Page:
    """One document: its title, its body as HTML, the anchors it has and the links it makes."""

    def __init__(self, mistune, docs: Path, name: str):
        self.name, self.links, self.anchors = name, [], set()
        page = self

        class Renderer(mistune.HTMLRenderer):
            def heading(self, text, level, **attrs):
                anchor = slug(html.unescape(re.sub(r"<[^>]+>", "", text)))
                page.anchors.add(anchor)
                return f'<h{level} id="{html.escape(anchor)}">{text}</h{level}>\n'

            def link(self, text, url, title=None):
                return super().link(text, page.address_of(url), title)

            def image(self, text, url, title=None):
                return super().image(text, page.address_of(url), title)

            def codespan(self, text):
                shown = super().codespan(text)
                bare = text.removeprefix("docs/")
                if re.fullmatch(r"[\w-]+\.md", bare) and (docs / bare).exists():
                    return f'<a href="{page.address_of(bare)}">{shown}</a>'
                return shown

            def table(self, text):
                return f'<div class="table" tabindex="0"><table>{text}</table></div>\n'

            def block_code(self, code, info=None):
                return f'<pre tabindex="0"><code>{html.escape(code)}</code></pre>\n'

        text = (docs / name).read_text()
        self.body = mistune.create_markdown(renderer=Renderer(escape=True), plugins=["table"])(text)
        self.title = re.match(r"# (.+)", text)[1]

    def address_of(self, link: str) -> str:
        if re.match(r"[a-z]+:", link):
            return link
        name, _, anchor = link.partition("#")
        self.links.append((name or self.name, anchor))
        return (address(name) if name else "") + (f"#{anchor}" if anchor else "")


def check_links(pages: dict[str, Page], files: set[str]) -> None:
    for page in pages.values():
        for name, anchor in page.links:
            if name not in pages and name not in files:
                raise GuideError(f"docs/{page.name}: there is no docs/{name} to link to")
            if anchor and anchor not in pages[name].anchors:
                raise GuideError(f"docs/{page.name}: docs/{name} has no heading #{anchor}")


def make_guide(mistune, docs: Path) -> dict[str, bytes]:
    """The files of the guide: pages by the names of their documents with .html for .md."""
    first = Page(mistune, docs, INDEX)
    order = [INDEX] + list(dict.fromkeys(name for name, _ in first.links if name.endswith(".md")))
    missing = {path.name for path in docs.glob("*.md")} - set(order)
    if missing:
        raise GuideError(f"docs/{INDEX} does not name {', '.join(sorted(missing))}")
    files = {path.relative_to(docs).as_posix(): path for path in sorted(docs.rglob("*")) if path.suffix in TYPES}
    unknown = [name for name in order if not (docs / name).exists()]
    if unknown:
        raise GuideError(f"docs/{INDEX}: there is no docs/{unknown[0]} to link to")
    pages = {name: first if name == INDEX else Page(mistune, docs, name) for name in order}
    check_links(pages, set(files) | {path.relative_to(docs).as_posix() for path in docs.rglob("*") if path.is_file()})
    out = {}
    for page in pages.values():
        nav = "".join(
            f'<li><a href="{address(one.name)}"{" aria-current=page" if one is page else ""}>'
            f"{html.escape(one.title)}</a></li>"
            for one in pages.values()
        )
        title = page.title if page is first else f"{page.title} – gale"
        text = PAGE.format(title=html.escape(title), nav=nav, body=page.body)
        out[str(Path(page.name).with_suffix(".html"))] = text.encode()
    linked = {name for page in pages.values() for name, _ in page.links}
    for name, path in files.items():
        if name in linked or name == "guide.css":
            out[name] = path.read_bytes()
    icon = Path(__file__).resolve().parent.parent / "web" / "icon.svg"
    out["icon.svg"] = icon.read_bytes()
    return out


def main() -> None:
    docs, folder, output = map(Path, sys.argv[1:4])
    sys.path.insert(0, str(folder))
    import mistune

    try:
        guide = make_guide(mistune, docs)
    except GuideError as error:
        sys.exit(str(error))
    rows = rows_of(guide, lambda name: address(name.replace(".html", ".md")), packed_only=False)
    write(output, "server/guide.h", rows, "std::span<const Asset> guide_assets() { return kAssets; }\n")


if __name__ == "__main__":
    main()

"""Writes files of the page or of /docs into one C++ file: embed_assets.py page|docs WEB_FOLDER NODE_MODULES OUTPUT."""

import gzip
import hashlib
import sys
from pathlib import Path

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".mjs": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".json": "application/json",
         ".woff2": "font/woff2",
         ".webmanifest": "application/manifest+json", ".png": "image/png"}
# Of each library the files that browsers need, under the names that web/js imports.
LIBRARIES = {
    "marked/lib/marked.esm.js": "vendor/marked.js",
    "dompurify/dist/purify.min.js": "vendor/purify.js",
    "katex/dist/katex.min.js": "vendor/katex/katex.js",
    "katex/dist/katex.min.css": "vendor/katex/katex.css",
    "@fontsource-variable/inter/files/inter-latin-wght-normal.woff2": "vendor/inter.woff2",
    "@fontsource-variable/inter/files/inter-latin-wght-italic.woff2": "vendor/inter-italic.woff2",
    "@highlightjs/cdn-assets/es/highlight.min.js": "vendor/highlight.js",
}
DOCS_LIBRARIES = {
    "swagger-ui-dist/swagger-ui-bundle.js": "swagger-ui-bundle.js",
    "swagger-ui-dist/swagger-ui.css": "swagger-ui.css",
}
FONTS = "katex/dist/fonts/*.woff2"
PAGE = "index.html"


def collect(web: Path, modules: Path) -> dict[str, bytes]:
    files = {path.relative_to(web).as_posix(): path.read_bytes() for path in sorted(web.rglob("*"))
             if path.is_file() and path.suffix in TYPES and not path.name.startswith("package")
             and path.parent != web / "docs"}
    files |= {name: (modules / source).read_bytes() for source, name in LIBRARIES.items()}
    files |= {f"vendor/katex/fonts/{font.name}": font.read_bytes() for font in sorted(modules.glob(FONTS))}
    return without_source_maps(files)


def collect_docs(web: Path, modules: Path) -> dict[str, bytes]:
    files = {path.name: path.read_bytes() for path in sorted((web / "docs").iterdir())}
    files |= {name: (modules / source).read_bytes() for source, name in DOCS_LIBRARIES.items()}
    return without_source_maps(files)


def without_source_maps(files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: b"\n".join(line for line in data.split(b"\n") if not line.startswith(b"//# sourceMappingURL="))
            if name.endswith(".js") else data for name, data in files.items()}


def literal(data: bytes) -> str:
    """Lines of string literals; octal, since a hexadecimal escape would swallow digits that follow it."""
    table = [chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in range(256)]
    return "\n".join('"' + "".join(table[b] for b in data[at:at + 4096]) + '"'
                     for at in range(0, len(data), 4096)) or '""'


def rows_of(files: dict[str, bytes], path_of, *, packed_only: bool) -> str:
    """The definition of kAssets. Files that are kept packed only are sent so to everybody."""
    rows, texts = [], []
    for number, (name, data) in enumerate(files.items()):
        packed = gzip.compress(data, 9, mtime=0)
        packed = packed if packed_only or len(packed) < len(data) * 9 // 10 else b""
        digest = hashlib.sha256(data).hexdigest()[:16]
        data = b"" if packed_only else data
        texts.append(f"const char kBytes{number}[] =\n{literal(data)};\nconst char kGzip{number}[] "
                     f"=\n{literal(packed)};\n")
        rows.append(f'    {{"{path_of(name)}", "{TYPES[Path(name).suffix]}", "{digest}", '
                    f"{{kBytes{number}, {len(data)}}}, "
                    f"{{kGzip{number}, {len(packed)}}}}},\n")
    return "".join(texts) + "\nconst Asset kAssets[] = {\n" + "".join(rows) + "};\n"


def write(output: Path, header: str, rows: str, functions: str) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(f'// Made by cmake/embed_assets.py.\n#include "{header}"\n\nnamespace gale {{\nnamespace {{\n\n'
                      f"{rows}\n}}  // namespace\n\n{functions}\n}}  // namespace gale\n")


def write_page(web: Path, modules: Path, output: Path) -> None:
    files = collect(web, modules)
    whole = hashlib.sha256()
    for name, data in files.items():
        whole.update(f"{name} {len(data)}\n".encode() + data)
    version = whole.hexdigest()[:16]
    files[PAGE] = files[PAGE].replace(b"@ASSETS@", f"/assets/{version}".encode())
    rows = rows_of(files, lambda name: "/" if name == PAGE else f"/assets/{version}/{name}", packed_only=False)
    write(output, "ui/assets.h", rows, "std::span<const Asset> all_assets() { return kAssets; }\n"
          f'std::string_view assets_version() {{ return "{version}"; }}\n')


def write_docs(web: Path, modules: Path, output: Path) -> None:
    files = collect_docs(web, modules)
    rows = rows_of(files, lambda name: "/docs" if name == PAGE else f"/docs/{name}", packed_only=True)
    write(output, "server/docs_assets.h", rows, "std::span<const Asset> docs_assets() { return kAssets; }\n")


def main() -> None:
    which, *paths = sys.argv[1:5]
    {"page": write_page, "docs": write_docs}[which](*map(Path, paths))


if __name__ == "__main__":
    main()

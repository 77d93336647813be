"""Writes src/tokenizer/unicode_additions.cpp: where the `tokenizers` library's Unicode differs from Unicode 14.

PCRE2 and utf8proc of Debian 12 know Unicode 14, as does Python 3.11, on which this runs. The library's regular
expressions know a newer one, its normal form an older one.
"""

import sys
import unicodedata

from conftest import ROOT
from tokenizers import Regex
from tokenizers.normalizers import NFC
from tokenizers.pre_tokenizers import Split

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf",
              "Po",
              "Sm", "Sc", "Sk", "So", "Zs", "Zl", "Zp"]
HEAD = """#include "tokenizer/unicode_additions.h"

#include <array>

// Made by tests/golden/text/make_unicode_additions.py.

namespace gale {
namespace {

"""


def members(category, text):
    pieces = Split(Regex(r"\p{%s}" % category), "removed").pre_tokenize_str(text)
    rest = "".join(piece for piece, _ in pieces)
    return set(map(ord, text)) - set(map(ord, rest))


def ranges(codes):
    out = []
    for code in sorted(codes):
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return out


def inert_in_nfc(text):
    """What the library's normal form does not know: it neither moves marks past these nor composes them."""
    nfc = NFC().normalize_str
    marks = ["\u0334", "\u0316", "\u0301", "\u0345"]
    out = set()
    for c in text:
        if unicodedata.combining(c):
            probes = ["a" + mark + c for mark in marks] + ["a" + c + mark for mark in marks]
        else:
            probes = [unicodedata.normalize("NFD", c)]
        if any(nfc(probe) != unicodedata.normalize("NFC", probe) for probe in probes):
            out.update(map(ord, c if unicodedata.combining(c) else probes[0]))
    return out


def main():
    assert unicodedata.unidata_version == "14.0.0", "needs a Python with Unicode 14 (3.11)"
    text = "".join(chr(c) for c in range(sys.maxunicode + 1) if not 0xD800 <= c <= 0xDFFF)
    rows = []
    for category in CATEGORIES:
        theirs = members(category, text)
        ours = {ord(c) for c in text if unicodedata.category(c) == category}
        lost = ours - theirs
        if lost:
            print(f"{category}: changed since, kept: {[hex(c) for c in sorted(lost)]}", file=sys.stderr)
        rows += [(category, low, high) for low, high in ranges(theirs - ours)]
    lines = ['    {"%s", 0x%04X, 0x%04X},' % row for row in rows]
    body = f"constexpr std::array<UnicodeAddition, {len(rows)}> kAdditions = {{{{\n" + "\n".join(lines) + "\n}};\n"
    inert = ranges(inert_in_nfc(text))
    body += f"\nconstexpr std::array<CodePointRange, {len(inert)}> kInert = {{{{\n"
    body += "\n".join("    {0x%04X, 0x%04X}," % tuple(row) for row in inert) + "\n}};\n"
    tail = "\n}  // namespace\n\nstd::span<const UnicodeAddition> unicode_additions() { return kAdditions; }\n"
    tail += "std::span<const CodePointRange> inert_in_nfc() { return kInert; }\n\n}  // namespace gale\n"
    (ROOT / "src/tokenizer/unicode_additions.cpp").write_text(HEAD + body + tail)


if __name__ == "__main__":
    main()

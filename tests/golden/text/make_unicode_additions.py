"""Writes src/tokenizer/unicode_additions.cpp: what the `tokenizers` library's Unicode has and Unicode 14 lacks.

PCRE2 of Debian 12 knows Unicode 14, as does Python 3.11, on which this runs.
"""

import sys
import unicodedata

from conftest import ROOT
from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

CATEGORIES = ["Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
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
    tail = "\n}  // namespace\n\nstd::span<const UnicodeAddition> unicode_additions() { return kAdditions; }\n\n}  // namespace gale\n"
    (ROOT / "src/tokenizer/unicode_additions.cpp").write_text(HEAD + body + tail)


if __name__ == "__main__":
    main()

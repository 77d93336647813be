"""Random and adversarial strings of many scripts, the same for the same seed."""

import random

# Ranges of code points; unassigned ones stay in: tokenizers meet them, too.
SCRIPTS = {
    "ascii": (0x20, 0x7E), "latin": (0xA0, 0x24F), "ipa": (0x250, 0x2AF), "greek": (0x370, 0x3FF),
    "cyrillic": (0x400, 0x52F),
    "armenian": (0x530, 0x58F), "hebrew": (0x590, 0x5FF), "arabic": (0x600, 0x6FF), "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FF), "tamil": (0xB80, 0xBFF), "thai": (0xE00, 0xE7F), "tibetan": (0xF00, 0xFFF),
    "myanmar": (0x1000, 0x109F),
    "georgian": (0x10A0, 0x10FF), "jamo": (0x1100, 0x11FF), "ethiopic": (0x1200, 0x137F), "khmer": (0x1780, 0x17FF),
    "mongolian": (0x1800, 0x18AF), "vietnamese": (0x1EA0, 0x1EFF), "greek_extended": (0x1F00, 0x1FFF),
    "punctuation": (0x2000, 0x206F), "letterlike": (0x2100, 0x218F), "mathematics": (0x2200, 0x22FF),
    "enclosed": (0x2460, 0x24FF),
    "kana": (0x3040, 0x30FF), "cjk_signs": (0x3000, 0x303F), "cjk": (0x4E00, 0x9FFF), "hangul": (0xAC00, 0xD7A3),
    "private": (0xE000, 0xE0FF), "compatibility": (0xF900, 0xFAFF), "fullwidth": (0xFF00, 0xFFEF),
    "gothic": (0x10330, 0x1034F),
    "mathematical_letters": (0x1D400, 0x1D7FF), "emoji": (0x1F300, 0x1F6FF), "cjk_b": (0x20000, 0x2A6DF),
    "tags": (0xE0000, 0xE007F),
}
COMBINING = [chr(c) for c in range(0x300, 0x370)] + list("\u0483\u05B0\u0651\u0E31\u0E47\u3099\u309A\u20E3\uFE0F\u200D")
SPACES = ["\t", "\n", "\r", "\x0b", "\x0c", "\x1c", "\x1f", " ", "\x85", "\xa0", "\u1680", "\u180e", "\u2003", "\u200b",
          "\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\ufeff", "\r\n", "\n\n", "  ", "    ", "\t\t", " \n"]
WORDS = ["the", "Hello", "world", "server", "don't", "I'll", "WE'VE", "'Re", "'\u017f", "x'S", "''", "it's",
         "O'Reilly", "'t", "'d'",
         "def f(x):", "return", "std::vector<int>", "#include", "==", "!=", "->", "...",
         "https://example.org/a?b=c&d=e", "1234567",
         "3.14159", "0x1F", "1e-9", "{\"a\": [1, 2]}", "</div>", "<think", "</think", "\\n", "\\u0041", "你好", "世界",
         "こんにちは",
         "안녕하세요", "Привет", "مرحبا", "שלום", "नमस्ते", "สวัสดี", "Ελληνικά", "Tiếng Việt", "ﬁ", "ǆ", "İ", "ß", "½",
         "Ⅷ", "٣٤٥",
         "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "e\u0301", "A\u030a", "\u212b", "\uac00\u11a8", "\u1112\u1161\u11ab", "\u0344",
         "\x00", "\x7f"]


def any_code_point(rng):
    while True:
        code = rng.choice((rng.randrange(0x80), rng.randrange(0x3000), rng.randrange(0x10000), rng.randrange(0x110000)))
        if not 0xD800 <= code <= 0xDFFF:
            return chr(code)


def from_script(rng):
    low, high = rng.choice(list(SCRIPTS.values()))
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))


def english(rng):
    return "".join(rng.choice("etaoinshrdlucmfwypvbgkjqxz") for _ in range(rng.randint(1, 12)))


def repeated(rng):
    return rng.choice([rng.choice(SPACES), rng.choice(COMBINING), rng.choice("aA1.-=_*"),
                       any_code_point(rng)]) * rng.randint(1, 90)


def string(rng, tokens):
    """Some words, blanks, signs and control tokens, with or without spaces between."""
    pieces = []
    makers = [lambda: rng.choice(WORDS), lambda: from_script(rng), lambda: rng.choice(SPACES), lambda: english(rng),
              lambda: str(rng.randrange(10 ** rng.randint(1, 9))), lambda: any_code_point(rng),
              lambda: rng.choice(COMBINING),
              lambda: rng.choice(tokens), lambda: rng.choice(tokens)[:rng.randint(1, 6)], lambda: repeated(rng)]
    weights = [20, 16, 14, 16, 6, 8, 6, 3, 1, 2]
    for _ in range(rng.choice((1, 2, 3, 5, 8, 13, 30))):
        pieces.append(rng.choices(makers, weights)[0]())
        if rng.random() < 0.3:
            pieces.append(" ")
    return "".join(pieces)


def strings(count, seed, tokens):
    rng = random.Random(seed)
    return [string(rng, tokens) for _ in range(count)]


def every_code_point():
    """Each code point between letters, alone and after a blank: finds every difference of classes and tables."""
    codes = [*range(0xD800), *range(0xE000, 0x32000), *range(0xE0000, 0xE0200)]   # beyond: unassigned and private
    return ["".join(f"a{chr(c)}b {chr(c)}1" for c in codes[i:i + 40]) for i in range(0, len(codes), 40)]

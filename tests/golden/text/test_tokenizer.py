"""The tokenizer against Hugging Face's `tokenizers` library, id for id."""

import json
import random

import pytest
from conftest import ROOT
from foreign_tokenizers import tokenizer_json
from strings import every_code_point, strings
from tokenizers import Tokenizer

NAMES = ["nano-flash", "qwen3", "deepseek-v3"]
BATCH = 10_000


@pytest.fixture(scope="module", params=NAMES)
def path(request):
    return ROOT / "models/nano-flash/tokenizer.json" if request.param == "nano-flash" else tokenizer_json(request.param)


@pytest.fixture(scope="module")
def reference(path):
    return Tokenizer.from_file(str(path))


@pytest.fixture(scope="module")
def control_tokens(reference):
    return sorted(token.content for token in reference.get_added_tokens_decoder().values())


def compare(tokenize, path, reference, texts):
    expected = reference.encode_batch(texts, add_special_tokens=False)
    answers = tokenize.answers(path, lines=[{"text": text} for text in texts])
    decoded = reference.decode_batch([one.ids for one in expected], skip_special_tokens=True)
    for text, one, text_back, answer in zip(texts, expected, decoded, answers):
        assert answer["ids"] == one.ids, f"{text!r}: {one.tokens}"
        assert answer["text"] == text_back, f"{text!r}"


def test_random_strings_give_the_ids_of_the_library(tokenize, path, reference, control_tokens, request):
    texts = strings(request.config.getoption("--num-strings"), 20, control_tokens)
    for start in range(0, len(texts), BATCH):
        compare(tokenize, path, reference, texts[start:start + BATCH])


def test_every_code_point_gives_the_ids_of_the_library(tokenize, path, reference):
    compare(tokenize, path, reference, every_code_point())


def test_the_projects_own_files_give_the_ids_of_the_library(tokenize, path, reference):
    files = [file for pattern in ("*.md", "src/**/*.cpp", "cmake/*.cmake") for file in sorted(ROOT.glob(pattern))]
    assert files
    compare(tokenize, path, reference, [file.read_text(encoding="utf-8") for file in files])


@pytest.mark.parametrize("unit", ["a", " ", "\n", "\t ", "1", "aA", "!", "你", "\u0301\u0316", "é", "'s", " \n"])
def test_a_long_run_is_not_quadratic_and_gives_the_ids_of_the_library(tokenize, path, reference, unit):
    compare(tokenize, path, reference, [unit * (200_000 // len(unit))])


def test_borders_of_segments_do_not_show(tokenize, path, reference, control_tokens):
    rng = random.Random(3)
    lines, wanted = [], []
    while len(lines) < 2000:
        parts = [part for text in strings(3, rng.random(), ["x"]) for part in (text, rng.choice(["", " ", "a", "\n"]))]
        segments = [[part, i % 2 == 0] for i, part in enumerate(parts)]
        joined = "".join(parts)
        if any(token in joined for token in control_tokens):
            continue
        lines.append({"segments": segments})
        wanted.append(reference.encode(joined, add_special_tokens=False).ids)
    for line, answer, ids in zip(lines, tokenize.answers(path, lines=lines), wanted):
        assert answer["ids"] == ids, line


def test_control_tokens_in_plain_text_are_text(tokenize, path, reference, control_tokens):
    plain = Tokenizer.from_str(without_added_tokens(reference))
    lines = [{"segments": [[f"say {token} twice{token}", False]]} for token in control_tokens]
    for line, answer in zip(lines, tokenize.answers(path, lines=lines)):
        assert answer["ids"] == plain.encode(line["segments"][0][0], add_special_tokens=False).ids, line


def without_added_tokens(reference):
    data = json.loads(reference.to_str())
    data["added_tokens"] = []
    return json.dumps(data)

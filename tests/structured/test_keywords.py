"""Each keyword of JSON Schema is enforced, or refused with its name: keywords.py, by independent validators."""

import jsonschema
import pytest
from conftest import ROOT
from keywords import ENFORCED, NOTE_VALUES, NOTES, REFUSED
from validators import Validator

CASES = [(keyword, schema, texts) for keyword, cases in ENFORCED.items() for schema, texts in cases]
REFUSALS = [(keyword, schema) for keyword, schemas in REFUSED.items() for schema in schemas]


@pytest.fixture(scope="module")
def answers(sample):
    lines = [{"schema": schema, "texts": texts} for _, schema, texts in CASES]
    return sample(lines, 20, max_tokens=200)


def test_every_keyword_of_the_validator_is_looked_at():
    known = set(jsonschema.Draft202012Validator.VALIDATORS) | set(jsonschema.Draft7Validator.VALIDATORS)
    assert known - set(ENFORCED) - set(REFUSED) - set(NOTES) == set() and len(known) > 35


def test_the_document_names_every_keyword():
    page = (ROOT / "docs" / "structured-output.md").read_text()
    assert [keyword for keyword in (*ENFORCED, *REFUSED) if f"`{keyword}`" not in page] == []


def test_keywords_are_supported_and_answers_keep_them(answers):
    wrong, num_whole = [], 0
    for (keyword, schema, _), answer in zip(CASES, answers, strict=True):
        assert "error" not in answer, (keyword, schema, answer)
        validator = Validator(schema)
        for one in answer["answers"]:
            num_whole += one["is_whole"]
            if one["is_whole"]:
                wrong += [(keyword, schema, one["text"], problem) for problem in validator.problems(one["text"])[:1]]
    assert wrong == [] and num_whole > 10 * len(CASES)


def test_what_only_the_keyword_forbids_is_not_allowed(answers):
    taken = []
    for (keyword, schema, texts), answer in zip(CASES, answers, strict=True):
        validator = Validator(schema)
        for text, is_allowed in zip(texts, answer["allowed"], strict=True):
            assert validator.problems(text), (keyword, schema, text, "is right")
            if is_allowed:
                taken.append((keyword, schema, text))
    assert taken == []


def test_what_cannot_be_enforced_is_refused_with_its_name(sample):
    answers = sample([{"schema": schema} for _, schema in REFUSALS], 1)
    for (keyword, schema), answer in zip(REFUSALS, answers, strict=True):
        assert keyword in answer.get("param", "") or keyword in answer.get("error", ""), (keyword, schema, answer)


def test_notes_change_nothing(sample):
    """With and without them the same answers are drawn."""
    base = {"type": "string", "maxLength": 5}
    lines = [{"schema": base}, *({"schema": {**base, note: NOTE_VALUES.get(note, "x")}} for note in NOTES)]
    plain, *noted = [[one["text"] for one in sample([line], 5)[0]["answers"]] for line in lines]
    assert all(texts == plain for texts in noted)


def test_a_declared_name_written_with_escapes_is_the_limit_that_the_document_names(sample):
    """xgrammar compares names as they are written. When it does not any more, the limit leaves the document."""
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}, "additionalProperties": {"type": "string"}}
    texts = ['{"id": "x"}', '{"\\u0069d": "x"}']
    assert all(Validator(schema).problems(text) for text in texts)
    [answer] = sample([{"schema": schema, "texts": texts}], 1)
    assert answer["allowed"] == [False, True]
    assert "`\\u0069d`" in (ROOT / "docs" / "structured-output.md").read_text()

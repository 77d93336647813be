"""Every answer that ends by itself is what its schema says, and what the schema forbids is not allowed: by independent
validators."""

import json

import pytest
from schemas import all_schemas
from validators import Validator

# Of one schema, so that a run stays short.
MAX_MUTANTS = 40


@pytest.fixture(scope="module")
def sampled(request, sample):
    option = request.config.getoption
    schemas = all_schemas()[:: option("--every")]
    answers = sample([{"schema": schema} for schema in schemas], option("--num-answers"))
    return list(zip(schemas, answers, strict=True))


def test_the_set_is_large():
    schemas = [json.dumps(schema, sort_keys=True) for schema in all_schemas()]
    assert len(set(schemas)) >= 300


def test_every_schema_is_supported(sampled):
    assert [(schema, answer["error"]) for schema, answer in sampled if "error" in answer] == []


def whole_answers(answer):
    return [one["text"] for one in answer.get("answers", []) if one["is_whole"]]


def test_whole_answers_validate(sampled):
    wrong, num_whole = [], 0
    for schema, answer in sampled:
        validator = Validator(schema)
        for text in whole_answers(answer):
            num_whole += 1
            wrong += [(schema, text, problem) for problem in validator.problems(text)[:1]]
    assert wrong == []
    num_answers = sum(len(answer.get("answers", [])) for _, answer in sampled)
    print(f"{num_whole} of {num_answers} answers ended by themselves and were validated")
    assert num_whole >= 0.8 * num_answers


OTHERS = (
    None,
    True,
    0,
    -7,
    1.5,
    1e6,
    "",
    "x",
    "a long text of more than forty characters, all told",
    [],
    [1],
    {},
    {"a": 1},
)


def mutants(value):
    """The value with one part changed, left out, doubled or added."""
    yield from OTHERS
    if isinstance(value, dict):
        yield value | {"another": 1}
        for key, inner in value.items():
            yield {name: one for name, one in value.items() if name != key}
            yield from (value | {key: other} for other in mutants(inner))
    if isinstance(value, list):
        yield from (value[:-1], value + value, value + [None], value * 5)
        for at, inner in enumerate(value):
            yield from (value[:at] + [other] + value[at + 1 :] for other in mutants(inner))


def test_what_a_schema_forbids_is_not_allowed(sampled, sample):
    lines = []
    for schema, answer in sampled:
        validator = Validator(schema)
        made = [
            json.dumps(mutant, ensure_ascii=False)
            for text in whole_answers(answer)[:1]
            for mutant in mutants(json.loads(text))
        ]
        forbidden = [text for text in dict.fromkeys(made) if validator.problems(text)]
        step = 1 + len(forbidden) // MAX_MUTANTS
        lines.append({"schema": schema, "texts": forbidden[::step]})
    taken = [
        (line["schema"], text)
        for line, answer in zip(lines, sample(lines, 0), strict=True)
        for text, is_allowed in zip(line["texts"], answer["allowed"], strict=True)
        if is_allowed
    ]
    num_tried = sum(len(line["texts"]) for line in lines)
    print(f"{num_tried} answers that are wrong were tried")
    assert taken == [] and num_tried > 5 * len(lines)


def test_right_answers_are_allowed_when_they_are_written_anew(sampled, sample):
    """The check above says something only if what is right is taken."""
    lines = [{"schema": schema, "texts": whole_answers(answer)} for schema, answer in sampled]
    assert all(all(answer["allowed"]) for answer in sample(lines, 0))

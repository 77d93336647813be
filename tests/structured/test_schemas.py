"""Every answer that ends by itself is what its schema says, by an independent validator."""

import json
import subprocess
from pathlib import Path

import jsonschema
import pytest
from schemas import all_schemas

ROOT = Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "models" / "nano-flash" / "tokenizer.json"
MAX_TOKENS = 600


def validator_of(schema):
    """Draft 2020-12, or draft 7 where a schema is written in the older way."""
    text = json.dumps(schema)
    is_old = '"definitions"' in text or '"additionalItems"' in text
    return (jsonschema.Draft7Validator if is_old else jsonschema.Draft202012Validator)(schema)


@pytest.fixture(scope="module")
def sampled(request):
    option = request.config.getoption
    schemas = all_schemas()[:: option("--every")]
    lines = "".join(json.dumps({"schema": schema}) + "\n" for schema in schemas)
    command = [ROOT / option("--sampler"), TOKENIZER, str(option("--num-answers")), str(MAX_TOKENS)]
    result = subprocess.run(command, input=lines, capture_output=True, encoding="utf-8", check=False)
    assert result.returncode == 0, result.stderr
    answers = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert len(answers) == len(schemas)
    return list(zip(schemas, answers))


def test_the_set_is_large():
    schemas = [json.dumps(schema, sort_keys=True) for schema in all_schemas()]
    assert len(set(schemas)) >= 300


def test_every_schema_is_supported(sampled):
    assert [(schema, answer["error"]) for schema, answer in sampled if "error" in answer] == []


def test_whole_answers_validate(sampled):
    wrong, num_whole = [], 0
    for schema, answer in sampled:
        validator = validator_of(schema)
        for one in answer.get("answers", []):
            if not one["is_whole"]:
                continue
            num_whole += 1
            try:
                problems = [error.message for error in validator.iter_errors(json.loads(one["text"]))]
            except ValueError as error:
                problems = [str(error)]
            if problems:
                wrong.append((schema, one["text"], problems[0]))
    assert wrong == []
    num_answers = sum(len(answer.get("answers", [])) for _, answer in sampled)
    print(f"{num_whole} of {num_answers} answers ended by themselves and were validated")
    assert num_whole >= 0.8 * num_answers

"""What an answer is worth, by two validators that have nothing in common with gale or with each other."""

import json

import jsonschema
import jsonschema_rs


class Validator:
    """Draft 2020-12, or draft 7 where a schema is written in the older way. Formats count."""

    def __init__(self, schema):
        text = json.dumps(schema)
        is_old = '"definitions"' in text or '"additionalItems"' in text or "draft-07" in text
        one = jsonschema.Draft7Validator if is_old else jsonschema.Draft202012Validator
        other = jsonschema_rs.Draft7Validator if is_old else jsonschema_rs.Draft202012Validator
        self.one = one(schema, format_checker=one.FORMAT_CHECKER)
        self.other = other(schema, validate_formats=True)

    def problems(self, text):
        """Of an answer as text; empty: it is valid."""
        try:
            value = json.loads(text)
        except ValueError as error:
            return [f"no JSON: {error}"]
        if not is_text(value):
            return ["a surrogate without its other half"]
        found = [error.message for error in self.one.iter_errors(value)]
        if is_finite(value):  # 6e764 is a number of JSON, and to the other validator, by way of Python, none
            found += [error.message for error in self.other.iter_errors(value)]
        return found


def is_finite(value):
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True


def is_text(value):
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True

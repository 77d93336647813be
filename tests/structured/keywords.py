"""Each keyword of JSON Schema: schemas that use it, with answers that only this keyword forbids; or that it is refused.

Answers are JSON text. What is not forbidden here is drawn at random and validated."""

from schemas import BOOLEAN, INTEGER, NULL, NUMBER, STRING, arr, obj

NODE = obj({"value": INTEGER, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, NULL]}})
ID = {"id": INTEGER}
OLD = "http://json-schema.org/draft-07/schema#"

ENFORCED = {
    "type": [
        (INTEGER, ['"1"', "1.5", "null", "[]", "true"]),
        (NUMBER, ['"1"', "null", "{}"]),
        (STRING, ["1", "x", '["a"]']),
        (BOOLEAN, ["0", '"true"', "null"]),
        (NULL, ["0", '""', "false"]),
        ({"type": "array"}, ["{}", '"[]"']),
        ({"type": "object"}, ["[]", "null"]),
        ({"type": ["string", "null"]}, ["1", "{}", "false"]),
    ],
    "enum": [({"enum": ["a", 1, None, {"b": [2]}]}, ['"b"', "2", '"A"', '{"b": [3]}', "false"])],
    "const": [({"const": {"k": [1]}}, ['{"k": [2]}', "{}", '{"k": [1], "l": 1}'])],
    "properties": [(obj({"a": INTEGER, "b": STRING}), ['{"a": "x", "b": "x"}', '{"a": 1, "b": 1}'])],
    "required": [
        (obj({"a": INTEGER, "b": INTEGER}), ["{}", '{"a": 1}', '{"b": 1}']),
        (obj({"a": INTEGER, "b": INTEGER}, ["b"]), ["{}", '{"a": 1}']),
        ({"type": "object", "required": ["x"]}, ["{}", '{"y": 1}']),
    ],
    "additionalProperties": [
        (obj(ID, additionalProperties=False), ['{"id": 1, "b": 2}']),
        (obj(ID, additionalProperties=STRING), ['{"id": 1, "x": 2}', '{"id": 1, "id": "x"}']),
        (obj(ID, [], additionalProperties=STRING), ['{"id": "x"}', '{"x": 1}']),
        (obj({"名": INTEGER}, [], additionalProperties=True), ['{"名": "x"}']),
        (obj({'a"b': INTEGER, "é": INTEGER}, [], additionalProperties=True), ['{"a\\"b": "x"}', '{"é": "x"}']),
        ({"type": "object", "additionalProperties": INTEGER}, ['{"x": "y"}']),
    ],
    "unevaluatedProperties": [(obj(ID, unevaluatedProperties=False), ['{"id": 1, "b": 2}'])],
    "patternProperties": [
        (
            {"type": "object", "patternProperties": {"^[a-z]+$": INTEGER}, "additionalProperties": False},
            ['{"A": 1}', '{"a": "x"}'],
        ),
        (
            {"type": "object", "patternProperties": {"^a(xb+)?c$": INTEGER}, "additionalProperties": False},
            ['{"abbc": 1}', '{"axc": 1}'],
        ),
    ],
    "propertyNames": [
        (
            {"type": "object", "propertyNames": {"pattern": "^[A-Z]{2}$"}, "additionalProperties": NUMBER},
            ['{"A": 1}'],
        ),
        ({"type": "object", "propertyNames": {"enum": ["a", "b"]}}, ['{"c": 1}']),
    ],
    "minProperties": [
        ({"type": "object", "additionalProperties": INTEGER, "minProperties": 1}, ["{}"]),
        (obj({"a": INTEGER, "b": INTEGER, "c": INTEGER}, [], minProperties=2), ["{}", '{"a": 1}', '{"c": 1}']),
    ],
    "maxProperties": [
        ({"type": "object", "additionalProperties": INTEGER, "maxProperties": 1}, ['{"a": 1, "b": 2}']),
        (obj({"a": INTEGER, "b": INTEGER, "c": INTEGER}, [], maxProperties=1), ['{"a": 1, "c": 1}']),
    ],
    "items": [(arr(INTEGER), ['["a"]', "[1, null]"]), (arr(arr(BOOLEAN)), ["[true]", "[[1]]"])],
    "prefixItems": [
        ({"type": "array", "prefixItems": [STRING, INTEGER], "items": False}, ["[1]", '["a", "b"]', '["a", 1, 2]']),
    ],
    "additionalItems": [
        ({"$schema": OLD, "type": "array", "items": [STRING], "additionalItems": INTEGER}, ["[1]", '["a", "b"]']),
        ({"$schema": OLD, "type": "array", "items": [STRING], "additionalItems": False}, ['["a", "b"]']),
    ],
    "minItems": [(arr(INTEGER, minItems=2), ["[]", "[1]"])],
    "maxItems": [(arr(INTEGER, maxItems=2), ["[1, 2, 3]"]), (arr(INTEGER, maxItems=0), ["[1]"])],
    "anyOf": [({"anyOf": [INTEGER, {**STRING, "maxLength": 2}]}, ['"abc"', "1.5", "null"])],
    "oneOf": [({"oneOf": [INTEGER, STRING]}, ["1.5", "null", "[]"])],
    "allOf": [({"allOf": [obj(ID)]}, ["{}", '{"id": "x"}'])],
    "$ref": [
        ({"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"}, ['{"value": 1, "next": {"value": 2}}', "null"]),
        ({"$schema": OLD, "definitions": {"A": INTEGER}, "items": {"$ref": "#/definitions/A"}}, ['["a"]']),
        (obj({"a": INTEGER, "b": {"$ref": "#/properties/a"}}), ['{"a": 1, "b": "x"}']),
    ],
    "pattern": [
        ({**STRING, "pattern": r"^\d{3}-\d{4}$"}, ['"12-3456"', '"123-45678"', '"abc"']),
        ({**STRING, "pattern": r"^(a|b)c?d*$"}, ['"cd"', '""', '"abd"']),
        ({**STRING, "pattern": r"^a(xb+)?c$"}, ['"abbc"', '"axc"', '"abc"']),
        ({**STRING, "pattern": r"^a(\.b{1,3}|y)?c$"}, ['"abc"', '"a.c"']),
    ],
    "minLength": [({**STRING, "minLength": 3}, ['""', '"ab"', '"北京"', r'"\n\n"', r'"\ud83d\ude00\ud83d\ude00"'])],
    "maxLength": [({**STRING, "maxLength": 2}, ['"abc"', '"北京市"', r'"\n\n\n"'])],
    "minimum": [({**INTEGER, "minimum": 7}, ["6", "-7", "0"]), ({**NUMBER, "minimum": 0.5}, ["0.4", "0", "-1"])],
    "maximum": [({**INTEGER, "maximum": 100}, ["101", "1000"]), ({**NUMBER, "maximum": 1.5}, ["1.6", "2", "1e3"])],
    "exclusiveMinimum": [
        ({**INTEGER, "exclusiveMinimum": 7}, ["7", "0"]),
        ({**NUMBER, "exclusiveMinimum": 0}, ["0", "0.0", "-0.5"]),
    ],
    "exclusiveMaximum": [
        ({**INTEGER, "exclusiveMaximum": 10}, ["10"]),
        ({**NUMBER, "exclusiveMaximum": 10}, ["10", "10.0", "11"]),
    ],
    "multipleOf": [({**INTEGER, "multipleOf": 5}, ["7", "1"]), ({**INTEGER, "multipleOf": 10}, ["15"])],
    "format": [
        (
            {**STRING, "format": "date"},
            ['"2024-13-01"', '"2024-00-10"', '"2024-01-32"', '"24-01-01"', '"2023-02-30"'],
        ),
        ({**STRING, "format": "time"}, ['"25:00:00Z"', '"12:61:00Z"', '"noon"', '"12:00"']),
        ({**STRING, "format": "date-time"}, ['"2024-01-01"', '"2024-01-01 12:00"', '"2024-13-01T00:00:00Z"']),
        ({**STRING, "format": "duration"}, ['"1 day"', '"P"', '"PT"']),
        ({**STRING, "format": "ipv4"}, ['"1.2.3"', '"256.1.1.1"', '"1.2.3.4.5"']),
        ({**STRING, "format": "ipv6"}, ['"1::2::3"', '"12345::"', '"1.2.3.4"', '":::"']),
        ({**STRING, "format": "hostname"}, ['"-a.com"', '"a b"', '"a_b.com"']),
        ({**STRING, "format": "uuid"}, ['"123"', '"2eb8aa08-aa98-11ea-b4aa-73b441d1638"']),
        ({**STRING, "format": "email"}, ['"nobody"', '"a@"', '"@b.com"']),
        ({**STRING, "format": "uri"}, ['"/relative"', '"a b:c"']),
        ({**STRING, "format": "uri-reference"}, [r'"\\\\a"', '"a b"']),
    ],
}

# Where they would demand something that masks cannot follow. The place that the 400 names ends with the keyword.
REFUSED = {
    "not": [{"not": STRING}, obj({"a": {**STRING, "not": {"const": "x"}}})],
    "if": [{"if": STRING, "then": {"minLength": 2}}],
    "then": [{"then": STRING}],
    "else": [{"else": STRING}],
    "dependentRequired": [obj(ID, dependentRequired={"id": ["x"]})],
    "dependentSchemas": [obj(ID, dependentSchemas={"id": obj({"x": STRING})})],
    "dependencies": [obj(ID, dependencies={"id": ["x"]})],
    "contains": [arr(INTEGER, contains={"const": 1})],
    "minContains": [arr(INTEGER, minContains=1)],
    "maxContains": [arr(INTEGER, maxContains=1)],
    "uniqueItems": [arr(INTEGER, uniqueItems=True)],
    "unevaluatedItems": [{"type": "array", "unevaluatedItems": False}],
    "$dynamicRef": [{"$dynamicRef": "#x"}],
    "$recursiveRef": [{"$recursiveRef": "#"}],
    "multipleOf": [{**NUMBER, "multipleOf": 0.1}],
    "format": [{**STRING, "format": "iri"}, {**STRING, "format": "regex"}, {**STRING, "format": "json-pointer"}],
    "pattern": [{**STRING, "pattern": r"^\"$"}, {**STRING, "pattern": "^a$", "minLength": 1}],
    "allOf": [{"allOf": [obj({"a": INTEGER}), obj({"b": INTEGER})]}],
    "oneOf": [{"oneOf": [INTEGER, NUMBER]}, {"oneOf": [STRING, {**STRING, "maxLength": 1}]}],
    "$ref": [{"$ref": "http://example.com/schema"}, {"$ref": "#/$defs/None"}, {"$ref": "#anchor"}],
    "$id": [
        {"$defs": {"A": {"$id": "https://example.com/a", "$ref": "#/$defs/B"}, "B": STRING}, "$ref": "#/$defs/A"}
    ],
    "type": [{"type": "text"}, {"type": []}],
    "minimum": [{**INTEGER, "minimum": "1"}],
    "exclusiveMinimum": [{**INTEGER, "minimum": 1, "exclusiveMinimum": True}],
    "minItems": [arr(INTEGER, minItems=5000), arr(INTEGER, minItems=3, maxItems=2)],
    "minLength": [{**STRING, "minLength": 5000}],
    "additionalProperties": [obj({"名": INTEGER}, [], additionalProperties=STRING)],
    "minProperties": [
        {"type": "object", "additionalProperties": INTEGER, "minProperties": 2},
        obj(ID, [], minProperties=3, maxProperties=2),
    ],
}

# They demand nothing of an answer.
NOTES = (
    "title description default examples deprecated readOnly writeOnly $comment $schema $anchor $dynamicAnchor "
    "$recursiveAnchor $vocabulary $defs definitions contentEncoding contentMediaType contentSchema"
).split()
NOTE_VALUES = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$defs": {"A": STRING},
    "definitions": {"A": STRING},
    "examples": [1],
    "$vocabulary": {},
    "contentSchema": {"type": "object"},
}

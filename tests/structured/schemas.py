"""Over 300 JSON schemas: shapes that people send, and every supported keyword in combination with others."""

import itertools


def obj(properties, required=None, **extra):
    return {"type": "object", "properties": properties, "required": list(properties) if required is None else required,
            **extra}


def arr(items, **extra):
    return {"type": "array", "items": items, **extra}


STRING, INTEGER, NUMBER, BOOLEAN, NULL = ({"type": t} for t in ("string", "integer", "number", "boolean", "null"))
LEAVES = {"string": STRING, "integer": INTEGER, "number": NUMBER, "boolean": BOOLEAN, "null": NULL}
FORMATS = ("date", "time", "date-time", "duration", "ipv4", "ipv6", "hostname", "uuid", "email", "uri", "uri-reference")
PATTERNS = (r"^[a-z]{2,4}$", r"^\d{3}-\d{4}$", r"^(foo|bar)+$", r"^[A-Z][a-z]*( [A-Z][a-z]*)?$", r"^#[0-9a-fA-F]{6}$",
            r"^v\d+\.\d+\.\d+$",
            r"^[^\s]+$", r"^\w{1,8}$", r"^(a|b)c?d*$", r"^[\u4e00-\u9fff]{1,3}$", r"^[^\"\\]+$",
            r"^/(usr|home)/[a-z]+\.txt$", r"^.{3}$", r"^$", r"^\+?[0-9]{5,9}$")
BOUNDS = [{"minimum": 0}, {"maximum": 100}, {"minimum": -5, "maximum": 5}, {"exclusiveMinimum": 0},
          {"exclusiveMaximum": 10},
          {"minimum": 100, "maximum": 999}, {"exclusiveMinimum": -1, "exclusiveMaximum": 1000},
          {"minimum": 7, "maximum": 7}]
LENGTHS = [{"minLength": 1}, {"maxLength": 5}, {"minLength": 3, "maxLength": 8}, {"minLength": 4, "maxLength": 4},
           {"maxLength": 0}, {"maxLength": 40}]
COUNTS = [{"minItems": 1}, {"maxItems": 2}, {"minItems": 2, "maxItems": 4}, {"minItems": 3, "maxItems": 3},
          {"maxItems": 0}]
CHOICES = [["red", "green", "blue"], [1, 2, 3], [True, None], ["a\"b", "c\\d", "e\nf"], ["日本", "中国"], [1.5, "x", None],
           [[1, 2], {"a": 1}], ["only"]]


def scalar_schemas():
    yield from LEAVES.values()
    yield from ({**t, **b} for t, b in itertools.product((INTEGER, NUMBER), BOUNDS)
                if not (t is NUMBER and b == {"minimum": 7, "maximum": 7}))
    yield from ({**INTEGER, "multipleOf": m} for m in (2, 5, 10))
    yield from ({**STRING, **length} for length in LENGTHS)
    yield from ({**STRING, "pattern": p} for p in PATTERNS)
    yield from ({**STRING, "format": f} for f in FORMATS)
    yield from ({"enum": c} for c in CHOICES)
    yield from ({"const": c} for c in ("x", 3, None, True, {"k": [1]}))
    yield {"type": "string", "enum": ["a", "b", None]}


def array_schemas():
    yield from (arr(leaf) for leaf in LEAVES.values())
    yield from (arr(leaf, **count) for leaf, count in itertools.product((STRING, INTEGER, BOOLEAN), COUNTS))
    yield from (arr({**STRING, "pattern": p}, maxItems=3) for p in PATTERNS[:6])
    yield from (arr({"enum": c}, minItems=1) for c in CHOICES[:5])
    yield arr(arr(INTEGER, maxItems=2), maxItems=2)
    yield arr(obj({"x": NUMBER, "y": NUMBER}), minItems=1, maxItems=3)
    yield {"type": "array", "prefixItems": [STRING, INTEGER], "items": False}
    yield {"type": "array", "prefixItems": [BOOLEAN], "items": NUMBER, "minItems": 2, "maxItems": 3}
    yield {"type": "array", "items": [STRING, BOOLEAN], "additionalItems": False}


def object_schemas():
    yield from (obj({"value": leaf}) for leaf in LEAVES.values())
    for names in (("a",), ("a", "b"), ("a", "b", "c")):
        properties = {name: leaf for name, leaf in zip(names, (STRING, INTEGER, BOOLEAN))}
        for size in range(len(names) + 1):
            yield from (obj(properties, list(required)) for required in itertools.combinations(names, size))
    yield from (obj({"s": {**STRING, **length}, "n": INTEGER}) for length in LENGTHS)
    yield from (obj({"n": {**INTEGER, **bound}}) for bound in BOUNDS)
    yield from (obj({"f": {**STRING, "format": f}}) for f in FORMATS)
    yield from (obj({"p": {**STRING, "pattern": p}}) for p in PATTERNS)
    yield from (obj({"e": {"enum": c}, "ok": BOOLEAN}) for c in CHOICES)
    yield from (obj({"list": arr(leaf, **count)}) for leaf, count in itertools.product((STRING, NUMBER), COUNTS))
    yield from (obj({"first": a, "second": b}, ["second"]) for a, b in itertools.product(LEAVES.values(), repeat=2))
    yield obj({"odd \"name\"": STRING, "with\\slash": INTEGER, "名": BOOLEAN})
    yield {"type": "object", "additionalProperties": INTEGER}
    yield {"type": "object", "additionalProperties": {"enum": ["x", "y"]}}
    yield obj({"id": INTEGER}, additionalProperties=STRING)
    yield obj({"id": INTEGER}, additionalProperties=False)
    yield {"type": "object", "patternProperties": {"^[a-z]+$": INTEGER}, "additionalProperties": False}
    yield {"type": "object", "propertyNames": {"pattern": "^[A-Z]{2}$"}, "additionalProperties": NUMBER}
    yield {"type": "object", "required": ["only", "names"]}


def combined_schemas():
    pairs = list(itertools.combinations(LEAVES.values(), 2))
    yield from ({"anyOf": list(pair)} for pair in pairs)
    yield from ({"type": [a["type"], b["type"]]} for a, b in pairs)
    yield from (obj({"maybe": {"anyOf": [leaf, NULL]}}) for leaf in list(LEAVES.values())[:4])
    yield from (obj({"maybe": {"type": [leaf["type"], "null"]}}) for leaf in list(LEAVES.values())[:4])
    yield from ({"anyOf": [{**STRING, "format": f}, NULL]} for f in FORMATS)
    yield from (arr(obj({"n": {**INTEGER, **bound}}), maxItems=2) for bound in BOUNDS)
    yield from (obj({"choice": {"anyOf": [{"enum": c}, {"type": "object", "additionalProperties": False}]}})
                for c in CHOICES[:6])
    yield {"oneOf": [STRING, INTEGER]}
    yield {"allOf": [obj({"a": INTEGER})]}
    yield {"anyOf": [obj({"kind": {"const": "circle"}, "radius": NUMBER}),
                     obj({"kind": {"const": "square"}, "side": NUMBER})]}
    yield {"oneOf": [obj({"kind": {"const": "cat"}, "lives": INTEGER}),
                     obj({"kind": {"const": "dog"}, "tricks": arr(STRING)})]}
    yield arr({"anyOf": [STRING, INTEGER, obj({"deep": arr(NULL)})]}, maxItems=3)


def recursive_schemas():
    node = {"$defs": {"Node": obj({"value": INTEGER, "next": {"anyOf": [{"$ref": "#/$defs/Node"}, NULL]}})}}
    yield {**node, "$ref": "#/$defs/Node"}
    yield {**node, **obj({"head": {"$ref": "#/$defs/Node"}})}
    tree = {"$defs": {"Tree": obj({"name": STRING, "children": arr({"$ref": "#/$defs/Tree"}, maxItems=2)})}}
    yield {**tree, **obj({"root": {"$ref": "#/$defs/Tree"}})}
    expression = {"definitions": {"E": {"anyOf": [NUMBER, obj({"op": {"enum": ["+", "*"]},
                                                               "args": arr({"$ref": "#/definitions/E"}, minItems=2,
                                                                           maxItems=2)})]}}}
    yield {**expression, "$ref": "#/definitions/E"}
    yield {**expression, **obj({"e": {"$ref": "#/definitions/E"}})}
    json_like = {"$defs": {"V": {"anyOf": [STRING, NUMBER, BOOLEAN, NULL, arr({"$ref": "#/$defs/V"}),
                                           {"type": "object", "additionalProperties": {"$ref": "#/$defs/V"}}]}}}
    yield {**json_like, "$ref": "#/$defs/V"}
    address = {"$defs": {"Address": obj({"street": STRING, "zip": {**STRING, "pattern": r"^\d{5}$"}})}}
    yield {**address, **obj({"home": {"$ref": "#/$defs/Address"}, "work": {"$ref": "#/$defs/Address"}}, ["home"])}


def everyday_schemas():
    yield obj({"name": STRING, "age": {**INTEGER, "minimum": 0, "maximum": 150}, "email": {**STRING, "format": "email"},
               "tags": arr(STRING, maxItems=5)})
    yield obj({"title": STRING, "steps": arr(obj({"explanation": STRING, "output": STRING}), minItems=1),
               "final_answer": STRING}, additionalProperties=False)
    yield obj({"sentiment": {"enum": ["positive", "neutral", "negative"]},
               "confidence": {**NUMBER, "minimum": 0, "maximum": 1}})
    yield obj({"city": STRING, "unit": {**STRING, "enum": ["celsius", "fahrenheit"]}}, ["city"])
    yield obj({"invoice": obj({"number": {**STRING, "pattern": r"^INV-\d{4}$"},
                               "lines": arr(obj({"sku": STRING, "qty": {**INTEGER, "minimum": 1}, "price": NUMBER})),
                               "due": {**STRING, "format": "date"}})})
    yield {"title": "Event", "description": "A calendar event", "type": "object",
           "$schema": "https://json-schema.org/draft/2020-12/schema",
           "properties": {"name": {**STRING, "description": "Title", "examples": ["x"]}, "date": STRING,
                          "participants": arr(STRING), "priority": {**INTEGER, "default": 1}},
           "required": ["name", "date", "participants"], "additionalProperties": False}
    yield obj({"action": {"anyOf": [obj({"type": {"const": "click"}, "x": INTEGER, "y": INTEGER}),
                                    obj({"type": {"const": "type"}, "text": STRING})]}, "done": BOOLEAN})
    yield from (obj({"outer": obj({"inner": leaf, "more": arr(leaf, maxItems=2)}), "flag": BOOLEAN}, ["outer"])
                for leaf in LEAVES.values())
    yield from (arr(obj({"key": STRING, "value": leaf}), minItems=1, maxItems=2) for leaf in LEAVES.values())
    yield from (obj({"code": {**STRING, "pattern": p}, "note": STRING}, ["code"]) for p in PATTERNS[:8])
    yield obj({"matrix": arr(arr(NUMBER, minItems=2, maxItems=2), minItems=2, maxItems=2)})
    yield obj({f"field_{i}": list(LEAVES.values())[i % 5] for i in range(24)})
    yield obj({"a": obj({"b": obj({"c": obj({"d": obj({"e": BOOLEAN})})})})})


def all_schemas():
    groups = (scalar_schemas, array_schemas, object_schemas, combined_schemas, recursive_schemas, everyday_schemas)
    return [schema for group in groups for schema in group()]

"""``json.*``: the RFC's own table, and queries and schemas of strangers."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=8,
)

RFC_7396 = [  # appendix A: original, patch, result
    ('{"a":"b"}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}'),
    ('{"a":"b"}', '{"a":null}', "{}"),
    ('{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}'),
    ('{"a":["b"]}', '{"a":"c"}', '{"a":"c"}'),
    ('{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}'),
    ('{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}'),
    ('{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}'),
    ('["a","b"]', '["c","d"]', '["c","d"]'),
    ('{"a":"b"}', '["c"]', '["c"]'),
    ('{"a":"foo"}', "null", "null"),
    ('{"a":"foo"}', '"bar"', '"bar"'),
    ('{"e":null}', '{"a":1}', '{"e":null,"a":1}'),
    ("[1,2]", '{"a":"b","c":null}', '{"a":"b"}'),
    ("{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}'),
]


@pytest.mark.parametrize(("original", "patch", "result"), RFC_7396)
def test_a_merge_patch_does_what_the_rfc_says(stdlib, original, patch, result):
    value, change = json.loads(original), json.loads(patch)
    found = stdlib.output("json.merge_patch", value=value, patch=change)
    assert {"result": json.loads(result)} == found


@given(value=JSON, patch=JSON)
def test_a_merge_patch_done_twice_is_done_once(library, value, patch):
    once = library.output("json.merge_patch", value=value, patch=patch)["result"]
    assert once == library.output("json.merge_patch", value=once, patch=patch)["result"]


def nested(levels: int):
    value: object = 1
    for _ in range(levels):
        value = {"a": value}
    return value


def test_deep_values_are_merged_and_too_deep_ones_refused_before_anything_happens(stdlib):
    deep = nested(50)
    found = stdlib.output("json.merge_patch", value={}, patch=deep)
    assert {"result": deep} == found
    assert stdlib.failure("json.merge_patch", value={}, patch=nested(500)).startswith(
        ("contract.", "expression.", "canonical.", "step.")
    )


# ---- queries --------------------------------------------------------------------------------
TOWER = " | ".join(["[@, @]"] * 40)


@pytest.mark.parametrize(
    "expression",
    [
        TOWER,
        TOWER.replace("[@, @]", "{a: @, b: @}"),
        f"[{TOWER}][0] == [{TOWER}][0]",
        " | ".join(["[@, @][]"] * 40),
        " | ".join(["join(@, ['a', 'a', 'a'])".replace("'", "`").replace("`a`", '`"aa"`')] * 40),
        " | ".join(["to_string([@, @])"] * 40),
    ],
)
def test_a_query_ends_before_memory_does(stdlib, expression):
    assert "query_limit" == stdlib.failure("json.query", value="x", expression=expression)


@pytest.mark.parametrize(
    "expression",
    [
        "a[",
        "&a",
        "[&a]",
        "nothing(@)",
        "length(`1`)",
        "to_number('nan')",
        "to_number('1e999')",
        "[" * 500 + "]" * 500,
        "(" * 500 + "a" + ")" * 500,
        "!" * 3000 + "a",
        "sum(['a'])",
        "`[`",
    ],
)
def test_a_query_that_is_none_or_gives_no_json_is_an_error_of_its_own(stdlib, expression):
    assert "bad_expression" == stdlib.failure("json.query", value={}, expression=expression)


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("people[?age > `1`].name", ["Bo"]),
        ("sort_by(people, &age)[-1].name", "Bo"),
        ("{names: join(', ', people[*].name), n: length(people)}", {"names": "Ada, Bo", "n": 2}),
        ("people[*].[name, age][]", ["Ada", 1, "Bo", 2]),
        ("map(&age, people) | sum(@)", 3),
        ("*[] | [0:1].name", ["Ada"]),
        ("people" + ".a" * 1500, None),
    ],
)
def test_queries_have_the_usual_means(stdlib, expression, result):
    value = {"people": [{"name": "Ada", "age": 1}, {"name": "Bo", "age": 2}]}
    assert {"result": result} == stdlib.output("json.query", value=value, expression=expression)


# ---- schemas --------------------------------------------------------------------------------
def doubling(levels: int):
    steps = {
        f"s{n}": {"allOf": [{"$ref": f"#/$defs/s{n + 1}"}, {"$ref": f"#/$defs/s{n + 1}"}]}
        for n in range(levels)
    }
    return {"$defs": {**steps, f"s{levels}": {"type": "integer"}}, "$ref": "#/$defs/s0"}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "nonsense"},
        {"$ref": "#/$defs/nowhere"},
        {"$ref": "#"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "file:///etc/passwd"},
        {"$schema": "https://example.com/draft"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"pattern": "(a+)+$"},
        {"properties": {"a": {"patternProperties": {"(a+)+$": {}}}}},
        {"$defs": {"a": {"pattern": "a"}}},
        {"description": "x" * 300_000},
        doubling(40),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused(stdlib, schema):
    assert "bad_schema" == stdlib.failure("json.validate", value="a" * 40, schema=schema)


def test_comparing_each_item_with_each_is_for_short_arrays(stdlib):
    schema, long = {"uniqueItems": True}, [{"n": n} for n in range(1001)]
    assert {"valid": True} == stdlib.output("json.validate", value=long[1:], schema=schema)
    assert "bad_schema" == stdlib.failure("json.validate", value={"a": long}, schema=schema)


@pytest.mark.parametrize(("schema", "valid"), [(True, True), (False, False), ({}, True)])
def test_the_shortest_schemas_mean_what_they_say(stdlib, schema, valid):
    assert valid == stdlib.output("json.validate", value=1, schema=schema)["valid"]


def test_the_value_itself_is_never_shown(stdlib):
    found = stdlib.output("json.validate", value={"a": "hunter2"}, schema={"maxProperties": 0})
    assert "hunter2" not in json.dumps(found)

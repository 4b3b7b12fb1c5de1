"""`awe_core.contract`: JSON Schema 2020-12, asserted, filled in, and silent about values."""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from awe_core.contract import FORMATS, Mark, Schema
from awe_core.errors import AweError, ContractError, EffectRefusedError

SUITE = Path(__file__).parent / "vectors" / "json-schema"
WRITE = {
    "type": "object",
    "required": ["path", "text"],
    "additionalProperties": False,
    "properties": {
        "path": {"type": "string", "format": "workspace-path"},
        "text": {"type": "string"},
        "mode": {"type": "string", "enum": ["create", "replace", "upsert"], "default": "upsert"},
    },
}


def compiled(schema, **resources):
    return Schema.compile(schema, where="fs.write_text input", **resources)


def unusable(schema, **resources):
    with pytest.raises(ContractError) as caught:
        compiled(schema, **resources)
    assert caught.value.code == "contract.schema"
    assert str(caught.value).startswith("fs.write_text input: the schema cannot be used at ")
    return caught.value


def refused(schema, instance, side="input"):
    with pytest.raises(ContractError) as caught:
        compiled(schema).apply(instance, side=side)
    assert caught.value.code == f"contract.{side}"
    return caught.value


def fits(schema, instance):
    try:
        compiled(schema).apply(instance, side="output")
    except ContractError:
        return False
    return True


# --- the public suite ------------------------------------------------------------------------

#: Repeated in docs/adr/0002-json-schema.md with the reasons.  Cases whose schema is refused …
REFUSED = {
    ("default.json", "invalid type for default"): "a default that does not fit",
    ("default.json", "invalid string value for default"): "a default that does not fit",
    (
        "default.json",
        "the default keyword does not do anything if the property is missing",
    ): "a default that does not fit",
    ("format.json", "idn-email format"): "an unknown format",
    ("format.json", "idn-hostname format"): "an unknown format",
    ("format.json", "relative-json-pointer format"): "an unknown format",
    ("format.json", "iri format"): "an unknown format",
    ("format.json", "iri-reference format"): "an unknown format",
    ("format.json", "uri-template format"): "an unknown format",
    (
        "vocabulary.json",
        "schema that uses custom metaschema with with no validation vocabulary",
    ): "another dialect",
    ("vocabulary.json", "ignore unrecognized optional vocabulary"): "another dialect",
}
#: … and cases that we decide the other way: format is an assertion here.
ASSERTED = {
    f"invalid {name} string is only an annotation by default"
    for name in (
        *("email", "regex", "ipv4", "ipv6", "hostname", "date", "date-time", "time"),
        *("json-pointer", "uri", "uri-reference", "uuid", "duration"),
    )
}
REMOTES = {
    f"http://localhost:1234/{path.relative_to(SUITE / 'remotes').as_posix()}": json.loads(
        path.read_text(encoding="utf-8")
    )
    for path in sorted((SUITE / "remotes").rglob("*.json"))
}


def groups(name):
    return json.loads((SUITE / "draft2020-12" / name).read_text(encoding="utf-8"))


def suite_schema(group):
    """A contract is an object, so the suite's ``true`` and ``false`` are wrapped."""
    schema = group["schema"]
    wrapped = {"allOf": [schema]} if isinstance(schema, bool) else schema
    is_remote = "localhost" in json.dumps(wrapped)
    return compiled(wrapped, resources=REMOTES if is_remote else {})


@pytest.mark.parametrize(
    "name", sorted(path.name for path in (SUITE / "draft2020-12").glob("*.json"))
)
def test_the_required_cases_of_the_public_suite_are_decided_as_it_says(name):
    for group in groups(name):
        if (name, group["description"]) in REFUSED:
            with pytest.raises(ContractError, match="cannot be used"):
                suite_schema(group)
            continue
        schema = suite_schema(group)
        for case in group["tests"]:
            try:
                schema.apply(case["data"], side="output")
                is_valid = True
            except ContractError:
                is_valid = False
            expected = case["valid"] and case["description"] not in ASSERTED
            assert is_valid == expected, f"{group['description']}: {case['description']}"


def test_every_named_exception_is_still_in_the_suite_and_in_the_adr():
    adr = (Path(__file__).parent.parent / "docs/adr/0002-json-schema.md").read_text("utf-8")
    for name, description in REFUSED:
        assert description in {group["description"] for group in groups(name)}
        assert description in adr
    found = {case["description"] for group in groups("format.json") for case in group["tests"]}
    assert found > ASSERTED
    assert "is only an annotation by default" in adr


def test_the_vendored_files_are_the_published_ones():
    lines = (SUITE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = dict(reversed(line.split("  ", 1)) for line in lines)
    found = {
        path.relative_to(SUITE).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in SUITE.rglob("*.json")
    }
    assert found == listed
    assert "Permission is hereby granted, free of charge" in (SUITE / "LICENSE").read_text("utf-8")


# --- one verdict -----------------------------------------------------------------------------


def oracle(schema):
    checker = FormatChecker(formats=())
    for name, holds in FORMATS.items():
        checker.checks(name)(lambda x, holds=holds: not isinstance(x, str) or holds(x))
    return Draft202012Validator(schema, format_checker=checker)


SMALL = st.integers(-3, 4)
NUMBERS = SMALL | st.sampled_from([0.5, 1.0, 2.5, -1.0, 10**30])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "a", "ab", "aé", "1", "a\n"])
INSTANCES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    ),
    max_leaves=8,
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "object", "array"])
COUNTS = st.integers(0, 3)


@st.composite
def schemas(draw, inner):
    """Draw a schema of at most four keywords: more are hardly ever satisfied together."""
    words = keywords(inner)
    chosen = draw(st.lists(st.sampled_from(sorted(words)), max_size=4, unique=True))
    return {word: draw(words[word]) for word in chosen}


def keywords(inner):
    named = st.dictionaries(st.sampled_from(["a", "b", "c"]), inner, max_size=3)
    many = st.lists(inner, min_size=1, max_size=3)
    return {
        "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
        "enum": st.lists(INSTANCES, min_size=1, max_size=3),
        "const": INSTANCES,
        "minimum": NUMBERS,
        "maximum": NUMBERS,
        "exclusiveMinimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "multipleOf": st.sampled_from([1, 2, 0.5]),
        "minLength": COUNTS,
        "maxLength": COUNTS,
        "pattern": st.sampled_from(["^a", "b", "^[0-9]+", "."]),
        "format": st.sampled_from(["uuid", "date", "json-pointer", "workspace-path"]),
        "minItems": COUNTS,
        "maxItems": COUNTS,
        "uniqueItems": st.booleans(),
        "items": inner,
        "prefixItems": many,
        "properties": named,
        "additionalProperties": inner,
        "required": st.lists(st.sampled_from(["a", "b"]), max_size=2, unique=True),
        "minProperties": COUNTS,
        "maxProperties": COUNTS,
        "anyOf": many,
        "allOf": many,
        "oneOf": many,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "patternProperties": st.dictionaries(st.just("^a"), inner, max_size=1),
        "propertyNames": inner,
        "contains": inner,
        "dependentRequired": st.just({"a": ["b"]}),
        "unevaluatedProperties": inner,
    }


SCHEMAS = st.booleans() | schemas(st.booleans() | schemas(st.booleans()))


@given(schemas(SCHEMAS), st.lists(INSTANCES, min_size=1, max_size=5))
def test_the_fast_verdict_never_says_yes_where_jsonschema_says_no(schema, instances):
    contract, reference = compiled(schema), oracle(schema)
    for instance in instances:
        try:
            contract.apply(instance, side="output")
            is_valid = True
        except ContractError:
            is_valid = False
        assert is_valid == reference.is_valid(instance)


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"const": 1}, [1, 1.0], [True, "1"]),
        ({"enum": [0, False]}, [0, 0.0, False], [None, "", 1]),
        ({"enum": [True]}, [True], [1, 1.0]),
        ({"enum": [[1], {"a": 0}]}, [[1], [1.0], {"a": 0}], [[True], {"a": False}]),
        ({"type": "integer"}, [1, 1.0, 10**30], [True, 1.5, "1"]),
        ({"type": "number"}, [1, 0.5], [True, None]),
        ({"type": ["string", "null"]}, ["a", None], [1, False]),
        ({"uniqueItems": True}, [[], [1, True], ["a", "b"], "aa"], [["a", "a"], [1, 1.0]]),
        ({"minLength": 2}, ["éé", "😀😀", 1], ["😀"]),
        ({"multipleOf": 3}, [6, 6.0, "x"], [7, 7.5]),
        ({"prefixItems": [{"type": "string"}], "items": False}, [["a"], [], 5], [["a", 1], [1]]),
        ({"minimum": 2, "exclusiveMaximum": 4}, [2, 3.9, "0", [], {}], [1, 4]),
        ({"anyOf": [{"type": "string"}], "then": True}, ["a"], [1]),
        ({"pattern": "^a$"}, ["a", 5], ["a\n", "b"]),
        ({"pattern": r"^\d+$"}, ["12"], ["\u0661\u0662"]),
        ({"pattern": r"^[\w-]+\/\s$"}, ["a-b/\u2003"], ["é/ "]),
        ({"pattern": r"^(?<x>a)[[a]\b.$"}, ["aa-", "a[x"], ["aa\n", "a[-", "aa"]),
        ({"patternProperties": {"a$": False}}, [{"b": 1}, {"a\n": 1}], [{"ba": 1}]),
    ],
)
def test_values_are_told_apart_as_json_tells_them_apart(schema, valid, invalid):
    assert [fits(schema, value) for value in valid] == [True] * len(valid)
    assert [fits(schema, value) for value in invalid] == [False] * len(invalid)


@pytest.mark.parametrize(
    ("name", "valid", "invalid"),
    [
        ("date", ["2024-02-29"], ["2023-02-29", "2024-2-9", "20240229", "\uff12024-02-29"]),
        (
            "date-time",
            ["1985-04-12T23:20:50.52Z", "1990-12-31t15:59:60-08:00", "1990-12-31T23:59:60Z"],
            ["1985-04-12 23:20:50Z", "1990-12-31T15:59:60Z", "2024-01-01T24:00:00Z", "2024-01-01"],
        ),
        (
            "time",
            ["08:30:06+00:20", "01:29:60+01:30"],
            ["8:30:06Z", "08:30:06", "01:29:60+01:31", "08:30:06Z\n"],
        ),
        ("duration", ["P4DT12H30M5S", "P1W", "PT1M", "P1Y"], ["P", "PT", "P1YT", "1D", "P1D1W"]),
        (
            "email",
            ["joe@example.com", '"a b"@[127.0.0.1]', "a@[IPv6:::1]"],
            ["joe", ".a@b.c", "a..b@c.d", "a@[127.0.0.300]", "a@-b.c", "a" * 65 + "@b.c"],
        ),
        ("hostname", ["a.b-c", "xn--4gbwdl"], ["", "-a", "a_b", "a" * 64, "ab--c", "a.b."]),
        ("ipv4", ["192.168.0.1"], ["256.0.0.1", "01.2.3.4", "1.2.3", "\u0661.2.3.4", "1.2.3.4\n"]),
        ("ipv6", ["::1", "::ffff:1.2.3.4"], ["12345::", "fe80::1%eth0", "::\u0661", ":"]),
        (
            "uri",
            ["http://a/b?c#d", "urn:x:y", "ldap://[2001:db8::7]/c", "http://[v1.x]/"],
            ["//a/b", "http://a b", "\\\\x", "http://[:::1]", "http://a:b@[::1", "a%zz:b"],
        ),
        ("uri-reference", ["/a", "#f", "", "a/b:c", "?q", "//h:80"], ["a:b c", "#a\\b", "%1"]),
        ("uuid", ["2eb8aa08-aa98-11ea-b4aa-73b441d16380"], ["2eb8aa08aa9811eab4aa73b441d16380"]),
        ("json-pointer", ["", "/a~0b/~1", "/é"], ["a", "/a~", "/~2"]),
        ("regex", ["^a+$", r"\d", "(?<n>a)"], ["(", r"^\Z", r"[\D]", r"\p{L}", "a" * 1025]),
        ("password", ["", "anything"], []),
    ],
)
def test_formats_are_asserted(name, valid, invalid):
    assert [fits({"format": name}, text) for text in valid] == [True] * len(valid)
    assert [fits({"format": name}, text) for text in invalid] == [False] * len(invalid)
    assert fits({"format": name}, 5)


# --- defaults --------------------------------------------------------------------------------


def filled(schema, instance):
    before = copy.deepcopy(instance)
    found = compiled(schema).apply(instance, side="input")
    assert instance == before
    return found


def test_a_default_is_applied_into_a_copy():
    assert filled(WRITE, {"path": "a", "text": "x"}) == {"path": "a", "text": "x", "mode": "upsert"}
    given = {"path": "a", "text": "x", "mode": "create"}
    assert filled(WRITE, given) == given


@pytest.mark.parametrize(
    ("schema", "instance", "expected"),
    [
        (
            {"properties": {"a": {"default": {}, "properties": {"b": {"default": 1}}}}},
            {},
            {"a": {"b": 1}},
        ),
        (
            {"items": {"properties": {"b": {"default": [1]}}}},
            [{}, {"b": 0}, 5, {}],
            [{"b": [1]}, {"b": 0}, 5, {"b": [1]}],
        ),
        (
            {"prefixItems": [True, {"properties": {"b": {"default": 1}}}]},
            [{}, {}, {}],
            [{}, {"b": 1}, {}],
        ),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"b": {"default": 1}}}}},
            {},
            {"b": 1},
        ),
        (
            {
                "properties": {"m": {"$ref": "#/$defs/mode"}},
                "$defs": {"mode": {"allOf": [{"default": "up"}]}},
            },
            {},
            {"m": "up"},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"default": 1}}},
                    {"properties": {"a": {"default": 2}, "b": {"default": 3}}},
                ]
            },
            {},
            {"a": 1, "b": 3},
        ),
        (
            {"additionalProperties": {"properties": {"b": {"default": 1}}}},
            {"x": {}},
            {"x": {"b": 1}},
        ),
        (
            {"patternProperties": {"^x": {"properties": {"b": {"default": None}}}}},
            {"x": {}},
            {"x": {"b": None}},
        ),
        ({"anyOf": [{"properties": {"b": {"default": 1}}}]}, {}, {}),
        ({"if": True, "then": {"properties": {"b": {"default": 1}}}}, {}, {}),
        ({"default": {"a": 1}}, {}, {}),
        ({"properties": {"b": {"default": 1}}}, [], []),
    ],
)
def test_defaults_are_found_through_properties_items_references_and_all_of(
    schema, instance, expected
):
    assert filled(schema, instance) == expected


def test_a_default_satisfies_required():
    assert filled({"required": ["a"], "properties": {"a": {"default": 1}}}, {}) == {"a": 1}


def test_defaults_are_not_shared_between_calls():
    contract = compiled({"properties": {"a": {"default": []}}})
    contract.apply({}, side="input")["a"].append(1)
    assert contract.apply({}, side="input") == {"a": []}


def test_the_schema_is_copied():
    schema = {"properties": {"a": {"type": "string"}}}
    contract = compiled(schema)
    schema["properties"]["a"]["type"] = "integer"
    assert contract.apply({"a": "x"}, side="input") == {"a": "x"}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"properties": {"a": {"type": "string", "default": 5}}}, "the default 5 does not fit"),
        ({"properties": {"a": {"format": "workspace-path", "default": ".."}}}, "does not fit"),
        (
            {"items": {"$ref": "#/$defs/x", "default": 0}, "$defs": {"x": {"minimum": 1}}},
            "default 0",
        ),
        ({"properties": {"a": {"$ref": "#", "default": {}}}}, "go on without end"),
        (
            {
                "$ref": "#/$defs/a0",
                "$defs": {
                    **{
                        f"a{n}": {
                            "properties": {
                                key: {"$ref": f"#/$defs/a{n + 1}", "default": {}} for key in "xy"
                            }
                        }
                        for n in range(30)
                    },
                    "a30": {},
                },
            },
            "go on without end",
        ),
    ],
)
def test_a_default_that_does_not_fit_or_never_ends_is_refused_at_compile(schema, why):
    assert why in str(unusable(schema))


# --- workspace paths -------------------------------------------------------------------------

PATH = {"type": "string", "format": "workspace-path"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b.txt", "a/b.txt"),
        ("./a", "a"),
        ("././a/", "a"),
        ("a/", "a"),
        (".", "."),
        ("./", "."),
        ("..a/b..", "..a/b.."),
        (".hidden", ".hidden"),
        ("~/é", "~/é"),
    ],
)
def test_a_path_is_normalised_before_the_handler_sees_it(path, expected):
    assert filled({"properties": {"p": PATH}}, {"p": path}) == {"p": expected}
    assert filled({"items": {"anyOf": [PATH, {"type": "null"}]}}, [None, path]) == [None, expected]


@pytest.mark.parametrize(
    "path", ["", "a//b", "a/./b", "a/.", "a\\b", "a\x00", "a\nb", "a\x7f", "\udfff", "a//"]
)
def test_a_path_that_is_not_spelled_properly_breaks_the_contract(path):
    error = refused({"properties": {"p": PATH}}, {"p": path})
    assert error.attributes["pointer"] == "/p"
    assert error.attributes["keyword"] == "format"


@pytest.mark.parametrize(
    ("path", "rule"),
    [
        ("..", "no component .."),
        ("../x", "no component .."),
        ("./../x", "no component .."),
        ("a/../../x", "no component .."),
        ("/etc/passwd", "a path is relative to the workspace"),
        ("//x", "a path is relative to the workspace"),
        (".//etc", "a path is relative to the workspace"),
    ],
)
def test_a_path_that_leads_out_of_the_workspace_is_an_effect_refused(path, rule):
    for schema in (PATH, {"anyOf": [{"type": "null"}, PATH]}):
        with pytest.raises(EffectRefusedError) as caught:
            compiled({"properties": {"p": schema}}).apply({"p": path}, side="input")
        assert caught.value.code == "workspace.escape"
        assert caught.value.attributes["rule"] == rule
    error = refused({"properties": {"p": PATH}}, {"p": path}, side="output")
    assert error.attributes["keyword"] == "format"


@given(st.text(st.sampled_from("a./\\\n:é"), max_size=12))
def test_whatever_is_accepted_is_spelled_in_the_one_way(text):
    contract = compiled({"properties": {"p": PATH}})
    try:
        found = contract.apply({"p": text}, side="input")
    except (ContractError, EffectRefusedError):
        return
    path = found["p"]
    assert path == "." or not {"", ".", ".."} & set(path.split("/"))
    assert contract.apply(found, side="input") == found


def test_a_path_that_is_marked_is_not_shown_even_when_it_leads_out():
    schema = {"properties": {"o": {"x-awe-sensitive": True, "properties": {"p": PATH}}}}
    with pytest.raises(EffectRefusedError) as caught:
        compiled(schema).apply({"o": {"p": "../hunter2"}}, side="input")
    assert "hunter2" not in str(caught.value)


# --- errors ----------------------------------------------------------------------------------


def test_an_error_names_place_keyword_and_types():
    error = refused(WRITE, {"path": "a", "text": 5, "txt": "b"})
    assert error.attributes["side"] == "input"
    assert error.attributes["pointer"] == "/txt"
    assert error.attributes["keyword"] == "additionalProperties"
    assert error.details == (
        "/txt: expected no members but mode, path, text",
        '/text: expected type "string", found integer',
    )
    assert error.exit_code == 2
    assert refused(WRITE, {}, side="output").exit_code == 5
    assert "expected path, text beside what is there" in refused(WRITE, {}).details[0]


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"not": {}}, "the top: expected not {}, found string"),
        ({"allOf": [False]}, "the top: expected nothing, found string"),
        ({"pattern": "^a$"}, 'the top: expected pattern "^a$", found string'),
        ({"enum": ["x" * 500]}, 'the top: expected enum ["' + "x" * 117 + "…, found string"),
    ],
)
def test_what_is_expected_comes_from_the_schema_as_it_was_written(schema, line):
    assert refused(schema, "hunter2").details == (line,)


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (True, "boolean"),
        (1, "integer"),
        (0.5, "number"),
        (None, "null"),
        ([], "array"),
        ({}, "object"),
        (b"", "something that is not JSON"),
    ],
)
def test_the_type_that_was_found_is_named(value, name):
    assert refused({"type": "string"}, value).details[0].endswith(f"found {name}")


@given(schemas(SCHEMAS), st.lists(INSTANCES, max_size=2))
def test_no_error_quotes_a_value(schema, instances):
    instance = {"a": ["hunter2", *instances], "b": "hunter2", "c": {"a": "hunter2"}}
    assert "hunter2" not in json.dumps(outcome(schema, instance))


def outcome(schema, instance):
    try:
        compiled(schema).apply(instance, side="input")
    except ContractError as error:
        return error.as_json()
    return None


def test_many_errors_are_cut():
    error = refused({"items": {"type": "string"}}, list(range(1000)))
    assert len(error.details) == 9
    assert error.details[-1] == "… and more"


def test_a_pointer_is_escaped_and_cut():
    error = refused({"additionalProperties": {"type": "null"}}, {"a/b~" + "x" * 400: 1})
    assert error.attributes["pointer"].startswith("/a~1b~0xxx")
    assert len(error.attributes["pointer"]) == 256
    extra = refused({"unevaluatedProperties": False}, {"x": 1})
    assert extra.details == ("the top: expected no members but none",)
    odd = refused({"patternProperties": {"a": {}}, "additionalProperties": False}, {"x": 1})
    assert odd.attributes["pointer"] == "the top"


def test_an_error_survives_pickling():
    error = refused(WRITE, {})
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes of the line before
    assert again.as_json() == error.as_json()


# --- marks -----------------------------------------------------------------------------------

S = {"x-awe-sensitive": True}


@pytest.mark.parametrize(
    ("schema", "instance", "expected"),
    [
        ({"properties": {"a": S}}, {"a": 1, "b": 2}, [("/a", "sensitive")]),
        ({"properties": {"a": {"writeOnly": True}}}, {"a": {}}, [("/a", "hidden")]),
        ({"properties": {"a": {"format": "password"}}}, {"a": 5}, [("/a", "hidden")]),
        ({"properties": {"a": {"x-awe-subject": True}}}, {"a": "u1"}, [("/a", "subject")]),
        ({"x-awe-content": True}, [], [("", "content")]),
        (
            {"properties": {"a/b": {"items": S}}},
            {"a/b": [1, 2]},
            [("/a~1b/0", "sensitive"), ("/a~1b/1", "sensitive")],
        ),
        (
            {"prefixItems": [S, {}], "items": {"writeOnly": True}},
            [1, 2, 3],
            [("/0", "sensitive"), ("/2", "hidden")],
        ),
        ({"contains": S}, [1], [("/0", "sensitive")]),
        ({"unevaluatedItems": S}, [1], [("/0", "sensitive")]),
        (
            {"additionalProperties": S, "properties": {"b": {}}},
            {"a": 1, "b": 2},
            [("/a", "sensitive")],
        ),
        ({"unevaluatedProperties": S}, {"a": 1}, [("/a", "sensitive")]),
        ({"patternProperties": {"^p": S}}, {"pw": 1, "x": 1}, [("/pw", "sensitive")]),
        ({"propertyNames": {"allOf": [S]}}, {"ann@example.org": 1}, [("/ann@example.org", "key")]),
        (
            {"$ref": "#/$defs/x", "$defs": {"x": {"properties": {"a": S}}}},
            {"a": 1},
            [("/a", "sensitive")],
        ),
        ({"allOf": [{"properties": {"a": S}}]}, {"a": 1}, [("/a", "sensitive")]),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": S}}]}, {"a": 1}, [("/a", "sensitive")]),
        ({"oneOf": [False, {"properties": {"a": S}}]}, {"a": 1}, [("/a", "sensitive")]),
        ({"if": {"properties": {"a": S}}}, {"a": 1}, [("/a", "sensitive")]),
        ({"if": False, "then": {"properties": {"a": S}}}, {"a": 1}, [("/a", "sensitive")]),
        ({"if": True, "else": {"properties": {"a": S}}}, {"a": 1}, [("/a", "sensitive")]),
        ({"not": {"properties": {"a": S}}}, {"a": 1}, [("/a", "sensitive")]),
        ({"dependentSchemas": {"z": {"properties": {"a": S}}}}, {"a": 1}, [("/a", "sensitive")]),
        (
            {"$dynamicRef": "#n", "$defs": {"x": {"$dynamicAnchor": "n", "properties": {"a": S}}}},
            {"a": 1},
            [("/a", "sensitive")],
        ),
        (
            {"properties": {"v": S, "next": {"$ref": "#"}}},
            {"v": 1, "next": {"v": 2, "next": {"v": 3}}},
            [("/v", "sensitive"), ("/next/v", "sensitive"), ("/next/next/v", "sensitive")],
        ),
        ({"x-awe-sensitive": "true"}, 1, []),
    ],
)
def test_a_mark_counts_on_every_branch_that_can_reach_the_place(schema, instance, expected):
    contract = compiled(schema)
    assert contract.marks(instance) == [(pointer, Mark(mark)) for pointer, mark in expected]
    assert contract.has_marks is bool(expected)


def test_marks_are_found_on_values_that_are_not_valid():
    contract = compiled({"type": "object", "properties": {"a": {"type": "string", **S}}})
    assert contract.marks({"a": [1]}) == [("/a", Mark.SENSITIVE)]
    assert contract.marks([1]) == []
    assert compiled(WRITE).marks({"path": "x"}) == []


def test_marks_do_not_recurse():
    deep: dict = {"v": 1}
    for _ in range(5000):
        deep = {"next": deep}
    contract = compiled({"properties": {"v": S, "next": {"$ref": "#"}}})
    assert [mark for _, mark in contract.marks(deep)] == [Mark.SENSITIVE]


# --- what cannot be compiled -----------------------------------------------------------------


def chain(count):
    return {f"a{n}": {"$ref": f"#/$defs/a{n + 1}"} for n in range(count)} | {f"a{count}": {}}


def deep_schema(depth):
    schema: dict = {}
    for _ in range(depth):
        schema = {"properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "pointer", "why"),
    [
        (True, "the top", "it is not an object"),
        ([], "the top", "it is not an object"),
        ({"type": "strin"}, "/type", "the metaschema expects anyOf"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength", "expects minimum 0"),
        ({"pattern": "("}, "/pattern", 'expects format "regex"'),
        ({"patternProperties": {"[": {}}}, "/patternProperties", 'expects format "regex"'),
        ({"items": {"format": "ipv9"}}, "/items", "there is no format 'ipv9'"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, "the top", "not JSON Schema 2020"),
        ({"$ref": "https://example.org/s"}, "the top", "names nothing that is in hand"),
        ({"not": {"$ref": "#/$defs/absent"}}, "/not", "names nothing that is in hand"),
        ({"$ref": "#anchor"}, "the top", "names nothing that is in hand"),
        ({"$ref": "#/const", "const": {"type": "string"}}, "the top", "does not name a subschema"),
        ({"$ref": "#"}, "the top", "leads back to itself"),
        (
            {"anyOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"not": {"$ref": "#"}}}},
            "the top",
            "leads back to itself",
        ),
        ({"$ref": "#/$defs/a0", "$defs": chain(60)}, "the top", "more than 50 references"),
        (
            {
                "$ref": "#/$defs/a0",
                "$defs": {
                    **{f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(20)},
                    "a20": {},
                },
            },
            "the top",
            "multiply to more than 10000",
        ),
        (deep_schema(60), "the top", "nests deeper than 100"),
        ({"const": float("nan")}, "/const", "NaN or an infinity"),
        ({"const": {1: 2}}, "/const", "a key that is not a string"),
        ({"$comment": "x" * 300_000}, "the top", "larger than 262144 bytes"),
    ],
)
def test_a_schema_that_cannot_be_used_is_refused_with_its_place(schema, pointer, why):
    error = unusable(schema)
    assert error.attributes["pointer"] == pointer
    assert why in error.attributes["why"]
    assert len(str(error)) < 500


def test_a_schema_too_deep_for_python_here_is_refused_and_does_not_crash():
    def at_depth(frames):
        return unusable(deep_schema(48)) if frames == 0 else at_depth(frames - 1)

    assert "nests too deeply" in str(at_depth(820))


def test_references_lead_to_what_was_handed_in_and_to_the_metaschema():
    address = "https://awe.example/schemas/name.json"
    contract = compiled(
        {
            "properties": {
                "a": {"$ref": address},
                "s": {"$ref": "https://json-schema.org/draft/2020-12/schema"},
            }
        },
        resources={address: {"$ref": "#/$defs/n", "$defs": {"n": {"type": "string"}}}},
    )
    assert contract.apply({"a": "x", "s": {"type": "null"}}, side="input")
    for instance in ({"a": 1}, {"s": {"type": 5}}):
        with pytest.raises(ContractError):
            contract.apply(instance, side="input")
    assert "names nothing" in str(unusable({"$ref": address}))
    error = unusable({}, resources={address: {"type": 5}})
    assert error.attributes["pointer"] == "/type"


def test_an_embedded_id_is_a_name_and_never_an_address():
    schema = {
        "$id": "https://awe.example/root",
        "properties": {"a": {"$ref": "item"}},
        "$defs": {"i": {"$id": "item", "$ref": "#/$defs/n", "$defs": {"n": {"default": 7}}}},
    }
    assert filled(schema, {}) == {"a": 7}


# --- hostile instances -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"multipleOf": 0.5}, 10**400),
        ({"multipleOf": 0.5}, float("inf")),
        ({"multipleOf": 0.5}, float("nan")),
        ({"patternProperties": {"a": {}}}, {1: 2}),
    ],
)
def test_a_value_no_validator_can_follow_breaks_the_contract(schema, instance):
    assert refused(schema, instance).attributes["keyword"] == "(limits)"


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"next": {"$ref": "#"}}},
        {"properties": {"next": {"$ref": "#"}, "d": {"default": 1}}},
        {"properties": {"next": {"$ref": "#"}}, "unevaluatedProperties": False},
    ],
)
def test_endless_nesting_breaks_the_contract_and_not_the_process(schema):
    deep: dict = {}
    for _ in range(50_000):
        deep = {"next": deep}
    assert refused(schema, deep).attributes["keyword"] == "(limits)"


def test_a_schema_of_thousands_of_places_in_a_row_still_decides():
    names = {f"a{n}": {"properties": {"x": {"$ref": f"#/$defs/a{n + 1}"}}} for n in range(3000)}
    schema = {"$ref": "#/$defs/a0", "$defs": {**names, "a3000": {}}}
    assert fits(schema, {"x": {"x": 1}})


def test_large_objects_of_paths_are_copied_once():
    contract = compiled({"additionalProperties": PATH})
    paths = {f"k{n}": f"./p{n}" for n in range(20_000)}
    assert contract.apply(paths, side="input") == {f"k{n}": f"p{n}" for n in range(20_000)}


def test_every_error_of_this_module_is_an_awe_error():
    for instance in ({}, {"path": "../x", "text": ""}):
        with pytest.raises(AweError) as caught:
            compiled(WRITE).apply(instance, side="input")
        assert caught.value.hint

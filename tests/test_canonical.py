"""`awe_core.canonical`: one value, one form, one digest."""

from __future__ import annotations

import json
import math
import struct
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.errors import CanonicalError

LINE_KEYS = st.text("abcXYZ019_.-", min_size=1, max_size=64)
SAFE_INTEGERS = st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
TEXTS = st.text(max_size=20)


def values(scalars, keys, leaves=12):
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=leaves,
    )


SCALARS = st.none() | st.booleans() | SAFE_INTEGERS | TEXTS
LINES = st.dictionaries(LINE_KEYS, values(SCALARS, LINE_KEYS), max_size=6)
ANYTHING = values(SCALARS | st.floats(allow_nan=False, allow_infinity=False), TEXTS)


def dumped(x) -> bytes:
    return json.dumps(x, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def refused(code, call, *arguments, **options):
    with pytest.raises(CanonicalError) as caught:
        call(*arguments, **options)
    assert caught.value.code == code
    return caught.value


def nested(depth, opening="[", closing="]"):
    return opening * depth + closing * depth


# --- lines and documents ---------------------------------------------------------------------


@given(LINES)
def test_a_line_is_what_json_dumps_writes_and_what_rfc_8785_says(record):
    assert canonical.line(record) == dumped(record) == rfc8785.dumps(record)
    assert canonical.document(record) == canonical.line(record) == canonical.value(record)


@given(LINES)
def test_a_line_is_read_back_as_it_was(record):
    assert canonical.parse_line(canonical.line(record)) == record
    assert canonical.parse_document(canonical.document(record)) == record


@given(LINES, st.data())
def test_one_changed_byte_is_refused_or_is_another_canonical_line(record, data):
    line = bytearray(canonical.line(record))
    at = data.draw(st.integers(0, len(line) - 1))
    line[at] = data.draw(st.integers(0, 255))
    changed = bytes(line)
    try:
        found = canonical.parse_line(changed)
    except CanonicalError:
        return
    assert canonical.line(found) == changed


def test_every_control_character_is_escaped_in_one_way():
    text = "".join(map(chr, range(0x20))) + '"\\/\x7f\u2028é😀'
    expected = (
        r'{"k":"\u0000\u0001\u0002\u0003\u0004\u0005\u0006\u0007\b\t\n\u000b\f\r\u000e\u000f'
        r"\u0010\u0011\u0012\u0013\u0014\u0015\u0016\u0017\u0018\u0019\u001a\u001b\u001c\u001d"
        '\\u001e\\u001f\\"\\\\/\x7f\u2028é😀"}'
    )
    assert canonical.line({"k": text}).decode() == expected


class Shade(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (1.5, "a float"),
        (1.0, "a float"),
        (2**53, "an integer outside ±(2^53-1)"),
        (-(2**53), "an integer outside ±(2^53-1)"),
        ("\ud800", "a lone surrogate"),
        ({"a/b": 1}, "a key that is not 1 to 64 of [A-Za-z0-9_.-]"),
        ({"": 1}, "a key that is not 1 to 64 of [A-Za-z0-9_.-]"),
        ({"k" * 65: 1}, "a key that is not 1 to 64 of [A-Za-z0-9_.-]"),
        ({"line\n": 1}, "a key that is not 1 to 64 of [A-Za-z0-9_.-]"),
        ({"ключ": 1}, "a key that is not 1 to 64 of [A-Za-z0-9_.-]"),
        ({1: 1}, "a key that is not a string"),
        ({1: 1, "a": 1}, "a key that is not a string"),
        ({True: 1}, "a key that is not a string"),
        ({Shade.RED: 1}, "a key that is not a string"),
        (Shade.RED, "not JSON but a Python Shade"),
        (b"bytes", "not JSON but a Python bytes"),
        ({1, 2}, "not JSON but a Python set"),
    ],
)
def test_what_is_outside_the_domain_of_a_line_is_refused_with_its_place(value, why):
    error = refused("canonical.domain", canonical.line, {"event": ["x", value]})
    assert error.attributes["why"] == why
    assert str(error.attributes["pointer"]).startswith("/event/1")


@pytest.mark.parametrize("number", [canonical.MAX_INTEGER, -canonical.MAX_INTEGER, 0, True])
def test_the_edges_of_the_integers_are_inside(number):
    assert canonical.parse_line(canonical.line({"n": number})) == {"n": number}


def test_the_place_of_a_refusal_is_an_escaped_pointer():
    error = refused("canonical.domain", canonical.document, {"a/b": {"~": [None, 0.5]}})
    assert error.attributes["pointer"] == "/a~1b/~0/1"
    top = refused("canonical.domain", canonical.value, math.inf)
    assert top.attributes["pointer"] == "the top"


def test_a_lone_surrogate_in_a_key_is_found_too():
    error = refused("canonical.domain", canonical.value, {"a": {"\udfff": 1}})
    assert error.attributes == {"pointer": r"/a/\udfff", "why": "a lone surrogate"}


def test_a_refusal_never_quotes_the_value_and_cuts_long_places():
    error = refused("canonical.domain", canonical.value, {"k" * 5000: [math.nan, "hunter2"]})
    assert "hunter2" not in str(error)
    assert len(str(error)) < 400


def test_tuples_count_as_arrays():
    assert canonical.line({"a": (1, ("b",))}) == b'{"a":[1,["b"]]}'


@pytest.mark.parametrize(
    ("encode", "limit"),
    [
        (canonical.line, canonical.LINE_DEPTH),
        (canonical.document, canonical.DOCUMENT_DEPTH),
        (canonical.value, canonical.VALUE_DEPTH),
    ],
)
def test_nesting_ends_where_the_domain_says(encode, limit):
    deepest: dict = {}
    for _ in range(limit - 1):
        deepest = {"a": deepest}
    assert encode(deepest).count(b"{") == limit
    error = refused("canonical.domain", encode, {"a": deepest})
    assert error.attributes["why"] == f"nesting beyond {limit}"
    hostile: list = []
    for _ in range(100_000):
        hostile = [hostile]
    refused("canonical.domain", encode, {"a": hostile})


def test_a_value_that_contains_itself_is_refused():
    loop: dict = {}
    loop["again"] = loop
    refused("canonical.domain", canonical.value, loop)


def test_a_line_longer_than_the_limit_is_refused():
    fits = {"t": "x" * (canonical.LINE_BYTES - len('{"t":""}'))}
    assert len(canonical.line(fits)) == canonical.LINE_BYTES
    error = refused("canonical.too_large", canonical.line, {"t": fits["t"] + "x"})
    assert error.attributes["limit_bytes"] == canonical.LINE_BYTES
    refused("canonical.too_large", canonical.parse_line, canonical.line(fits) + b" ")
    refused("canonical.too_large", canonical.document, {"t": "x" * canonical.DOCUMENT_BYTES})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"a":1,"a":1}', "canonical.parse"),
        (b'{"b":{"a":1,"a":2}}', "canonical.parse"),
        (b'{"a":1.0}', "canonical.parse"),
        (b'{"a":1e3}', "canonical.parse"),
        (b'{"a":NaN}', "canonical.parse"),
        (b'{"a":-Infinity}', "canonical.parse"),
        (b'\xef\xbb\xbf{"a":1}', "canonical.parse"),
        (b'{"a":"\xff"}', "canonical.parse"),
        (b'{"a":"\xed\xa0\x80"}', "canonical.parse"),
        (b"[1]", "canonical.parse"),
        (b'"a"', "canonical.parse"),
        (b"null", "canonical.parse"),
        (b"", "canonical.parse"),
        (b'{"a":1', "canonical.parse"),
        (b'{"a":1}{"a":1}', "canonical.parse"),
        (b'{"a":"\n"}', "canonical.parse"),
        (b'{"a":' + b"9" * 5000 + b"}", "canonical.parse"),
        (b'{"a":9007199254740992}', "canonical.domain"),
        (b'{"a":"\\ud800"}', "canonical.domain"),
        (b'{"a":-0}', "canonical.not_canonical"),
        (b'{"a": 1}', "canonical.not_canonical"),
        (b' {"a":1}', "canonical.not_canonical"),
        (b'{"a":1}\n', "canonical.not_canonical"),
        (b'{"b":1,"a":1}', "canonical.not_canonical"),
        (b'{"a":"\\u0041"}', "canonical.not_canonical"),
        (b'{"a":"\\/"}', "canonical.not_canonical"),
        (b'{"a":"\\u001F"}', "canonical.not_canonical"),
        (b'{"a":"\\u000a"}', "canonical.not_canonical"),
        (b'{"a":"\\ud83d\\ude00"}', "canonical.not_canonical"),
    ],
)
def test_bytes_that_two_readers_could_read_differently_are_refused(data, code):
    refused(code, canonical.parse_line, data)
    refused(code, canonical.parse_document, data)


@pytest.mark.parametrize(
    "data",
    [
        nested(1_000_000).encode(),
        b'{"a":' + nested(17).encode() + b"}",
        b'{"a":' * 500_000,
        b"[" * 200_000,
        b'{"a":"' + b'\\"' * 100_000,
    ],
    ids=["deep", "one-too-deep", "open-objects", "open-arrays", "never-closed-string"],
)
def test_hostile_nesting_is_refused_quickly_and_without_recursion(data):
    refused("canonical.parse", canonical.parse_line, data[: canonical.LINE_BYTES])
    refused("canonical.parse", canonical.parse_document, data, max_depth=16)


def test_brackets_inside_strings_do_not_count_as_nesting():
    record = {"a": "[{" * 100, "b": '"[\\"{'}
    assert canonical.parse_line(canonical.line(record)) == record
    assert canonical.nesting(b'{"a":["}]",{}]}') == 3


def test_the_limits_of_a_document_can_be_narrowed():
    data = canonical.document({"a": {"b": {}}})
    assert canonical.parse_document(data, max_depth=3) == {"a": {"b": {}}}
    refused("canonical.parse", canonical.parse_document, data, max_depth=2)
    refused("canonical.too_large", canonical.parse_document, data, max_bytes=len(data) - 1)


def test_documents_may_have_paths_as_keys_and_lines_may_not():
    record = {"pkg/__init__.py": 1}
    assert canonical.document(record) == b'{"pkg/__init__.py":1}'
    refused("canonical.domain", canonical.line, record)
    refused("canonical.domain", canonical.document, {"é": 1})


def test_more_names_than_are_remembered_still_work():
    for number in range(5000):
        name = f"name{number}"
        assert canonical.line({name: 1}) == b'{"%s":1}' % name.encode()


# --- values ----------------------------------------------------------------------------------


@given(ANYTHING)
def test_a_value_is_what_rfc_8785_says(x):
    assert canonical.value(x) == rfc8785.dumps(x)


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e16)
@example(1e21)
@example(1e-7)
@example(5e-324)
@example(1.7976931348623157e308)
@example(-0.0)
def test_a_float_is_written_as_ecmascript_does_and_keeps_its_value(number):
    assert canonical.value(number) == rfc8785.dumps(number)
    assert float(canonical.value(number)) == number


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785 appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("8000000000000001", "-5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("44b52d02c7e14af7", "1.0000000000000001e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555554", "333333333.33333325"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
        ("43143ff3c1cb0959", "1424953923781206.2"),
    ],
)
def test_the_numbers_of_the_rfc(bits, text):
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical.value(number).decode() == text


@given(st.integers(-(10**400), 10**400))
def test_integers_of_any_size_are_exact_decimals(number):
    assert canonical.value([number]) == f"[{number}]".encode()


def test_an_integer_beyond_what_python_writes_is_refused():
    refused("canonical.domain", canonical.value, 10**5000)


def test_keys_are_ordered_by_utf_16_code_units():
    beyond = {"😀": 1, "\ufb01": 2, "€": 3, "a": 4}
    assert canonical.value(beyond).decode() == '{"a":4,"€":3,"😀":1,"\ufb01":2}'


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_is_refused(number):
    error = refused("canonical.domain", canonical.value, {"a": [number]})
    assert error.attributes == {"pointer": "/a/0", "why": "NaN or an infinity"}


# --- digests ---------------------------------------------------------------------------------


def test_digests_are_sha_256_in_the_two_spellings():
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert canonical.sha256_hex(b"") == empty
    assert canonical.digest(b"") == "sha256:" + empty


def test_values_that_are_equal_as_json_have_one_digest():
    assert canonical.digest_value({"a": 1.0, "b": 2}) == canonical.digest_value({"b": 2, "a": 1})
    assert canonical.digest_value([True]) != canonical.digest_value([1])

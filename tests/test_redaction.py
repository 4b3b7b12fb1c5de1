"""What stands in the line tells people enough and nobody too much."""

from __future__ import annotations

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import canonical, redaction
from awe_core.errors import CanonicalError
from awe_core.redaction import SHOWN_BYTES, SUMMARY_BYTES, is_telling

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=200)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(max_size=80), inner),
    max_leaves=40,
)


def describe(value, **settings):
    """The descriptor, read back from its text, which is canonical; and the payload."""
    text, payload = redaction.describe(value, **settings)
    descriptor = json.loads(text)
    assert canonical.line(descriptor).decode() == text
    return descriptor, payload


def summary(value, **settings):
    return describe(value, part="in", **settings)[0]["sum"]


def test_the_commitment_is_salted_and_opens_with_the_payload():
    descriptor, payload = describe({"a": 1}, part="in")
    assert payload.body == b'{"a":1}'
    assert payload.part == "in"
    assert descriptor["c"] == payload.digest == sha256(payload.salt + payload.body).hexdigest()
    assert descriptor["len"] == 7
    assert describe({"a": 1}, part="in")[0]["c"] != descriptor["c"]


def test_a_small_plain_value_is_shown_as_it_is():
    value = {"path": "a.txt", "n": 3, "on": True, "none": None, "list": [1, "x"]}
    descriptor, _ = describe(value, part="in")
    assert descriptor["sum"] == value
    assert "red" not in descriptor


@given(VALUES, st.sampled_from(["metadata", "request", "full"]))
def test_whatever_comes_in_the_descriptor_fits_a_line_and_its_limit(value, level):
    descriptor, payload = describe(value, part="in", level=level)
    event = {"a": {"b": descriptor}, "kind": "x"}
    line = canonical.line({"event": event})
    limit = SUMMARY_BYTES if level == "metadata" else SHOWN_BYTES
    shown = len(canonical.line({"s": descriptor["sum"]})) - len('{"s":}')
    assert shown <= limit
    assert canonical.parse_line(line)["event"] == event
    assert payload.body == canonical.value(value)


@pytest.mark.parametrize(
    ("level", "part", "limit"),
    [
        ("metadata", "in", SUMMARY_BYTES),
        ("request", "in", SHOWN_BYTES),
        ("request", "out", SUMMARY_BYTES),
        ("full", "out", SHOWN_BYTES),
    ],
)
def test_the_level_says_how_much_of_a_long_text_is_shown(level, part, limit):
    value = {"text": "x" * 100_000}
    shown = canonical.line(describe(value, part=part, level=level)[0]["sum"])
    assert limit // 8 < len(shown) <= limit
    assert b"100000 characters" in shown


def test_long_lists_and_objects_are_cut_and_say_by_how_much():
    assert summary(list(range(1000)))[-1].endswith(" more")
    cut = summary({f"k{n}": n for n in range(1000)})
    assert cut["..."].endswith(" more")


def test_deep_values_are_cut_where_a_line_could_not_hold_them():
    deep = "end"
    for _ in range(100):
        deep = [deep]
    found = summary(deep)
    for _ in range(7):
        (found,) = found
    assert found == "an array of 1 items"
    assert "an object of 1 members" in json.dumps(
        summary(json.loads('{"a":' * 30 + "1" + "}" * 30))
    )


def test_numbers_that_a_line_cannot_hold_become_text():
    assert summary([1.5, 2**60, -(2**53), 2**53 - 1]) == [
        "1.5",
        str(2**60),
        str(-(2**53)),
        2**53 - 1,
    ]
    assert summary(10**2000) == "a large integer"


def test_an_object_with_odd_names_is_shown_as_pairs():
    assert summary({"a b": 1, "c": 2}) == [["a b", 1], ["c", 2]]


@pytest.mark.parametrize("mark", ["sensitive", "hidden", "subject", "secret"])
def test_a_marked_place_is_left_out_and_named(mark):
    value = {"who": {"id": "ana", "n": 1}, "l": [1, "topsecret"]}
    descriptor, payload = describe(value, part="in", marks=[("/who/id", mark), ("/l/1", mark)])
    assert descriptor["red"] == ["/who/id", "/l/1"]
    assert descriptor["sum"]["who"] == {"id": {"len": 5, "redacted": mark}, "n": 1}
    assert "ana" not in str(descriptor)
    assert "topsecret" not in str(descriptor)
    assert b"topsecret" in payload.body


def test_a_mark_on_the_whole_value_leaves_nothing_of_it():
    descriptor, _ = describe(["nonce"], part="nonces", marks=[("", "secret")])
    assert descriptor["sum"] == {"len": 9, "redacted": "secret"}
    assert descriptor["red"] == [""]


def test_a_mark_that_is_no_secret_shows_the_value():
    assert summary({"a": "x"}, marks=[("/a", "content")]) == {"a": "x"}


def test_a_marked_name_is_replaced_in_the_summary_and_in_pointers():
    descriptor, _ = describe(
        {"ana": {"token": 1}}, part="in", marks=[("/ana", "key"), ("/ana/token", "sensitive")]
    )
    assert descriptor["sum"] == {"redacted-0": {"token": {"len": 1, "redacted": "named"}}}
    assert descriptor["red"] == ["/redacted-0/token"]


def test_pointers_are_escaped_both_ways():
    descriptor, _ = describe({"a/b": {"c~d": "x"}}, part="in", marks=[("/a~1b/c~0d", "sensitive")])
    assert descriptor["red"] == ["/a~1b/c~0d"]


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "PASSWORD",
        "apiKey",
        "api_key",
        "API-Key",
        "x-api-key",
        "accessToken",
        "clientSecret",
        "Authorization",
        "set-cookie",
        "privateKey",
        "private.key",
        "db_password_2",
        "credentials",
        "HTTPToken",
    ],
)
def test_a_telling_name_redacts_its_member(name):
    assert is_telling(name)
    descriptor, _ = describe({name: ["value"]}, part="in")
    assert "value" not in str(descriptor)
    assert len(descriptor["red"]) == 1


@pytest.mark.parametrize(
    "name",
    [
        "path",
        "tokenizer",
        "secretary",
        "keyboard",
        "max_tokens",
        "passwords_count",
        "api",
        "keyed",
        "cookies",
    ],
)
def test_a_name_that_only_contains_such_a_word_does_not(name):
    assert not is_telling(name)


@pytest.mark.parametrize("value", [float("nan"), "\ud800", {1: 2}, b"x", {"a": object()}])
def test_a_value_without_a_canonical_form_is_refused(value):
    with pytest.raises(CanonicalError):
        describe(value, part="in")


def test_many_redactions_stay_within_the_limit():
    descriptor, _ = describe([{"token": n} for n in range(500)], part="in")
    assert len(canonical.line({"s": descriptor["sum"]})) <= SUMMARY_BYTES + 6
    assert len(descriptor["red"]) <= 100

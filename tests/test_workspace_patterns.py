"""Patterns against a reference, and that a value never widens one."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from awe_core.errors import UsageError
from awe_core.workspace import Literal, Pattern

SEGMENTS = st.one_of(
    st.just("**"),
    st.lists(
        st.sampled_from(["a", "b", "?", "*", "[ab]", "[!a]", "[a-c]", "."]), min_size=1, max_size=4
    )
    .map("".join)
    .filter(lambda s: "**" not in s and s not in {".", ".."}),
)
PATTERNS = st.lists(SEGMENTS, min_size=1, max_size=5).map("/".join)
PATHS = st.lists(st.text("abc.", min_size=1, max_size=4), min_size=1, max_size=6).map("/".join)


def reference(pattern: list[str], path: list[str]) -> bool:
    """The same meaning by another road: recursion over segments, fnmatch inside them."""
    if not pattern:
        return not path
    first, *rest = pattern
    if first == "**":
        return bool(path) if not rest else any(reference(rest, path[n:]) for n in range(len(path)))
    return bool(path) and fnmatchcase(path[0], first) and reference(rest, path[1:])


@given(PATTERNS, PATHS)
@example("**/b", "b")
@example("a/**", "a")
@example("a/**/**/b", "a/b")
@example("**/a/**/a", "a/b/a")
@example("*a*b", "aabab")
def test_a_pattern_means_what_the_reference_means(pattern, path):
    assert reference(pattern.split("/"), path.split("/")) == Pattern.compile(pattern).matches(path)


@given(PATTERNS, PATHS)
def test_a_directory_is_never_skipped_that_holds_a_match(pattern, path):
    compiled = Pattern.compile(pattern)
    if compiled.matches(path):
        parts = path.split("/")
        assert all(compiled.may_match_below(parts[:n]) for n in range(len(parts)))


def test_directories_that_cannot_hold_a_match_are_skipped():
    assert not Pattern.compile("src/*.py").may_match_below(["node_modules"])
    assert not Pattern.compile("src/*.py").may_match_below(["src", "deep"])


@given(st.text("ab*?[]!-", min_size=1, max_size=8), PATHS)
def test_a_literal_matches_itself_and_nothing_else(text, path):
    compiled = Pattern.compile_parts([Literal(text)])
    assert compiled.matches(text)
    assert (text == path) == compiled.matches(path)
    assert (text == path) == Pattern.compile(compiled.text).matches(path)


@given(st.text("ab*/.[", max_size=8), PATHS)
def test_a_value_never_adds_a_segment_nor_a_wildcard(value, path):
    try:
        compiled = Pattern.compile_parts(["out/", Literal(value), ".md"])
    except UsageError:
        assert "/" in value
    else:
        assert (path == f"out/{value}.md") == compiled.matches(path)
        assert compiled.matches(f"out/{value}.md")


def test_a_value_at_the_beginning_may_be_a_path_of_several_segments():
    compiled = Pattern.compile_parts(["", Literal("a/*"), "/*.md"])
    assert compiled.matches("a/*/x.md")
    assert not compiled.matches("a/b/x.md")


@pytest.mark.parametrize(
    "parts",
    [
        [Literal("a/b"), ".md"],
        [Literal("..")],
        [Literal("."), Literal(".")],
        [Literal("")],
        [Literal("/etc")],
        ["x/", Literal("")],
        ["[", Literal("a"), "]"],
        ["x/", Literal("a/b")],
    ],
)
def test_a_value_that_changes_the_shape_of_a_pattern_is_refused(parts):
    with pytest.raises(UsageError) as refused:
        Pattern.compile_parts(parts)
    assert refused.value.code == "workspace.pattern"


@pytest.mark.parametrize(
    "text", ["", "/a", "a/", "a//b", "../a", "a/.", "a**", "**a", "[a", "[z-a]", "a\0"]
)
def test_a_pattern_that_cannot_match_or_misleads_is_refused(text):
    with pytest.raises(UsageError):
        Pattern.compile(text)


def test_hostile_patterns_cost_no_more_than_the_product_of_their_lengths():
    segment = Pattern.compile("*a" * 100 + "*b")
    deep = Pattern.compile("/".join(["**", "a"] * 60 + ["b"]))
    started = time.perf_counter()
    assert not segment.matches("a" * 255)
    assert not deep.matches("/".join("a" * 128))
    assert time.perf_counter() - started < 1

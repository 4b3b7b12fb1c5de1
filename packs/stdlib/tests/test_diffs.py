"""``fs.patch``: what `difflib` writes is applied exactly, and nothing else is."""

from __future__ import annotations

import difflib
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

LINES = st.sampled_from(["a", "b", "", " ", "-", "+", "@@", "\\", "\x0c", "\u2028", "é", "\r"])
TEXTS = st.builds(
    lambda lines, end: "\n".join(lines) + end,
    st.lists(LINES, max_size=8),
    st.sampled_from(["", "\n"]),
)


def unified(before: str, after: str, context: int = 3) -> str:
    """Give the diff as `diff -u` does: a last line without a line feed is marked."""
    found = difflib.unified_diff(
        list(io.StringIO(before, newline="\n")),
        list(io.StringIO(after, newline="\n")),
        "a",
        "b",
        n=context,
    )
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in found
    )


def patched(library, before: str, diff: str) -> str:
    library.world.lay({"a.txt": before})
    library.output("fs.patch", path="a.txt", diff=diff)
    return library.world.workspace.joinpath("a.txt").read_bytes().decode()


@settings(max_examples=60)
@given(before=TEXTS, after=TEXTS, context=st.integers(0, 3))
def test_a_diff_applied_to_the_one_text_gives_the_other(library, before, after, context):
    diff = unified(before, after, context)
    if diff:
        assert after == patched(library, before, diff)


@settings(max_examples=30)
@given(before=TEXTS, after=TEXTS, other=TEXTS)
def test_a_diff_of_another_text_never_writes_half(library, before, after, other):
    diff = unified(before, after)
    library.world.lay({"a.txt": other})
    _, result = library.call("fs.patch", {"path": "a.txt", "diff": diff})
    if not result.is_completed:
        assert other == library.world.workspace.joinpath("a.txt").read_bytes().decode()


def test_a_marked_line_takes_nothing_from_the_line_of_context_before(library):
    assert "x\nnew\n" == patched(library, "x\nold", unified("x\nold", "x\nnew\n"))


@pytest.mark.parametrize(
    ("diff", "after"),
    [
        ("@@ -1,2 +1,2 @@\n-a\n+b\n\n", "b\n\n"),
        ("diff --git a/x b/x\nindex 1..2\n--- a/x\n+++ b/x\n@@ -1 +1 @@ def f():\n-a\n+b", "b\n\n"),
        ("@@ -1 +1 @@\n-a\n+b\n\n\n", "b\n\n"),
    ],
)
def test_what_editors_and_git_make_of_a_diff_is_read(stdlib, diff, after):
    assert after == patched(stdlib, "a\n\n", diff)


@pytest.mark.parametrize(
    "diff",
    [
        "",
        "--- a\n+++ b\n",
        "@@ -1 +1 @@\n",
        "@@ -1 +1 @@\n-a\n",
        "@@ -1,2 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n+c\n",
        "@@ -1 +1 @@\n-a\n+b\nno line of a diff\n",
        "@@ -1 +1 @@\n-a\n+b\n--- c\n+++ d\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n*a\n+b\n",
        "@@ -99999999999 +1 @@\n-a\n+b\n",
        "@@ -1,999999999 +1 @@\n-a\n+b\n",
    ],
)
def test_what_is_no_diff_of_one_file_is_malformed(stdlib, diff):
    stdlib.world.lay({"a.txt": "a\n"})
    assert "patch_malformed" == stdlib.failure("fs.patch", path="a.txt", diff=diff)


@pytest.mark.parametrize(
    "diff",
    [
        "@@ -2 +2 @@\n-a\n+b\n",
        "@@ -9,0 +9 @@\n+b\n",
        "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -0 +1 @@\n-a\n+b\n",
    ],
)
def test_a_diff_that_does_not_fit_exactly_is_a_mismatch(stdlib, diff):
    stdlib.world.lay({"a.txt": "a\n"})
    assert "patch_mismatch" == stdlib.failure("fs.patch", path="a.txt", diff=diff)

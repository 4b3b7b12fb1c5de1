r"""Applies a unified diff to one text, exactly: no fuzz, no guessed offsets.

Lines end with a line feed and nothing else, as POSIX `diff` has it; ``\ No newline at end of file``
takes it off the line before, on the sides which that line stands for.  An empty line in a hunk is
an empty line of context whose space an editor took away.
"""

from __future__ import annotations

import io
import re
from itertools import pairwise
from typing import TYPE_CHECKING, NoReturn

from awe_core import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HEAD = re.compile(r"@@ -([0-9]{1,9})(?:,([0-9]{1,9}))? \+[0-9]{1,9}(?:,([0-9]{1,9}))? @@")


def apply(text: str, diff: str) -> str:
    """Give *text* with *diff* applied.

    :raises CapabilityError: ``patch_malformed``, or ``patch_mismatch`` where a line is not as the
        diff says
    """
    before = _lines(text)
    after: list[str] = []
    at = 0
    for start, old, new in _hunks(diff):
        is_reached = at <= start <= len(before)
        if not is_reached or before[start : start + len(old)] != old:
            message = f"the text is not what the diff expects at line {start + 1}"
            raise CapabilityError("patch_mismatch", message, class_="conflict")
        after += before[at:start] + new
        at = start + len(old)
    return "".join(after + before[at:])


def _lines(text: str) -> list[str]:
    """Split at line feeds alone; `str.splitlines` knows ten more."""
    return list(io.StringIO(text, newline="\n"))


def _hunks(diff: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Give each hunk: index of its first old line, the old lines, the new lines."""
    lines, found = _marked(diff), False
    for line in lines:
        if head := _HEAD.match(line):
            found = True
            yield _hunk(head, lines)
        elif found and line.startswith(("--- ", "diff ")):
            _malformed("the diff is of more than one file")
        elif found and line.strip():
            _malformed(f"{line.strip()[:40]!r} belongs to no hunk")
    if not found:
        _malformed("a unified diff has at least one line like @@ -1,2 +1,3 @@")


def _marked(diff: str) -> Iterator[str]:
    """Give the lines of the diff; those marked to have no line feed come without."""
    lines = _lines(diff if diff.endswith("\n") else f"{diff}\n")
    for line, following in pairwise([*lines, ""]):
        if not line.startswith("\\"):
            yield line.removesuffix("\n") if following.startswith("\\") else line


def _hunk(head: re.Match[str], lines: Iterator[str]) -> tuple[int, list[str], list[str]]:
    first, old_count, new_count = (int(head[i] or 1) for i in (1, 2, 3))
    old: list[str] = []
    new: list[str] = []
    while len(old) < old_count or len(new) < new_count:
        line = next(lines, "")
        match line[:1]:
            case " " | "\n":
                old.append(line.removeprefix(" "))
                new.append(line.removeprefix(" "))
            case "-":
                old.append(line[1:])
            case "+":
                new.append(line[1:])
            case _:
                break
    if (len(old), len(new)) != (old_count, new_count):
        counts = f"{len(old)} old and {len(new)} new lines"
        _malformed(f"{head[0]} announces {old_count} and {new_count}, but has {counts}")
    return (first - 1 if old else first), old, new


def _malformed(message: str) -> NoReturn:
    raise CapabilityError("patch_malformed", message)

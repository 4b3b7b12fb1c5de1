"""Applies a unified diff to one text, exactly: no fuzz, no guessed offsets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from awe_core import CapabilityError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@")


def apply(text: str, diff: str) -> str:
    """Give *text* with *diff* applied.

    :raises CapabilityError: ``patch_malformed``; ``patch_mismatch`` where a line is not as the diff says
    """
    before = text.splitlines(keepends=True)
    after: list[str] = []
    at = 0
    for start, old, new in _hunks(diff):
        if start < at or before[start : start + len(old)] != old:
            message = f"the text at line {start + 1} is not what the diff expects; nothing was written"
            raise CapabilityError("patch_mismatch", message, class_="conflict")
        after += before[at:start] + new
        at = start + len(old)
    return "".join(after + before[at:])


def _hunks(diff: str) -> Iterator[tuple[int, list[str], list[str]]]:
    """Give each hunk: index of its first old line, the old lines, the new lines."""
    lines = diff.splitlines(keepends=True)
    heads = [i for i, line in enumerate(lines) if _HUNK.match(line)]
    if not heads:
        message = "a unified diff has at least one line like @@ -1,2 +1,3 @@"
        raise CapabilityError("patch_malformed", message)
    for head, end in zip(heads, [*heads[1:], len(lines)], strict=True):
        yield _hunk(lines[head], lines[head + 1 : end])


def _hunk(head: str, body: list[str]) -> tuple[int, list[str], list[str]]:
    match = _HUNK.match(head)
    if match is None:  # `heads` holds matches only
        raise CapabilityError("patch_malformed", head.strip())
    first, old_count, new_count = (int(match[i] or 1) for i in (1, 2, 4))
    old: list[str] = []
    new: list[str] = []
    for line in body:
        match line[:1]:
            case " " | "\n":
                old.append(line[1:] or line)
                new.append(line[1:] or line)
            case "-":
                old.append(line[1:])
            case "+":
                new.append(line[1:])
            case "\\":
                _without_line_end(old, new)
            case _:
                break
    if (len(old), len(new)) != (old_count, new_count):
        message = f"{head.strip()} announces {old_count} and {new_count} lines, but has {len(old)} and {len(new)}"
        raise CapabilityError("patch_malformed", message)
    return (first - 1 if old else first), old, new


def _without_line_end(*sides: list[str]) -> None:
    """``\\ No newline at end of file``: the line before it has none."""
    for side in sides:
        if side:
            side[-1] = side[-1].removesuffix("\n")

"""Path patterns: one matcher for contracts, ``glob`` and protected paths.

``?``, ``*`` and ``[…]`` work inside a segment (``[!…]`` negates, ``a-z`` is a range); ``**`` stands
for whole segments only: any number of them, at the end of a pattern at least one, so ``out/**`` is
what lies below ``out`` and not ``out`` itself.  There is no escape character: ``[*]`` is a star.

Matching is greedy and never goes back further than the last gap (atomic groups inside a segment),
so it never takes more than the product of the lengths of path and pattern.

A value put into a template is `Literal`: its characters mean themselves.  At the beginning of a
pattern it may be a path of several segments (``${input.dir}/*.md``); anywhere else it is one
segment or a part of one, so an argument can never reach deeper than the contract's author wrote.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import UsageError
from awe_core.workspace.paths import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    #: Plain text, or an expression for one segment.
    _Segment: TypeAlias = str | re.Pattern[str]
    _Character: TypeAlias = tuple[str, bool]  # with whether it may be special

_SOMETHING = re.compile(".*", re.DOTALL)
_CLASS = re.compile(r"\[(!?)(\]?[^\]]*)\]", re.DOTALL)
_RANGE = re.compile("(.)-(.)|(.)", re.DOTALL)


@attrs.frozen
class Literal:
    """A substituted value inside a template: no character of it is special."""

    text: str


@attrs.frozen
class Pattern:
    """A compiled pattern; compare and hash by its text."""

    text: str  #: as people may read it; a special character of a `Literal` stands in brackets
    #: segments in a row, with any number of others between two rows
    _runs: tuple[tuple[_Segment, ...], ...] = attrs.field(eq=False, repr=False)
    _hint: str = attrs.field(eq=False, repr=False)  #: stands in all that matches; tells most apart

    @classmethod
    def compile(cls, text: str) -> Pattern:
        """Compile what a person wrote.

        :raises UsageError: ``workspace.pattern``, with the reason
        """
        return cls.compile_parts((text,))

    @classmethod
    def compile_parts(cls, parts: Sequence[str | Literal]) -> Pattern:
        """Compile a template whose values are filled in, in the order of the text.

        :raises UsageError: ``workspace.pattern``, also when a value would add a segment
        """
        parts = [p for p in parts if p not in {"", Literal("")}]
        text = "".join(p if isinstance(p, str) else quoted(p.text) for p in parts)
        runs: list[list[_Segment]] = [[]]
        for characters in _segments(parts, text):
            if characters == [("*", True)] * 2:
                runs.append([])
            else:
                runs[-1].append(_segment(characters, text))
        if len(runs) > 1 and not runs[-1]:
            runs[-1].append(_SOMETHING)
        plain = (segment for run in runs for segment in run if isinstance(segment, str))
        return cls(text, tuple(map(tuple, runs)), max(plain, key=len, default=""))

    def matches(self, path: str) -> bool:
        """Say whether the whole of *path* matches; case counts."""
        if self._hint not in path:
            return False
        parts = path.split("/")
        first, *middle = self._runs
        if not middle:
            return len(parts) == len(first) and _stands(first, parts, 0)
        last = middle.pop()
        at, end = len(first), len(parts) - len(last)
        if at > end or not _stands(first, parts, 0) or not _stands(last, parts, end):
            return False
        for run in middle:
            while at + len(run) <= end and not _stands(run, parts, at):
                at += 1
            at += len(run)
        return at <= end

    def may_match_below(self, directory: Sequence[str]) -> bool:
        """Say whether something inside *directory* (its components) could still match."""
        head = self._runs[0]
        if len(self._runs) == 1 and len(directory) >= len(head):
            return False
        return all(_fits(s, part) for s, part in zip(head, directory, strict=False))


def quoted(text: str) -> str:
    """Write *text* as a pattern that matches it and nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _stands(run: tuple[_Segment, ...], parts: list[str], at: int) -> bool:
    return all(_fits(segment, parts[at + i]) for i, segment in enumerate(run))


def _fits(segment: _Segment, part: str) -> bool:
    return segment == part if isinstance(segment, str) else bool(segment.fullmatch(part))


def _segments(parts: Sequence[str | Literal], text: str) -> list[list[_Character]]:
    """Cut the template at its slashes."""
    segments: list[list[_Character]] = [[]]
    following = "".join(p if isinstance(p, str) else p.text for p in parts[1:])
    for index, part in enumerate(parts):
        is_literal = isinstance(part, Literal)
        value = part.text if isinstance(part, Literal) else part
        is_glued = index > 0 or following[:1] not in {"", "/"}
        if is_literal and "/" in value and is_glued:
            raise _refused(text, "a value adds a segment; that is possible at the beginning only")
        for character in value:
            if character == "/":
                segments.append([])
            else:
                segments[-1].append((character, not is_literal))
    return segments


def _segment(characters: list[_Character], text: str) -> _Segment:
    plain = "".join(c for c, _ in characters)
    if plain in {"", ".", ".."} or "\0" in plain:
        raise _refused(text, "segments are not empty, '.' or '..'")
    if not any(special and c in "*?[" for c, special in characters):
        return plain
    chunks, at = [""], 0
    while at < len(characters):
        match characters[at]:
            case ("*", True) if characters[at + 1 : at + 2] == [("*", True)]:
                raise _refused(text, "** stands as a whole segment")
            case ("*", True):
                chunks.append("")
            case ("[", True):
                expression, size = _class(characters[at:], text)
                chunks[-1] += expression
                at += size - 1
            case (c, special):
                chunks[-1] += "." if special and c == "?" else re.escape(c)
        at += 1
    head, *middle = chunks
    tail = f".*{middle.pop()}" if middle else ""
    return re.compile(head + "".join(f"(?>.*?{m})" for m in middle) + tail, re.DOTALL)


def _class(characters: list[_Character], text: str) -> tuple[str, int]:
    """Translate ``[…]`` at the beginning of *characters*; give also how long it is."""
    found = _CLASS.match("".join(c for c, _ in characters))
    if not found or not all(special for _, special in characters[: found.end()]):
        raise _refused(text, "a bracket is not closed, or holds a value")
    ranges = ""
    for low, high, single in _RANGE.findall(found[2]):
        if low > high:
            raise _refused(text, f"the range {low}-{high} is empty")
        ranges += re.escape(single) or f"{re.escape(low)}-{re.escape(high)}"
    return f"[{'^' if found[1] else ''}{ranges}]", found.end()


def _refused(text: str, reason: str) -> UsageError:
    return UsageError("workspace.pattern", pattern=shown(text), reason=reason)

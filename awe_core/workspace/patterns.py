"""Path patterns: one matcher for contracts, ``glob`` and protected paths.

``?``, ``*`` and ``[…]`` work inside a segment (``[!…]`` negates, ``a-z`` is a range); ``**`` stands
for whole segments only: any number of them, at the end of a pattern at least one, so ``out/**`` is
what lies below ``out`` and not ``out`` itself.  There is no escape character: ``[*]`` is a star.

Matching is greedy and never goes back further than the last gap, so it takes time linear in path
and pattern for the patterns people write and never more than their product.

A value put into a template is `Literal`: its characters mean themselves.  At the beginning of a
pattern it may be a path of several segments (``${input.dir}/*.md``); anywhere else it is one
segment or a part of one, so an argument can never reach deeper than the contract's author wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import attrs

from awe_core.errors import UsageError
from awe_core.workspace.paths import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_Item = TypeVar("_Item")
_Slot = TypeVar("_Slot")


@attrs.frozen
class Literal:
    """A substituted value inside a template: no character of it is special."""

    text: str


@attrs.frozen
class Pattern:
    """A compiled pattern; compare and hash by its text."""

    text: str  #: as people may read it; a special character of a `Literal` stands in brackets
    _runs: _Gapped[_Segment] = attrs.field(eq=False, repr=False)

    @classmethod
    def compile(cls, text: str) -> Pattern:
        """Compile what a person wrote.

        :raises UsageError: ``workspace.pattern``, with the reason
        """
        return cls.compile_parts((text,))

    @classmethod
    def literal(cls, path: str) -> Pattern:
        """Match *path* and nothing else."""
        return cls.compile_parts((Literal(path),))

    @classmethod
    def compile_parts(cls, parts: Sequence[str | Literal]) -> Pattern:
        """Compile a template whose values are filled in, in the order of the text.

        :raises UsageError: ``workspace.pattern``, also when a value would add a segment
        """
        parts = [p for p in parts if p not in {"", Literal("")}]
        text = "".join(p if isinstance(p, str) else quoted(p.text) for p in parts)
        segments = [_segment(s, text) for s in _segments(parts, text)]
        if segments and segments[-1] is None:
            segments.append(_segment([(c, True) for c in "*"], text))
        return cls(text, _gapped(segments))

    def matches(self, path: str) -> bool:
        """Say whether the whole of *path* matches; case counts."""
        return self._runs.matches(path.split("/"), _Segment.matches)

    def may_match_below(self, directory: Sequence[str]) -> bool:
        """Say whether something inside *directory* (its components) could still match."""
        head = self._runs.runs[0]
        if len(self._runs.runs) == 1 and len(directory) >= len(head):
            return False
        return all(s.matches(part) for s, part in zip(head, directory, strict=False))


@attrs.frozen
class _Gapped(Generic[_Slot]):
    """Runs of slots of one item each, with any number of items between two runs."""

    runs: tuple[tuple[_Slot, ...], ...]  #: at least one; may be empty tuples

    def matches(self, items: Sequence[_Item], fits: Callable[[_Slot, _Item], bool]) -> bool:
        first, *middle = self.runs

        def stands(run: tuple[_Slot, ...], at: int) -> bool:
            return all(fits(slot, items[at + i]) for i, slot in enumerate(run))

        if not middle:
            return len(items) == len(first) and stands(first, 0)
        last = middle.pop()
        at, end = len(first), len(items) - len(last)
        if at > end or not stands(first, 0) or not stands(last, end):
            return False
        for run in middle:
            while at + len(run) <= end and not stands(run, at):
                at += 1
            at += len(run)
        return at <= end


@attrs.frozen
class _Segment:
    """One segment: literal text, or runs of characters with stars between."""

    text: str | None  #: set when nothing in it is special
    runs: _Gapped[_Character] | None

    def matches(self, part: str) -> bool:
        if self.runs is None:
            return self.text == part
        return self.runs.matches(part, _Character.fits)


@attrs.frozen
class _Character:
    """What one character may be: within *ranges*, or with *negated* outside of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False

    def fits(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) is not self.negated


_ANY = _Character((), negated=True)


def quoted(text: str) -> str:
    """Write *text* as a pattern that matches it and nothing else."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in text)


def _segments(parts: Sequence[str | Literal], text: str) -> list[list[tuple[str, bool]]]:
    """Cut the template at its slashes into characters, each with whether it is special."""
    segments: list[list[tuple[str, bool]]] = [[]]
    for index, part in enumerate(parts):
        value = part if isinstance(part, str) else part.text
        is_literal = isinstance(part, Literal)
        if is_literal and "/" in value and (index or _glued(parts)):
            raise _refused(text, "a value adds a segment; that is possible at the beginning only")
        for character in value:
            if character == "/":
                segments.append([])
            else:
                segments[-1].append((character, not is_literal))
    for segment in segments:
        plain = "".join(c for c, _ in segment)
        if plain in {"", ".", ".."} or "\0" in plain:
            raise _refused(text, "segments are not empty, '.' or '..'")
    return segments


def _glued(parts: Sequence[str | Literal]) -> bool:
    """Say whether what follows the first part continues its last segment."""
    following = "".join(p if isinstance(p, str) else p.text for p in parts[1:])
    return bool(following) and not following.startswith("/")


def _segment(characters: list[tuple[str, bool]], text: str) -> _Segment | None:
    """Compile one segment; None stands for ``**``."""
    if characters == [("*", True)] * 2:
        return None
    if not any(special and c in "*?[" for c, special in characters):
        return _Segment("".join(c for c, _ in characters), None)
    runs: list[list[_Character]] = [[]]
    at = 0
    while at < len(characters):
        match characters[at]:
            case ("*", True) if characters[at + 1 : at + 2] == [("*", True)]:
                raise _refused(text, "** stands as a whole segment")
            case ("*", True):
                runs.append([])
            case ("?", True):
                runs[-1].append(_ANY)
            case ("[", True):
                character, at = _class(characters, at, text)
                runs[-1].append(character)
            case (plain, _):
                runs[-1].append(_Character(((plain, plain),)))
        at += 1
    return _Segment(None, _Gapped(tuple(map(tuple, runs))))


def _class(characters: list[tuple[str, bool]], at: int, text: str) -> tuple[_Character, int]:
    """Compile ``[…]`` that opens at *at*; give also the place of its closing bracket."""
    first = at + 2 if characters[at + 1 : at + 2] == [("!", True)] else at + 1
    close = next((i for i in range(first + 1, len(characters)) if characters[i] == ("]", True)), 0)
    if not close or not all(special for _, special in characters[at:close]):
        raise _refused(text, "a bracket is not closed, or holds a value")
    inside = "".join(c for c, _ in characters[first:close])
    ranges: list[tuple[str, str]] = []
    while inside:
        is_range = len(inside) > 2 and inside[1] == "-"  # noqa: PLR2004 - "a-z"
        low, high = (inside[0], inside[2]) if is_range else (inside[0], inside[0])
        if low > high:
            raise _refused(text, f"the range {low}-{high} is empty")
        ranges.append((low, high))
        inside = inside[3 if is_range else 1 :]
    return _Character(tuple(ranges), negated=first == at + 2), close


def _gapped(segments: list[_Segment | None]) -> _Gapped[_Segment]:
    runs: list[list[_Segment]] = [[]]
    for segment in segments:
        if segment is None:
            runs.append([])
        else:
            runs[-1].append(segment)
    return _Gapped(tuple(map(tuple, runs)))


def _refused(text: str, reason: str) -> UsageError:
    return UsageError("workspace.pattern", pattern=shown(text), reason=reason)

"""Finds what a schema marks: what is redacted, whose it is, what holds content.

A place counts as marked if *any* branch that can reach it marks it, whether the value is valid or
not; a mark that only counted on valid values would let a broken one print its password.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.contract.refused import pointer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.contract.graph import Graph, Place
    from awe_core.values import Json


class Mark(StrEnum):
    """What a schema says about a value beside its shape."""

    SENSITIVE = "sensitive"  #: ``x-awe-sensitive``: redacted, always encrypted
    HIDDEN = "hidden"  #: ``writeOnly``, ``format: password``: also deleted when the run closes
    SUBJECT = "subject"  #: ``x-awe-subject``: the id of a person whose data can be erased
    CONTENT = "content"  #: ``x-awe-content``: content blocks for a model
    KEY = "key"  #: the *name* of this member is sensitive (marked under ``propertyNames``)


def marks_of(place: Place) -> tuple[Mark, ...]:
    """What this one subschema marks about the value itself."""
    says = place.says
    return tuple(
        mark
        for mark, holds in (
            (Mark.SENSITIVE, says("x-awe-sensitive") is True),
            (Mark.HIDDEN, says("writeOnly") is True or says("format") == "password"),
            (Mark.SUBJECT, says("x-awe-subject") is True),
            (Mark.CONTENT, says("x-awe-content") is True),
        )
        if holds
    )


#: A part of the value: its pointer, itself, and the places that apply to it.
_Part: TypeAlias = "tuple[str, Json, list[Place]]"


@attrs.frozen
class Matcher:
    """Which pointers of a value are marked."""

    root: Place
    marked: frozenset[Place]  #: places from which a mark can be reached

    @classmethod
    def of(cls, graph: Graph, root: Place) -> Matcher:
        """Prepare *graph* for many values."""
        return cls(root=root, marked=graph.reaching(lambda place: bool(marks_of(place))))

    def find(self, value: Json) -> list[tuple[str, Mark]]:
        """Give each marked pointer with its mark, parents before what is in them."""
        found: dict[tuple[str, Mark], None] = {}
        open_: list[_Part] = [("", value, self._closure([self.root]))]
        while open_:
            pointer, here, places = open_.pop()
            for place in places:
                found.update(dict.fromkeys((pointer, mark) for mark in marks_of(place)))
            if isinstance(here, dict) and any(map(marks_of, self._closure(_names(places)))):
                for key in here:
                    found[pointer + pointer_of((key,)), Mark.KEY] = None
            open_.extend(reversed([part for part in self._parts(pointer, here, places) if part[2]]))
        return list(found)

    def _parts(self, pointer: str, here: Json, places: list[Place]) -> Iterator[_Part]:
        if isinstance(here, dict):
            for key, item in here.items():
                below = self._closure(p for place in places for p in place.of_member(key))
                yield pointer + pointer_of((key,)), item, below
        elif isinstance(here, list):
            for index, item in enumerate(here):
                below = self._closure(p for place in places for p in place.of_item(index))
                yield f"{pointer}/{index}", item, below

    def _closure(self, places: Iterable[Place]) -> list[Place]:
        """All places that may apply to the same value, of those that can reach a mark."""
        found: dict[Place, None] = {}
        open_ = [place for place in places if place in self.marked]
        while open_:
            place = open_.pop()
            if place not in found:
                found[place] = None
                open_.extend(other for other in place.same() if other in self.marked)
        return list(found)


def _names(places: Iterable[Place]) -> Iterator[Place]:
    for place in places:
        yield from place.names

"""What a value is beside valid: filled in with defaults, its paths normalised, its marks found.

Defaults are followed through ``properties``, ``items``, ``$ref`` and ``allOf``.  Where a schema
says "one of these" there is no default to apply: which branch holds is known only afterwards.
Paths are normalised, and marks count, wherever *any* branch says so, whether the value is valid or
not: a mark that only counted on valid values would let a broken one print its password.
"""

from __future__ import annotations

import copy
import itertools
from enum import StrEnum
from typing import TYPE_CHECKING

from awe_core.contract.formats import WORKSPACE_PATH, normalised_path
from awe_core.contract.refused import pointer_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.contract.places import Graph, Place
    from awe_core.values import Json, JsonObject


class Filling:
    """The places of one schema at which something may have to be filled in or rewritten."""

    def __init__(self, graph: Graph) -> None:
        """Prepare *graph* for many values."""
        self._defaults = {place: tuple(_defaults(place)) for place in graph.places}
        self._touched = graph.reaching(
            lambda place: bool(self._defaults[place]) or place.says("format") == WORKSPACE_PATH
        )
        self._is_needed = graph.root in self._touched
        self._root = graph.root
        #: what to look at of an object; None: whatever its members are called
        self._members = {
            place: None
            if place.patterns or not self._touched.isdisjoint(place.others)
            else tuple(key for key, one in place.properties.items() if one in self._touched)
            for place in self._touched
        }
        self.left: Iterator[int] = itertools.repeat(0)  #: how many defaults may still be filled in

    def apply(self, value: Json) -> Json:
        """Give *value* filled and normalised; itself where there is nothing to do.

        :raises RecursionError: for a value, or a default, that nests without end
        """
        return self.at(self._root, value) if self._is_needed else value

    def at(self, place: Place, value: Json, *, defaults: bool = True) -> Json:
        """`apply` at one place; *defaults* is off behind ``anyOf`` and its like."""
        if place not in self._touched:
            return value
        kind = type(value)
        if kind is str:
            if place.says("format") == WORKSPACE_PATH:
                value = normalised_path(value)
        elif kind is dict:
            value = self._object(place, value, defaults=defaults)
        elif kind is list and (place.prefix or place.items or place.elements):
            value = self._array(place, value, defaults=defaults)
        for other in place.strict:
            value = self.at(other, value, defaults=defaults)
        for other in place.any_of + place.loose if place.any_of or place.loose else ():
            value = self.at(other, value, defaults=False)
        return value

    def _object(self, place: Place, value: JsonObject, *, defaults: bool) -> JsonObject:
        filled = value
        for key, default in self._defaults[place] if defaults else ():
            if key not in filled:
                if next(self.left, None) is None:
                    raise RecursionError
                filled = dict(value) if filled is value else filled
                filled[key] = copy.deepcopy(default)
        keys = self._members[place]
        for key in tuple(filled) if keys is None else keys:
            if key in filled:
                changed = item = filled[key]
                for below in place.of_member(key):
                    changed = self.at(below, changed, defaults=defaults)
                if changed is not item:
                    filled = dict(value) if filled is value else filled
                    filled[key] = changed
        return filled

    def _array(self, place: Place, value: list[Json], *, defaults: bool) -> list[Json]:
        filled = []
        for index, item in enumerate(value):
            changed = item
            for below in place.of_item(index):
                changed = self.at(below, changed, defaults=defaults)
            filled.append(changed)
        return value if all(map(_is_same, filled, value)) else filled


def _is_same(one: Json, other: Json) -> bool:
    return one is other


def _defaults(place: Place) -> Iterator[tuple[str, Json]]:
    """The members of *place* that have a default, their own or one of what they refer to."""
    for key, below in place.properties.items():
        nearest_first = [below]
        for other in nearest_first:  # grows while it is read; these are acyclic
            if isinstance(other.schema, dict) and "default" in other.schema:
                yield key, other.schema["default"]
                break
            nearest_first += [one for one in other.strict if one not in nearest_first]


class Mark(StrEnum):
    """What a schema says about a value beside its shape."""

    SENSITIVE = "sensitive"  #: ``x-awe-sensitive``: redacted, always encrypted
    HIDDEN = "hidden"  #: ``writeOnly``, ``format: password``: also deleted when the run closes
    SUBJECT = "subject"  #: ``x-awe-subject``: the id of a person whose data can be erased
    CONTENT = "content"  #: ``x-awe-content``: content blocks for a model
    KEY = "key"  #: the *name* of this member is sensitive (marked under ``propertyNames``)


_MARKS = {
    "x-awe-sensitive": Mark.SENSITIVE,
    "writeOnly": Mark.HIDDEN,
    "x-awe-subject": Mark.SUBJECT,
    "x-awe-content": Mark.CONTENT,
}


def _marks_of(place: Place) -> list[Mark]:
    """What this one subschema marks about the value itself."""
    found = [mark for key, mark in _MARKS.items() if place.says(key) is True]
    return [*found, Mark.HIDDEN] if place.says("format") == "password" else found


class Matcher:
    """Which pointers of a value are marked."""

    def __init__(self, graph: Graph) -> None:
        """Prepare *graph* for many values."""
        self._root = graph.root
        self.marked = graph.reaching(lambda place: bool(_marks_of(place)))

    def find(self, value: Json) -> list[tuple[str, Mark]]:
        """Give each marked pointer with its mark, parents before what is in them."""
        found: dict[tuple[str, Mark], None] = {}
        open_ = [("", value, self._closure([self._root]))]
        while open_:
            pointer, here, places = open_.pop()
            found |= {(pointer, mark): None for place in places for mark in _marks_of(place)}
            parts: list[tuple[str, Json, list[Place]]] = []
            if isinstance(here, dict):
                names = self._closure(name for place in places for name in place.names)
                for key, item in here.items():
                    at = pointer + pointer_of((key,))
                    if any(map(_marks_of, names)):
                        found[at, Mark.KEY] = None
                    below = (one for place in places for one in place.of_member(key))
                    parts.append((at, item, self._closure(below)))
            elif isinstance(here, list):
                for index, item in enumerate(here):
                    below = (one for place in places for one in place.of_item(index))
                    parts.append((f"{pointer}/{index}", item, self._closure(below)))
            open_ += reversed([part for part in parts if part[2]])
        return list(found)

    def _closure(self, places: Iterable[Place]) -> list[Place]:
        """All places that may apply to the same value, of those that can reach a mark."""
        found = [place for place in dict.fromkeys(places) if place in self.marked]
        for place in found:  # grows while it is read
            found += [one for one in place.same() if one in self.marked and one not in found]
        return found

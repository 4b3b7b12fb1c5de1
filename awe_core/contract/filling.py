"""Applies defaults and normalises workspace paths, copying only what changes.

Defaults are followed through ``properties``, ``items``, ``$ref`` and ``allOf``.  Where a schema
says "one of these" there is no default to apply: which branch holds is known only afterwards.
Paths are normalised wherever any branch calls them a path.
"""

from __future__ import annotations

import copy
import itertools
from typing import TYPE_CHECKING

import attrs

from awe_core.contract.formats import WORKSPACE_PATH, normalised_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.contract.graph import Graph, Place
    from awe_core.values import Json, JsonObject


@attrs.frozen
class Filling:
    """The places of one schema at which something may have to be filled in or rewritten."""

    root: Place
    touched: frozenset[Place]
    defaults: Mapping[Place, tuple[tuple[str, Json], ...]]  #: what members to add where
    #: how many defaults may still be filled in; bounded only while a schema is compiled
    left: Iterator[int] = attrs.field(factory=lambda: itertools.repeat(0), repr=False)

    @classmethod
    def of(cls, graph: Graph, root: Place) -> Filling:
        """Prepare *graph* for many values."""
        defaults = {place: tuple(_defaults(place)) for place in graph.places.values()}
        touched = graph.reaching(
            lambda place: bool(defaults[place]) or place.says("format") == WORKSPACE_PATH
        )
        return cls(root=root, touched=touched, defaults=defaults)

    def bounded(self, count: int) -> Filling:
        """Give the same for a trial: *count* defaults, then RecursionError."""
        return attrs.evolve(self, left=iter(range(count)))

    def apply(self, value: Json) -> Json:
        """Give *value* filled and normalised; itself where there is nothing to do.

        :raises RecursionError: for a value, or a default, that nests without end
        """
        return self.at(self.root, value) if self.root in self.touched else value

    def at(self, place: Place, value: Json, *, defaults: bool = True) -> Json:
        """`apply` at one place; *defaults* is off behind ``anyOf`` and its like."""
        if isinstance(value, str):
            if place.says("format") == WORKSPACE_PATH:
                value = normalised_path(value)
        elif isinstance(value, dict):
            value = self._members(place, value, defaults=defaults)
        elif isinstance(value, list):
            value = self._items(place, value, defaults=defaults)
        for other in place.strict:
            if other in self.touched:
                value = self.at(other, value, defaults=defaults)
        for other in (*place.any_of, *place.loose):
            if other in self.touched:
                value = self.at(other, value, defaults=False)
        return value

    def _members(self, place: Place, value: JsonObject, *, defaults: bool) -> JsonObject:
        filled = value
        for key, default in self.defaults[place] if defaults else ():
            if key not in filled:
                if next(self.left, None) is None:
                    raise RecursionError
                filled = dict(value) if filled is value else filled
                filled[key] = copy.deepcopy(default)
        for key, item in tuple(filled.items()):
            changed = item
            for below in place.of_member(key):
                if below in self.touched:
                    changed = self.at(below, changed, defaults=defaults)
            if changed is not item:
                filled = dict(value) if filled is value else filled
                filled[key] = changed
        return filled

    def _items(self, place: Place, value: list[Json], *, defaults: bool) -> list[Json]:
        filled = value
        for index, item in enumerate(value):
            changed = item
            for below in place.of_item(index):
                if below in self.touched:
                    changed = self.at(below, changed, defaults=defaults)
            if changed is not item:
                filled = list(value) if filled is value else filled
                filled[index] = changed
        return filled


def _defaults(place: Place) -> Iterator[tuple[str, Json]]:
    """The members of *place* that have a default, their own or one of what they refer to."""
    for key, below in place.properties.items():
        for other in (below, *_strict(below)):
            if isinstance(other.schema, dict) and "default" in other.schema:
                yield key, other.schema["default"]
                break


def _strict(place: Place) -> Iterator[Place]:
    """What *place* refers to or contains by ``allOf``, nearest first; those are acyclic."""
    open_ = list(place.strict)
    for other in open_:  # grows while it is read
        yield other
        open_.extend(below for below in other.strict if below not in open_)

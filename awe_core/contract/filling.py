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
    from collections.abc import Iterator

    from awe_core.contract.graph import Graph, Place
    from awe_core.values import Json


class _Absent:
    """No default."""


ABSENT = _Absent()


def default_of(place: Place) -> Json | _Absent:
    """Give the default that *place*, or what it refers to, states first; `ABSENT` if none does."""
    open_ = [place]
    for here in open_:  # grows while it is read: in the order of the text, nearest first
        if isinstance(here.schema, dict) and "default" in here.schema:
            return here.schema["default"]
        open_.extend(other for other in here.strict if other not in open_)
    return ABSENT


@attrs.frozen
class Filling:
    """The places of one schema at which something may have to be filled in or rewritten."""

    root: Place
    touched: frozenset[Place]
    #: how many defaults may still be filled in; bounded only while a schema is compiled
    left: Iterator[int] = attrs.field(factory=lambda: itertools.repeat(0), repr=False)

    @classmethod
    def of(cls, graph: Graph, root: Place) -> Filling:
        """Prepare *graph* for many values."""
        return cls(
            root=root,
            touched=graph.reaching(
                lambda place: (
                    place.says("format") == WORKSPACE_PATH
                    or any(default_of(below) is not ABSENT for below in place.properties.values())
                )
            ),
        )

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

    def _members(self, place: Place, value: Json, *, defaults: bool) -> Json:
        filled = value
        for key, below in place.properties.items() if defaults else ():
            if key not in filled and (default := default_of(below)) is not ABSENT:
                if next(self.left, None) is None:
                    raise RecursionError
                filled = {**filled, key: copy.deepcopy(default)}
        for key, item in filled.items():
            changed = item
            for below in place.of_member(key):
                if below in self.touched:
                    changed = self.at(below, changed, defaults=defaults)
            if changed is not item:
                filled = {**filled, key: changed}
        return filled

    def _items(self, place: Place, value: list[Json], *, defaults: bool) -> list[Json]:
        filled = value
        for index, item in enumerate(value):
            changed = item
            for below in place.of_item(index):
                if below in self.touched:
                    changed = self.at(below, changed, defaults=defaults)
            if changed is not item:
                if filled is value:
                    filled = list(value)
                filled[index] = changed
        return filled

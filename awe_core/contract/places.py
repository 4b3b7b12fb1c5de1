"""A schema as a graph of places: which subschemas apply to the same value, and which to a part.

Defaults, marks and the fast verdict all walk it; `jsonschema` does not.  Places are found once,
when a schema is compiled; cycles through ``$ref`` are cycles of the graph.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs
from jsonschema_specifications import (  # type: ignore[import-untyped]  # ships no types
    REGISTRY,
)
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from awe_core.contract.refused import pointer_of, unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from awe_core.values import Json, JsonObject

#: referencing's resolver: a base URI and the documents in hand.
Resolver: TypeAlias = Any

MAX_PATHS = 10_000  #: ways in which subschemas may be reached for one and the same value
MAX_CHAIN = 50  #: references and branches in a row for one and the same value

#: Every keyword that holds subschemas: one, a list of them, or some by name; and what they are to
#: the place that holds them.  Definitions are reached by reference, contents are other bytes.
_LISTS = {"allOf": "strict", "anyOf": "any_of", "oneOf": "loose", "prefixItems": "prefix"}
_NAMED = {
    "properties": "properties",
    "patternProperties": "patterns",
    "dependentSchemas": "loose",
    "$defs": None,
    "definitions": None,
}
_SINGLE = {
    **dict.fromkeys(("if", "then", "else", "not"), "loose"),
    **dict.fromkeys(("additionalProperties", "unevaluatedProperties"), "others"),
    "propertyNames": "names",
    "items": "items",
    "contentSchema": None,
    **dict.fromkeys(("contains", "unevaluatedItems"), "elements"),
}


def _children(schema: JsonObject) -> Iterator[tuple[str | None, tuple[str, ...], Json]]:
    """Every direct subschema: its role, the steps that lead to it, itself."""
    for key, value in schema.items():
        if key in _SINGLE:
            yield _SINGLE[key], (key,), value
        elif key in _LISTS:
            yield from ((_LISTS[key], (key, str(index)), one) for index, one in enumerate(value))
        elif key in _NAMED:
            yield from ((_NAMED[key], (key, name), one) for name, one in value.items())


@attrs.frozen
class Located:
    """A subschema and where it stands in its document."""

    path: tuple[str, ...]
    schema: JsonObject
    resolver: Resolver


def located(document: Json, resolver: Resolver) -> Iterator[Located]:
    """Every object among *document* and its subschemas; without recursion."""
    open_: list[tuple[tuple[str, ...], Json, Resolver]] = [((), document, resolver)]
    while open_:
        path, found, outer = open_.pop()
        if isinstance(found, dict):
            inner = _inside(found, outer)
            yield Located(path=path, schema=found, resolver=inner)
            open_.extend(((*path, *steps), child, inner) for _, steps, child in _children(found))


def _inside(schema: Json, resolver: Resolver) -> Resolver:
    if isinstance(schema, dict) and "$id" in schema:
        return resolver.in_subresource(DRAFT202012.create_resource(schema))
    return resolver


#: The published metaschemas and nothing else; without a way to fetch more.
PUBLISHED: Registry[Json] = (
    Registry()
    .with_resources((uri, REGISTRY[uri]) for uri in REGISTRY if "/2020-12/" in uri)
    .crawl()
)
#: Their subschemas: a schema may refer to them.
_PUBLISHED = frozenset(
    id(found.schema)
    for uri in PUBLISHED
    for found in located(PUBLISHED.contents(uri), PUBLISHED.resolver(uri))
)


@attrs.define(eq=False, repr=False)
class Place:
    """One subschema, and what it says about a value and the parts of it."""

    schema: JsonObject | bool
    resolver: Resolver
    strict: list[Place] = attrs.field(factory=list)  #: must hold too: $ref, allOf
    any_of: list[Place] = attrs.field(factory=list)  #: one must hold too
    loose: list[Place] = attrs.field(factory=list)  #: may hold too: oneOf, then …
    dynamic: list[Place] = attrs.field(factory=list)  #: what $dynamicRef may mean
    properties: dict[str, Place] = attrs.field(factory=dict)
    patterns: list[tuple[re.Pattern[str], Place]] = attrs.field(factory=list)
    others: list[Place] = attrs.field(factory=list)  #: additional, unevaluated
    names: list[Place] = attrs.field(factory=list)  #: propertyNames
    prefix: list[Place] = attrs.field(factory=list)
    items: list[Place] = attrs.field(factory=list)  #: items behind the prefix
    elements: list[Place] = attrs.field(factory=list)  #: any item: contains …

    def says(self, key: str) -> Json:
        """Give the value of a keyword, None where it is absent."""
        return self.schema.get(key) if isinstance(self.schema, dict) else None

    def same(self) -> list[Place]:
        """Places that may apply to the same value."""
        return [*self.strict, *self.any_of, *self.loose, *self.dynamic]

    def of_member(self, key: str) -> list[Place]:
        """Places that may apply to the member *key*."""
        found = [self.properties[key]] if key in self.properties else []
        found += [place for pattern, place in self.patterns if pattern.search(key)]
        return found or self.others

    def of_item(self, index: int) -> list[Place]:
        """Places that may apply to the item at *index*."""
        own = [self.prefix[index]] if index < len(self.prefix) else self.items
        return own + self.elements

    def below(self) -> list[Place]:
        """Every place one step away."""
        members = [*self.properties.values(), *(place for _, place in self.patterns), *self.others]
        return self.same() + members + self.names + self.prefix + self.items + self.elements


class Graph:
    """All places of one schema that a value can reach."""

    def __init__(self, known: tuple[Located, ...], *, where: str) -> None:
        """Find the places of the first of *known*, which are all subschemas in hand."""
        self._where = where
        self._known = {id(found.schema): found for found in known}
        self._by_schema: dict[int, Place] = {}
        self.places: list[Place] = []
        self.root = self._place(known[0].schema, known[0].resolver)
        for place in self.places:  # grows while it is read
            if isinstance(place.schema, dict):
                self._link(place, place.schema)

    def reaching(self, is_wanted: Callable[[Place], bool]) -> frozenset[Place]:
        """Every place from which a wanted one can be reached, itself included."""
        open_ = [place for place in self.places if is_wanted(place)]
        found = set(open_)
        above: dict[Place, list[Place]] = {}
        for place in self.places if found else ():
            for below in place.below():
                above.setdefault(below, []).append(place)
        for below in open_:  # grows while it is read
            new = [place for place in above.get(below, ()) if place not in found]
            found.update(new)
            open_ += new
        return frozenset(found)

    def pointer(self, place: Place) -> str:
        """Where *place* stands in its document."""
        found = self._known.get(id(place.schema))
        return pointer_of(found.path) if found else ""

    def check_intricacy(self) -> None:
        """Refuse what can never be decided, or takes too long.

        Only what applies to one and the same value is followed; the rest is bounded by the value.

        :raises ContractError: ``contract.schema``
        """
        known: dict[Place, tuple[int, int]] = {}

        def ways(place: Place, above: tuple[Place, ...]) -> tuple[int, int]:
            """In how many ways, and how far, one gets from *place* on."""
            if place in above:
                why = "a $ref leads back to itself without going into the value"
                raise unusable(self._where, pointer="", why=why)
            if len(above) >= MAX_CHAIN or len(above) + known.get(place, (0, 0))[1] > MAX_CHAIN:
                why = f"more than {MAX_CHAIN} references and branches stand in a row"
                raise unusable(self._where, pointer="", why=why)
            if place not in known:
                below = place.strict + place.any_of + place.loose
                found = [ways(one, (*above, place)) for one in below] if below else []
                known[place] = (
                    1 + sum(count for count, _ in found),
                    1 + max((far for _, far in found), default=0),
                )
            if known[place][0] > MAX_PATHS:
                why = f"its branches multiply to more than {MAX_PATHS}"
                raise unusable(self._where, pointer="", why=why)
            return known[place]

        for place in self.places:
            ways(place, ())

    def _place(self, schema: Json, resolver: Resolver) -> Place:
        place = self._by_schema.get(id(schema)) if isinstance(schema, dict) else None
        if place is None:
            place = Place(schema=schema, resolver=resolver)
            self._by_schema[id(schema)] = place
            self.places.append(place)
        return place

    def _link(self, place: Place, schema: JsonObject) -> None:
        if "$ref" in schema:
            place.strict.append(self._resolved(place, schema["$ref"]))
        if "$dynamicRef" in schema:
            place.dynamic.append(self._resolved(place, schema["$dynamicRef"]))
            anchor = schema["$dynamicRef"].rpartition("#")[2]
            for found in self._known.values():
                if found.schema.get("$dynamicAnchor") == anchor:
                    place.dynamic.append(self._place(found.schema, found.resolver))
        for role, steps, child in _children(schema):
            if role is not None:
                below = self._place(child, _inside(child, place.resolver))
                match getattr(place, role):
                    case dict() as named:
                        named[steps[1]] = below
                    case many if role == "patterns":
                        many.append((re.compile(steps[1]), below))
                    case many:
                        many.append(below)

    def _resolved(self, place: Place, ref: str) -> Place:
        try:
            found = place.resolver.lookup(ref)
        except Unresolvable:
            why = f"$ref {ref[:200]!r} names nothing that is in hand"
            raise unusable(self._where, pointer=self.pointer(place), why=why) from None
        target = found.contents
        if not isinstance(target, bool) and id(target) not in _PUBLISHED | self._known.keys():
            why = f"$ref {ref[:200]!r} does not name a subschema"
            raise unusable(self._where, pointer=self.pointer(place), why=why)
        return self._place(target, found.resolver)


def in_hand(documents: Mapping[str, JsonObject]) -> tuple[Registry[Json], tuple[Located, ...]]:
    """Give a registry of *documents* and every subschema in them, those of the first one first."""
    registry = PUBLISHED.with_resources(
        (uri, DRAFT202012.create_resource(each)) for uri, each in documents.items()
    ).crawl()
    return registry, tuple(
        found for uri, each in documents.items() for found in located(each, registry.resolver(uri))
    )

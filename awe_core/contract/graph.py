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
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from awe_core.errors import ContractError
    from awe_core.values import Json, JsonObject

#: referencing's resolver: a base URI and the documents in hand.
Resolver: TypeAlias = Any

_ONE = (
    *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
    *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
)
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")


def children(schema: JsonObject) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Every direct subschema of *schema*, with the steps that lead to it."""
    for key in _ONE:
        if key in schema:
            yield (key,), schema[key]
    for key in _MANY:
        for index, child in enumerate(schema.get(key, ())):
            yield (key, str(index)), child
    for key in _NAMED:
        for name, child in schema.get(key, {}).items():
            yield (key, name), child


@attrs.frozen
class Located:
    """A subschema and where it stands in its document."""

    path: tuple[str, ...]
    schema: JsonObject
    resolver: Resolver = attrs.field(repr=False)


def located(document: Json, resolver: Resolver) -> Iterator[Located]:
    """Every object among *document* and its subschemas; without recursion."""
    open_: list[tuple[tuple[str, ...], Json, Resolver]] = [((), document, resolver)]
    while open_:
        path, found, inner = open_.pop()
        if isinstance(found, dict):
            inner = _inside(found, inner)
            yield Located(path=path, schema=found, resolver=inner)
            open_.extend(((*path, *steps), child, inner) for steps, child in children(found))


def _inside(schema: JsonObject, resolver: Resolver) -> Resolver:
    return (
        resolver.in_subresource(DRAFT202012.create_resource(schema))
        if "$id" in schema
        else resolver
    )


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


@attrs.define(eq=False)
class Place:
    """One subschema, and what it says about a value and the parts of it."""

    schema: JsonObject | bool
    resolver: Resolver = attrs.field(repr=False)
    strict: list[Place] = attrs.field(factory=list, repr=False)  #: must hold too: $ref, allOf
    any_of: list[Place] = attrs.field(factory=list, repr=False)  #: one must hold too
    loose: list[Place] = attrs.field(factory=list, repr=False)  #: may hold too: oneOf, then …
    dynamic: list[Place] = attrs.field(factory=list, repr=False)  #: what $dynamicRef may mean
    properties: dict[str, Place] = attrs.field(factory=dict, repr=False)
    patterns: list[tuple[re.Pattern[str], Place]] = attrs.field(factory=list, repr=False)
    others: list[Place] = attrs.field(factory=list, repr=False)  #: additional, unevaluated
    names: list[Place] = attrs.field(factory=list, repr=False)  #: propertyNames
    prefix: list[Place] = attrs.field(factory=list, repr=False)
    items: list[Place] = attrs.field(factory=list, repr=False)  #: items behind the prefix
    elements: list[Place] = attrs.field(factory=list, repr=False)  #: any item: contains …

    def says(self, key: str) -> Json:
        """Give the value of a keyword, None where it is absent."""
        return self.schema.get(key) if isinstance(self.schema, dict) else None

    def same(self) -> Iterator[Place]:
        """Places that may apply to the same value."""
        yield from self.strict
        yield from self.any_of
        yield from self.loose
        yield from self.dynamic

    def of_member(self, key: str) -> Iterator[Place]:
        """Places that may apply to the member *key*."""
        matched = False
        if (named := self.properties.get(key)) is not None:
            matched = True
            yield named
        for pattern, place in self.patterns:
            if pattern.search(key):
                matched = True
                yield place
        if not matched:
            yield from self.others

    def of_item(self, index: int) -> Iterator[Place]:
        """Places that may apply to the item at *index*."""
        if index < len(self.prefix):
            yield self.prefix[index]
        else:
            yield from self.items
        yield from self.elements

    def below(self) -> Iterator[Place]:
        """Every place one step away."""
        yield from self.same()
        yield from self.properties.values()
        yield from (place for _, place in self.patterns)
        for more in (self.others, self.names, self.prefix, self.items, self.elements):
            yield from more


@attrs.define(eq=False)
class Graph:
    """All places of one schema that a value can reach."""

    where: str
    known: Mapping[int, Located]  #: every subschema in hand, by its `id`
    dynamic: dict[str, list[Located]]  #: subschemas by ``$dynamicAnchor``
    places: dict[int, Place] = attrs.field(factory=dict)

    @classmethod
    def of(cls, documents: Iterable[Located], *, where: str) -> Graph:
        """Begin a graph over subschemas that are in hand."""
        known = tuple(documents)
        dynamic: dict[str, list[Located]] = {}
        for found in known:
            if "$dynamicAnchor" in found.schema:
                dynamic.setdefault(found.schema["$dynamicAnchor"], []).append(found)
        return cls(where=where, known={id(found.schema): found for found in known}, dynamic=dynamic)

    def place(self, schema: JsonObject, resolver: Resolver) -> Place:
        """Give the place of *schema*, and find those it leads to."""
        root = self._place(schema, resolver)
        done: set[int] = set()
        open_ = [root]
        while open_:
            place = open_.pop()
            if id(place) not in done:
                done.add(id(place))
                self._link(place)
                open_.extend(place.below())
        return root

    def reaching(self, is_wanted: Callable[[Place], bool]) -> frozenset[Place]:
        """Every place from which a wanted one can be reached, itself included."""
        above: dict[Place, list[Place]] = {}
        for place in self.places.values():
            for below in place.below():
                above.setdefault(below, []).append(place)
        open_ = [place for place in self.places.values() if is_wanted(place)]
        found = set(open_)
        while open_:
            for place in above.get(open_.pop(), ()):
                if place not in found:
                    found.add(place)
                    open_.append(place)
        return frozenset(found)

    def _place(self, schema: Json, resolver: Resolver) -> Place:
        if isinstance(schema, bool):
            place = Place(schema=schema, resolver=resolver)
            self.places[id(place)] = place
            return place
        place = self.places.get(id(schema)) or Place(schema=schema, resolver=resolver)
        self.places[id(schema)] = place
        return place

    def _link(self, place: Place) -> None:
        schema = place.schema
        if isinstance(schema, bool):
            return
        if "$ref" in schema:
            place.strict.append(self._resolved(place, schema["$ref"]))
        if "$dynamicRef" in schema:
            place.dynamic.append(self._resolved(place, schema["$dynamicRef"]))
            anchor = schema["$dynamicRef"].rpartition("#")[2]
            for found in self.dynamic.get(anchor, ()):
                place.dynamic.append(self._place(found.schema, found.resolver))
        for steps, child in children(schema):
            inner = _inside(child, place.resolver) if isinstance(child, dict) else place.resolver
            _join(place, steps, self._place(child, inner))

    def pointer(self, place: Place) -> str:
        """Where *place* stands in its document."""
        found = self.known.get(id(place.schema))
        return pointer_of(found.path) if found else ""

    def _stray(self, place: Place, ref: str, why: str) -> ContractError:
        return unusable(self.where, pointer=self.pointer(place), why=f"$ref {ref[:200]!r} {why}")

    def _resolved(self, place: Place, ref: str) -> Place:
        try:
            found = place.resolver.lookup(ref)
        except Unresolvable:
            raise self._stray(place, ref, "names nothing that is in hand") from None
        target = found.contents
        is_known = id(target) in self.known or id(target) in _PUBLISHED
        if not is_known and not isinstance(target, bool):
            raise self._stray(place, ref, "does not name a subschema")
        return self._place(target, found.resolver)


def _join(place: Place, steps: tuple[str, ...], child: Place) -> None:
    match steps:
        case ("properties", name):
            place.properties[name] = child
        case ("patternProperties", pattern):
            place.patterns.append((re.compile(pattern), child))
        case (keyword, *_) if keyword in _ROLES:
            getattr(place, _ROLES[keyword]).append(child)
        case _:  # definitions are reached by reference; contentSchema is about other bytes
            pass


_ROLES = {
    "allOf": "strict",
    "anyOf": "any_of",
    **dict.fromkeys(("oneOf", "dependentSchemas", "if", "then", "else", "not"), "loose"),
    "additionalProperties": "others",
    "unevaluatedProperties": "others",
    "propertyNames": "names",
    "prefixItems": "prefix",
    "items": "items",
    "contains": "elements",
    "unevaluatedItems": "elements",
}

MAX_PATHS = 10_000  #: ways in which subschemas may be reached for one and the same value
MAX_CHAIN = 50  #: references and branches in a row for one and the same value


def too_intricate(places: Iterable[Place]) -> str | None:
    """Say why validation with *places* would never end, or take too long; None if it is fine.

    Only what applies to one and the same value is followed; the rest is bounded by the value.
    """
    paths: dict[Place, int] = {}
    chain: dict[Place, int] = {}
    for start in places:
        open_ = [] if start in paths else [(start, _fixed(start))]
        while open_:
            place, rest = open_[-1]
            paths.setdefault(place, 0)
            following = next(rest, None)
            if following is None:
                open_.pop()
                paths[place] = 1 + sum(paths[below] for below in _fixed(place))
                chain[place] = 1 + max((chain[below] for below in _fixed(place)), default=0)
            elif following not in paths:
                open_.append((following, _fixed(following)))
            elif following not in chain:
                return "a $ref leads back to itself without going into the value"
    if max(chain.values(), default=0) > MAX_CHAIN:
        return f"more than {MAX_CHAIN} references and branches stand in a row"
    if max(paths.values(), default=0) > MAX_PATHS:
        return f"its branches multiply to more than {MAX_PATHS}"
    return None


def _fixed(place: Place) -> Iterator[Place]:
    yield from place.strict
    yield from place.any_of
    yield from place.loose

"""A fast "yes": closures over the common keywords (ADR 0002).

A check answers True only where `jsonschema` would find no error; False means *unsure*, never
"invalid".  So a keyword, type or value it does not know costs time and nothing else: what
`jsonschema` knows beside it makes the place unsure, what neither knows is an annotation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from jsonschema import Draft202012Validator

from awe_core.contract.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.contract.places import Place
    from awe_core.values import Json

Check: TypeAlias = "Callable[[Json], bool]"


def compile_check(root: Place) -> Check:
    """Give the check of *root* and all it leads to; "unsure" if that is more than Python nests."""
    done: dict[Place, Check] = {}

    def check(place: Place) -> Check:
        if place not in done:
            done[place] = lambda value: done[place](value)  # noqa: PLW0108 - for cycles
            done[place] = _made(place, check)
        return done[place]

    try:
        return check(root)
    except RecursionError:
        return _unsure


def _unsure(_: Json) -> bool:
    return False


def _anything(_: Json) -> bool:
    return True


def _made(place: Place, check: Callable[[Place], Check]) -> Check:
    if isinstance(place.schema, bool):
        return _anything if place.schema else _unsure
    if not _UNKNOWN.isdisjoint(place.schema):
        return _unsure
    parts = tuple(_parts(place, check))
    match parts:
        case ():
            return _anything
        case (one,):
            return one
        case (one, two):
            return lambda value: one(value) and two(value)
    return _every(parts)


def _parts(place: Place, check: Callable[[Place], Check]) -> Iterator[Check]:
    """Cheap and selective first: type, then words about scalars, then what is inside."""
    for keyword, make in _SCALAR.items():
        if isinstance(place.schema, dict) and keyword in place.schema:
            yield make(place.schema[keyword])
    if place.properties or place.others or place.says("required"):
        yield _object(place, check)
    if place.items or place.prefix:
        yield _array(place, check)
    if place.any_of:
        branches = [check(below) for below in place.any_of]
        yield lambda value: any(branch(value) for branch in branches)
    yield from map(check, place.strict)


def _object(place: Place, check: Callable[[Place], Check]) -> Check:
    required = frozenset(place.says("required") or ())
    known = {key: check(below) for key, below in place.properties.items()}
    other = check(place.others[0]) if place.others else _anything

    def holds(value: Json) -> bool:
        if type(value) is not dict:
            return type(value) in _JSON
        if not required <= value.keys():
            return False
        for key, item in value.items():  # noqa: SIM110 - a generator costs half as much again
            if not known.get(key, other)(item):
                return False
        return True

    return holds


def _array(place: Place, check: Callable[[Place], Check]) -> Check:
    prefix = [check(below) for below in place.prefix]
    rest = check(place.items[0]) if place.items else _anything

    def holds(value: Json) -> bool:
        if type(value) is not list:
            return type(value) in _JSON
        return all(one(item) for one, item in zip(prefix, value, strict=False)) and all(
            map(rest, value[len(prefix) :] if prefix else value)
        )

    return holds


def _every(checks: tuple[Check, ...]) -> Check:
    def holds(value: Json) -> bool:
        for one in checks:  # noqa: SIM110 - a generator costs half as much again
            if not one(value):
                return False
        return True

    return holds


_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
_JSON = frozenset(kind for kinds in _TYPES.values() for kind in kinds)
_SCALARS = _JSON - {float, dict, list}


def _type(names: str | list[str]) -> Check:
    words = [names] if isinstance(names, str) else names
    kinds = tuple(kind for name in words for kind in _TYPES[name])
    if len(kinds) == 1:
        (only,) = kinds
        return lambda value: type(value) is only
    return lambda value: type(value) in kinds


def _enum(values: list[Json]) -> Check:
    """Scalars of the same exact type only: in Python 1, 1.0 and True are one key."""
    known = {(type(value), value) for value in values if type(value) in _SCALARS}
    return lambda value: type(value) in _SCALARS and (type(value), value) in known


def _of(kinds: str, holds: Callable[[Json], object]) -> Check:
    """Say yes to what *holds* of a value of *kinds*, and to any other JSON."""
    meant = frozenset(_TYPES[kinds])

    def check(value: Json) -> bool:
        kind = type(value)
        return bool(holds(value)) if kind in meant else kind in _JSON

    return check


def _unique(wanted: bool) -> Check:  # noqa: FBT001 - the keyword's value
    return _of(
        "array",
        lambda value: (
            not wanted
            or (all(type(item) is str for item in value) and len(set(value)) == len(value))
        ),
    )


_SCALAR: dict[str, Callable[[Json], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": lambda value: _enum([value]),
    "minimum": lambda limit: _of("number", lambda value: value >= limit),
    "maximum": lambda limit: _of("number", lambda value: value <= limit),
    "exclusiveMinimum": lambda limit: _of("number", lambda value: value > limit),
    "exclusiveMaximum": lambda limit: _of("number", lambda value: value < limit),
    "minLength": lambda limit: _of("string", lambda value: len(value) >= limit),
    "maxLength": lambda limit: _of("string", lambda value: len(value) <= limit),
    "pattern": lambda pattern: _of("string", re.compile(pattern).search),
    "format": lambda name: _of("string", FORMATS[name]),
    "minItems": lambda limit: _of("array", lambda value: len(value) >= limit),
    "maxItems": lambda limit: _of("array", lambda value: len(value) <= limit),
    "uniqueItems": _unique,
    "minProperties": lambda limit: _of("object", lambda value: len(value) >= limit),
    "maxProperties": lambda limit: _of("object", lambda value: len(value) <= limit),
}
_INSIDE = {"additionalProperties", "allOf", "anyOf", "items", "prefixItems", "properties"}
_UNKNOWN = frozenset(Draft202012Validator.VALIDATORS) - _SCALAR.keys() - _INSIDE
_UNKNOWN -= {"$ref", "required"}

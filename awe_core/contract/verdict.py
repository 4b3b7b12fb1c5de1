"""A fast "yes": closures over the common keywords (ADR 0002).

A check answers True only where `jsonschema` would find no error; False means *unsure*, never
"invalid".  So a keyword, type or value it does not know costs time and nothing else.  What it knows
is in `_KEYWORDS`; what jsonschema knows beside that makes the place unsure; what neither
knows is an annotation.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import attrs
from jsonschema import Draft202012Validator

from awe_core.contract.formats import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from awe_core.contract.graph import Place
    from awe_core.values import Json

Check: TypeAlias = "Callable[[Json], bool]"

_OTHERS = frozenset(Draft202012Validator.VALIDATORS)


def unsure(_: Json) -> bool:
    """Leave it to jsonschema."""
    return False


def compile_check(place: Place) -> Check:
    """Give the check of *place* and all it leads to; `unsure` if that is more than Python nests."""
    try:
        return _Compiler().check(place)
    except RecursionError:
        return unsure


@attrs.frozen
class _Compiler:
    done: dict[Place, Check] = attrs.field(factory=dict)

    def check(self, place: Place) -> Check:
        if place not in self.done:
            self.done[place] = lambda value: self.done[place](value)  # noqa: PLW0108 - for cycles
            self.done[place] = self._made(place)
        return self.done[place]

    def _made(self, place: Place) -> Check:
        if isinstance(place.schema, bool):
            return _anything if place.schema else unsure
        if any(key in _OTHERS and key not in _KEYWORDS for key in place.schema):
            return unsure
        return _all(tuple(self._parts(place)))

    def _parts(self, place: Place) -> Iterator[Check]:
        """Cheap and selective first: type, then words about scalars, then what is inside."""
        schema = place.schema
        assert isinstance(schema, dict)  # noqa: S101 - narrowed for the type checker by `_made`
        for keyword, make in _SCALAR.items():
            if keyword in schema:
                yield make(schema[keyword])
        if place.properties or place.others or "required" in schema:
            yield self._object(place)
        if place.items or place.prefix:
            yield self._array(place)
        if "anyOf" in schema:
            yield _any(tuple(self.check(below) for below in place.any_of))
        for other in place.strict:
            yield self.check(other)

    def _object(self, place: Place) -> Check:
        required = tuple(place.says("required") or ())
        known = {key: self.check(below) for key, below in place.properties.items()}
        other = self.check(place.others[0]) if place.others else _anything

        def check(value: Json) -> bool:
            if type(value) is not dict:
                return not isinstance(value, dict)
            for key in required:
                if key not in value:
                    return False
            for key, item in value.items():  # noqa: SIM110 - a generator costs half as much again
                if not known.get(key, other)(item):
                    return False
            return True

        return check

    def _array(self, place: Place) -> Check:
        prefix = tuple(self.check(below) for below in place.prefix)
        rest = self.check(place.items[0]) if place.items else _anything

        def check(value: Json) -> bool:
            if type(value) is not list:
                return not isinstance(value, list)
            return all(one(item) for one, item in zip(prefix, value, strict=False)) and all(
                map(rest, value[len(prefix) :] if prefix else value)
            )

        return check


def _anything(_: Json) -> bool:
    return True


def _all(checks: tuple[Check, ...]) -> Check:
    match checks:
        case ():
            return _anything
        case (one,):
            return one
        case (one, two):
            return lambda value: one(value) and two(value)
        case _:
            return _every(checks)


def _every(checks: tuple[Check, ...]) -> Check:
    def check(value: Json) -> bool:
        for one in checks:  # noqa: SIM110 - a generator costs half as much again
            if not one(value):
                return False
        return True

    return check


def _any(checks: tuple[Check, ...]) -> Check:
    return lambda value: any(check(value) for check in checks)


_TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}


def _type(names: str | list[str]) -> Check:
    kinds = tuple(
        kind for name in ([names] if isinstance(names, str) else names) for kind in _TYPES[name]
    )
    if len(kinds) == 1:
        (only,) = kinds
        return lambda value: type(value) is only
    return lambda value: type(value) in kinds


def _enum(values: list[Json]) -> Check:
    """Scalars of the same exact type only: in Python 1, 1.0 and True are one key."""
    known = {(type(value), value) for value in values if type(value) in _SCALARS}
    return lambda value: type(value) in _SCALARS and (type(value), value) in known


_SCALARS = frozenset({str, int, bool, type(None)})


def _const(value: Json) -> Check:
    return _enum([value])


def _sized(kind: type[Sized], holds: Callable[[int], bool]) -> Check:
    def check(value: Json) -> bool:
        if type(value) is kind:
            return holds(len(value))
        return not isinstance(value, kind)

    return check


def _numeric(holds: Callable[[float], bool]) -> Check:
    def check(value: Json) -> bool:
        kind = type(value)
        if kind is int or kind is float:
            return holds(value)
        return kind in _NOT_NUMBERS

    return check


_NOT_NUMBERS = frozenset({str, bool, type(None), list, dict})


def _text(holds: Callable[[str], object]) -> Check:
    def check(value: Json) -> bool:
        if type(value) is str:
            return bool(holds(value))
        return not isinstance(value, str)

    return check


def _multiple(of: float) -> Check:
    if type(of) is not int:
        return unsure
    return lambda value: value % of == 0 if type(value) is int else type(value) in _NOT_NUMBERS


def _unique(wanted: bool) -> Check:  # noqa: FBT001 - the keyword's value
    if not wanted:
        return _anything
    return lambda value: (
        type(value) in _NOT_LISTS
        or (
            type(value) is list
            and all(type(item) is str for item in value)
            and len(set(value)) == len(value)
        )
    )


_NOT_LISTS = frozenset({str, bool, int, float, type(None), dict})

_SCALAR: dict[str, Callable[[Json], Check]] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "minimum": lambda limit: _numeric(lambda value: value >= limit),
    "maximum": lambda limit: _numeric(lambda value: value <= limit),
    "exclusiveMinimum": lambda limit: _numeric(lambda value: value > limit),
    "exclusiveMaximum": lambda limit: _numeric(lambda value: value < limit),
    "multipleOf": _multiple,
    "minLength": lambda limit: _sized(str, lambda size: size >= limit),
    "maxLength": lambda limit: _sized(str, lambda size: size <= limit),
    "pattern": lambda pattern: _text(re.compile(pattern).search),
    "format": lambda name: _text(FORMATS[name]),
    "minItems": lambda limit: _sized(list, lambda size: size >= limit),
    "maxItems": lambda limit: _sized(list, lambda size: size <= limit),
    "uniqueItems": _unique,
    "minProperties": lambda limit: _sized(dict, lambda size: size >= limit),
    "maxProperties": lambda limit: _sized(dict, lambda size: size <= limit),
}

_KEYWORDS = frozenset(
    {
        *_SCALAR,
        *("additionalProperties", "allOf", "anyOf", "items", "prefixItems", "properties"),
        *("$ref", "required"),
    }
)

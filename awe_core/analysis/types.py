"""What a value can be, as far as schemas and expressions say: types for the static analysis.

Every type is a *bound*: it may admit more than can really be there and never less.  So what a type
says is impossible is impossible on every valid instance, and what is not understood is `Unknown`
and never an error.  Of a schema only the keywords beside each other are read; whatever else a
schema says can only make it narrower.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias, assert_never

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.values import Json, JsonObject

ANY = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_HOPS = 16  #: of one ``$ref`` after the other


@attrs.frozen
class Fits:
    """A value that fits a schema."""

    schema: Json
    root: Json = attrs.field(eq=False)  #: what ``$ref`` points into


@attrs.frozen
class Members:
    """An object with exactly these members, all there."""

    members: Mapping[str, Type]


@attrs.frozen
class ListOf:
    """A list of which every item is one of this."""

    item: Type


@attrs.frozen
class Either:
    """One of two."""

    left: Type
    right: Type


@attrs.frozen
class Nothing:
    """Null on every instance."""


@attrs.frozen
class Unknown:
    """Anything."""


Type: TypeAlias = Fits | Members | ListOf | Either | Nothing | Unknown

NOTHING = Nothing()
UNKNOWN = Unknown()


def of_schema(schema: Json) -> Type:
    """Give the type of what fits *schema*."""
    return Fits(schema, schema)


def of_kind(*kinds: str) -> Type:
    """Give the type of all values of *kinds*."""
    return of_schema({"type": list(kinds)})


def of_value(value: Json) -> Type:
    """Give the type that holds *value* alone."""
    return of_schema({"const": value})


def kinds(of: Type) -> frozenset[str]:
    """Give the JSON types a value can have; whole numbers are both integer and number."""
    match of:
        case Fits():
            return _kinds(_resolved(of).schema)
        case Members():
            return frozenset({"object"})
        case ListOf():
            return frozenset({"array"})
        case Either(left=left, right=right):
            return kinds(left) | kinds(right)
        case Nothing():
            return frozenset({"null"})
        case Unknown():
            return ANY
        case _:
            assert_never(of)


def admits(of: Type, value: Json) -> bool:
    """Say whether *value*, its parts aside, can be one of this."""
    words = choices(of)
    return bool(kinds_of_value(value) & kinds(of)) and (words is None or value in words)


def choices(of: Type) -> list[Json] | None:
    """Give the only values there are, where a schema lists them."""
    schema = _resolved(of).schema if isinstance(of, Fits) else None
    if not isinstance(schema, dict):
        return None
    found = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return found if isinstance(found, list) else None


def member(of: Type, name: str) -> tuple[Type, bool]:
    """Give the type of member *name*, and whether it is surely there."""
    match of:
        case Fits():
            return _schema_member(_resolved(of), name)
        case Members(members=members):
            return (members[name], True) if name in members else (NOTHING, False)
        case Either(left=left, right=right):
            (one, _), (other, _) = member(left, name), member(right, name)
            return (_either(one, other), False)
        case ListOf() | Nothing():
            return NOTHING, False
        case Unknown():
            return UNKNOWN, True
        case _:
            assert_never(of)


def element(of: Type, index: int | None = None) -> Type:
    """Give the type of an item; without *index*, of any."""
    match of:
        case Fits():
            return _schema_element(_resolved(of), index)
        case ListOf(item=item):
            return item
        case Either(left=left, right=right):
            return _either(element(left, index), element(right, index))
        case Members() | Nothing():
            return NOTHING
        case Unknown():
            return UNKNOWN
        case _:
            assert_never(of)


def names(of: Type) -> Iterable[str]:
    """Give the member names that are known."""
    match of:
        case Fits():
            return tuple(_table(_resolved(of).schema, "properties"))
        case Members(members=members):
            return tuple(members)
        case Either(left=left, right=right):
            return (*names(left), *names(right))
        case _:
            return ()


def _either(one: Type, other: Type) -> Type:
    return NOTHING if one == other == NOTHING else Either(one, other)


def _resolved(of: Fits) -> Fits:
    """Follow ``$ref`` into the same schema where nothing beside it would be lost."""
    schema = of.schema
    for _ in range(_HOPS):
        if not isinstance(schema, dict) or "$ref" not in schema or _SHAPING & schema.keys():
            return Fits(schema, of.root)
        schema = _pointed(of.root, schema["$ref"])
    return Fits(True, of.root)  # noqa: FBT003 - the schema that everything fits


_SHAPING = frozenset({"type", "const", "enum", "properties", "additionalProperties", "items"})


def _pointed(root: Json, reference: Json) -> Json:
    """Give what ``#/$defs/x`` points at; True, which everything fits, where nothing is found."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return True
    found = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name, True) if isinstance(found, dict) else True
    return found


def _kinds(schema: Json) -> frozenset[str]:
    if not isinstance(schema, dict):
        return ANY if schema else frozenset()
    said = schema.get("type", list(ANY))
    found = frozenset([said] if isinstance(said, str) else said)
    if "number" in found:
        found |= {"integer"}
    for values in ([schema["const"]] if "const" in schema else None, schema.get("enum")):
        if isinstance(values, list):
            found &= frozenset(kind for value in values for kind in kinds_of_value(value))
    return found


_KINDS_OF: Mapping[type, frozenset[str]] = {
    type(None): frozenset({"null"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}


def kinds_of_value(value: Json) -> frozenset[str]:
    """Give the JSON types of one value."""
    if isinstance(value, float):
        return frozenset({"integer", "number"} if value.is_integer() else {"number"})
    return _KINDS_OF.get(type(value), ANY)


def _table(schema: Json, key: str) -> Mapping[str, Json]:
    found = schema.get(key) if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


def _schema_member(of: Fits, name: str) -> tuple[Type, bool]:
    schema = of.schema
    if "object" not in _kinds(schema):
        return NOTHING, False
    if not isinstance(schema, dict):
        return UNKNOWN, False
    if isinstance(found := schema.get("const"), dict):
        return (of_value(found[name]), True) if name in found else (NOTHING, False)
    part = _member_schema(schema, name)
    has_default = isinstance(part, dict) and "default" in part
    is_there = has_default or name in schema.get("required", ())
    return (NOTHING, False) if part is False else (Fits(part, of.root), is_there)


def _member_schema(schema: JsonObject, name: str) -> Json:
    """Give what a member must at least fit; False: it cannot be there."""
    properties = _table(schema, "properties")
    if name in properties:
        return properties[name]
    if any(_may_match(pattern, name) for pattern in _table(schema, "patternProperties")):
        return True
    return schema.get("additionalProperties", True)


def _may_match(pattern: str, name: str) -> bool:
    """Say whether *name* fits; patterns that are not plainly Python's may match anything."""
    plain = re.fullmatch(r"[\^$A-Za-z0-9_.\[\]*+?-]*", pattern)
    try:
        return plain is None or re.search(pattern, name) is not None
    except re.error:
        return True


def _schema_element(of: Fits, index: int | None) -> Type:
    schema = of.schema
    if "array" not in _kinds(schema):
        return NOTHING
    if not isinstance(schema, dict) or "prefixItems" in schema:
        return UNKNOWN
    if isinstance(found := schema.get("const"), list):
        is_there = index is not None and -len(found) <= index < len(found)
        return of_value(found[index]) if is_there and index is not None else UNKNOWN
    most = schema.get("maxItems")
    if index is not None and isinstance(most, int) and not -most <= index < most:
        return NOTHING
    items = schema.get("items", True)
    return NOTHING if items is False else Fits(items, of.root)

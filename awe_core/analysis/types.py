"""What a value can be, as far as schemas and expressions say: types for the static analysis.

Every type is a *bound*: it may admit more than can really be there and never less.  So what a type
says is impossible is impossible on every valid instance, and what is not understood is `UNKNOWN`
and never an error.  Of a schema only the keywords beside each other are read; whatever else a
schema says can only make it narrower.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import Json

ANY = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_HOPS = 16  #: of one ``$ref`` after the other
_SHAPING = frozenset({"type", "const", "enum", "properties", "additionalProperties", "items"})


@attrs.frozen
class Fits:
    """A value that fits a schema; in schemas made here, types stand for subschemas."""

    schema: Any
    root: Json = attrs.field(default=True, eq=False)  #: what ``$ref`` points into


@attrs.frozen
class Either:
    """One of two."""

    left: Type
    right: Type


Type: TypeAlias = Fits | Either

NOTHING = Fits({"type": "null"})  #: null on every instance, because there is no such place
UNKNOWN = Fits(True)  # noqa: FBT003 - the schema that everything fits


def of_schema(schema: Json) -> Type:
    """Give the type of what fits *schema*."""
    return Fits(schema, schema)


def of_kind(*kinds: str) -> Type:
    """Give the type of all values of *kinds*."""
    return Fits({"type": list(kinds)})


def list_of(item: Type) -> Type:
    """Give the type of lists of *item*."""
    return Fits({"type": "array", "items": item})


def object_of(members: Mapping[str, Type]) -> Type:
    """Give the type of objects with exactly these members, all there."""
    known = dict(members)  # as `required` too: membership in a list of 50,000 steps is slow
    shape = {"type": "object", "additionalProperties": False}
    return Fits({**shape, "properties": known, "required": known})


def either(one: Type, other: Type) -> Type:
    """Give the type of what is one of two."""
    return NOTHING if one is other is NOTHING else Either(one, other)


def kinds(of: Type) -> frozenset[str]:
    """Give the JSON types a value can have; whole numbers are both integer and number."""
    if isinstance(of, Either):
        return kinds(of.left) | kinds(of.right)
    schema = _resolved(of).schema
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


def choices(of: Type) -> list[Json] | None:
    """Give the only values there are, where a schema lists them."""
    schema = _resolved(of).schema if isinstance(of, Fits) else None
    if not isinstance(schema, dict):
        return None
    found = schema.get("enum", [schema["const"]] if "const" in schema else None)
    return found if isinstance(found, list) else None


def member(of: Type, name: str) -> tuple[Type, bool]:
    """Give the type of member *name*, and whether it is surely there."""
    if isinstance(of, Either):
        return either(member(of.left, name)[0], member(of.right, name)[0]), False
    if of is UNKNOWN:
        return UNKNOWN, True
    of = _resolved(of)
    schema = of.schema
    if "object" not in kinds(of):
        return NOTHING, False
    if not isinstance(schema, dict):
        return UNKNOWN, False
    if isinstance(found := schema.get("const"), dict):
        return (Fits({"const": found[name]}), True) if name in found else (NOTHING, False)
    part = _table(schema, "properties").get(name, _other(schema, name))
    has_default = isinstance(part, dict) and "default" in part
    is_there = has_default or name in schema.get("required", ())
    return (NOTHING, False) if part is False else (_part(part, of), is_there)


def element(of: Type, index: int | None = None) -> Type:
    """Give the type of an item; without *index*, of any."""
    if isinstance(of, Either):
        return either(element(of.left, index), element(of.right, index))
    of = _resolved(of)
    schema = of.schema
    if "array" not in kinds(of):
        return NOTHING
    if not isinstance(schema, dict) or "prefixItems" in schema:
        return UNKNOWN
    if isinstance(found := schema.get("const"), list):
        is_there = index is not None and -len(found) <= index < len(found)
        return Fits({"const": found[index]}) if is_there and index is not None else UNKNOWN
    most = schema.get("maxItems")
    if index is not None and isinstance(most, int) and not -most <= index < most:
        return NOTHING
    items = schema.get("items", True)
    return NOTHING if items is False else _part(items, of)


def names(of: Type) -> tuple[str, ...]:
    """Give the member names that are known."""
    if isinstance(of, Either):
        return (*names(of.left), *names(of.right))
    return tuple(_table(_resolved(of).schema, "properties"))


def kinds_of_value(value: Json) -> frozenset[str]:
    """Give the JSON types of one value."""
    if isinstance(value, float):
        return frozenset({"integer", "number"} if value.is_integer() else {"number"})
    return _KINDS_OF.get(type(value), ANY)


_KINDS_OF: Mapping[type, frozenset[str]] = {
    type(None): frozenset({"null"}),
    bool: frozenset({"boolean"}),
    int: frozenset({"integer", "number"}),
    str: frozenset({"string"}),
    list: frozenset({"array"}),
    dict: frozenset({"object"}),
}


def _part(schema: Any, of: Fits) -> Type:  # noqa: ANN401 - JSON, or a type
    return schema if isinstance(schema, Fits | Either) else Fits(schema, of.root)


def _resolved(of: Fits) -> Fits:
    """Follow ``$ref`` into the same schema where nothing beside it would be lost."""
    schema = of.schema
    for _ in range(_HOPS):
        if not isinstance(schema, dict) or "$ref" not in schema or _SHAPING & schema.keys():
            return Fits(schema, of.root)
        schema = _pointed(of.root, schema["$ref"])
    return UNKNOWN


def _pointed(root: Json, reference: Json) -> Json:
    """Give what ``#/$defs/x`` points at; True, which everything fits, where nothing is found."""
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        return True
    found = root
    for step in reference.split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        found = found.get(name, True) if isinstance(found, dict) else True
    return found


def _table(schema: Json, key: str) -> Mapping[str, Json]:
    found = schema.get(key) if isinstance(schema, dict) else None
    return found if isinstance(found, dict) else {}


def _other(schema: Json, name: str) -> Json:
    """Give what a member that no name declares must at least fit; False: it cannot be there."""
    is_matched = any(_may_match(p, name) for p in _table(schema, "patternProperties"))
    return True if is_matched else schema.get("additionalProperties", True)


def _may_match(pattern: str, name: str) -> bool:
    """Say whether *name* fits; patterns that are not plainly Python's may match anything."""
    plain = re.fullmatch(r"[\^$A-Za-z0-9_.\[\]*+?-]*", pattern)
    try:
        return plain is None or re.search(pattern, name) is not None
    except re.error:
        return True

"""Facts and their JSON: one small codec, driven by the fields of the classes themselves.

A field's JSON key is its name, without a trailing underscore (``in_`` is written ``in``).  A field
whose value is None is left out.  A field marked `unrecorded` lives in memory only.  Unknown keys of
an older or newer log are ignored on reading; the line that holds them stays as it is.
"""

from __future__ import annotations

import json
import operator
from functools import cache, partial
from json.encoder import encode_basestring
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from awe_core.canonical import fragment
from awe_core.errors import CanonicalError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.values import Json, JsonObject

_T = TypeVar("_T")
_NONE: Mapping[str, Any] = MappingProxyType({})


def of(kind: type[Any], *, many: bool = False, default: Any = attrs.NOTHING) -> Any:  # noqa: ANN401 - attrs.field is typed Any
    """Declare a field that holds a *kind* (an attrs class), or with *many* a tuple of them."""
    return attrs.field(default=default, metadata={"of": kind, "many": many})


def many(default: Any = attrs.NOTHING) -> Any:  # noqa: ANN401 - attrs.field is typed Any
    """Declare a field that holds a tuple of plain JSON values."""
    return attrs.field(default=default, metadata={"many": True}, converter=_as_tuple)


def _as_tuple(value: Any) -> Any:  # noqa: ANN401 - None, or whatever can be gone through
    return value if value is None or type(value) is tuple else tuple(value)


def unrecorded(default: Any = None) -> Any:  # noqa: ANN401 - attrs.field is typed Any
    """Declare a field that is never written: a value whose record is a payload."""
    return attrs.field(default=default, metadata={"unrecorded": True}, eq=False, repr=False)


_PLAIN_KINDS = {str, int, bool, dict, list}  #: `attrs.has` is dear


def to_json(value: object) -> JsonObject:
    """Write an attrs *value* as a JSON object."""
    kind: type[Any] = type(value)
    keys, get = _members(kind)  # type: ignore[arg-type]  # a class is hashable
    pairs = zip(keys, get(value), strict=False)
    return {key: _json(found) for key, found in pairs if found is not None}


def _json(found: Any) -> Json:  # noqa: ANN401 - whatever a field holds
    kind = type(found)
    if kind is tuple:
        return [_json(one) for one in found]
    return found if kind in _PLAIN_KINDS or not attrs.has(kind) else to_json(found)


def to_text(value: object, depth: int, members: Mapping[str, str] = _NONE) -> str:
    """Write an attrs *value* as `canonical` does, on level *depth* of a record's line.

    :param members: canonical text of members that stand beside its own, or in their place
    :raises CanonicalError: ``canonical.domain`` for keys or numbers that no line can hold
    """
    kind: type[Any] = type(value)
    try:
        return _writer(kind, depth, tuple(members))(value, members)  # type: ignore[arg-type]  # a class is hashable
    except (CanonicalError, TypeError):  # what a handler said is replaced, never a reason to stop
        found = {**to_json(value), **{key: json.loads(text) for key, text in members.items()}}
        return fragment(_replaced(found), depth)


@cache
def _writer(kind: type[Any], depth: int, more: tuple[str, ...]) -> Callable[[Any, Any], str]:
    """Compile what writes a *kind* whose members *more* are given."""
    fields = {a.name.rstrip("_"): a for a in _recorded(kind) if a.name.rstrip("_") not in more}
    names: dict[str, Any] = {"quote": encode_basestring, "fragment": fragment}
    lines = ["def write(value, members):", "    written = []", "    add = written.append"]
    for key in sorted([*fields, *more]):
        if key in more:
            lines.append(f"    add('\"{key}\":' + members[{key!r}])")
            continue
        a = fields[key]
        part, text = a.metadata.get("of"), f"fragment(x, {depth + 1})"
        if part is not None:
            names[f"write_{key}"] = _writer(part, depth + 1 + bool(a.metadata["many"]), ())
            text = f"write_{key}(x, members)"
            if a.metadata["many"]:
                text = f"'[' + ','.join([write_{key}(x, members) for x in x]) + ']'"
        elif str(a.type).removesuffix(" | None") == "str":
            text = "quote(x)"
        lines += (f"    x = value.{a.name}", f"    if x is not None: add('\"{key}\":' + {text})")
    lines.append("    return '{' + ','.join(written) + '}'")
    exec("\n".join(lines), names)  # noqa: S102 - made of the names of our own fields
    write: Callable[[Any, Any], str] = names["write"]
    return write


def _replaced(value: Json) -> Json:
    match value:
        case list() | tuple():
            return [_replaced(one) for one in value]
        case dict():
            return {str(key): _replaced(one) for key, one in value.items()}
        case float():
            return repr(value)
        case _:
            return value


def from_json(kind: type[_T], found: JsonObject) -> _T:
    """Read a *kind* from a JSON object.

    :raises KeyError: when a required field is missing
    :raises TypeError: when a field holds another type than is written there
    :raises ValueError: when a value is out of its range; all three only from foreign hands
    """
    if not isinstance(found, dict):
        raise TypeError(kind.__name__)
    arguments: dict[str, Json] = {}
    for name, key, plain, decode, is_required in _decoder(kind):  # type: ignore[arg-type]  # a class is hashable
        value = found.get(key)  # null is as good as absent
        if value is None:
            if is_required:
                raise KeyError(key)
        elif plain is None:
            arguments[name] = value if decode is None else decode(value)
        elif type(value) is plain:  # to JSON, true is no 1
            arguments[name] = value
        else:
            raise TypeError(name)
    return kind(**arguments)


def _recorded(kind: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    return tuple(a for a in attrs.fields(kind) if "unrecorded" not in a.metadata)


@cache
def _members(kind: type[Any]) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]]]:
    """Give the keys of a *kind*, and what gets their values (and one more: never a bare one)."""
    names = [a.name for a in _recorded(kind)]
    keys = tuple(name.rstrip("_") for name in names)
    return keys, operator.attrgetter(*names, "__class__")


@cache
def _decoder(
    kind: type[Any],
) -> tuple[tuple[str, str, type[Any] | None, Callable[[Any], Any] | None, bool], ...]:
    return tuple(
        (a.name, a.name.rstrip("_"), *_field_decoder(a), a.default is attrs.NOTHING)
        for a in _recorded(kind)
    )


#: Types by the text of an annotation; others are checked by whoever looks inside.
_PLAIN = {"str": str, "int": int, "bool": bool, "JsonObject": dict}


def _field_decoder(
    a: attrs.Attribute[Any],
) -> tuple[type[Any] | None, Callable[[Any], Any] | None]:
    """Give the exact type that a field's JSON has, or what reads it."""
    text = str(a.type).removesuffix(" | None")
    kind = a.metadata.get("of")
    one = None if kind is None else partial(from_json, kind)
    if not a.metadata.get("many"):
        return _PLAIN.get(text), one
    wanted = _PLAIN.get(text.removeprefix("tuple[").removesuffix(", ...]"))

    def items(found: Any) -> tuple[Any, ...]:  # noqa: ANN401 - any JSON
        if type(found) is not list or (wanted and any(type(x) is not wanted for x in found)):
            raise TypeError(a.name)
        return tuple(found if one is None else map(one, found))

    return None, items

"""Facts and their JSON: one small codec, driven by the fields of the classes themselves.

A field's JSON key is its name, without a trailing underscore (``in_`` is written ``in``).  A field
whose value is None is left out.  A field marked `unrecorded` lives in memory only.  Unknown keys of
an older or newer log are ignored on reading; the line that holds them stays as it is.
"""

from __future__ import annotations

import operator
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.values import Json, JsonObject

_T = TypeVar("_T")
_Encoder = tuple[tuple[str, "Callable[[Any], Any]", "Callable[[Any], Any] | None"], ...]


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


def to_json(value: object) -> JsonObject:
    """Write an attrs *value* as a JSON object."""
    written: JsonObject = {}
    kind: type[Any] = type(value)
    for key, get, encode in _encoder(kind):  # type: ignore[arg-type]  # a class is hashable
        found = get(value)
        if found is not None:
            written[key] = found if encode is None else encode(found)
    return written


def from_json(kind: type[_T], found: JsonObject) -> _T:
    """Read a *kind* from a JSON object.

    :raises KeyError: when a required field is missing
    :raises TypeError: when a field holds another type than is written there
    :raises ValueError: when a value is out of its range; all three only from foreign hands
    """
    if not isinstance(found, dict):
        raise TypeError(kind.__name__)
    arguments: dict[str, Json] = {}
    for name, key, decode, is_required in _decoder(kind):  # type: ignore[arg-type]  # a class is hashable
        value = found.get(key)  # null is as good as absent
        if value is not None:
            arguments[name] = value if decode is None else decode(value)
        elif is_required:
            raise KeyError(key)
    return kind(**arguments)


def _recorded(kind: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    return tuple(a for a in attrs.fields(kind) if "unrecorded" not in a.metadata)


@cache
def _encoder(kind: type[Any]) -> _Encoder:
    return tuple(
        (a.name.rstrip("_"), operator.attrgetter(a.name), _field_encoder(a))
        for a in _recorded(kind)
    )


def _field_encoder(a: attrs.Attribute[Any]) -> Callable[[Any], Any] | None:
    if a.metadata.get("of"):
        return (lambda v: [to_json(x) for x in v]) if a.metadata["many"] else to_json
    return list if a.metadata.get("many") else None


@cache
def _decoder(kind: type[Any]) -> tuple[tuple[str, str, Callable[[Any], Any] | None, bool], ...]:
    return tuple(
        (a.name, a.name.rstrip("_"), _field_decoder(a), a.default is attrs.NOTHING)
        for a in _recorded(kind)
    )


def _field_decoder(a: attrs.Attribute[Any]) -> Callable[[Any], Any] | None:
    kind = a.metadata.get("of")
    text = str(a.type).removesuffix(" | None")
    if a.metadata.get("many"):
        item = _PLAIN.get(text.removeprefix("tuple[").removesuffix(", ...]"))
        one = partial(from_json, kind) if kind is not None else partial(_plain, item, a.name)
        return lambda found: tuple(one(x) for x in _plain(list, a.name, found))
    if kind is not None:
        return partial(from_json, kind)
    return partial(_plain, _PLAIN[text], a.name) if text in _PLAIN else None


#: Types by the text of an annotation; others are checked by whoever looks inside.
_PLAIN = {"str": str, "int": int, "bool": bool, "JsonObject": dict}


def _plain(kind: type[Any] | None, name: str, found: Any) -> Any:  # noqa: ANN401 - any JSON
    """Give *found* if it is exactly a *kind*: to JSON, true is no 1."""
    if kind is not None and type(found) is not kind:
        raise TypeError(name)
    return found

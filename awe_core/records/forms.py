"""How the values of governance documents stand in JSON: strict readers and their writers.

A `Form` reads one JSON value or refuses it with its place, and writes it back to exactly what was
read.  `form` declares a field of a frozen class; `read` and `write` then need no code of their own
per class.  Types are exact (`True` is not an integer), every field is required, unknown ones are
refused, lists of digests and names hold nothing twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import attrs

from awe_core.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.values import Json, JsonObject

Seconds: TypeAlias = int  #: since 1970-01-01 UTC, without leap seconds
Digest: TypeAlias = str  #: bare lower-case SHA-256 hex

MAX_INTEGER = 2**53 - 1

_T = TypeVar("_T")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)Z", re.ASCII)


def _same(x: Json) -> Json:
    return x


@attrs.frozen
class Form:
    """One way a value stands in JSON."""

    read: Callable[[Json, str], Any]  #: the value, and where it stands
    write: Callable[[Any], Json] = _same


def form(kind: Form, *, optional: bool = False) -> Any:  # noqa: ANN401 - typed by the annotation beside it
    """Declare a field; an *optional* one is None here where JSON does not have it."""
    default = None if optional else attrs.NOTHING
    return attrs.field(default=default, metadata={"form": kind, "optional": optional})


def read(kind: type[_T], x: Json, *, at: str, awe: str | None = None) -> _T:
    """Read an object into *kind*.

    :param at: the document and place, for messages
    :param awe: what the member ``awe`` of a whole document must be; None inside of one
    :raises TrustError: ``store.malformed`` and ``trust.time``
    """
    found = _members(x, at)
    forms, needed, allowed = _forms(kind)
    head = {"awe"} if awe else set()
    for name in sorted((found.keys() - allowed - head) | (needed | head) - found.keys()):
        malformed(f"{at}/{name}", "is not a field of it" if name in found else "is missing")
    if awe and found["awe"] != awe:
        malformed(f"{at}/awe", f"is not {awe}")
    return kind(**{n: each.read(found[n], f"{at}/{n}") for n, each in forms.items() if n in found})


def write(x: Any, *, awe: str | None = None) -> JsonObject:  # noqa: ANN401 - any class with forms
    """Give the JSON object that `read` takes."""
    forms, needed, _ = _forms(type(x))
    given = {name: getattr(x, name) for name in forms}
    head = {"awe": awe} if awe else {}
    return head | {
        name: forms[name].write(value)
        for name, value in given.items()
        if name in needed or value is not None
    }


def malformed(at: str, why: str) -> NoReturn:
    """Refuse what stands at *at*, which may hold what somebody else has named."""
    shown = at.encode("unicode_escape").decode()[:300]
    raise TrustError("store.malformed", where=shown, why=why)


def timestamp(seconds: Seconds) -> str:
    """Write a time as governance documents do: RFC 3339 UTC to the second."""
    moment = _EPOCH + timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}".rjust(20, "0")


def parse_timestamp(x: Json, at: str) -> Seconds:
    """Read a time; its form is exact, so that one moment has one spelling.

    :raises TrustError: ``trust.time``
    """
    parts = _TIME.fullmatch(x) if type(x) is str else None
    if parts is None:
        raise TrustError("trust.time", where=at, why="it is not of the form YYYY-MM-DDTHH:MM:SSZ")
    try:
        year, month, day, hour, minute, second = (int(part) for part in parts.groups())
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        raise TrustError("trust.time", where=at, why="there is no such date") from None
    return (moment - _EPOCH) // timedelta(seconds=1)


def text(
    pattern: str, *, most: int = 256, why: str = "has characters or a form not allowed"
) -> Form:
    """Take a string that matches *pattern* whole."""
    wanted = re.compile(pattern)

    def check(x: Json, at: str) -> str:
        if type(x) is not str:
            malformed(at, "is not a string")
        if len(x) > most:
            malformed(at, f"has {len(x)} characters; {most} are the most")
        if not wanted.fullmatch(x):
            malformed(at, why)
        return x

    return Form(check)


def integer(least: int, most: int = MAX_INTEGER) -> Form:
    """Take an integer between two bounds."""

    def check(x: Json, at: str) -> int:
        if type(x) is not int:
            malformed(at, "is not an integer")
        if not least <= x <= most:
            malformed(at, f"is not between {least} and {most}")
        return x

    return Form(check)


def word(*words: str) -> Form:
    """Take one of *words*."""

    def check(x: Json, at: str) -> str:
        if type(x) is not str or x not in words:
            malformed(at, "is none of " + ", ".join(words))
        return x

    return Form(check)


def maybe(inner: Form) -> Form:
    """Take null as well."""
    return Form(
        lambda x, at: None if x is None else inner.read(x, at),
        lambda x: None if x is None else inner.write(x),
    )


def many(inner: Form, *, most: int = 10_000, least: int = 0, unique: bool = True) -> Form:
    """Take an array; if *unique*, nothing stands in it twice."""

    def check(x: Json, at: str) -> tuple[Any, ...]:
        if type(x) is not list:
            malformed(at, "is not an array")
        if not least <= len(x) <= most:
            malformed(at, f"has {len(x)} entries; {least} to {most} are allowed")
        items = tuple(inner.read(item, f"{at}/{n}") for n, item in enumerate(x))
        if unique and len(set(items)) != len(items):
            malformed(at, "holds an entry twice")
        return items

    return Form(check, lambda items: [inner.write(item) for item in items])


def table(key: Form, inner: Form, *, most: int = 10_000) -> Form:
    """Take an object whose member names are values themselves."""

    def check(x: Json, at: str) -> MappingProxyType[str, Any]:
        found = _members(x, at)
        if len(found) > most:
            malformed(at, f"has {len(found)} members; {most} are the most")
        return MappingProxyType(
            {key.read(k, f"{at}/{k}"): inner.read(v, f"{at}/{k}") for k, v in found.items()}
        )

    return Form(check, lambda items: {k: inner.write(v) for k, v in items.items()})


def nested(kind: type[Any]) -> Form:
    """Take an object of a class with forms."""
    return Form(lambda x, at: read(kind, x, at=at), write)


def _any_object(x: Json, at: str) -> JsonObject:
    return dict(_members(x, at))


def _flag(x: Json, at: str) -> bool:
    if type(x) is not bool:
        malformed(at, "is neither true nor false")
    return x


def _members(x: Json, at: str) -> JsonObject:
    if type(x) is not dict:
        malformed(at, "is not an object")
    return x


def _forms(kind: type[Any]) -> tuple[dict[str, Form], frozenset[str], frozenset[str]]:
    """Give the forms of *kind*'s fields, which must be there, and which may."""
    known = _KNOWN.get(kind)
    if known is None:
        fields = attrs.fields_dict(kind)
        needed = frozenset(name for name, each in fields.items() if not each.metadata["optional"])
        forms = {name: each.metadata["form"] for name, each in fields.items()}
        known = _KNOWN[kind] = (forms, needed, frozenset(fields))
    return known


_KNOWN: dict[type[Any], tuple[dict[str, Form], frozenset[str], frozenset[str]]] = {}

_PART = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"

BOOL = Form(_flag)
OBJECT = Form(_any_object)  #: any JSON object, checked elsewhere
TIME = Form(parse_timestamp, timestamp)
DIGEST = text(r"[0-9a-f]{64}", why="is not a bare lower-case SHA-256")
DIGEST_OR_NONE = text(r"(?:[0-9a-f]{64})?", why="is neither empty nor a bare lower-case SHA-256")
ID = text(rf"{_PART}(?:\.{_PART})*", most=96)  #: of a capability, workflow, facade
DISTRIBUTION = text(
    r"[a-z0-9]+(?:-[a-z0-9]+)*", most=128, why="is not a normalised distribution name"
)
VERSION = text(r"[0-9A-Za-z][0-9A-Za-z.!+_-]*", most=64)
#: A person, a machine or a deployment: it becomes a file name and stands in messages.
NAME = text(r"[A-Za-z0-9](?:[A-Za-z0-9._@+-]*[A-Za-z0-9])?", most=96)
ROLE = text(r"[a-z][a-z0-9_-]*", most=64)
#: A line of printable ASCII.
LINE = text(r"[ -~]*", most=512, why="is not a line of printable ASCII")
#: Relative, ``/`` between parts, printable ASCII, no part ``.`` or ``..``, no backslash or colon.
PATH = text(
    r"(?!/)(?:(?!\.{1,2}(?:/|\Z))[!-.0-9;-\[\]-~ ]+(?:/(?!\Z)|\Z))+",
    most=512,
    why="is not a safe relative path",
)
#: Why somebody decided: no control, line-separating or bidirectional characters.
REASON = text(
    r"[^\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]+",
    most=2_000,
    why="is empty or holds control or bidirectional characters",
)

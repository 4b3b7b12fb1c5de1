"""How the values of governance documents stand in JSON: strict readers and their writers.

A `Form` reads one JSON value or refuses it with its place, and writes it back to exactly what was
read.  `form` declares a field of a frozen class, and a `Document` has its JSON from them.  Types
are exact (`True` is not an integer), every field is required, unknown ones are refused, lists of
digests and names hold nothing twice.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Self, TypeAlias, TypeVar

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


@attrs.frozen
class Form:
    """One way a value stands in JSON."""

    read: Callable[[Json, str], Any]  #: the value, and where it stands
    write: Callable[[Any], Json] = lambda x: x


def form(kind: Form, *, optional: bool = False) -> Any:  # noqa: ANN401 - typed by the annotation beside it
    """Declare a field; an *optional* one is None here where JSON does not have it."""
    default = None if optional else attrs.NOTHING
    return attrs.field(default=default, metadata={"form": kind, "optional": optional})


class Document:
    """A whole document: its member ``awe`` says what it is, in which version."""

    __slots__ = ()
    awe: ClassVar[str]

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = "") -> Self:
        """Read a document; *at* names its file in messages.

        :raises TrustError: ``store.malformed`` or ``trust.time`` with the place
        """
        found = _read(cls, x, at or cls.awe, awe=cls.awe)
        found.check(at or cls.awe)
        return found

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return {"awe": self.awe, **_write(self)}

    def check(self, at: str) -> None:
        """Refuse what its members say against each other; most documents have nothing here."""


def _read(kind: type[_T], x: Json, at: str, *, awe: str | None = None) -> _T:
    found = _typed(x, dict, at, "is not an object")
    forms, needed = _forms(kind)
    head = {"awe"} if awe else set()
    for name in sorted((found.keys() - forms.keys() - head) | (needed | head) - found.keys()):
        malformed(f"{at}/{name}", "is not a field of it" if name in found else "is missing")
    if awe and found["awe"] != awe:
        malformed(f"{at}/awe", f"is not {awe}")
    return kind(**{n: each.read(found[n], f"{at}/{n}") for n, each in forms.items() if n in found})


def _write(x: Any) -> JsonObject:  # noqa: ANN401 - any class with forms
    forms, needed = _forms(type(x))
    return {
        name: each.write(value)
        for name, each in forms.items()
        if (value := getattr(x, name)) is not None or name in needed
    }


def _forms(kind: type[Any]) -> tuple[dict[str, Form], frozenset[str]]:
    """Give the forms of *kind*'s fields, and which of them must be there."""
    if kind not in _KNOWN:
        fields = attrs.fields_dict(kind)
        needed = frozenset(name for name, each in fields.items() if not each.metadata["optional"])
        _KNOWN[kind] = {name: each.metadata["form"] for name, each in fields.items()}, needed
    return _KNOWN[kind]


_KNOWN: dict[type[Any], tuple[dict[str, Form], frozenset[str]]] = {}


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
        found = _typed(x, str, at, "is not a string")
        if len(found) > most:
            malformed(at, f"has {len(found)} characters; {most} are the most")
        if not wanted.fullmatch(found):
            malformed(at, why)
        return found

    return Form(check)


def integer(least: int, most: int = MAX_INTEGER) -> Form:
    """Take an integer between two bounds."""

    def check(x: Json, at: str) -> int:
        found = _typed(x, int, at, "is not an integer")
        if not least <= found <= most:
            malformed(at, f"is not between {least} and {most}")
        return found

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
        found = _typed(x, list, at, "is not an array")
        if not least <= len(found) <= most:
            malformed(at, f"has {len(found)} entries; {least} to {most} are allowed")
        items = tuple(inner.read(item, f"{at}/{n}") for n, item in enumerate(found))
        if unique and len(set(items)) != len(items):
            malformed(at, "holds an entry twice")
        return items

    return Form(check, lambda items: [inner.write(item) for item in items])


def table(key: Form, inner: Form, *, most: int = 10_000) -> Form:
    """Take an object whose member names are values themselves."""

    def check(x: Json, at: str) -> MappingProxyType[str, Any]:
        found = _typed(x, dict, at, "is not an object")
        if len(found) > most:
            malformed(at, f"has {len(found)} members; {most} are the most")
        return MappingProxyType(
            {key.read(k, f"{at}/{k}"): inner.read(v, f"{at}/{k}") for k, v in found.items()}
        )

    return Form(check, lambda items: {k: inner.write(v) for k, v in items.items()})


def nested(kind: type[Any]) -> Form:
    """Take an object of a class with forms."""
    return Form(lambda x, at: _read(kind, x, at), _write)


def _typed(x: Json, kind: type[_T], at: str, why: str) -> _T:
    """Take exactly *kind*, and none of its subclasses."""
    if type(x) is not kind:
        malformed(at, why)
    return x


_PART = r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*"

BOOL = Form(lambda x, at: _typed(x, bool, at, "is neither true nor false"))
#: Any JSON object, checked elsewhere.
OBJECT = Form(lambda x, at: dict(_typed(x, dict, at, "is not an object")))
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

"""What the log says about a value, and what it does not.

`describe` turns a value into a descriptor for the line (commitment, size, a summary for people) and
a draft of the payload, which is the value itself, encrypted by the store.

Order, before anything is written or shown: (1) secret values resolved in this run are masked
wherever they stand, in the payload too: a secret is never written in any form; (2) places that the
schema marks; (3) members whose name tells (`password`, `api_key` …).  (2) and (3) are left out of
the summary and stay in the payload.

Rules: no program decides on a summary; it always fits `canonical.line`; it is cut to 512 bytes, or
16 KiB where the audit level asks for values.  What nobody marked, named or resolved through the
broker is not recognised here.
"""

from __future__ import annotations

import base64
import json
import os
import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, quote_plus

import attrs

from awe_core import canonical
from awe_core.journal import PayloadDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from awe_core.values import Json, JsonObject

#: A JSON pointer into a value and what stands there, in the words of `contract.marks.Mark`.
Mark: TypeAlias = tuple[str, str]

#: What a secret is replaced by.
MASK = "[secret]"

SUMMARY_BYTES = 512  #: of a value at level ``metadata``
SHOWN_BYTES = 16 * 1024  #: of a value that the level asks to be shown

_SALT_BYTES = 32
_MAX_POINTERS = 100
_MAX_DEPTH = 8  #: of a summary; it stands on level 4 or 5 of 16
_MAX_TEXT = 96  #: characters of one string of a summary that has to be cut
_CLASSES = {"sensitive", "hidden", "subject", "secret"}

_TELLING = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|api_key|apikey|authorization|cookie"
    r"|private_key|credential|credentials|access_key)(?:_|$)"
)
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def describe(  # noqa: PLR0913 - what decides how much of a value is shown
    value: Json,
    *,
    part: str,
    marks: Sequence[Mark] = (),
    level: str = "metadata",
    secrets: Sequence[str] = (),
    mac: Callable[[bytes], str] | None = None,
) -> tuple[JsonObject, PayloadDraft]:
    """Give the descriptor of *value* and the draft of its payload.

    :param part: which value of the record it is: ``in``, ``out``, ``undo`` …
    :param marks: pointers into this very value, as `contract` finds them
    :param level: ``metadata``, ``request`` or ``full``
    :param secrets: secret values that were resolved in this run
    :param mac: makes equal redacted values recognisable (`Journal.mac`)
    :raises CanonicalError: for a value that has no canonical form
    """
    if secrets:
        value = scrub_value(value, secrets)
    body = canonical.value(value)
    salt = os.urandom(_SALT_BYTES)
    digest = sha256(salt + body).hexdigest()
    descriptor: JsonObject = {"c": digest, "len": len(body)}
    is_shown = level == "full" or (level == "request" and part == "in")
    summary = _Summary(SHOWN_BYTES if is_shown else SUMMARY_BYTES, mac)
    descriptor["sum"] = summary.of(value, len(body), _trie(marks) if marks else None)
    if summary.redacted:
        descriptor["red"] = summary.redacted[:_MAX_POINTERS]
    return descriptor, PayloadDraft(part, digest, salt, body)


def scrub(text: str, secrets: Sequence[str]) -> str:
    """Mask *secrets* in *text*: raw, base64, percent- and JSON-escaped."""
    for form in _forms(tuple(secrets)):
        if form in text:
            text = text.replace(form, MASK)
    return MASK if text in secrets else text


def scrub_value(value: Json, secrets: Sequence[str]) -> Json:
    """Mask *secrets* in every string of *value*, names included."""
    match value:
        case str():
            return scrub(value, secrets)
        case dict():
            return {scrub(str(k), secrets): scrub_value(v, secrets) for k, v in value.items()}
        case list() | tuple():
            return [scrub_value(item, secrets) for item in value]
        case _:
            return value


def is_telling(name: str) -> bool:
    """Tell whether a member of this name holds something that is not for everybody.

    Whole words count, case and separators do not: ``apiKey``, ``X-API-Key``; not ``tokenizer``.
    """
    words = _WORD_STARTS.sub("_", name).strip("_").lower()
    return _TELLING.search(words) is not None


@lru_cache(maxsize=4096)
def _judge(name: str) -> tuple[bool, bool]:
    """Tell of a name whether it is telling, and whether a line can hold it as a key."""
    return is_telling(name), _KEY.fullmatch(name) is not None


@attrs.define
class _Summary:
    """One walk over a value: cut, redacted, brought into the domain of a line."""

    limit: int
    mac: Callable[[bytes], str] | None
    room: int = 0
    is_cut: bool = False
    redacted: list[str] = attrs.field(factory=list)
    path: list[str] = attrs.field(factory=list)

    def of(self, value: Json, size: int, marks: _Trie | None) -> Json:
        self.room, self.is_cut = self.limit, size > self.limit
        found = self.walk(value, marks, 1)
        if size + 64 * len(self.redacted) > self.limit // 2 and _size(found) > self.limit:
            return _shape(value)
        return found

    def walk(self, value: Json, marks: _Trie | None, depth: int) -> Json:
        if marks is not None and marks.mark:
            return self.redact(value, marks.mark)
        kind = type(value)
        if kind is str:
            return self.text(value)
        self.room -= 8
        if kind is dict:
            return self.members(value, marks, depth)
        if kind is list or kind is tuple:
            return self.items(value, marks, depth)
        return value if kind is bool or value is None else self.number(value)

    def number(self, value: float) -> Json:
        if type(value) is float:
            return repr(value)
        if -canonical.MAX_INTEGER <= value <= canonical.MAX_INTEGER:
            return value
        return str(value) if int(value).bit_length() < self.limit else "a large integer"

    def text(self, value: str) -> str:
        if self.is_cut and len(value) > _MAX_TEXT and self.limit == SUMMARY_BYTES:
            value = f"{value[: _MAX_TEXT // 2]}… ({len(value)} characters)"
        elif len(value) > self.room > 0:
            value = f"{value[: self.room // 2]}… ({len(value)} characters)"
        self.room -= len(value) + 4
        return value

    def members(self, value: Mapping[str, Json], marks: _Trie | None, depth: int) -> Json:
        if depth >= _MAX_DEPTH:
            return _shape(value)
        found: JsonObject = {}
        depth += 1 if all(_judge(key)[1] for key in value) else 2
        is_odd = False
        for index, (key, item) in enumerate(value.items()):
            if self.room <= 0:
                found["..."] = f"{len(value) - index} more"
                break
            below = None if marks is None else marks.below.get(key)
            name = self.name(key, below, index)
            is_telling, is_plain = _judge(key)
            is_odd = is_odd or not is_plain
            self.room -= len(name)
            self.path.append(name)
            found[name] = (
                self.redact(item, "named") if is_telling else self.walk(item, below, depth)
            )
            self.path.pop()
        return [list(pair) for pair in found.items()] if is_odd else found

    def name(self, key: str, marks: _Trie | None, index: int) -> str:
        """Give the name as it may be shown; a sensitive one is replaced, in pointers too."""
        return f"redacted-{index}" if marks is not None and marks.is_name_marked else key

    def items(self, value: Sequence[Json], marks: _Trie | None, depth: int) -> Json:
        if depth >= _MAX_DEPTH:
            return _shape(value)
        found: list[Json] = []
        for index, item in enumerate(value):
            if self.room <= 0:
                found.append(f"… {len(value) - index} more")
                break
            below = None if marks is None else marks.below.get(str(index))
            self.path.append(str(index))
            found.append(self.walk(item, below, depth + 1))
            self.path.pop()
        return found

    def redact(self, value: Json, mark: str) -> JsonObject:
        """Say that something stands there, and how long it is."""
        body = canonical.value(value)
        self.redacted.append("".join(f"/{_escaped(step)}" for step in self.path))
        self.room -= 64
        shown: JsonObject = {"len": len(body), "redacted": mark}
        if self.mac is not None:
            shown["mac"] = self.mac(body)
            self.room -= 80
        return shown


@attrs.define
class _Trie:
    """Marks by the steps of their pointers."""

    mark: str = ""
    is_name_marked: bool = False
    below: dict[str, _Trie] = attrs.field(factory=dict)


def _trie(marks: Iterable[Mark]) -> _Trie:
    root = _Trie()
    for pointer, mark in marks:
        at = root
        for step in pointer.split("/")[1:]:
            at = at.below.setdefault(step.replace("~1", "/").replace("~0", "~"), _Trie())
        if mark == "key":
            at.is_name_marked = True
        elif mark in _CLASSES:
            at.mark = str(mark)
    return root


@lru_cache(maxsize=256)
def _forms(secrets: tuple[str, ...]) -> tuple[str, ...]:
    """All forms in which *secrets* may appear, longest first.  Very short ones match only whole."""
    forms: set[str] = set()
    for secret in secrets:
        if len(secret) < 4:  # noqa: PLR2004 - would mask half of every text
            continue
        raw = secret.encode("utf-8", "surrogatepass")
        forms |= {secret, base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()}
        forms |= {form.rstrip("=") for form in forms if form.endswith("=")}
        forms |= {quote(raw), quote(raw, safe=""), quote_plus(raw)}
        forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return tuple(sorted(forms, key=lambda form: (-len(form), form)))


def _shape(value: Json) -> str:
    match value:
        case dict():
            return f"an object of {len(value)} members"
        case list() | tuple():
            return f"an array of {len(value)} items"
        case str():
            return f"a string of {len(value)} characters"
        case _:
            return f"a {type(value).__name__}"


def _size(summary: Json) -> int:
    return len(canonical.line({"sum": summary})) - len('{"sum":}')


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")

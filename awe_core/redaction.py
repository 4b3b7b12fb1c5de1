"""What the log says about a value, and what it does not.

`describe` turns a value into a descriptor for the line (commitment, size, a summary for people) and
a draft of the payload, which is the value itself, encrypted by the store.  Places that the schema
marks, and members whose name tells (`password`, `api_key` …), are left out of the summary and stay
in the payload.

Rules: no program decides on a summary; it always fits `canonical.line`; it is cut to 512 bytes, or
16 KiB where the audit level asks for values.  What nobody marked or named is not recognised here.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core import canonical
from awe_core.journal import PayloadDraft

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.values import Json, JsonObject

#: A JSON pointer into a value and what stands there, in the words of `contract.marks.Mark`.
Mark: TypeAlias = tuple[str, str]

SUMMARY_BYTES = 512  #: of a value at level ``metadata``
SHOWN_BYTES = 16 * 1024  #: of a value that the level asks to be shown

_SALT_BYTES = 32
_MAX_POINTERS = 100
_MAX_DEPTH = 8  #: of a summary; it stands on level 4 or 5 of 16
_MAX_TEXT = 96  #: characters of one string of a summary that has to be cut
_NODE = 8  #: what brackets, commas and words are reckoned at, in bytes
_LEVEL = 4  #: of a summary in its line
_CLASSES = {"sensitive", "hidden", "subject", "secret"}

_TELLING = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|api_key|apikey|authorization|cookie"
    r"|private_key|credential|credentials|access_key)(?:_|$)"
)
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[^A-Za-z0-9]+")
_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def describe(
    value: Json,
    *,
    part: str,
    marks: Sequence[Mark] = (),
    level: str = "metadata",
    body: bytes | None = None,
) -> tuple[str, PayloadDraft]:
    """Give the descriptor of *value*, as canonical text, and the draft of its payload.

    :param part: which value of the record it is: ``in``, ``out``, ``undo`` …
    :param marks: pointers into this very value, as `contract` finds them
    :param level: ``metadata``, ``request`` or ``full``
    :param body: the canonical form of *value*, where the caller has it already
    :raises CanonicalError: for a value that has no canonical form
    """
    body = canonical.value(value) if body is None else body
    salt = _salt()
    digest = sha256(salt + body).hexdigest()
    is_shown = level == "full" or (level == "request" and part == "in")
    limit = SHOWN_BYTES if is_shown else SUMMARY_BYTES
    red = ""
    if not marks and len(body) <= limit and _reckoned(value, 1) < limit:
        shown = body.decode()  # in the domain of a line both forms are one
    else:
        summary = _Summary(limit, is_cut=len(body) > limit)
        shown = summary.of(value, len(body), _trie(marks) if marks else None)
        if summary.redacted:
            red = f',"red":{canonical.fragment(summary.redacted[:_MAX_POINTERS], _LEVEL)}'
    text = f'{{"c":"{digest}","len":{len(body)}{red},"sum":{shown}}}'
    return text, PayloadDraft(part, digest, salt, body)


_salts: list[bytes] = []  #: drawn and not yet used: a draw is a system call, and a run has dozens
os.register_at_fork(after_in_child=_salts.clear)


def _salt() -> bytes:
    try:
        return _salts.pop()
    except IndexError:
        drawn = os.urandom(64 * _SALT_BYTES)
        _salts.extend(drawn[n : n + _SALT_BYTES] for n in range(0, len(drawn), _SALT_BYTES))
        return os.urandom(_SALT_BYTES)


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


_NEVER = 1 << 40
_SHOWABLE = (False, True)


def _reckoned(value: Json, depth: int) -> int:
    """Give how much room `_Summary` would take to show *value* just as it is, or `_NEVER`."""
    kind = type(value)
    if kind is str:
        return len(value) + 4
    if kind is int:
        return _NODE if -canonical.MAX_INTEGER <= value <= canonical.MAX_INTEGER else _NEVER
    if kind is bool or value is None:
        return _NODE
    if kind is float or depth >= _MAX_DEPTH:
        return _NEVER
    room = _NODE
    if kind is dict:
        for key, item in value.items():
            if _judge(key) != _SHOWABLE:
                return _NEVER
            room += len(key) + _reckoned(item, depth + 1)
        return room
    for item in value:
        room += _reckoned(item, depth + 1)
    return room


@attrs.define
class _Summary:
    """One walk over a value: cut, redacted, brought into the domain of a line."""

    limit: int
    is_cut: bool = attrs.field(kw_only=True)
    room: int = attrs.field(init=False)
    redacted: list[str] = attrs.field(factory=list)
    path: list[str] = attrs.field(factory=list)

    def of(self, value: Json, size: int, marks: _Trie | None) -> str:
        self.room = self.limit
        shown = canonical.fragment(self.walk(value, marks, 1), _LEVEL)
        is_near = size + 64 * len(self.redacted) > self.limit // 2
        if is_near and len(shown.encode()) > self.limit:
            return canonical.fragment(_shape(value), _LEVEL)
        return shown

    def walk(self, value: Json, marks: _Trie | None, depth: int) -> Json:
        if marks is not None and marks.mark:
            return self.redact(value, marks.mark)
        kind = type(value)
        if kind is str:
            return self.text(value)
        self.room -= _NODE
        if kind is dict or kind is list or kind is tuple:
            if depth >= _MAX_DEPTH:
                return _shape(value)
            walk = self.members if kind is dict else self.items
            return walk(value, marks, depth)
        return value if kind is bool or value is None else self.number(value)

    def number(self, value: float) -> Json:
        if type(value) is float:
            return repr(value)
        if -canonical.MAX_INTEGER <= value <= canonical.MAX_INTEGER:
            return value
        return str(value) if int(value).bit_length() < self.limit else "a large integer"

    def text(self, value: str) -> str:
        length = len(value)
        if self.is_cut and length > _MAX_TEXT and self.limit == SUMMARY_BYTES:
            value = f"{value[: _MAX_TEXT // 2]}… ({length} characters)"
        elif length > self.room > 0:
            value = f"{value[: self.room // 2]}… ({length} characters)"
        self.room -= len(value) + 4
        return value

    def members(self, value: Mapping[str, Json], marks: _Trie | None, depth: int) -> Json:
        found: JsonObject = {}
        depth += 1 if all(_judge(key)[1] for key in value) else 2
        is_odd = False
        for index, (key, item) in enumerate(value.items()):
            if self.room <= 0:
                found["..."] = f"{len(value) - index} more"
                break
            below = None if marks is None else marks.below.get(key)
            name = f"redacted-{index}" if below is not None and below.is_name_marked else key
            is_telling, is_plain = _judge(key)
            is_odd = is_odd or not is_plain
            self.room -= len(name)
            self.path.append(name)
            found[name] = (
                self.redact(item, "named") if is_telling else self.walk(item, below, depth)
            )
            self.path.pop()
        return [list(pair) for pair in found.items()] if is_odd else found

    def items(self, value: Sequence[Json], marks: _Trie | None, depth: int) -> Json:
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
        steps = (step.replace("~", "~0").replace("/", "~1") for step in self.path)
        self.redacted.append("".join(f"/{step}" for step in steps))
        self.room -= 64
        return {"len": len(canonical.value(value)), "redacted": mark}


@attrs.define
class _Trie:
    """Marks by the steps of their pointers."""

    mark: str = ""
    is_name_marked: bool = False  #: the name itself is sensitive, in pointers too
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

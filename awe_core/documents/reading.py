"""Bytes of YAML in, a JSON value with positions out; everything ambiguous is refused.

YAML 1.2, core schema: null, booleans, integers, floats and strings; a date stays a string.
Refused, each with its place: bytes that are not plain UTF-8, duplicate keys, keys that are not
strings, anchors, aliases, merge keys, tags, directives, a second document, tabs as indentation,
numbers that readers disagree about, nesting beyond 64, more bytes than the limit.

Only ruamel's *events* are used, so nothing recurses and nothing is constructed that we do not
construct here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import attrs
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from awe_core.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ruamel.yaml.events import Event

    from awe_core.values import Json, JsonObject

MAX_BYTES = 1024 * 1024  #: of a document
MAX_WORKFLOW_BYTES = 4 * 1024 * 1024  #: of a workflow, which may have 50,000 steps
MAX_DEPTH = 64  #: of mappings and lists inside each other

#: A place in a value: keys and indices from the top.
Pointer: TypeAlias = tuple[str | int, ...]
#: 1-based line and column.
Position: TypeAlias = tuple[int, int]


@attrs.frozen
class Parsed:
    """A document's value, and where each part of it stands."""

    file: str  #: as the caller names it
    value: Json
    size_bytes: int
    _values: Mapping[Pointer, Position]
    _keys: Mapping[Pointer, Position]
    is_checked: bool = False  #: these very bytes became a spec before, so their schemas hold

    def has(self, pointer: Pointer) -> bool:
        """Say whether something is written at *pointer*."""
        return pointer in self._values

    def position_of(self, pointer: Pointer) -> Position:
        """Give line and column of the value at *pointer*, or of what is nearest around it."""
        while pointer and pointer not in self._values:
            pointer = pointer[:-1]
        return self._values.get(pointer, (1, 1))

    def key_position_of(self, pointer: Pointer) -> Position:
        """Give line and column of the key of *pointer*; of the value where there is no key."""
        return self._keys.get(pointer) or self.position_of(pointer)

    def error(
        self,
        code: str,
        pointer: Pointer,
        *,
        at_key: bool = False,
        details: tuple[str, ...] = (),
        **more: Json,
    ) -> DocumentError:
        """Build the error *code* for the place *pointer*."""
        at = (self.key_position_of if at_key else self.position_of)(pointer)
        return DocumentError(code, details=details, **_place(self.file, at), **more)


def parse(text: bytes | str, *, file: str, max_bytes: int = MAX_BYTES) -> Parsed:
    """Read one YAML document.

    :param file: how messages name it; nothing is opened
    :raises DocumentError: ``document.…``, with file, line and column
    """
    reader = _Reader(file)
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    for event in reader.events(reader.decode(data, max_bytes=max_bytes)):
        reader.take(event)
    return Parsed(file, reader.value, len(data), reader.values, reader.keys)


#: NUL, and what makes a line read otherwise than it is: bidirectional overrides and isolates.
_UNREADABLE = re.compile("[\0\u202a-\u202e\u2066-\u2069]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
#: Numbers that readers of YAML 1.1 and 1.2 take differently, or that JSON does not have.
_DOUBTFUL = re.compile(
    r"[-+]?0[0-9_]+|[-+]?0[xob][0-9a-fA-F_]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_INFINITE = frozenset({float("inf"), float("-inf")})
_MAX_DIGITS = 40

_Container: TypeAlias = "dict[str, Json] | list[Json]"


@attrs.define
class _Open:
    """A mapping or list that has not ended yet."""

    container: _Container
    pointer: Pointer
    key: str | None = None  #: of a mapping: read, its value not yet


@attrs.define
class _Reader:
    """Builds the value from events; `stack` stands for recursion."""

    file: str
    value: Json = None
    stack: list[_Open] = attrs.Factory(list)
    values: dict[Pointer, Position] = attrs.Factory(dict)
    keys: dict[Pointer, Position] = attrs.Factory(dict)
    documents: int = 0

    def refuse(self, code: str, at: Position, **more: Json) -> NoReturn:
        raise DocumentError(code, **_place(self.file, at), **more) from None

    def decode(self, data: bytes, *, max_bytes: int) -> str:
        if len(data) > max_bytes:
            self.refuse("document.too_large", (1, 1), size_bytes=len(data), limit_bytes=max_bytes)
        if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
            self.refuse("document.encoding", (1, 1), why="begins with a byte order mark")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            at = _position(data[: error.start].decode(), error.start)
            self.refuse("document.encoding", at, why="is not UTF-8 here")
        if found := _UNREADABLE.search(text):
            why = f"holds U+{ord(found[0]):04X}, which nobody can see"
            self.refuse("document.encoding", _position(text, found.start()), why=why)
        return text

    def events(self, text: str) -> Iterator[Event]:
        try:
            yield from YAML(typ="safe", pure=True).parse(text)
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            at = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            problem = " ".join(str(error.problem or error.context).split())
            if r"\t" in problem:
                self.refuse("document.forbidden", at, what="a tab", instead="indent with spaces")
            self.refuse("document.syntax", at, why=problem[:200])
        except Exception as error:  # noqa: BLE001 - foreign code; odd bytes bring out odd errors
            why = f"the YAML reader gives up with {type(error).__name__}"
            self.refuse("document.syntax", (1, 1), why=why)

    def take(self, event: Event) -> None:
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case DocumentStartEvent():
                self.begin(event, at)
            case AliasEvent():
                self.forbid(at, "an alias", "write the value out")
            case ScalarEvent():
                self.plain_only(event, at)
                self.scalar(event, at)
            case MappingStartEvent():
                self.plain_only(event, at)
                self.open({}, at)
            case SequenceStartEvent():
                self.plain_only(event, at)
                self.open([], at)
            case MappingEndEvent() | SequenceEndEvent():
                self.stack.pop()

    def begin(self, event: DocumentStartEvent, at: Position) -> None:
        self.documents += 1
        if event.version or event.tags:
            self.forbid(at, "a directive", "leave the line with % out")
        if self.documents > 1:
            self.forbid(at, "a second document", "put it into a file of its own")

    def forbid(self, at: Position, what: str, instead: str) -> NoReturn:
        self.refuse("document.forbidden", at, what=what, instead=instead)

    def plain_only(
        self, event: ScalarEvent | MappingStartEvent | SequenceStartEvent, at: Position
    ) -> None:
        if event.anchor is not None:
            self.forbid(at, "an anchor", "write the value out where it is needed")
        if event.ctag is not None:
            self.forbid(at, "a tag", "leave it out; types follow from the key")

    def scalar(self, event: ScalarEvent, at: Position) -> None:
        text = event.value
        if not text.isascii() and _SURROGATE.search(text):
            self.refuse("document.encoding", at, why="holds half of a surrogate pair")
        value = self.resolve(text, at) if event.implicit[0] else text
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            self.key(top, value, text, at=at, is_plain=event.implicit[0])
        else:
            self.place(value, at)

    def key(self, top: _Open, value: Json, text: str, *, at: Position, is_plain: bool) -> None:
        if is_plain and text == "<<":
            self.forbid(at, "a merge key", "write the keys out")
        if not isinstance(value, str):
            self.refuse("document.key_not_string", at, key=text[:80])
        pointer = (*top.pointer, value)
        if pointer in self.keys:
            line, column = self.keys[pointer]
            self.refuse("document.duplicate_key", at, key=value[:80], first=f"{line}:{column}")
        self.keys[pointer] = at
        top.key = value

    def open(self, container: _Container, at: Position) -> None:
        top = self.stack[-1] if self.stack else None
        if top is not None and isinstance(top.container, dict) and top.key is None:
            kind = "mapping" if isinstance(container, dict) else "list"
            self.refuse("document.key_not_string", at, key=f"a {kind}")
        if len(self.stack) >= MAX_DEPTH:
            self.refuse("document.too_deep", at, limit=MAX_DEPTH)
        self.stack.append(_Open(container, self.place(container, at)))

    def place(self, value: Json, at: Position) -> Pointer:
        """Put *value* where it belongs and remember where it stands."""
        pointer: Pointer = ()
        if not self.stack:
            self.value = value
        else:
            top = self.stack[-1]
            if isinstance(top.container, list):
                pointer = (*top.pointer, len(top.container))
                top.container.append(value)
            elif top.key is not None:
                pointer = (*top.pointer, top.key)
                top.container[top.key], top.key = value, None
        self.values[pointer] = at
        return pointer

    def resolve(self, text: str, at: Position) -> Json:
        """Give a plain scalar its type by the core schema of YAML 1.2."""
        if text in _NULL:
            return None
        if text in _BOOL:
            return _BOOL[text]
        if _DOUBTFUL.fullmatch(text):
            self.refuse("document.number", at, number=text[:40])
        if not _NUMBER.fullmatch(text):
            return text
        if _INT.fullmatch(text):
            return (
                int(text)
                if len(text) <= _MAX_DIGITS
                else self.refuse("document.number", at, number=text[:40] + "…")
            )
        number = float(text)
        if number in _INFINITE:
            self.refuse("document.number", at, number=text[:40])
        return number


def _place(file: str, at: Position) -> JsonObject:
    line, column = at
    return {"file": file, "line": line, "column": column, "where": f"{file}:{line}:{column}"}


def _position(text: str, offset: int) -> Position:
    """1-based line and column of *offset* in *text*."""
    before = text[:offset]
    return before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1

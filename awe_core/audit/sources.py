"""Where records to verify come from: exported files, a bundle, a home.

Everything is read as a stream and bounded: a line by 256 KiB, notes by 1 MiB in all.  What is not a
record is passed on as it is; judging it is `verify`'s affair.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import attrs

from awe_core.canonical import LINE_BYTES
from awe_core.errors import AuditError
from awe_core.journal.tree import HASH_BYTES, MAX_PATH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.journal import Reading, SealedRecord
    from awe_core.values import Json

_MAX_NOTES_BYTES = 1024 * 1024
_RECORD = b'{"event":'
_SEQ = re.compile(rb'"seq":(\d{1,16}),"ts":-?\d{1,16},"v":1\}\Z')
_SEPARATOR = b"\n--\n"


@attrs.frozen
class Line:
    """The bytes of what should be a record."""

    data: bytes = attrs.field(repr=False)
    row: SealedRecord | None = None  #: the index beside it, where there is one


@attrs.frozen
class Proof:
    """The bytes of an inclusion proof of the record before it."""

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Torn:
    """A last line without its LF."""

    size_bytes: int


Item = Line | Proof | Torn


@attrs.frozen
class Source:
    """What is to be verified."""

    where: str
    items: Iterator[Item]
    notes: tuple[bytes, ...]
    vkey: str  #: what stands beside the records; never trust
    is_home: bool = False


def open_source(path: Path) -> Source:
    """Open an export by the name of any of its files, or a bundle.

    :raises AuditError: ``audit.unreadable``
    """
    path = Path(path)
    try:
        if path.suffix == ".awelog":
            return _bundle(path)
        return _files(path if path.suffix == ".jsonl" else path.with_suffix(".jsonl"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise AuditError("audit.unreadable", path=str(path), reason=reason) from None


def home_source(journal: Reading) -> Source:
    """Take the journal of a home, by whatever reads it."""
    notes = tuple(text.encode() for _, text in journal.checkpoints())
    return Source(str(journal.home), _rows(journal), notes, "", is_home=True)


def split_notes(data: bytes) -> tuple[bytes, ...]:
    """Split a ``.ckpt`` file: hand-over notes, each followed by a line ``--``, and the newest."""
    *handovers, newest = data.split(_SEPARATOR)
    notes = [*(part + b"\n" for part in handovers), newest]
    return tuple(note for note in notes if note)


def _rows(journal: Reading) -> Iterator[Item]:
    for row in journal.read():
        yield Line(row.line, row)


def _files(path: Path) -> Source:
    notes = _read(path.with_suffix(".ckpt"))
    vkey = _read(path.with_suffix(".vkey")).decode("utf-8", "replace").strip()
    records = _interleaved(path.open("rb"), path.with_suffix(".proofs"))
    return Source(str(path), records, split_notes(notes), vkey)


def _interleaved(lines: BinaryIO, proofs: Path) -> Iterator[Item]:
    """Give each record, and behind it its proof where the file beside it has one."""
    with lines:
        if not proofs.exists():
            yield from map(_line, _split(lines))
            return
        with proofs.open("rb") as beside:
            waiting = _split(beside)
            proof = next(waiting, None)
            for line in _split(lines):
                yield _line(line)
                while isinstance(proof, bytes) and seq_of(proof) == _seq_of_line(line):
                    yield Proof(proof)
                    proof = next(waiting, None)
            if proof is not None:
                yield Torn(0) if isinstance(proof, Torn) else Proof(proof)


def _bundle(path: Path) -> Source:
    """Read a bundle's head; its records follow when they are asked for."""
    handle = path.open("rb")
    header, notes, first = _head(handle)
    trust = header.get("trust") if isinstance(header, dict) else None
    vkey = trust if isinstance(trust, str) else ""
    return Source(str(path), _body(handle, first), notes, vkey)


def _head(handle: BinaryIO) -> tuple[Json, tuple[bytes, ...], bytes | Torn | None]:
    header = None
    notes: list[bytes] = []
    for line in _split(handle):
        found = _parse(line)
        if isinstance(line, bytes) and isinstance(found, dict):
            if "awe_export" in found and header is None:
                header = found
                continue
            if isinstance(found.get("note"), str) and sum(map(len, notes)) < _MAX_NOTES_BYTES:
                notes.append(found["note"].encode("utf-8", "replace"))
                continue
        return header, tuple(notes), line
    return header, tuple(notes), None


def _body(handle: BinaryIO, first: bytes | Torn | None) -> Iterator[Item]:
    with handle:
        if first is not None:
            yield _item(first)
            yield from map(_item, _split(handle))


def _item(line: bytes | Torn) -> Item:
    if isinstance(line, Torn) or line.startswith(_RECORD):
        return _line(line)
    found = _parse(line)
    if isinstance(found, dict) and set(found) == {"proof"}:
        return Proof(json.dumps(found["proof"]).encode())
    return Line(line)


def _line(line: bytes | Torn) -> Item:
    return line if isinstance(line, Torn) else Line(line)


def _split(handle: BinaryIO) -> Iterator[bytes | Torn]:
    """Give the lines without their LF.  One that is too long is cut, so that it is no record."""
    while line := handle.readline(LINE_BYTES + 1):
        if line.endswith(b"\n"):
            yield line[:-1]
            continue
        more = line
        while more and not more.endswith(b"\n"):
            more = handle.readline(LINE_BYTES)
        yield line if more else Torn(len(line))


def _read(path: Path) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as handle:
        return handle.read(_MAX_NOTES_BYTES)


def seq_of(proof: bytes) -> int | None:
    """Read which record a proof is for."""
    found = _parse(proof)
    seq = found.get("seq") if isinstance(found, dict) else None
    return seq if type(seq) is int else None


def parse_proof(data: bytes) -> tuple[int, int, tuple[bytes, ...]] | None:
    """Read ``{"path":[base64…],"seq":i,"size":n}``; None when it is something else."""
    try:
        found = json.loads(data)
        path, seq, size = found["path"], found["seq"], found["size"]
        hashes = tuple(b64decode(step, validate=True) for step in path[: MAX_PATH + 1])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if type(seq) is not int or type(size) is not int or type(path) is not list:
        return None
    return (seq, size, hashes) if all(len(h) == HASH_BYTES for h in hashes) else None


def _seq_of_line(line: bytes | Torn) -> int | None:
    found = None if isinstance(line, Torn) else _SEQ.search(line, max(0, len(line) - 64))
    return int(found[1]) if found else None


def _parse(line: bytes | Torn) -> Json:
    """Parse JSON from a stranger; None for anything that is none."""
    if isinstance(line, Torn):
        return None
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None

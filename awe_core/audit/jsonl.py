"""The sink that is built in: the log as JSON Lines on a disk, best another one than the journal's.

``L-<first seq>.jsonl`` holds records (256 MiB a segment), ``L.notes`` the signed notes, each
followed by a line ``--``.  A batch is durable when `write` returns.  A last line that a crash cut
off is removed at the next open; the core sends it again.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.canonical import LINE_BYTES
from awe_core.errors import AuditError
from awe_core.journal.chain import at, examine, leaf
from awe_core.journal.payloads import sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.hookspecs import SealedLine

SEGMENT_BYTES = 256 * 1024 * 1024


class JsonlSink:
    """Appends every record to files in *folder*."""

    acknowledges = True

    def __init__(
        self, folder: Path, *, name: str = "jsonl", segment_bytes: int = SEGMENT_BYTES
    ) -> None:
        """Write into *folder*, which is made if need be; nothing is opened yet."""
        self.name = name
        self._folder = Path(folder)
        self._segment_bytes = segment_bytes
        self._log = ""
        self._size = 0
        self._file: int | None = None
        self._written = 0

    def open(self, log: str) -> int:
        """Give how many records of *log* are durable here.

        :raises AuditError: ``audit.not_canonical`` for a last line that is whole and no record
        """
        self.close(0.0)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._log, self._size = log, 0
        segments = self._segments(log)
        if segments:
            self._file = os.open(segments[-1], os.O_RDWR | os.O_APPEND)
            self._written = _cut_torn_line(self._file)
            line = _last_line(self._file, self._written)
            self._size = _first_seq(segments[-1])
            if line is not None:
                self._size = examine(line, where=str(segments[-1]), seq=self._size).seq + 1
        return self._size

    def last_hash(self, log: str) -> bytes | None:
        """Give the hash of the last record here; None when there is none, or it cannot be told."""
        if log != self._log or self._file is None:
            return None
        line = _last_line(self._file, self._written)
        return None if line is None else leaf(line)

    def write(self, batch: Sequence[SealedLine]) -> int:
        """Append contiguous records; those that are here already are left out.

        :raises AuditError: ``audit.gap`` when records before the batch are missing
        """
        fresh = [record for record in batch if record.seq >= self._size]
        if not fresh:
            return self._size
        if fresh[0].seq != self._size:
            where, expected = f"sink {self.name}", f"record {self._size}"
            raise AuditError("audit.gap", **at(where, self._size, expected, f"{fresh[0].seq}"))
        file = self._segment(self._size)
        data = b"".join(record.line + b"\n" for record in fresh)
        _write_all(file, data)
        _sync(file)
        self._written += len(data)
        self._size = fresh[-1].seq + 1
        return self._size

    def checkpoint(self, size: int, note: str) -> str | None:
        """Keep a signed note; this sink is no witness."""
        del size
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        file = os.open(self._folder / f"{self._log}.notes", flags, 0o600)
        try:
            _write_all(file, f"{note}--\n".encode())
            _sync(file)
        finally:
            os.close(file)
        return None

    def close(self, timeout_s: float) -> None:
        """Close the segment; everything written is durable already."""
        del timeout_s
        if self._file is not None:
            os.close(self._file)
        self._file, self._written = None, 0

    def _segments(self, log: str) -> list[Path]:
        return sorted(self._folder.glob(f"{log}-*.jsonl"), key=_first_seq)

    def _segment(self, seq: int) -> int:
        """Give the open segment, a new one when the last is full."""
        if self._file is not None and self._written < self._segment_bytes:
            return self._file
        self.close(0.0)
        path = self._folder / f"{self._log}-{seq}.jsonl"
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        sync_folder(self._folder)
        return self._file


def _first_seq(segment: Path) -> int:
    number = segment.stem.rpartition("-")[2]
    return int(number) if number.isdecimal() else 0


def _cut_torn_line(file: int) -> int:
    """Remove what follows the last LF; give the size that remains."""
    size = os.fstat(file).st_size
    while size:
        start = max(0, size - LINE_BYTES)
        end = os.pread(file, size - start, start).rfind(b"\n")
        if end >= 0:
            size = start + end + 1
            break
        size = start
    os.ftruncate(file, size)
    return size


def _last_line(file: int, size: int) -> bytes | None:
    if not size:
        return None
    start = max(0, size - LINE_BYTES - 2)
    return os.pread(file, size - start, start)[:-1].rpartition(b"\n")[2]


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _sync(file: int) -> None:
    getattr(os, "fdatasync", os.fsync)(file)

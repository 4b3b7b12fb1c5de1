"""Is this journal still the one that was closed?  The checks before anything is written.

In order, refusing at the first failure: newest checkpoint (own signature, root of its frontier) →
from there to the head, and at least the last 1,000 records (bytes, links, index columns) → head
against every sink's size and every anchor.  There is no full scan: opening costs the same at 10^3
and at 10^7 records; ``awe audit verify`` looks at everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal import notes
from awe_core.journal.chain import ZERO_HASH
from awe_core.journal.examining import compare_columns, examine, follow
from awe_core.journal.records import Head
from awe_core.journal.tree import EMPTY_ROOT, Frontier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from awe_core.journal.reading import Reading

#: Records below the head that are looked at even when a checkpoint covers them.
TAIL = 1_000

_WHERE = "the journal"


@attrs.frozen
class Checked:
    """What the checks found: where to go on."""

    origin: str
    head: Head
    frontier: Frontier
    signed: int  #: size of the newest checkpoint, 0 without one
    last_ts_us: int
    is_clean: bool  #: the last owner closed the log


def check(journal: Reading, *, public: bytes, anchors: Sequence[Path]) -> Checked:
    """Run all checks over a journal that holds records.

    :raises AuditError: the first finding
    """
    opened = examine(_line(journal, 0), where=_WHERE, at=0).event
    key = _own_key(opened, public)
    head = journal.head()
    frontier, signed = _newest_checkpoint(journal, key, head)
    record = _walk(journal, frontier, max(0, min(signed, head.size - TAIL)), head)
    _check_sinks(journal, head)
    for anchor in anchors:
        if anchor.exists():
            check_anchor(journal, anchor.read_bytes(), key=key)
    ts, kind = record
    return Checked(key.origin, head, frontier, signed, ts, kind == "log.closed")


def catch_up(journal: Reading, frontier: Frontier, head: Head) -> tuple[Head, int] | None:
    """Take in what became durable beyond *head* unseen; None when the log does not extend it."""
    now = journal.head()
    if now.size < head.size or (head.size and _hash_at(journal, head.size) != head.hash):
        return None
    ts = 0
    prev, seq = head.hash, head.size
    for row in journal.read(after=head.size - 1):
        record = examine(row.line, where=_WHERE, at=seq)
        follow(record, where=_WHERE, log=journal.log, seq=seq, prev=prev)
        frontier.append(record.hash)
        prev, seq, ts = record.hash, seq + 1, record.ts
    return Head(seq, prev), ts


def check_anchor(journal: Reading, note: bytes, *, key: notes.VerifierKey) -> int:
    """Compare the journal with a note that was kept elsewhere; give the note's size.

    :raises AuditError: ``audit.truncated``, ``audit.forked``, ``audit.signature``, ``audit.log_id``
    """
    parsed = notes.parse_note(note)
    found = parsed.checkpoint
    if found.origin != key.origin:
        raise _finding("audit.log_id", found.size, f"log {key.origin}", f"log {found.origin}")
    if not parsed.is_signed_by(key):
        raise _finding("audit.signature", found.size, "this log's signature", "another")
    size = journal.head().size
    if size < found.size:
        raise _finding("audit.truncated", size, f"{found.size} records", f"{size}")
    root = root_at(journal, found.size)
    if root != found.root:
        raise _finding("audit.forked", found.size, f"root {found.root.hex()}", root.hex())
    return found.size


def root_at(journal: Reading, size: int) -> bytes:
    """Compute the root of the first *size* records out of their hashes."""
    if size == 0:
        return EMPTY_ROOT
    frontier = Frontier()
    frontier.extend(journal.hashes(0, size))
    return frontier.root()


def _own_key(opened: dict[str, object], public: bytes) -> notes.VerifierKey:
    origin = opened.get("origin")
    if not isinstance(origin, str) or not notes.is_origin(origin):
        raise _finding("audit.not_canonical", 0, "an origin in record 0", "none")
    return notes.VerifierKey(origin, public)


def _newest_checkpoint(
    journal: Reading, key: notes.VerifierKey, head: Head
) -> tuple[Frontier, int]:
    rows = journal.rows("SELECT size, note, frontier FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not rows:
        return Frontier(), 0
    size, text, encoded = rows[0]
    note = notes.parse_note(text.encode())
    if size > head.size:
        raise _finding("audit.truncated", head.size, f"{size} records", f"{head.size}")
    if note.checkpoint.origin != key.origin or note.checkpoint.size != size:
        raise _finding("audit.log_id", size, f"{key.origin} at {size}", note.checkpoint.origin)
    if note.is_signed_by(key) is None:
        raise _finding("audit.untrusted_key", size, f"a signature by {key}", "other keys")
    if not note.is_signed_by(key):
        raise _finding("audit.signature", size, f"a signature by {key}", "a wrong one")
    frontier = Frontier.decode(size, encoded)
    if frontier is None or frontier.root() != note.checkpoint.root:
        root = frontier.root().hex() if frontier else "no tree"
        raise _finding("audit.root", size, note.checkpoint.root.hex(), root)
    return frontier, size


def _walk(journal: Reading, frontier: Frontier, start: int, head: Head) -> tuple[int, str]:
    """Check records from *start* to the head; add those beyond the frontier to it."""
    prev = _hash_at(journal, start)
    covered, seq, last = frontier.size, start, (0, "")
    for row in journal.read(after=start - 1):
        record = examine(row.line, where=_WHERE, at=seq)
        follow(record, where=_WHERE, log=journal.log, seq=seq, prev=prev)
        columns = (row.seq, row.run, row.rseq, row.kind, row.ts, row.hash)
        compare_columns(record, columns, where=_WHERE)
        if seq >= covered:
            frontier.append(record.hash)
        prev, seq, last = record.hash, seq + 1, (record.ts, record.event["kind"])
    if seq != head.size:
        raise _finding("audit.gap", seq, f"record {seq}", f"the log ends at {head.size}")
    return last


def _check_sinks(journal: Reading, head: Head) -> None:
    for name, (acked, last, _) in journal.sinks().items():
        if acked > head.size:
            raise _finding(
                "audit.truncated",
                head.size,
                f"{acked} records, as sink {name} holds",
                f"{head.size}",
            )
        if acked and last is not None and _hash_at(journal, acked) != last:
            raise _finding(
                "audit.forked", acked - 1, f"{last.hex()} in sink {name}", "another hash"
            )


def _hash_at(journal: Reading, size: int) -> bytes:
    return next(journal.hashes(size - 1, size), ZERO_HASH) if size else ZERO_HASH


def _line(journal: Reading, seq: int) -> bytes:
    record = journal.record(seq)
    if record is None:
        raise _finding("audit.gap", seq, f"record {seq}", "none")
    return record.line


def _finding(code: str, seq: int, expected: str, found: str) -> AuditError:
    return AuditError(code, where=_WHERE, seq=seq, expected=expected, found=found)

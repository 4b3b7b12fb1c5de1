"""Is this journal still the one that was closed?  What happens before `Journal` writes anything.

In order, refusing at the first failure: newest checkpoint (own signature, root of its frontier) →
from there to the head, and at least the last 1,000 records (bytes, links, index columns) → head
against every sink's size and every anchor → payload keys.  There is no full scan: opening costs the
same at 10^3 and at 10^7 records; ``awe audit verify`` looks at everything.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal import notes, payloads
from awe_core.journal.chain import ZERO_HASH, at, compare_columns, examine, follow
from awe_core.journal.payloads import Payloads
from awe_core.journal.records import Head
from awe_core.journal.sealing import End
from awe_core.journal.tree import Frontier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.journal.reading import Reading
    from awe_core.values import JsonObject

#: Records below the head that are looked at even when a checkpoint covers them.
TAIL = 1_000

_WHERE = "the journal"
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class Start:
    """Where the writer begins."""

    log: str
    origin: str
    payloads: Payloads
    end: End
    signed: int  #: size of the newest checkpoint, 0 without one
    fields: JsonObject  #: of ``log.opened``


def start(
    journal: Reading,
    *,
    public: bytes,
    origin: str,
    anchors: Sequence[Path] = (),
    keys: Payloads | None = None,
) -> Start:
    """Check the log that is there, or begin one where there is none.

    :param keys: of the workspace's log, for a log beside it
    :raises AuditError: the first finding; ``audit.truncated`` where a log was begun and is gone
    """
    if not journal.log:
        return _begin(journal.home, public=public, origin=origin, anchors=anchors)
    first = next(journal.read(limit=1))
    named = examine(first.line, where=_WHERE, seq=0).event.get("origin")
    if not notes.is_origin(named):
        raise AuditError("audit.not_canonical", **at(_WHERE, 0, "an origin in record 0", "none"))
    key = notes.VerifierKey(str(named), public)
    head = journal.head()
    frontier = _newest_checkpoint(journal, key, head)
    signed = frontier.size
    ts, kind = _walk(journal, frontier, max(0, min(signed, head.size - TAIL)), head)
    _check_sinks(journal, head)
    for anchor in anchors:
        if anchor.exists():
            _check_anchor(journal, anchor.read_bytes(), key=key)
    keys = keys or Payloads.load(journal.home, log=journal.log)
    fields: JsonObject = {**_process(), "clean": kind == "log.closed"}
    return Start(journal.log, key.origin, keys, End(head, frontier, ts), signed, fields)


def catch_up(journal: Reading, end: End) -> End | None:
    """Take in what became durable beyond *end* unseen; None when the log does not extend it."""
    now, (size, prev), ts = journal.head(), attrs.astuple(end.head), end.ts_us
    if now.size < size or (size and _hash_at(journal, size) != prev):
        return None
    frontier = end.frontier.copy()
    for row in journal.read(after=size - 1):
        record = examine(row.line, where=_WHERE, seq=size)
        follow(record, where=_WHERE, log=journal.log, seq=size, prev=prev)
        frontier.append(record.hash)
        prev, size, ts = record.hash, size + 1, max(ts, record.ts)
    return End(Head(size, prev), frontier, ts)


def begun(keys: Payloads, log: str, scope: JsonObject, *, public: bytes, origin: str) -> Start:
    """Give where the writer of a new log begins; nothing is written."""
    name = f"{origin}/{log}"
    fields: JsonObject = {
        **_process(),
        "clean": True,
        "hash": "sha256",
        "mac_kid": keys.kid,
        "origin": name,
        "prev_log": None,
        "scope": scope,
        "vkey": str(notes.VerifierKey(name, public)),
    }
    return Start(log, name, keys, End(Head(), Frontier(), 0), 0, fields)


def _begin(home: Path, *, public: bytes, origin: str, anchors: Sequence[Path]) -> Start:
    lost = [f"log {log}" for log in payloads.begun_logs(home)]
    lost += [f"anchor {anchor}" for anchor in anchors if anchor.exists()]
    if lost:
        raise AuditError("audit.truncated", **at(_WHERE, 0, lost[-1], "no record"))
    log = os.urandom(16).hex()
    keys, scope = Payloads.create(home, log=log), {"id": log, "type": "workspace"}
    return begun(keys, log, scope, public=public, origin=origin)


def _newest_checkpoint(journal: Reading, key: notes.VerifierKey, head: Head) -> Frontier:
    rows = journal.rows("SELECT size, note, frontier FROM checkpoint ORDER BY size DESC LIMIT 1")
    if not rows:
        return Frontier()
    size, text, encoded = rows[0]
    note = notes.parse_note(text.encode())
    found, is_signed = note.checkpoint, note.is_signed_by(key)
    if size > head.size:
        raise AuditError(
            "audit.truncated", **at(_WHERE, head.size, f"{size} records", f"{head.size}")
        )
    if found.origin != key.origin or found.size != size:
        raise AuditError(
            "audit.log_id", **at(_WHERE, size, f"{key.origin} at {size}", found.origin)
        )
    if is_signed is None:
        raise AuditError(
            "audit.untrusted_key", **at(_WHERE, size, f"a signature by {key}", "other keys")
        )
    if not is_signed:
        raise AuditError(
            "audit.signature", **at(_WHERE, size, f"a signature by {key}", "a wrong one")
        )
    frontier = Frontier.decode(size, encoded)
    if frontier is None or frontier.root() != found.root:
        root = frontier.root().hex() if frontier else "no tree"
        raise AuditError("audit.root", **at(_WHERE, size, found.root.hex(), root))
    return frontier


def _walk(journal: Reading, frontier: Frontier, start: int, head: Head) -> tuple[int, str]:
    """Check records from *start* to the head; add those beyond the frontier to it."""
    prev, seq, last = _hash_at(journal, start), start, (0, "")
    for row in journal.read(after=start - 1):
        record = examine(row.line, where=_WHERE, seq=seq)
        follow(record, where=_WHERE, log=journal.log, seq=seq, prev=prev)
        compare_columns(record, row, where=_WHERE)
        if seq >= frontier.size:
            frontier.append(record.hash)
        prev, seq, last = record.hash, seq + 1, (record.ts, row.kind)
    if seq != head.size:
        raise AuditError(
            "audit.gap", **at(_WHERE, seq, f"record {seq}", f"the log ends at {head.size}")
        )
    return last


def _check_sinks(journal: Reading, head: Head) -> None:
    for name, (acked, last, _) in journal.sinks().items():
        if acked > head.size:
            expected = f"{acked} records, as sink {name} holds"
            raise AuditError("audit.truncated", **at(_WHERE, head.size, expected, f"{head.size}"))
        if acked and last is not None and _hash_at(journal, acked) != last:
            expected = f"{last.hex()} in sink {name}"
            raise AuditError("audit.forked", **at(_WHERE, acked - 1, expected, "another hash"))


def _check_anchor(journal: Reading, note: bytes, *, key: notes.VerifierKey) -> None:
    """Compare the journal with a note that was kept elsewhere."""
    parsed = notes.parse_note(note)
    size, root = parsed.checkpoint.size, parsed.checkpoint.root
    if parsed.checkpoint.origin != key.origin:
        found = f"log {parsed.checkpoint.origin}"
        raise AuditError("audit.log_id", **at(_WHERE, size, f"log {key.origin}", found))
    if not parsed.is_signed_by(key):
        raise AuditError("audit.signature", **at(_WHERE, size, "this log's signature", "another"))
    held = journal.head().size
    if held < size:
        raise AuditError("audit.truncated", **at(_WHERE, held, f"{size} records", f"{held}"))
    frontier = Frontier()
    frontier.extend(journal.hashes(0, size))
    if frontier.root() != root:
        raise AuditError(
            "audit.forked", **at(_WHERE, size, f"root {root.hex()}", frontier.root().hex())
        )


def _hash_at(journal: Reading, size: int) -> bytes:
    return next(journal.hashes(size - 1, size), ZERO_HASH) if size else ZERO_HASH


def _process() -> JsonObject:
    return {"boot": _boot(), "pid": os.getpid(), "sqlite": sqlite3.sqlite_version}


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"

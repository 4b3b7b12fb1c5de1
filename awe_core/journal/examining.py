"""Is this line a record, and does it belong where it stands?  The rules a stranger would apply.

Used on a few records when a journal is opened, and on all of them by ``awe audit verify``.  Bytes
are hashed as they are and never written anew; the canonical form is required as well, so that two
parsers cannot read two meanings.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import AuditError, CanonicalError
from awe_core.journal.chain import leaf

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject

_MEMBERS = {"event", "log", "prev", "seq", "ts", "v"}
_LOG_ID = re.compile(r"[0-9a-f]{32}")
_HASH = re.compile(r"[0-9a-f]{64}")


@attrs.frozen
class Examined:
    """A line that is a record by itself."""

    event: JsonObject = attrs.field(repr=False)
    log: str
    prev: bytes  #: the hash it claims for the record before
    seq: int
    ts: int
    hash: bytes  #: of its own bytes

    @property
    def run(self) -> str:
        """The run it belongs to, empty outside runs: what only names a run has no ``rseq``."""
        return str(self.event.get("run", "")) if "rseq" in self.event else ""

    @property
    def rseq(self) -> int | None:
        """Its position in the run."""
        found = self.event.get("rseq")
        return found if type(found) is int else None


def examine(line: bytes, *, where: str, at: int) -> Examined:
    """Read *line* as a record.

    :param where: names the log or file in errors
    :param at: the position it was found at
    :raises AuditError: ``audit.not_canonical``
    """
    try:
        found = canonical.parse_line(line)
    except CanonicalError as error:
        raise _odd(where, at, "a canonical record", error.summary) from None
    if set(found) != _MEMBERS:
        raise _odd(where, at, "event, log, prev, seq, ts, v", ", ".join(sorted(found))[:200])
    event, log, prev = found["event"], found["log"], found["prev"]
    if found["v"] != 1 or type(found["v"]) is not int:
        raise _odd(where, at, "version 1", f"version {found['v']!r:.40}")
    if type(event) is not dict or type(event.get("kind")) is not str:
        raise _odd(where, at, "an event with a kind", "something else")
    if not _is_text(log, _LOG_ID) or not _is_text(prev, _HASH):
        raise _odd(where, at, "log and prev in lower-case hex", "something else")
    if not _is_count(found["seq"]) or type(found["ts"]) is not int:
        raise _odd(where, at, "seq and ts as integers", "something else")
    return Examined(event, log, bytes.fromhex(prev), found["seq"], found["ts"], leaf(line))


def follow(record: Examined, *, where: str, log: str, seq: int, prev: bytes | None) -> None:
    """Check that *record* is number *seq* of *log* and hangs on the record with hash *prev*.

    :param prev: None where the record before is not known
    :raises AuditError: ``audit.log_id``, ``audit.gap``, ``audit.link``
    """
    if record.log != log:
        raise AuditError(
            "audit.log_id", where=where, seq=seq, expected=f"log {log}", found=f"log {record.log}"
        )
    if record.seq != seq:
        raise AuditError(
            "audit.gap", where=where, seq=seq, expected=f"record {seq}", found=f"{record.seq}"
        )
    if prev is not None and record.prev != prev:
        raise AuditError(
            "audit.link", where=where, seq=seq, expected=prev.hex(), found=record.prev.hex()
        )


def compare_columns(
    record: Examined, columns: tuple[int, str, int | None, str, int, bytes], *, where: str
) -> None:
    """Compare the index columns (seq, run, rseq, kind, ts, hash) with the line itself.

    :raises AuditError: ``audit.hash``, ``audit.column``
    """
    seq, *_, stored = columns
    if stored != record.hash:
        raise AuditError(
            "audit.hash", where=where, seq=seq, expected=record.hash.hex(), found=stored.hex()
        )
    event = record.event
    expected = (record.seq, record.run, record.rseq, event["kind"], record.ts)
    for name, want, found in zip(
        ("seq", "run", "rseq", "kind", "ts"), expected, columns[:-1], strict=True
    ):
        if want != found:
            raise AuditError(
                "audit.column",
                where=where,
                seq=seq,
                expected=f"{name} {want!r:.80}",
                found=f"{found!r:.80}",
            )


def _is_text(value: Json, pattern: re.Pattern[str]) -> bool:
    return type(value) is str and pattern.fullmatch(value) is not None


def _is_count(value: Json) -> bool:
    return type(value) is int and value >= 0


def _odd(where: str, at: int, expected: str, found: str) -> AuditError:
    return AuditError("audit.not_canonical", where=where, seq=at, expected=expected, found=found)

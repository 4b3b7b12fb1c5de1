"""From drafts to rows: numbers, links and hashes of one transaction.

`Sealer` holds the writer's state: head, frontier, last time.  `seal` leaves it alone; only `adopt`,
called after COMMIT returned, moves it.  After a failed commit it is therefore what it was before.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.journal import chain
from awe_core.journal.records import Draft, Head, SeqOf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.journal.payloads import PayloadStore
    from awe_core.journal.payloads import Row as PayloadRow
    from awe_core.journal.records import Upsert
    from awe_core.journal.tree import Frontier
    from awe_core.values import JsonObject

LogRow = tuple[int, str, "int | None", str, int, bytes, bytes]

#: What one `append` queued: it is never split between two transactions.
Entry = tuple["tuple[Draft, ...]", "tuple[Upsert, ...]"]

#: A clock that is further behind than this is recorded.
_REGRESSION_US = 1_000_000


@attrs.define
class Batch:
    """The rows of one transaction, and the state after it."""

    rows: list[LogRow]
    payloads: list[PayloadRow]
    upserts: list[tuple[str, tuple[object, ...]]]  #: table and values, in order of arrival
    head: Head
    frontier: Frontier
    ts_us: int
    size_bytes: int


@attrs.define
class Sealer:
    """The end of one log."""

    log: str
    payloads: PayloadStore
    head: Head
    frontier: Frontier
    last_ts_us: int

    def seal(self, entries: Iterable[Entry], *, now_us: int) -> Batch:
        """Number, link and hash *entries*; encrypt their payloads."""
        if now_us < self.last_ts_us - _REGRESSION_US:
            entries = [((_regressed(self.last_ts_us, now_us),), ()), *entries]
        rows: list[LogRow] = []
        payloads: list[PayloadRow] = []
        upserts: list[tuple[str, tuple[object, ...]]] = []
        seq, prev = self.head.size, self.head.hash
        tail = b',"ts":%d,"v":1}' % now_us
        middle = chain.middle(self.log)
        size_bytes = 0
        for drafts, changes in entries:
            first = seq
            for draft in drafts:
                # `chain.splice`, unrolled: this loop is the whole cost of a record
                line = b'{"event":%b%b%b","seq":%d%b' % (
                    draft.event,
                    middle,
                    prev.hex().encode(),
                    seq,
                    tail,
                )
                prev = sha256(b"\x00" + line).digest()
                rows.append((seq, draft.run, draft.rseq, draft.kind, now_us, prev, line))
                if draft.payloads:
                    payloads += [
                        self.payloads.seal(p, seq=seq, run=draft.run, rseq=draft.rseq)
                        for p in draft.payloads
                    ]
                size_bytes += len(line)
                seq += 1
            upserts += [(u.table, _numbered(u.values, first)) for u in changes]
        frontier = self.frontier.copy()
        frontier.extend(row[5] for row in rows)
        return Batch(rows, payloads, upserts, Head(seq, prev), frontier, now_us, size_bytes)

    def adopt(self, batch: Batch) -> None:
        """Move to the end of *batch*: it is durable now."""
        self.head, self.frontier, self.last_ts_us = batch.head, batch.frontier, batch.ts_us


def draft_of(event: JsonObject) -> Draft:
    """Make the draft of a record outside runs."""
    return Draft(canonical.line(event), "", None, event["kind"])


def _numbered(values: Sequence[object], first: int) -> tuple[object, ...]:
    return tuple(first + v.draft if type(v) is SeqOf else v for v in values)


def _regressed(last_us: int, now_us: int) -> Draft:
    return draft_of({"kind": "log.clock_regressed", "last_us": last_us, "now_us": now_us})

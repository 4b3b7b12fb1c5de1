"""From drafts to rows: numbers, links and hashes of one transaction.

`seal` leaves the end of the log alone and gives the one after it; the writer moves there only after
COMMIT returned.  After a failed commit it is therefore where it was before.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

from awe_core.journal.records import Head, SeqOf, draft_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.journal.payloads import Payloads
    from awe_core.journal.payloads import Row as PayloadRow
    from awe_core.journal.records import Draft, Entry, PayloadDraft, Upsert
    from awe_core.journal.tree import Frontier

#: A clock that is further behind than this is recorded.
_REGRESSION_US = 1_000_000


@attrs.frozen
class End:
    """Where a log ends, and what appending needs to know of it."""

    head: Head
    frontier: Frontier
    ts_us: int  #: of the last record


@attrs.frozen
class Batch:
    """The rows of one transaction, and the end of the log after it."""

    rows: list[tuple[int, str, int | None, str, int, bytes, bytes]]
    payloads: Sequence[PayloadRow]
    upserts: dict[str, dict[object, tuple[object, ...]]]  #: by table and key
    end: End
    size_bytes: int  #: of the lines


def seal(end: End, entries: Iterable[Entry], *, log: str, payloads: Payloads, now_us: int) -> Batch:
    """Number, link and hash *entries* behind *end*; encrypt their payloads."""
    if now_us < end.ts_us - _REGRESSION_US:
        event = {"kind": "log.clock_regressed", "last_us": end.ts_us, "now_us": now_us}
        entries = [((draft_of(event),), ()), *entries]
    rows: list[tuple[int, str, int | None, str, int, bytes, bytes]] = []
    numbered: list[tuple[int, Draft, PayloadDraft]] = []
    upserts: dict[str, dict[object, tuple[object, ...]]] = {}
    seq, prev = end.head.size, end.head.hash
    middle = b',"log":"%b","prev":"' % log.encode()
    tail = b',"ts":%d,"v":1}' % now_us
    size_bytes = 0
    for drafts, changes in entries:
        for change in changes:
            _put(upserts, change, seq)
        for draft in drafts:
            link = prev.hex().encode()
            line = b'{"event":%b%b%b","seq":%d%b' % (draft.event, middle, link, seq, tail)
            prev = sha256(b"\x00" + line).digest()
            rows.append((seq, draft.run, draft.rseq, draft.kind, now_us, prev, line))
            numbered += [(seq, draft, payload) for payload in draft.payloads]
            size_bytes += len(line)
            seq += 1
    frontier = end.frontier.copy()
    frontier.extend(row[5] for row in rows)
    sealed = payloads.seal(numbered) if numbered else ()
    return Batch(rows, sealed, upserts, End(Head(seq, prev), frontier, now_us), size_bytes)


def _put(upserts: dict[str, dict[object, tuple[object, ...]]], change: Upsert, first: int) -> None:
    """Keep the newest row of each key; every row of a ticket, which changes only once."""
    values = change.values
    if SeqOf in map(type, values):
        values = tuple(first + v.draft if type(v) is SeqOf else v for v in values)
    rows = upserts.setdefault(change.table, {})
    rows[len(rows) if change.table == "handshake_ticket" else values[0]] = values

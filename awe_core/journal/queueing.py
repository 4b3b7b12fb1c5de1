"""What waits for a commit, and who waits for it.

An entry is what one `append` brought; a waiter counts entries.  Nothing here touches the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import JournalUnwritableError

if TYPE_CHECKING:
    import asyncio

    from awe_core.journal.sealing import Entry
    from awe_core.values import Json

_MAX_RECORDS = 1_000
_MAX_BYTES = 4 * 1024 * 1024


@attrs.define
class Queue:
    """Entries in order of arrival, and the futures of those who wait."""

    entries: list[Entry] = attrs.field(factory=list)
    appended: int = 0  #: entries that ever came
    settled: int = 0  #: entries that are durable, or were dropped
    waiters: list[tuple[int, asyncio.Future[None]]] = attrs.field(factory=list)

    def put(self, entry: Entry) -> None:
        """Queue one append."""
        self.entries.append(entry)
        self.appended += 1

    def wait(self, waiter: asyncio.Future[None]) -> None:
        """Settle *waiter* once all that is queued now is durable."""
        self.waiters.append((self.appended, waiter))

    @property
    def records(self) -> int:
        """How many records wait."""
        return sum(len(drafts) for drafts, _ in self.entries)

    def take(self) -> list[Entry]:
        """Cut the next transaction off: whole entries, at most 1,000 records or 4 MiB."""
        records = size = count = 0
        for drafts, _ in self.entries:
            records += len(drafts)
            size += sum(len(draft.event) for draft in drafts)
            if count and (records > _MAX_RECORDS or size > _MAX_BYTES):
                break
            count += 1
        taken, self.entries = self.entries[:count], self.entries[count:]
        return taken

    def settle(self, count: int) -> None:
        """Hear that the *count* entries taken last are durable."""
        self.settled += count
        while self.waiters and self.waiters[0][0] <= self.settled:
            _, waiter = self.waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)

    def drop(self, taken: list[Entry], failure: JournalUnwritableError) -> JournalUnwritableError:
        """Drop *taken* and all behind it: what follows lost records cannot stand without them."""
        lost, self.entries = taken + self.entries, []
        runs = tuple(dict.fromkeys(d.run for drafts, _ in lost for d in drafts if d.run))
        waiters, self.waiters = self.waiters, []
        self.settled = self.appended
        for _, waiter in waiters:
            if not waiter.done():
                waiter.set_exception(_naming(failure, runs))
        return _naming(failure, runs)


def _naming(failure: JournalUnwritableError, runs: tuple[str, ...]) -> JournalUnwritableError:
    """Give a fresh error a waiter: one shared instance would gather all their tracebacks."""
    attributes: dict[str, Json] = {**failure.attributes, "runs": runs}
    return JournalUnwritableError(failure.code, **attributes)

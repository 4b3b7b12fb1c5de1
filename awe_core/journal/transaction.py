"""One transaction: all rows of a batch, or nothing."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from awe_core.journal.reading import read_head
from awe_core.journal.schema import INSERT_CHECKPOINT, INSERT_LOG, INSERT_PAYLOAD, UPSERTS

if TYPE_CHECKING:
    from awe_core.journal.records import Head
    from awe_core.journal.sealing import Batch


def transact(db: sqlite3.Connection, batch: Batch, *, head: Head, note: str | None) -> None:
    """Commit *batch* behind *head*, with the checkpoint over it if there is a *note*.

    :raises sqlite3.Error: nothing was changed
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if read_head(db) != head:
            raise HeadMovedError  # noqa: TRY301 - inside, so that it rolls back
        _insert(db, batch, note)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _insert(db: sqlite3.Connection, batch: Batch, note: str | None) -> None:
    db.executemany(INSERT_LOG, batch.rows)
    if batch.payloads:
        db.executemany(INSERT_PAYLOAD, batch.payloads)
    for table, values in batch.upserts:
        if db.execute(UPSERTS[table], values).rowcount != 1:
            raise TicketSpentError
    if note is not None:
        row = (batch.head.size, batch.ts_us, note, batch.frontier.encode())
        db.execute(INSERT_CHECKPOINT, row)


class HeadMovedError(sqlite3.OperationalError):
    """Somebody wrote beside us, or we did not see our own commit return."""

    def __str__(self) -> str:
        return "the log does not end where this process left it"


class TicketSpentError(sqlite3.IntegrityError):
    """A ticket was to be consumed that already is."""

    def __str__(self) -> str:
        return "a handshake ticket is already used up"

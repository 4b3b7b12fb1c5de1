"""One transaction after the other, each durable or without a trace.

A commit that failed has changed nothing, in the file or in memory.  After an I/O error the
connection is given up and the head read again; a failed fsync is never tried again on the same
handle.  Nothing here knows who waits: that is `writer`, which calls from one thread at a time.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, EngineError, JournalUnwritableError
from awe_core.journal import ballast, opening
from awe_core.journal.checkpoints import keep_copies
from awe_core.journal.database import FULL, connect_writer, transact
from awe_core.journal.reading import Reading
from awe_core.journal.records import draft_of
from awe_core.journal.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from awe_core.journal.checkpoints import Checkpointer
    from awe_core.journal.database import Durability
    from awe_core.journal.lock import OwnerLock
    from awe_core.journal.opening import Start
    from awe_core.journal.records import Acknowledger, Entry
    from awe_core.journal.sealing import Batch

#: Pages in the WAL after which it is checkpointed without waiting for an idle moment.
_WAL_PAGES = 4_000
_PAGE_BYTES = 4_096

_NO_LOCK = "its owner.lock was removed or replaced, so another process may own it"
_OTHER_LOG = "the log in the file is not the one that was written"


@attrs.define
class Counters:
    """What the journal did since it was opened."""

    commits: int = 0
    records: int = 0
    checkpoints: int = 0
    failures: int = 0
    last_records: int = 0  #: in the newest commit


class Committing(Reading):
    """The end of a log, and what moves it on."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        home: Path,
        db: sqlite3.Connection,
        start: Start,
        *,
        lock: OwnerLock,
        checkpointer: Checkpointer,
        durability: Durability,
        clock_us: Callable[[], int],
        anchors: Sequence[Path] = (),
        host: Committing | None = None,
    ) -> None:
        """Put together what was opened and checked.

        :param host: the workspace's log, of one beside it
        """
        super().__init__(home, db)
        self.host = host
        self.log, self.origin, self.lock = start.log, start.origin, lock
        self.counters: Counters = host.counters if host else Counters()
        self._payloads = self._keys = start.payloads
        self._end = start.end
        self._checkpointer, self._durability = checkpointer, durability
        self._clock_us, self._anchors = clock_us, tuple(anchors)
        self._reserve = (host or self).home / "ballast"
        self._is_lost = False
        self._wal_pages = 0
        self._suspended_us: int | None = None
        self.trouble: JournalUnwritableError | None = None  #: why the last commit failed
        self._sinks: Acknowledger | None = None

    def _write(self, entries: list[Entry], *, is_forced: bool = False) -> None:
        """Make one transaction durable, or change nothing and raise."""
        if not self.lock.is_mine:
            raise EngineError("engine.forked", home=str(self.home), pid=self.lock.owner.pid)
        if not self.lock.is_in_place:
            raise self._unwritable(_NO_LOCK)
        try:
            if self._is_lost:
                self._reconnect()
            batch = seal(
                self._end,
                [*entries, *self._riders()],
                log=self.log,
                payloads=self._keys,
                now_us=self._clock_us(),
            )
            note = self._checkpointer.note_for(batch.end.frontier, is_forced=is_forced)
            transact(self._db, batch, head=self._end.head, note=note)
        except Exception as error:  # whatever it was, the waiters must hear it
            self.counters.failures += 1
            self.trouble = failure = self._after(error)
            raise failure from error
        self._adopt(batch, note)

    def _riders(self) -> list[Entry]:
        """Give what signer and sinks have to say; it never makes a transaction of its own."""
        report = self._checkpointer.report()
        riders: list[Entry] = [] if report is None else [((draft_of(report),), ())]
        return riders if self._sinks is None else [*riders, self._sinks.riders()]

    def _adopt(self, batch: Batch, note: str | None) -> None:
        """Move to the end of *batch*: it is durable now."""
        self._end = batch.end
        self.trouble = self.trouble if self._suspended_us else None
        size, counters = batch.end.head.size, self.counters
        counters.commits += 1
        counters.records += len(batch.rows)
        counters.last_records = len(batch.rows)
        self._wal_pages += 6 + 3 * batch.size_bytes // _PAGE_BYTES
        if note is not None:
            self._checkpointer.committed(size)
            counters.checkpoints += 1
            keep_copies(note, self._anchors)
        if self._wal_pages > _WAL_PAGES:
            self._relieve()
        if self._sinks is not None:
            self._sinks.committed(size)

    def _after(self, error: Exception) -> JournalUnwritableError:
        """Bring the writer back to what the file holds, and say what happened."""
        if is_full(error):
            self._suspend(error)
            return full(self.home)
        self._is_lost = True
        with contextlib.suppress(sqlite3.Error, OSError, AweError):
            self._reconnect()
        return self._unwritable(f"{type(error).__name__}: {error}")

    def _reconnect(self) -> None:
        """Open the file anew and go on from its head, if it is ours or extends ours."""
        self._db.close()
        is_shared = self._reading is self._db
        self._db = connect_writer(self.home, durability=self._durability)
        self._reading = self._db if is_shared else self._reading
        end = opening.catch_up(self, self._end)
        if end is None:
            raise self._unwritable(_OTHER_LOG)
        self._end, self._is_lost = end, False

    def _suspend(self, error: Exception) -> None:
        """Give up the reserve and use it to say that the log stops."""
        if self._suspended_us is not None:
            return
        self._suspended_us = self._clock_us()
        self._reserve.unlink(missing_ok=True)
        err = {"code": "journal.full", "type": type(error).__name__, "msg": str(error)[:2000]}
        with contextlib.suppress(JournalUnwritableError):
            self._write([((draft_of({"err": err, "kind": "log.suspended"}),), ())])

    def _relieve(self) -> None:
        """Move pages from the WAL into the database; only this connection ever does."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._wal_pages = 0

    def _unwritable(self, reason: str) -> JournalUnwritableError:
        return JournalUnwritableError(
            "journal.unwritable", path=str(self.home), reason=reason, runs=()
        )


@contextlib.contextmanager
def explained(home: Path) -> Iterator[None]:
    """Say what a disk that is full, read-only or broken means for opening *home*."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if is_full(error):
            raise full(home) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise JournalUnwritableError(
            "journal.unwritable", path=str(home), reason=reason, runs=()
        ) from error


def is_full(error: Exception) -> bool:
    """Tell whether *error* says that the disk is full."""
    code = getattr(error, "sqlite_errorcode", None)
    return code in FULL or getattr(error, "errno", None) == errno.ENOSPC


def full(home: Path, *runs: str) -> JournalUnwritableError:
    """Build the refusal of a full disk, with how much has to be freed."""
    missing = ballast.missing_bytes(home / "ballast")
    return JournalUnwritableError(
        "journal.full",
        path=str(home),
        free_mib=-(-missing // (1024 * 1024)) or 1,
        runs=tuple(dict.fromkeys(runs)),
    )

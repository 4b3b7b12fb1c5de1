"""The one writer of a home's journal.

Rules:

1. Records queue up (`append`) and are committed together: one transaction for all that was queued
   in a loop turn.  What must be durable first waits at a `barrier`.
2. One `append` is never split: its records, payloads and projections are in one transaction.
3. A commit that failed has changed nothing, in the file or in memory.  Everything that was queued
   is dropped, every waiter hears it, and the error names the runs: they are replayed.
4. After an I/O error the connection is given up and the head read again; a failed fsync is never
   tried again on the same handle.
5. The journal belongs to one thread, that of the engine's loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, EngineError, JournalUnwritableError
from awe_core.journal import chain, founding, opening
from awe_core.journal.ballast import EVIDENCE, Ballast
from awe_core.journal.checkpoints import EVERY_S, Checkpointer, keep_copies
from awe_core.journal.database import connect_writer
from awe_core.journal.lock import OwnerLock
from awe_core.journal.notes import VerifierKey
from awe_core.journal.queueing import Queue
from awe_core.journal.reading import Reading
from awe_core.journal.schema import UPSERTS
from awe_core.journal.sealing import Batch, Entry, Sealer, draft_of
from awe_core.journal.transaction import transact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from awe_core.journal.database import Durability
    from awe_core.journal.records import Acknowledger, Draft, Head, LogSigner, Upsert
    from awe_core.values import Json

#: Pages in the WAL after which it is checkpointed without waiting for an idle moment.
_WAL_PAGES = 4_000
_PAGE_BYTES = 4_096

_NO_SIGNER = "the signer of checkpoints does not answer"
_OTHER_LOG = "the log in the file is not the one that was written"


@attrs.define
class Counters:
    """What the journal did since it was opened."""

    commits: int = 0
    records: int = 0
    checkpoints: int = 0
    failures: int = 0
    last_records: int = 0  #: in the newest commit
    last_bytes: int = 0  #: of the lines of the newest commit


class Journal(Reading):
    """The log of a home, held by the one process that may write it.  `open` is the way in."""

    def __init__(  # noqa: PLR0913 - its parts; `open` is what people call
        self,
        home: Path,
        *,
        db: sqlite3.Connection,
        lock: OwnerLock,
        sealer: Sealer,
        checkpointer: Checkpointer,
        durability: Durability,
        clock_us: Callable[[], int],
        anchors: Sequence[Path],
    ) -> None:
        """Put together what `open` has checked."""
        self.home, self.log, self.lock = home, sealer.log, lock
        self.durability: Durability = durability
        self.counters = Counters()
        self._db, self._payloads = db, sealer.payloads
        self._sealer, self._checkpointer = sealer, checkpointer
        self._clock_us, self._anchors = clock_us, tuple(anchors)
        self._ballast = Ballast(home / "ballast")
        self._queue = Queue()
        self._is_scheduled = self._is_lost = self._is_closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._wal_pages = 0
        self._suspended_us: int | None = None
        self._sinks: Acknowledger | None = None

    @classmethod
    def open(  # noqa: PLR0913 - the deployment's settings, all by name
        cls,
        home: Path,
        *,
        signer: LogSigner,
        origin: str,
        opened: Mapping[str, Json],
        durability: Durability = "full",
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1_000,
        anchors: Sequence[Path] = (),
        checkpoint_every_s: float = EVERY_S,
    ) -> Journal:
        """Own *home*, check its journal, and write ``log.opened``.

        :param signer: holds the deployment's log key
        :param origin: the deployment's name (``audit.origin``); the log's is this, ``/`` and its id
        :param opened: further fields of ``log.opened``: awe, trust, scope, prev_log …
        :param durability: ``normal`` may lose acknowledged records at a power loss
        :param anchors: files outside the home that hold a copy of the newest checkpoint
        :raises EngineError: ``engine.locked``, ``engine.network_fs``
        :raises JournalError: ``journal.newer``, ``journal.foreign``, ``journal.schema``,
            ``journal.pragma``, ``journal.unreadable``, ``journal.unwritable``
        :raises AuditError: the journal is not as it was left: ``audit.root``, ``audit.link``,
            ``audit.truncated``, ``audit.keys_missing`` …
        """
        home = Path(home).absolute()
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = OwnerLock.take(home)
        db = None
        try:
            db = connect_writer(home, durability=durability)
            start = founding.start(home, db, signer=signer, origin=origin, anchors=anchors)
            journal = cls(
                home,
                db=db,
                lock=lock,
                sealer=start.sealer,
                checkpointer=Checkpointer(
                    start.origin, signer, start.signed, every_s=checkpoint_every_s
                ),
                durability=durability,
                clock_us=clock_us,
                anchors=anchors,
            )
            journal._ballast.take()
            own = {"durability": durability, "generation": lock.owner.generation}
            journal.append([draft_of({**start.fields, **opened, **own, "kind": "log.opened"})])
            journal.commit()
            start.begun()
        except BaseException:
            if db is not None:
                db.close()
            lock.release()
            raise
        return journal

    @property
    def origin(self) -> str:
        """The log's name in checkpoints."""
        return self._checkpointer.origin

    @property
    def public(self) -> bytes:
        """The public key that checkpoints are signed with."""
        return self._checkpointer.signer.public

    @property
    def queued(self) -> int:
        """How many records wait for a commit."""
        return self._queue.records

    @property
    def is_suspended(self) -> bool:
        """Tell whether the disk is full; asking resumes the log once there is room."""
        return self._suspended_us is not None and not self._try_resume()

    def mac(self, canonical_value: bytes) -> str:
        """Commit to a sensitive value (`keys.PayloadKeys.mac`)."""
        return self._store().keys.mac(canonical_value)

    def head(self) -> Head:
        """Say where the log ends: the last durable record."""
        return self._sealer.head

    def watch(self, sinks: Acknowledger) -> None:
        """Let *sinks* hear of every commit, and barriers wait for the required ones."""
        self._sinks = sinks

    def append(self, drafts: Sequence[Draft], upserts: Sequence[Upsert] = ()) -> None:
        """Queue records and the projections that go with them; nothing is durable yet.

        :raises JournalError: ``journal.event`` for an event that no verifier would accept
        :raises JournalUnwritableError: ``journal.full`` for anything but evidence of what was
            done, while the disk is full
        """
        if self.is_suspended and any(draft.kind not in EVIDENCE for draft in drafts):
            raise self._full(drafts)
        for draft in drafts:
            chain.admit(draft.event, kind=draft.kind)
        for upsert in upserts:
            if upsert.table not in UPSERTS:
                raise KeyError(upsert.table)
        self._queue.put((tuple(drafts), tuple(upserts)))

    async def barrier(self) -> None:
        """Return once all that was queued before is durable, here and in every required sink.

        :raises JournalUnwritableError: ``journal.unwritable``, ``journal.full``; the attribute
            ``runs`` names all whose records were dropped
        :raises AuditError: ``audit.sink_unavailable``
        """
        if self._queue.settled < self._queue.appended:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._queue.wait(waiter)
            if not self._is_scheduled:
                self._is_scheduled = True
                loop.call_soon(self._flush)
            await waiter
        if self._sinks is not None and self._sinks.is_required():
            await self._sinks.acknowledged(self._sealer.head.size)

    def commit(self) -> None:
        """Make everything queued durable now, for callers without a loop.

        :raises JournalUnwritableError: as `barrier`
        """
        failure = self._flush()
        if failure is not None:
            raise failure

    def checkpoint_now(self) -> str:
        """Commit what is queued and give a note over the whole log, signed now if need be.

        :raises JournalUnwritableError: ``journal.unwritable`` also when the signer does not answer
        """
        self.commit()
        size = self._sealer.head.size
        if self._checkpointer.signed < size:
            self._write_entries([], is_forced=True)
        newest = self.newest_note()
        if newest is None or newest[0] < size:
            raise self._unwritable(_NO_SIGNER, ())
        return newest[1]

    def rotate_key(self, signer: LogSigner, *, reason: str = "planned") -> str:
        """Hand the log over to another key; give the note that both have signed.

        :param reason: ``planned``, ``stolen``; ``lost`` leaves the old signature out, and whoever
            pinned the old key has to pin the new one
        :raises JournalUnwritableError: nothing was changed, the old key goes on
        """
        self.commit()
        old, new = self._checkpointer.signer, signer
        event = {
            "kind": "log.key_rotated",
            "prev_vkey": str(VerifierKey(self.origin, old.public)),
            "reason": reason,
            "vkey": str(VerifierKey(self.origin, new.public)),
        }
        signers = (new,) if reason == "lost" else (old, new)
        with self._checkpointer.handing_over(signers):
            self._write_entries([((draft_of(event),), ())], is_forced=True)
        self._checkpointer.signer = new
        return self.checkpoint_now()

    def close(self) -> None:
        """Write ``log.closed`` and the last checkpoint, empty the WAL, give the home free.

        What cannot be written any more is left to recovery: a crash is legal.
        """
        if self._is_closed:
            return
        self._is_closed = True
        if self._idle is not None:
            self._idle.cancel()
        with contextlib.suppress(AweError, sqlite3.Error):
            self.commit()
            self._write_entries(
                [((draft_of({"clean": True, "kind": "log.closed"}),), ())], is_forced=True
            )
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.close()
        self.lock.release()

    def _flush(self) -> JournalUnwritableError | None:
        self._is_scheduled = False
        while entries := self._queue.take():
            try:
                self._write_entries(entries)
            except JournalUnwritableError as failure:
                return self._queue.drop(entries, failure)
            self._queue.settle(len(entries))
        self._schedule_idle()
        return None

    def _write_entries(self, entries: list[Entry], *, is_forced: bool = False) -> None:
        """Make one transaction durable, or change nothing and raise."""
        if not self.lock.is_mine:
            raise EngineError("engine.forked", home=str(self.home), pid=self.lock.owner.pid)
        try:
            if self._is_lost:
                self._reconnect()
            entries = [*entries, *self._riders()]
            batch = self._sealer.seal(entries, now_us=self._clock_us())
            note = self._checkpointer.note_for(batch.frontier, is_forced=is_forced)
            transact(self._db, batch, head=self._sealer.head, note=note)
        except Exception as error:  # whatever it was, the waiters must hear it
            self.counters.failures += 1
            raise self._after(error) from error
        self._adopt(batch, note)

    def _riders(self) -> list[Entry]:
        """Give what signer and sinks have to say; it never makes a transaction of its own."""
        report = self._checkpointer.report()
        riders: list[Entry] = [] if report is None else [((draft_of(report),), ())]
        return riders if self._sinks is None else [*riders, self._sinks.riders()]

    def _adopt(self, batch: Batch, note: str | None) -> None:
        self._sealer.adopt(batch)
        self._checkpointer.committed(batch.head.size, has_note=note is not None)
        counters = self.counters
        counters.commits += 1
        counters.records += len(batch.rows)
        counters.last_records, counters.last_bytes = len(batch.rows), batch.size_bytes
        self._wal_pages += 6 + 3 * batch.size_bytes // _PAGE_BYTES
        if note is not None:
            counters.checkpoints += 1
            keep_copies(note, self._anchors)
        if self._wal_pages > _WAL_PAGES:
            self._relieve()
        if self._sinks is not None:
            self._sinks.committed(batch.head.size)

    def _after(self, error: Exception) -> JournalUnwritableError:
        """Bring the writer back to what the file holds, and say what happened."""
        is_full = (
            getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            or getattr(error, "errno", None) == errno.ENOSPC
        )
        if is_full:
            self._suspend(error)
            return self._full(())
        self._is_lost = True
        with contextlib.suppress(sqlite3.Error, OSError, AweError):
            self._reconnect()
        return self._unwritable(f"{type(error).__name__}: {error}", ())

    def _reconnect(self) -> None:
        """Open the file anew and go on from its head, if it is ours or extends ours."""
        self._db.close()
        self._db = connect_writer(self.home, durability=self.durability)
        frontier = self._sealer.frontier.copy()
        found = opening.catch_up(self, frontier, self._sealer.head)
        if found is None:
            raise self._unwritable(_OTHER_LOG, ())
        head, last_ts_us = found
        self._sealer.head, self._sealer.frontier = head, frontier
        self._sealer.last_ts_us = max(self._sealer.last_ts_us, last_ts_us)
        self._is_lost = False

    def _suspend(self, error: Exception) -> None:
        """Give up the reserve and use it to say that the log stops."""
        if self._suspended_us is not None:
            return
        self._suspended_us = self._clock_us()
        self._ballast.give_up()
        err = {"code": "journal.full", "type": type(error).__name__, "msg": str(error)[:2000]}
        draft = draft_of({"err": err, "kind": "log.suspended"})
        with contextlib.suppress(JournalUnwritableError):
            self._write_entries([((draft,), ())])

    def _try_resume(self) -> bool:
        if self._ballast.missing_bytes or not self._ballast.take():
            return False
        event = {"kind": "log.resumed", "since_us": self._suspended_us, "waiting": self.queued}
        self._suspended_us = None
        self.append([draft_of(event)])
        return True

    def _schedule_idle(self) -> None:
        is_busy = self._checkpointer.is_behind or self._wal_pages
        if self._idle is None and is_busy and not self._is_closed:
            with contextlib.suppress(RuntimeError):  # no loop: the next commit or close does it
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(self._checkpointer.every_s, self._when_idle)

    def _when_idle(self) -> None:
        """Sign and relieve the WAL once nothing was committed for a while."""
        self._idle = None
        if self._checkpointer.is_behind and not self._is_closed:
            with contextlib.suppress(JournalUnwritableError):
                self._write_entries([])
        self._relieve()
        self._schedule_idle()

    def _relieve(self) -> None:
        """Move pages from the WAL into the database; only this connection ever does."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            self._wal_pages = 0

    def _full(self, drafts: Sequence[Draft]) -> JournalUnwritableError:
        return JournalUnwritableError(
            "journal.full",
            path=str(self.home),
            free_mib=-(-self._ballast.missing_bytes // (1024 * 1024)) or 1,
            runs=tuple(dict.fromkeys(d.run for d in drafts if d.run)),
        )

    def _unwritable(self, reason: str, runs: tuple[str, ...]) -> JournalUnwritableError:
        return JournalUnwritableError(
            "journal.unwritable", path=str(self.home), reason=reason, runs=runs
        )

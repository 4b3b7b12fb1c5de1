"""The one writer of a home's journal.

Rules:

1. Records queue up (`append`) and are committed together: one transaction for all that was queued
   in a loop turn.  What must be durable first waits at a `barrier`.
2. One `append` is never split: its records, payloads and projections are in one transaction.
3. A commit that failed has changed nothing, in the file or in memory.  Everything that was queued
   is dropped, every waiter hears it, and the error names the runs: they are replayed.  Only where
   the disk is full, what the world already shows is written into the room of the reserve first.
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

from awe_core.errors import AweError, EngineError, JournalError, JournalUnwritableError
from awe_core.journal import ballast, chain, opening, payloads
from awe_core.journal.checkpoints import EVERY_S, Checkpointer, keep_copies
from awe_core.journal.database import FILE, FULL, UPSERTS, connect_writer, template, transact
from awe_core.journal.lock import OwnerLock
from awe_core.journal.reading import Reading, check_id
from awe_core.journal.records import draft_of
from awe_core.journal.sealing import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from awe_core.journal.database import Durability
    from awe_core.journal.opening import Start
    from awe_core.journal.records import Acknowledger, Draft, Entry, Head, LogSigner, Upsert
    from awe_core.journal.sealing import Batch
    from awe_core.values import Json, JsonObject

#: What one transaction holds at most, in whole appends.
_MAX_RECORDS = 1_000
_MAX_BYTES = 4 * 1024 * 1024

#: Pages in the WAL after which it is checkpointed without waiting for an idle moment.
_WAL_PAGES = 4_000
_PAGE_BYTES = 4_096

_NO_SIGNER = "the signer of checkpoints does not answer"
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


class Journal(Reading):
    """The log of a home, held by the one process that may write it.  `open` is the way in."""

    def __init__(  # noqa: PLR0913 - its parts; `open` is what people call
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
        host: Journal | None = None,
    ) -> None:
        """Put together what `open` or `beside` has checked."""
        super().__init__(home, db)
        self.log, self.origin, self.lock = start.log, start.origin, lock
        self.counters: Counters = host.counters if host else Counters()
        self._payloads = self._keys = start.payloads
        self._end = start.end
        self._checkpointer, self._durability = checkpointer, durability
        self._clock_us, self._anchors = clock_us, tuple(anchors)
        self.host = host  #: the workspace's log, of one beside it
        self._beside: set[Journal] = set()  #: logs that are closed with this one
        self._said: JsonObject = {}  #: in every ``log.opened``
        self._reserve = (host or self).home / "ballast"
        self._queue: list[Entry] = []
        self.queued = self.queued_bytes = 0  #: records that wait for a commit, and their events
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.appended = self.settled = 0  #: entries that ever came; that are durable or dropped
        self._is_scheduled = self._is_lost = self._is_closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._wal_pages = 0
        self._suspended_us: int | None = None
        self._sinks: Acknowledger | None = None
        self.on_idle: Callable[[], bool] = lambda: False  #: whether whoever holds it has closed it
        #: Hears which runs lost records in a batch that failed, before who waits for it does.
        self.on_drop: Callable[[Sequence[str], JournalUnwritableError], None] = lambda *_: None

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
        row_bytes: int = payloads.MAX_ROW_BYTES,
    ) -> Journal:
        """Own *home*, check its journal, and write ``log.opened``.

        :param signer: holds the deployment's log key
        :param origin: the deployment's name (``audit.origin``); the log's is this, ``/`` and its id
        :param opened: further fields of ``log.opened``: awe, trust, scope, prev_log …
        :param durability: ``normal`` may lose acknowledged records at a power loss
        :param row_bytes: a larger value lies in a file of its own
        :param anchors: files outside the home that hold a copy of the newest checkpoint
        :raises EngineError: ``engine.locked``, ``engine.network_fs``
        :raises JournalError: ``journal.newer``, ``journal.foreign``, ``journal.schema``,
            ``journal.pragma``, ``journal.unreadable``, ``journal.unwritable``
        :raises AuditError: the journal is not as it was left: ``audit.root``, ``audit.link``,
            ``audit.truncated``, ``audit.keys_missing`` …
        """
        home = Path(home).absolute()
        with contextlib.ExitStack() as undo, _explained(home):
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = OwnerLock.take(home)
            undo.callback(lock.release)
            db = connect_writer(home, durability=durability)
            undo.callback(db.close)
            start = opening.start(
                Reading(home, db), public=signer.public, origin=origin, anchors=anchors
            )
            start.payloads.row_bytes = row_bytes
            journal = cls(
                home,
                db,
                start,
                lock=lock,
                checkpointer=Checkpointer(start.origin, signer, start.signed, checkpoint_every_s),
                durability=durability,
                clock_us=clock_us,
                anchors=anchors,
            )
            ballast.take(journal._reserve)
            own = {"durability": durability, "generation": lock.owner.generation}
            journal._said = {**opened, **own, "kind": "log.opened"}
            journal.append([draft_of({**start.fields, **journal._said})])
            journal.commit()
            if not start.end.head.size:
                payloads.begin(home, log=start.log)
            undo.pop_all()
        return journal

    def beside(self, folder: Path, scope: JsonObject | None = None) -> Journal:
        """Open the log named as *folder*, under this one's lock, key, reserve, signer and clock.

        Its ``log.opened`` is queued.  It is closed with this one at the latest.

        :param scope: of a log that begins here; None: it is there already
        :raises AweError: as `open`; ``audit.log_id`` when another log lies there
        """
        log, signer = folder.name, self._checkpointer.signer
        with contextlib.ExitStack() as undo, _explained(folder):
            if scope is not None:
                if not folder.parent.exists():
                    folder.parent.mkdir(mode=0o700)
                    payloads.sync_folder(self.home)
                folder.mkdir(mode=0o700)
                payloads.write_new(folder / FILE, template())
                for changed in (folder, folder.parent):
                    payloads.sync_folder(changed)
            elif not (folder / FILE).exists():
                raise JournalError("journal.missing", home=str(folder))
            db = connect_writer(folder, durability=self._durability)
            undo.callback(db.close)
            keys, origin = self._keys.of(log), self.origin.rpartition("/")[0]
            if scope is None:
                found = Reading(folder, db)
                check_id(found, log)
                start = opening.start(found, public=signer.public, origin=origin, keys=keys)
            else:
                start = opening.begun(keys, log, scope, public=signer.public, origin=origin)
            every = self._checkpointer.every_s
            journal = Journal(
                folder,
                db,
                start,
                lock=self.lock,
                checkpointer=Checkpointer(start.origin, signer, start.signed, every),
                durability=self._durability,
                clock_us=self._clock_us,
                host=self,
            )
            journal.append([draft_of({**start.fields, **self._said})])
            undo.pop_all()
        self._beside.add(journal)
        return journal

    def seal(self) -> JsonObject:
        """Say what another log shall hold of this one: where it ends now, durably."""
        end = self._end
        return {"log": self.log, "size": end.head.size, "root": end.frontier.root().hex()}

    @property
    def public(self) -> bytes:
        """The public key that checkpoints are signed with."""
        return self._checkpointer.signer.public

    @property
    def is_suspended(self) -> bool:
        """Tell whether the disk is full; asking resumes the log once there is room."""
        return self._suspended_us is not None and not self._try_resume()

    def mac(self, canonical_value: bytes) -> str:
        """Commit to a sensitive value so that equal ones are seen and guesses cannot be tested."""
        return self._keys.mac(canonical_value)

    def head(self) -> Head:
        """Say where the log ends: the last durable record."""
        return self._end.head

    def watch(self, sinks: Acknowledger) -> None:
        """Let *sinks* hear of every commit, and barriers wait for the required ones."""
        self._sinks = sinks

    def append(self, drafts: Sequence[Draft], upserts: Sequence[Upsert] = ()) -> None:
        """Queue records and the projections that go with them; nothing is durable yet.

        :raises JournalError: ``journal.event`` for an event that no verifier would accept
        :raises JournalUnwritableError: ``journal.full`` for anything but evidence of what was
            done, while the disk is full
        """
        if self.is_suspended and any(draft.kind not in ballast.EVIDENCE for draft in drafts):
            raise _full(self.home, *(draft.run for draft in drafts if draft.run))
        for draft in drafts:
            chain.admit(draft.event, kind=draft.kind)
        for upsert in upserts:
            if upsert.table not in UPSERTS:
                raise KeyError(upsert.table)
        self._queue.append((tuple(drafts), tuple(upserts)))
        self.queued += len(drafts)
        self.queued_bytes += sum(len(draft.event) for draft in drafts)
        self.appended += 1

    async def barrier(self) -> None:
        """Return once all that was queued before is durable, here and in every required sink.

        :raises JournalUnwritableError: ``journal.unwritable``, ``journal.full``; the attribute
            ``runs`` names all whose records were dropped
        :raises AuditError: ``audit.sink_unavailable``
        """
        if self._queue:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.append((self.appended, waiter))
            if not self._is_scheduled:
                self._is_scheduled = True
                loop.call_soon(self._flush)
            await waiter
        if self._sinks is not None and self._sinks.is_required():
            await self._sinks.acknowledged(self._end.head.size)

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
        size = self._end.head.size
        if self._checkpointer.signed < size:
            self._write([], is_forced=True)
        newest = self.newest_note()
        if newest is None or newest[0] < size:
            raise self._unwritable(_NO_SIGNER)
        return newest[1]

    def close(self) -> None:
        """Write ``log.closed`` and the last checkpoint, empty the WAL, give the home free.

        What cannot be written any more is left to recovery: a crash is legal.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for log in tuple(self._beside):
            log.close()
        if self._idle is not None:
            self._idle.cancel()
        with contextlib.suppress(AweError, sqlite3.Error):
            self.commit()
            self._write([((draft_of({"clean": True, "kind": "log.closed"}),), ())], is_forced=True)
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._db.close()
        if self.host is None:
            self.lock.release()
        else:
            self.host._beside.discard(self)  # noqa: SLF001 - of the same class

    def _flush(self) -> JournalUnwritableError | None:
        self._is_scheduled = False
        while self._queue:
            count = _whole_entries(self._queue)
            try:
                self._write(self._queue[:count])
            except JournalUnwritableError as failure:
                if self._suspended_us is not None:
                    self._keep_evidence()
                return self._drop(failure)
            del self._queue[:count]
            self.settled += count
            while self._waiters and self._waiters[0][0] <= self.settled:
                waiter = self._waiters.pop(0)[1]
                if not waiter.done():
                    waiter.set_result(None)
        self.queued = self.queued_bytes = 0
        self._schedule_idle()
        return None

    def _keep_evidence(self) -> None:
        """Write what the world already shows, as far as nothing before it in its run is lost."""
        lost: set[str] = set()
        kept: list[Entry] = []
        for drafts, upserts in self._queue:
            if {d.kind for d in drafts} <= ballast.EVIDENCE and not {d.run for d in drafts} & lost:
                kept.append((drafts, upserts if drafts else ()))
            else:
                lost |= {draft.run for draft in drafts if draft.run}
        with contextlib.suppress(JournalUnwritableError):
            self._write(kept)

    def _drop(self, failure: JournalUnwritableError) -> JournalUnwritableError:
        """Drop all that is queued: what follows lost records cannot stand without them."""
        runs = tuple(dict.fromkeys(d.run for drafts, _ in self._queue for d in drafts if d.run))
        waiters, self._waiters = self._waiters, []
        self._queue.clear()
        self.queued = self.queued_bytes = 0
        self.settled = self.appended
        attributes: dict[str, Json] = {**failure.attributes, "runs": runs}
        self.on_drop(runs, dropped := JournalUnwritableError(failure.code, **attributes))
        for _, waiter in waiters:  # a fresh error each: a shared one would gather their tracebacks
            if not waiter.done():
                waiter.set_exception(JournalUnwritableError(failure.code, **attributes))
        return dropped

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
            raise self._after(error) from error
        self._adopt(batch, note)

    def _riders(self) -> list[Entry]:
        """Give what signer and sinks have to say; it never makes a transaction of its own."""
        report = self._checkpointer.report()
        riders: list[Entry] = [] if report is None else [((draft_of(report),), ())]
        return riders if self._sinks is None else [*riders, self._sinks.riders()]

    def _adopt(self, batch: Batch, note: str | None) -> None:
        """Move to the end of *batch*: it is durable now."""
        self._end = batch.end
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
        if _is_full(error):
            self._suspend(error)
            return _full(self.home)
        self._is_lost = True
        with contextlib.suppress(sqlite3.Error, OSError, AweError):
            self._reconnect()
        return self._unwritable(f"{type(error).__name__}: {error}")

    def _reconnect(self) -> None:
        """Open the file anew and go on from its head, if it is ours or extends ours."""
        self._db.close()
        self._db = connect_writer(self.home, durability=self._durability)
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

    def _try_resume(self) -> bool:
        if ballast.missing_bytes(self._reserve) or not ballast.take(self._reserve):
            return False
        event = {"kind": "log.resumed", "since_us": self._suspended_us, "waiting": self.queued}
        self._suspended_us = None
        self.append([draft_of(event)])
        return True

    def _schedule_idle(self) -> None:
        is_large = self._wal_pages and self.host is None  # a small log's waits until it is closed
        is_busy = self._checkpointer.is_behind or is_large
        if self._idle is None and is_busy and not self._is_closed:
            with contextlib.suppress(RuntimeError):  # no loop: the next commit or close does it
                loop = asyncio.get_running_loop()
                self._idle = loop.call_later(self._checkpointer.every_s, self._when_idle)

    def _when_idle(self) -> None:
        """Sign and relieve the WAL once nothing was committed for a while."""
        self._idle = None
        if self.on_idle():
            return
        if self._checkpointer.is_behind and not self._is_closed:
            with contextlib.suppress(JournalUnwritableError):
                self._write([])
        if self.host is None:
            self._relieve()
        self._schedule_idle()

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
def _explained(home: Path) -> Iterator[None]:
    """Say what a disk that is full, read-only or broken means for opening *home*."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        if _is_full(error):
            raise _full(home) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise JournalUnwritableError(
            "journal.unwritable", path=str(home), reason=reason, runs=()
        ) from error


def _is_full(error: Exception) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code in FULL or getattr(error, "errno", None) == errno.ENOSPC


def _full(home: Path, *runs: str) -> JournalUnwritableError:
    missing = ballast.missing_bytes(home / "ballast")
    return JournalUnwritableError(
        "journal.full",
        path=str(home),
        free_mib=-(-missing // (1024 * 1024)) or 1,
        runs=tuple(dict.fromkeys(runs)),
    )


def _whole_entries(queue: Sequence[Entry]) -> int:
    """Count the appends of the next transaction."""
    records = size = 0
    for count, (drafts, _) in enumerate(queue):
        records += len(drafts)
        size += sum(len(draft.event) for draft in drafts)
        if count and (records > _MAX_RECORDS or size > _MAX_BYTES):
            return count
    return len(queue)

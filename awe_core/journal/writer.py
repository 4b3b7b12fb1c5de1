"""The one writer of a home's journal.

Rules:

1. Records queue up (`append`) and are committed together: one transaction for all that was queued
   in a loop turn.  What must be durable first waits at a `barrier`.
2. One `append` is never split: its records, payloads and projections are in one transaction.
3. A commit that failed has changed nothing, in the file or in memory.  Everything that was queued
   is dropped, every waiter hears it, and the error names the runs: they are replayed.  Only where
   the disk is full, what the world already shows is written into the room of the reserve first.
4. The journal belongs to one thread, that of the engine's loop.  Where commits are slow (a median
   over 4 ms), they run on a thread of their own, one at a time, so that handlers go on meanwhile;
   what the loop reads then comes through a connection of its own and is committed.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from awe_core.errors import AweError, JournalError, JournalUnwritableError
from awe_core.journal import ballast, chain, opening, payloads
from awe_core.journal.checkpoints import EVERY_S, Checkpointer
from awe_core.journal.committing import Committing, explained, full
from awe_core.journal.database import FILE, UPSERTS, connect_reader, connect_writer, template, touch
from awe_core.journal.lock import OwnerLock
from awe_core.journal.pace import CommitThread, Pace
from awe_core.journal.reading import Reading, check_id
from awe_core.journal.records import draft_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from awe_core.journal.database import Durability
    from awe_core.journal.records import Acknowledger, Draft, Entry, Head, LogSigner, Upsert
    from awe_core.values import Json, JsonObject

#: Where commits run: inline, beside the loop, or beside it as soon as they are slow.
Commit = Literal["auto", "loop", "thread"]

#: What one transaction holds at most, in whole appends.
_MAX_RECORDS = 1_000
_MAX_BYTES = 4 * 1024 * 1024

_NO_SIGNER = "the signer of checkpoints does not answer"


class Journal(Committing):
    """The log of a home, held by the one process that may write it.  `open` is the way in."""

    def __init__(self, *parts: Any, commit: Commit = "loop", **more: Any) -> None:  # noqa: ANN401 - as `Committing`
        """Put together what `open` has checked."""
        super().__init__(*parts, **more)
        self._others: set[Journal] = set()  #: logs that are closed with this one
        self._said: JsonObject = {}  #: in every ``log.opened``
        self._queue: list[Entry] = []
        self.queued = self.queued_bytes = 0  #: records that wait for a commit, and their events
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self.appended = self.settled = 0  #: entries that ever came; that are durable or dropped
        self._is_scheduled = self._is_closed = False
        self._idle: asyncio.TimerHandle | None = None
        self._pace = Pace() if commit == "auto" else None
        self._thread: CommitThread | None = None
        self._under_way: tuple[Future[None], int] | None = None  #: a commit on the thread
        if commit == "thread":
            self._move_to_thread()
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
        commit: Commit = "loop",
    ) -> Journal:
        """Own *home*, check its journal, and write ``log.opened``.

        :param signer: holds the deployment's log key
        :param origin: the deployment's name (``audit.origin``); the log's is this, ``/`` and its id
        :param opened: further fields of ``log.opened``: awe, trust, scope, prev_log …
        :param durability: ``normal`` may lose acknowledged records at a power loss
        :param row_bytes: a larger value lies in a file of its own
        :param commit: where transactions run
        :param anchors: files outside the home that hold a copy of the newest checkpoint
        :raises EngineError: ``engine.locked``, ``engine.network_fs``
        :raises JournalError: ``journal.newer``, ``journal.foreign``, ``journal.schema``,
            ``journal.pragma``, ``journal.unreadable``, ``journal.unwritable``
        :raises AuditError: the journal is not as it was left: ``audit.root``, ``audit.link``,
            ``audit.truncated``, ``audit.keys_missing`` …
        """
        home = Path(home).absolute()
        with contextlib.ExitStack() as undo, explained(home):
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
                commit=commit,
            )
            undo.callback(journal._let_go)
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
        with contextlib.ExitStack() as undo, explained(folder):
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
            undo.callback(journal._let_go)
            journal.append([draft_of({**start.fields, **self._said})])
            undo.pop_all()
        self._others.add(journal)
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
        if self._suspended_us is None:
            return False
        return self._under_way is not None or not self._try_resume()

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
            raise full(self.home, *(draft.run for draft in drafts if draft.run))
        size = 0
        for draft in drafts:
            chain.admit(draft.event, kind=draft.kind)
            size += len(draft.event)
        for upsert in upserts:
            if upsert.table not in UPSERTS:
                raise KeyError(upsert.table)
        self._queue.append((tuple(drafts), tuple(upserts)))
        self.queued += len(drafts)
        self.queued_bytes += size
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
        if self._under_way is not None:
            self._wait(*self._under_way)
        failure = self._drain()
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

    def try_again(self) -> bool:
        """Whether the log takes records again after a commit that failed; found by writing."""
        if self._under_way is not None:
            return False
        if self.trouble is not None:
            try:
                if self._is_lost:
                    self._reconnect()
                touch(self._db)
            except (sqlite3.Error, OSError, AweError):
                return False
            self.trouble = None
        return True

    def close(self) -> None:
        """Write ``log.closed`` and the last checkpoint, empty the WAL, give the home free.

        What cannot be written any more is left to recovery: a crash is legal.
        """
        if self._is_closed:
            return
        self._is_closed = True
        for log in tuple(self._others):
            log.close()
        if self._idle is not None:
            self._idle.cancel()
        with contextlib.suppress(AweError, sqlite3.Error):
            self.commit()
            self._write([((draft_of({"clean": True, "kind": "log.closed"}),), ())], is_forced=True)
            if self._reading is not self._db:
                self._reading.close()
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._let_go()
        if isinstance(self.host, Journal):
            self.host._others.discard(self)  # noqa: SLF001 - of the same class
        else:
            self.lock.release()

    def _let_go(self) -> None:
        self._reading.close()
        self._db.close()
        if self._thread is not None:
            self._thread.close()

    # ---- commits -------------------------------------------------------------------------------
    def _flush(self) -> None:
        """Commit what is queued, here or on the thread, which goes on with it if it is at work."""
        self._is_scheduled = False
        if self._thread is None:
            self._drain()
        elif self._under_way is None and self._queue:
            count, loop = _whole_entries(self._queue), asyncio.get_running_loop()
            done = self._thread.submit(partial(self._write, self._queue[:count]))
            self._under_way = done, count
            done.add_done_callback(lambda done: loop.call_soon_threadsafe(self._went_on, done))

    def _went_on(self, done: Future[None]) -> None:
        if self._under_way is not None and self._under_way[0] is done:  # else somebody waited
            self._wait(*self._under_way)
            self._flush()

    def _wait(self, done: Future[None], count: int) -> None:
        """Take the end of the commit on the thread, when it comes."""
        failure: JournalUnwritableError | None = None
        try:
            done.result()
        except JournalUnwritableError as error:
            failure = error
        finally:
            self._under_way = None
        if failure is None:
            self._settle(count)
        else:
            self._failed(failure)

    def _drain(self) -> JournalUnwritableError | None:
        """Commit all that is queued on this thread."""
        while self._queue:
            count, began = _whole_entries(self._queue), time.perf_counter()
            try:
                self._write(self._queue[:count])
            except JournalUnwritableError as failure:
                return self._failed(failure)
            if self._pace is not None and self._pace.is_slow(time.perf_counter() - began):
                self._move_to_thread()
            self._settle(count)
        return None

    def _move_to_thread(self) -> None:
        self._pace, self._thread = None, CommitThread()
        self._reading = connect_reader(self.home)

    def _settle(self, count: int) -> None:
        """Wake who waited for the first *count* entries of the queue: they are durable."""
        del self._queue[:count]
        left = [draft for drafts, _ in self._queue for draft in drafts]
        self.queued, self.queued_bytes = len(left), sum(len(draft.event) for draft in left)
        self.settled += count
        while self._waiters and self._waiters[0][0] <= self.settled:
            waiter = self._waiters.pop(0)[1]
            if not waiter.done():
                waiter.set_result(None)
        if not self._queue:
            self._schedule_idle()

    def _failed(self, failure: JournalUnwritableError) -> JournalUnwritableError:
        if self._suspended_us is not None:
            self._keep_evidence()
        return self._drop(failure)

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
        if self._under_way is None:
            if self._checkpointer.is_behind and not self._is_closed:
                with contextlib.suppress(JournalUnwritableError):
                    self._write([])
            if self.host is None:
                self._relieve()
        self._schedule_idle()


def _whole_entries(queue: Sequence[Entry]) -> int:
    """Count the appends of the next transaction."""
    records = size = 0
    for count, (drafts, _) in enumerate(queue):
        records += len(drafts)
        for draft in drafts:
            size += len(draft.event)
        if count and (records > _MAX_RECORDS or size > _MAX_BYTES):
            return count
    return len(queue)

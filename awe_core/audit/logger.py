"""`AuditLogger`: every record to every sink, and barriers that wait for the required ones.

Rules:

1. Each sink has its own thread and reads the journal behind a cursor: memory does not grow, and
   nothing is lost with the process.  At least once; (log, seq) identifies a record.
2. A sink that hangs or fails delays no other one, and none that is not required delays a run.
3. What a sink acknowledged rides in the journal's next transaction, and so does the record that it
   is degraded or has recovered: once an outage.
4. A required sink that does not acknowledge within 5 s: nothing acts.

Only the journal's own thread touches the journal; sink threads leave what they have to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal import JournalReader, Upsert, draft_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.hookspecs import AuditSink
    from awe_core.journal import Draft, Journal
    from awe_core.values import JsonObject

_BATCH = 500
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_PATIENCE_S = 5.0
_REST_S = 0.05


@attrs.frozen
class Attached:
    """A sink as the deployment configured it."""

    sink: AuditSink
    is_required: bool = False


@attrs.frozen
class SinkStatus:
    """How far a sink is."""

    name: str
    is_required: bool
    acked: int  #: records durable there
    behind: int  #: records it has not acknowledged
    error: str  #: why it is not getting on; empty when it is


class AuditLogger:
    """Feeds *sinks* from *journal*; it stands between a barrier and the engine."""

    def __init__(
        self,
        journal: Journal,
        sinks: Sequence[AuditSink | Attached] = (),
        *,
        patience_s: float = _PATIENCE_S,
        first_pause_s: float = _FIRST_PAUSE_S,
    ) -> None:
        """Attach *sinks* and start a thread for each.

        :raises AuditError: ``sink.not_acknowledging`` for a required sink that cannot be waited
            for, ``sink.name_taken`` for two of one name
        """
        attached = [s if isinstance(s, Attached) else Attached(s) for s in sinks]
        _check(attached)
        self.journal, self._patience_s = journal, patience_s
        size = journal.head().size
        self._feeds = [_Feed(a, journal, size, first_pause_s) for a in attached]
        self._required = [feed for feed in self._feeds if feed.attached.is_required]
        journal.watch(self)
        for feed in self._feeds:
            feed.start()

    def committed(self, size: int) -> None:
        """Hear of a commit; wakes the sinks."""
        for feed in self._feeds:
            feed.committed(size)

    def riders(self) -> tuple[tuple[Draft, ...], tuple[Upsert, ...]]:
        """Give what the sinks have to say in the journal's next transaction."""
        events = [event for feed in self._feeds for event in feed.events()]
        upserts = [row for feed in self._feeds if (row := feed.row()) is not None]
        return tuple(map(draft_of, events)), tuple(upserts)

    def is_required(self) -> bool:
        """Tell whether barriers have to wait."""
        return bool(self._required)

    async def acknowledged(self, size: int) -> None:
        """Return once all required sinks hold *size* records.

        :raises AuditError: ``audit.sink_unavailable``
        """
        for feed in self._required:
            try:
                async with asyncio.timeout(self._patience_s):
                    await feed.reached(size)
            except TimeoutError:
                raise AuditError(
                    "audit.sink_unavailable",
                    sink=feed.name,
                    acked=feed.acked,
                    size=size,
                    reason=feed.error or "it did not answer",
                ) from None

    def status(self) -> list[SinkStatus]:
        """Say how far every sink is."""
        return [feed.status() for feed in self._feeds]

    def close(self, timeout_s: float = 5.0) -> None:
        """Let the sinks take what is committed, then close them; a hung one is left behind."""
        deadline = time.monotonic() + timeout_s
        for feed in self._feeds:
            feed.stop()
        for feed in self._feeds:
            feed.join(max(0.0, deadline - time.monotonic()))


class _Feed:
    """One sink and its thread."""

    def __init__(
        self, attached: Attached, journal: Journal, size: int, first_pause_s: float
    ) -> None:
        self.attached, self.sink = attached, attached.sink
        self.name = attached.sink.name
        self.acked = 0
        self.error = ""
        self._home, self._log, self._size = journal.home, journal.log, size
        self._first_pause_s = first_pause_s
        self._changed = threading.Condition()
        self._is_stopping = False
        self._events: list[JsonObject] = []
        self._recorded = -1
        self._riding = (0, -1)  #: events and size that the next commit records
        self._noted = 0
        self._last: bytes | None = None
        self._waiters: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._thread = threading.Thread(target=self._run, name=f"sink {self.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def committed(self, size: int) -> None:
        """Hear of a commit: what rode in it is recorded now."""
        with self._changed:
            events, self._recorded = self._riding
            del self._events[:events]
            self._riding = (0, self._recorded)
            self._size = size
            self._changed.notify_all()

    def events(self) -> list[JsonObject]:
        """Give what is to be recorded; again, as long as no commit has taken it."""
        with self._changed:
            self._riding = (len(self._events), self._riding[1])
            return list(self._events)

    def row(self) -> Upsert | None:
        """Give the sink's row when it has changed."""
        with self._changed:
            self._riding = (self._riding[0], self.acked)
            if self.acked == self._recorded:
                return None
            state = "degraded" if self.error else "ok"
            values = (self.name, self.acked, self._last, state, self.error or None, None)
        return Upsert("sink", values)

    def status(self) -> SinkStatus:
        with self._changed:
            behind = max(0, self._size - self.acked)
            required = self.attached.is_required
            return SinkStatus(self.name, required, self.acked, behind, self.error)

    async def reached(self, size: int) -> None:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self.acked >= size:
                return
            self._waiters.append((size, loop, waiter))
        await waiter

    def _run(self) -> None:
        """Feed the sink until stopped; whatever it raises is an outage, never an end."""
        pause_s = self._first_pause_s
        while True:
            try:
                with JournalReader(self._home) as reader:
                    self._feed(reader)
            except Exception as error:  # noqa: BLE001 - foreign code: a sink may raise anything
                if self._failed(error, pause_s):
                    break
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                break
        with contextlib.suppress(Exception):
            self.sink.close(_PATIENCE_S)

    def _feed(self, reader: JournalReader) -> None:
        size = self.sink.open(self._log)
        self._compare(reader, size)
        self._advance(size, self._hash_at(reader, size), is_well=size >= self._size)
        while self._wait():
            batch = list(reader.read(after=self.acked - 1, limit=_BATCH))
            durable = self.sink.write(batch)
            if not self.acked <= durable <= self.acked + len(batch):
                raise AuditError(
                    "audit.sink_forked",
                    sink=self.name,
                    seq=self.acked,
                    expected=f"at most {self.acked + len(batch)} records",
                    found=f"{durable}",
                )
            if durable == self.acked and self._rest():
                return
            self._advance(durable, self._hash_at(reader, durable), is_well=True)
            self._pass_note(reader)

    def _rest(self) -> bool:
        """Give a sink time that took records and cannot vouch for one yet; True when stopping."""
        with self._changed:
            self._changed.wait(_REST_S)
            return self._is_stopping

    def _compare(self, reader: JournalReader, size: int) -> None:
        """Find a sink that holds more than the log, or something else."""
        ask = getattr(self.sink, "last_hash", None)
        theirs = ask(self._log) if ask is not None and size else None
        head = reader.head().size
        ours = self._hash_at(reader, size)
        if size > head or (theirs is not None and theirs != ours):
            raise AuditError(
                "audit.sink_forked",
                sink=self.name,
                seq=size - 1,
                expected=f"{head} records" if size > head else f"{ours.hex() if ours else ours}",
                found=f"{size}" if size > head else f"{theirs.hex() if theirs else theirs}",
            )

    def _hash_at(self, reader: JournalReader, size: int) -> bytes | None:
        return next(reader.hashes(size - 1, size), None) if size else None

    def _wait(self) -> bool:
        """Wait for records; False when it is time to end and all are out."""
        with self._changed:
            while self.acked >= self._size and not self._is_stopping:
                self._changed.wait()
            return self.acked < self._size

    def _advance(self, size: int, last: bytes | None, *, is_well: bool) -> None:
        """Note how far the sink is; only what it took ends an outage, not that it opened."""
        with self._changed:
            self.acked, self._last = size, last
            if self.error and is_well:
                self.error = ""
                behind = max(0, self._size - size)
                self._events.append(
                    {"acked": size, "behind": behind, "kind": "sink.recovered", "sink": self.name}
                )
            done = [waiter for waiter in self._waiters if waiter[0] <= size]
            self._waiters = [waiter for waiter in self._waiters if waiter[0] > size]
        for _, loop, waiter in done:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                loop.call_soon_threadsafe(_settle, waiter)

    def _pass_note(self, reader: JournalReader) -> None:
        newest = reader.newest_note()
        if newest is not None and self._noted < newest[0] <= self.acked:
            self.sink.checkpoint(*newest)
            self._noted = newest[0]

    def _failed(self, error: Exception, pause_s: float) -> bool:
        """Note an outage and rest; True when it is time to end."""
        shown = f"{type(error).__name__}: {error}"[:2000]
        err = {
            "code": getattr(error, "code", "audit.sink_unavailable"),
            "msg": shown,
            "type": type(error).__name__,
        }
        with self._changed:
            if not self.error:
                self._events.append(
                    {"acked": self.acked, "err": err, "kind": "sink.degraded", "sink": self.name}
                )
            self.error = shown
            deadline = time.monotonic() + pause_s
            while not self._is_stopping and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            return self._is_stopping


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _check(attached: Sequence[Attached]) -> None:
    names: set[str] = set()
    for one in attached:
        name = one.sink.name
        if name in names:
            raise AuditError("sink.name_taken", sink=name)
        names.add(name)
        if one.is_required and not one.sink.acknowledges:
            raise AuditError("sink.not_acknowledging", sink=name)

"""The floor of the load test: the same work by hand on sqlite3, with no engine at all.

Threads do the four steps; one writer thread commits whatever waits in one transaction, with
``synchronous=FULL``, so each step's output is durable before the next step.  Nothing is checked,
approved, recorded for proof or undone after a crash: the distance to it is what governance costs.
"""

from __future__ import annotations

import hashlib
import queue
import sqlite3
import threading
from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

_SCHEMA = "CREATE TABLE IF NOT EXISTS step(run TEXT, n INTEGER, out TEXT, PRIMARY KEY(run, n))"
_STEP = "INSERT INTO step VALUES(?, ?, ?)"


@attrs.frozen(eq=False)
class _Waiting:
    row: tuple[str, int, str]
    committed: threading.Event = attrs.field(factory=threading.Event)


class Floor:
    """A database and its one writer; ``with`` opens and closes both."""

    def __init__(self, file: Path) -> None:
        """Keep the steps in *file*, which is made."""
        self._db = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", _SCHEMA):
            self._db.execute(statement).fetchall()
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="floor-writer", daemon=True)
        self._writer.start()

    def run(self, folders: Sequence[Path], *, concurrency: int, is_failing: bool) -> None:
        """Do the work in each of *folders*, *concurrency* at a time."""
        rest, lock = iter(folders), threading.Lock()

        def worker() -> None:
            for folder in _shared(rest, lock):
                self._workflow(folder, is_failing=is_failing)

        threads = [threading.Thread(target=worker, name="floor") for _ in range(concurrency)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """End the writer and close the database."""
        self._queue.put(None)
        self._writer.join()
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _workflow(self, folder: Path, *, is_failing: bool) -> None:
        run = str(folder)
        text = (folder / "input.txt").read_text(encoding="utf-8")
        self._put(run, 1, text)
        report = f"# {folder.name}\n\n{text}\n"
        self._put(run, 2, report)
        target = folder / "report.md"
        with target.open("x", encoding="utf-8") as file:
            file.write(report)
        self._put(run, 3, str(target))
        if is_failing:
            target.unlink()
            self._put(run, 4, "taken back")
        else:
            self._put(run, 4, hashlib.sha256(target.read_bytes()).hexdigest())

    def _put(self, run: str, n: int, out: str) -> None:
        """Return once the step is durable."""
        waiting = _Waiting((run, n, out))
        self._queue.put(waiting)
        waiting.committed.wait()

    def _write(self) -> None:
        while (first := self._queue.get()) is not None:
            batch = [first, *self._more()]
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_STEP, [waiting.row for waiting in batch])
            self._db.execute("COMMIT")
            for waiting in batch:
                waiting.committed.set()

    def _more(self) -> Iterator[_Waiting]:
        """Give what else waits now; the end is only ever put when nobody does."""
        while True:
            try:
                found = self._queue.get_nowait()
            except queue.Empty:
                return
            if found is not None:
                yield found


def _shared(rest: Iterable[Path], lock: threading.Lock) -> Iterator[Path]:
    """Give what is left, to several threads."""
    iterator = iter(rest)
    while True:
        with lock:
            found = next(iterator, None)
        if found is None:
            return
        yield found

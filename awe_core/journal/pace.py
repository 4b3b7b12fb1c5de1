"""A thread beside the loop for slow disks, and what tells that a disk is slow."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from queue import SimpleQueue
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SLOW_S = 0.004  #: a commit that takes longer stalls handlers more than two hand-overs would
_SAMPLE = 64  #: commits


class Pace:
    """Tells when commits have become slow: the median of the last 64."""

    def __init__(self) -> None:
        """Begin without a sample."""
        self._took: deque[float] = deque(maxlen=_SAMPLE)
        self._count = 0

    def is_slow(self, took_s: float) -> bool:
        """Add one commit, and judge once a sample is full."""
        self._took.append(took_s)
        self._count += 1
        return not self._count % _SAMPLE and median(self._took) > _SLOW_S


class CommitThread:
    """One daemon thread that does one thing after the other.

    An executor of the standard library would be joined when the interpreter exits, whatever its
    thread is stuck in.
    """

    def __init__(self) -> None:
        """Start the thread."""
        self._work: SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = SimpleQueue()
        threading.Thread(target=self._run, name="awe-commit", daemon=True).start()

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Have *work* done after what was asked for before."""
        done: Future[None] = Future()
        self._work.put((work, done))
        return done

    def close(self) -> None:
        """Let the thread end after its work."""
        self._work.put(None)

    def _run(self) -> None:
        while (asked := self._work.get()) is not None:
            work, done = asked
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                done.set_exception(error)
            else:
                done.set_result(None)

"""A small pool of daemon threads for ``def`` handlers and flushes.

Own, because `concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits,
even after ``shutdown(wait=False)``: one handler that never returns would keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


@attrs.frozen(eq=False)
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    context: contextvars.Context


class DaemonPool:
    """Runs blocking work beside one event loop, on at most *size* threads."""

    def __init__(self, size: int, *, name: str) -> None:
        """Start no thread yet; they start as work comes."""
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0

    @property
    def threads(self) -> int:
        """How many threads exist."""
        return len(self._threads)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run *work* in a thread and give what it returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        if self._busy >= len(self._threads) and len(self._threads) < self._size:
            self._start()
        self._busy += 1
        self._jobs.put(_Job(work, loop, future, contextvars.copy_context()))
        try:
            return await future
        finally:
            self._busy -= 1

    def abandon(self) -> None:
        """Give up on one thread that does not return; another may take its place."""
        self._size += 1

    def close(self) -> None:
        """Let every thread end after what it is doing; waits for none."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                result, error = job.context.run(job.work), None
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits for it
                result, error = None, raised
            _deliver(job, result, error)


def _deliver(job: _Job, result: object, error: BaseException | None) -> None:
    def settle() -> None:
        if job.future.done():
            return
        if error is None:
            job.future.set_result(result)
        elif isinstance(error, (SystemExit, KeyboardInterrupt, StopIteration)):
            job.future.set_exception(RuntimeError(f"{type(error).__name__} in a handler"))
        else:
            job.future.set_exception(error)

    if not job.loop.is_closed():
        job.loop.call_soon_threadsafe(settle)

"""A small pool of daemon threads for ``def`` handlers and flushes.

Own, because `concurrent.futures.ThreadPoolExecutor` joins its threads when the interpreter exits,
even after ``shutdown(wait=False)``: one handler that never returns would keep the process alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


@attrs.define(eq=False)
class _Job:
    work: Callable[[], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    context: contextvars.Context
    is_given_up: bool = False  #: nobody waits any more; its thread is replaced


class DaemonPool:
    """Runs blocking work beside one event loop, on at most *size* threads."""

    def __init__(self, size: int, *, name: str) -> None:
        """Start no thread yet; they start as work comes."""
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self.flushes = 0  #: how many files and folders were flushed here

    @property
    def threads(self) -> int:
        """How many threads exist."""
        return len(self._threads)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run *work* in a thread and give what it returns or raises."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = loop.create_future()
        self._busy += 1
        self._grow()
        job = _Job(work, loop, future, contextvars.copy_context())
        self._jobs.put(job)
        try:
            return await future
        except asyncio.CancelledError:
            if not future.done() or future.cancelled():
                job.is_given_up = True
                self._size += 1  # its thread may never return: another takes its place
                self._grow()
            raise

    async def flush(self, work: Callable[[], None]) -> None:
        """Run one flush of a file or folder, and count it."""
        self.flushes += 1
        await self.run(work)

    def close(self) -> None:
        """Let every thread end after what it is doing; waits for none."""
        for _ in self._threads:
            self._jobs.put(None)
        self._threads.clear()

    def _grow(self) -> None:
        """Start a thread where there is more to do than threads, and room for one."""
        if not len(self._threads) < min(self._busy, self._size):
            return
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            result, error = None, None
            try:
                if not job.is_given_up:  # what nobody waits for any more does not begin
                    result = job.context.run(job.work)
            except BaseException as raised:  # noqa: BLE001 - handed to whoever waits for it
                error = raised
            self._deliver(job, result, error)

    def _deliver(self, job: _Job, result: object, error: BaseException | None) -> None:
        def settle() -> None:
            self._busy -= 1
            if job.is_given_up:
                self._size -= 1
                if len(self._threads) > self._size:
                    self._threads.pop()
                    self._jobs.put(None)
            if not job.future.done():
                _answer(job, result, error)

        if not job.loop.is_closed():
            with contextlib.suppress(RuntimeError):  # the loop closed just now
                job.loop.call_soon_threadsafe(settle)


def _answer(job: _Job, result: object, error: BaseException | None) -> None:
    """Hand over how the work ended; what would end a loop or an interpreter comes as an error."""
    if error is None:
        job.future.set_result(result)
    elif isinstance(error, (SystemExit, KeyboardInterrupt, StopIteration)):
        job.future.set_exception(RuntimeError(f"{type(error).__name__} in a handler"))
    else:
        job.future.set_exception(error)

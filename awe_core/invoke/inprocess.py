"""Runs handlers in this process: coroutines on the loop, anything else on daemon threads.

What it promises is written down honestly: nothing is enforced against hostile code, a thread that
does not return is abandoned.  Its context is closed first, so it can compute but no longer act.

The pool is our own, because `concurrent.futures.ThreadPoolExecutor` joins its threads when the
interpreter exits, even after ``shutdown(wait=False)``: one handler that never returns would keep
the process alive.
"""

from __future__ import annotations

import asyncio
import collections
import contextvars
import inspect
import logging
import queue
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from awe_core.context import AsyncExecutionContext, ExecutionContext

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping

    from awe_core.values import Json, JsonObject

_T = TypeVar("_T")
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())  # a program that wants to hear configures logging
_HOLDS_S = 0.1  #: how long a coroutine may keep every other run waiting

_asked = lru_cache(1024)(inspect.iscoroutinefunction)  # at every call of the same few handlers

#: What the in-process executor promises of each right (40, section 7): time and output are watched,
#: everything else rests on the people who put the pack on the root's ``inproc`` list.
PROMISES: Mapping[str, str] = {
    "fs_write": "NONE",
    "fs_read": "NONE",
    "fs_meta": "NONE",
    "net_host": "NONE",
    "exec": "NONE",
    "env": "NONE",
    "timeout": "DETECTED",
    "memory": "NONE",
    "output": "DETECTED",
    "orphan": "NONE",
    "cross_run": "NONE",
}


class InProcess:
    """The executor of the core: no isolation, for code that the root's signers vouch for."""

    name = "inproc"

    def __init__(self, pool: DaemonPool) -> None:
        """Run ``def`` handlers on the threads of *pool*."""
        self._pool = pool

    def probe(self) -> Mapping[str, str]:
        """Give the promises; there is nothing to try."""
        return PROMISES

    async def call(
        self, handler: Callable[..., Any], context: AsyncExecutionContext, arguments: JsonObject
    ) -> Json:
        """Run *handler* to its end.

        :raises BaseException: whatever the handler raised
        """
        if _is_async(handler):
            return await _Timed(handler(context, **arguments), context.step)
        waiting = ExecutionContext.bound(context, asyncio.get_running_loop())
        return await self._pool.run(lambda: handler(waiting, **arguments))


class _Timed:
    """A coroutine of a handler that is named in the log when it holds the loop too long."""

    def __init__(self, inner: Coroutine[Any, Any, Json], step: str) -> None:
        """Await *inner*, which works for *step*."""
        self._inner, self._step = inner, step

    def __await__(self) -> Generator[Any, Any, Json]:
        advance, given = self._inner.send, None
        while True:
            began = time.perf_counter()
            try:
                found = advance(given)
            except StopIteration as end:
                return end.value
            finally:
                if (held_s := time.perf_counter() - began) > _HOLDS_S:
                    _LOG.warning(
                        "step %s held the event loop for %.0f ms: what blocks belongs into a"
                        " def handler",
                        self._step,
                        held_s * 1000,
                    )
            try:
                advance, given = self._inner.send, (yield found)
            except BaseException as raised:  # noqa: BLE001 - passed on, a cancellation too
                advance, given = self._inner.throw, raised


def _is_async(handler: Callable[..., Any]) -> bool:
    try:
        return _asked(handler)
    except TypeError:  # it has no hash
        return inspect.iscoroutinefunction(handler)


_ENDING = (SystemExit, KeyboardInterrupt, StopIteration, GeneratorExit)


@attrs.define(eq=False)
class _Job:
    work: Callable[[], Any]
    future: asyncio.Future[Any]
    context: contextvars.Context = attrs.field(factory=contextvars.copy_context)
    is_given_up: bool = False  #: nobody waits any more; its thread is replaced
    result: object = None
    error: BaseException | None = None

    def do(self) -> None:
        try:
            if not self.is_given_up:  # what nobody waits for any more does not begin
                self.result = self.context.run(self.work)
        except BaseException as raised:  # noqa: BLE001 - handed to whoever waits for it
            self.error = raised

    def answer(self) -> None:
        """Hand over how it ended; what would end a loop, task or interpreter comes as an error."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        elif isinstance(self.error, _ENDING):
            name = type(self.error).__name__
            self.future.set_exception(RuntimeError(f"{name} in a handler"))
        else:
            self.future.set_exception(self.error)


class DaemonPool:
    """Runs blocking work beside one event loop, on at most *size* threads."""

    def __init__(self, size: int, *, name: str) -> None:
        """Start no thread yet; they start as work comes."""
        self._size = size
        self._name = name
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._done: collections.deque[_Job] = collections.deque()
        self._told: asyncio.AbstractEventLoop | None = None  #: will take what is done
        self._threads: list[threading.Thread] = []
        self._busy = 0
        self.flushes = 0  #: how many files and folders were flushed here

    @property
    def threads(self) -> int:
        """How many threads exist."""
        return len(self._threads)

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run *work* in a thread and give what it returns or raises."""
        future: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        self._busy += 1
        self._grow()
        job = _Job(work, future)
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
        if len(self._threads) < min(self._busy, self._size):
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._serve, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job.do()
            self._done.append(job)
            loop = job.future.get_loop()
            if self._told is not loop:  # one call takes all that is done until it runs
                self._told = loop
                try:
                    loop.call_soon_threadsafe(self._settle)
                except RuntimeError:  # the loop is closed: nobody waits any more
                    self._told = None

    def _settle(self) -> None:
        self._told = None
        while self._done:
            job = self._done.popleft()
            self._busy -= 1
            if job.is_given_up:
                self._size -= 1
                if len(self._threads) > self._size:
                    self._threads.pop()
                    self._jobs.put(None)
            if not job.future.get_loop().is_closed():
                job.answer()

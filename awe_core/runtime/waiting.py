"""`Runtime`: the SDK for programs without an event loop; every call waits on one owned loop.

The methods are those of `AsyncRuntime`; a test compares the two by introspection.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from awe_core.config import load_config
from awe_core.errors import UsageError
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.owner import open_door
from awe_core.runtime.requests import default_actor
from awe_core.runtime.runtime import AsyncRuntime
from awe_core.runtime.terminating import EXIT_CODE, Termination

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

    from awe_core.config import Config
    from awe_core.events import Actor
    from awe_core.journal import SealedRecord
    from awe_core.values import Json

_T = TypeVar("_T")


class Loop:
    """An event loop on a thread of its own."""

    def __init__(self) -> None:
        """Start the thread."""
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        self._thread = threading.Thread(target=self._loop.run_forever, name="awe-loop", daemon=True)
        self._thread.start()

    def wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run *work* on the loop and wait for it; an interrupt cancels it.

        :raises UsageError: ``sdk.sync_in_loop`` ``sdk.forked`` ``sdk.closed``
        """
        future = self._begun(work)
        try:
            return future.result()
        except (KeyboardInterrupt, SystemExit):
            future.cancel()
            raise

    def _begun(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        is_in_loop = asyncio._get_running_loop() is not None  # noqa: SLF001 - public, and asks without raising
        for wrong, code in (
            (os.getpid() != self._pid, "sdk.forked"),
            (is_in_loop, "sdk.sync_in_loop"),
            (self._loop.is_closed(), "sdk.closed"),
        ):
            if wrong:
                work.close()
                raise UsageError(code)
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Wait for *last* and end the thread; an interrupt leaves both to themselves."""
        if last is not None:
            future = self._begun(last)
            try:
                future.result()
            except Exception:
                self.close()
                raise
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


class _Waiting:
    """Calls the methods of an async object and waits; wraps handles on the way out."""

    def __init__(self, inner: Any, loop: Loop) -> None:  # noqa: ANN401 - the async twin
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of the async twin
        found = getattr(self._inner, name)
        return self._waiting(found) if callable(found) else found

    def _waiting(self, found: Callable[..., Any]) -> Callable[..., Any]:
        async def on_loop(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's method
            """Also what does not wait runs there: the journal's connection belongs to the loop."""
            answer = found(*args, **kwargs)
            return await answer if asyncio.iscoroutine(answer) else answer

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's method
            answer = self._loop.wait(on_loop(*args, **kwargs))
            return RunHandle(answer, self._loop) if isinstance(answer, AsyncRunHandle) else answer

        return call


class RunHandle(_Waiting):
    """One run, wherever it is driven; see `AsyncRunHandle`."""

    def events(self, after: int = -1, *, follow: bool = True) -> Iterator[SealedRecord]:
        """Give the run's records after position *after*; with *follow* until it has closed."""
        records = self._inner.events(after, follow=follow)

        async def following() -> SealedRecord | None:
            return await anext(records, None)

        while (record := self._loop.wait(following())) is not None:
            yield record


class Runtime(_Waiting):
    """One deployment, for programs without an event loop; see `AsyncRuntime`."""

    @classmethod
    def open(
        cls,
        config: Path | str | None = None,
        *,
        home: Path | str | None = None,
        actor: Actor | None = None,
        observer: bool = False,
        flags: Mapping[str, Json] | None = None,
    ) -> Opener:
        """Open a deployment: ``with`` gives a `Runtime`, ``async with`` an `AsyncRuntime`.

        :param config: ``awe.yaml``; None looks for one from the current folder upwards
        :param home: instead of the one ``awe.yaml`` names
        :param actor: who acts; None: the person who runs this process
        :param observer: only read; no lock, no engine
        :param flags: settings by dotted key that win over all others
        """
        more = {} if home is None else {"home": str(home)}
        return Opener(config, actor, observer, {**(flags or {}), **more})

    def facade(self, name: str) -> Callable[..., Json]:
        """Give an ACTIVE facade as a function."""
        return self._waiting(self._inner.facade(name))


@attrs.define(eq=False)
class Opener:
    """What `Runtime.open` returns: enter it with ``with`` or ``async with``."""

    _config: Path | str | None
    _actor: Actor | None
    _observer: bool
    _flags: Mapping[str, Json]
    _runtime: AsyncRuntime | None = attrs.field(default=None, init=False)
    _loop: Loop | None = attrs.field(default=None, init=False)
    _leaving: AbstractContextManager[object] = attrs.field(factory=nullcontext, init=False)

    def resolved(self) -> Config:
        """Read the settings."""
        file = None if self._config is None else Path(self._config)
        return load_config(file, flags=self._flags, environ=os.environ)

    async def _opened(self) -> AsyncRuntime:
        door = await open_door(self.resolved(), is_observer=self._observer)
        self._runtime = AsyncRuntime(door, self._who())
        return self._runtime

    def _who(self) -> Actor:
        """Whoever else the program names is asserted by it, so their word proves little."""
        here, asked = default_actor(), self._actor
        if asked is None:
            return here
        is_here = attrs.evolve(here, via=asked.via) == asked
        return asked if is_here else attrs.evolve(asked, assurance="relayed")

    async def __aenter__(self) -> AsyncRuntime:
        """Open."""
        runtime, task = await self._opened(), asyncio.current_task()
        if runtime.role == "owner" and task is not None:
            loop = asyncio.get_running_loop()
            self._leaving = Termination(lambda: loop.call_soon_threadsafe(task.cancel))
        return runtime

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close; whoever is interrupted waits for nothing that takes long."""
        with self._leaving:
            if self._runtime is not None:
                await self._runtime.close(is_hurried=_is_interrupt(kind))

    def __enter__(self) -> Runtime:
        """Open on a loop of its own."""
        self._loop = Loop()
        try:
            runtime = self._loop.wait(self._opened())
        except Exception:
            self._loop.close()
            raise
        if runtime.role == "owner":
            self._leaving = Termination(lambda: sys.exit(EXIT_CODE))
        return Runtime(runtime, self._loop)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close, and end the loop."""
        with self._leaving:
            if self._loop is not None and self._runtime is not None:
                self._loop.close(self._runtime.close(is_hurried=_is_interrupt(kind)))


def _is_interrupt(kind: type[BaseException] | None) -> bool:
    return kind is not None and not issubclass(kind, Exception)

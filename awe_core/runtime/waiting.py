"""`Runtime`: the SDK for programs without an event loop; every call waits on one owned loop.

The methods are those of `AsyncRuntime`; a test compares the two by introspection.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from awe_core.errors import UsageError
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.runtime import AsyncOpener, AsyncRuntime

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
    from pathlib import Path

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

        :raises UsageError: ``sdk.sync_in_loop`` ``sdk.forked``
        """
        if os.getpid() != self._pid:
            work.close()
            raise UsageError("sdk.forked")
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            work.close()
            raise UsageError("sdk.sync_in_loop")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    def close(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=5)
        self._loop.close()


class _Waiting:
    """Calls the methods of an async object and waits; wraps handles on the way out."""

    def __init__(self, inner: object, loop: Loop) -> None:
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of the async twin
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        async def on_loop(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's method
            """Also what does not wait runs there: the journal's connection belongs to the loop."""
            answer = found(*args, **kwargs)
            return await answer if asyncio.iscoroutine(answer) else answer

        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the twin's method
            return _wrapped(self._loop.wait(on_loop(*args, **kwargs)), self._loop)

        return call


class RunHandle(_Waiting):
    """One run, wherever it is driven; see `AsyncRunHandle`."""

    def events(self, after: int = -1, *, follow: bool = True) -> Iterator[SealedRecord]:
        """Give the run's records after position *after*; with *follow* until it has closed."""
        records = self._inner.events(after, follow=follow)  # type: ignore[attr-defined]  # a handle
        while (record := self._loop.wait(_next(records))) is not None:
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
        return Opener(config, home, actor, observer, flags or {})

    def facade(self, name: str) -> Any:  # noqa: ANN401 - a function of the facade's own inputs
        """Give an ACTIVE facade as a function."""
        called = self._inner.facade(name)  # type: ignore[attr-defined]  # a runtime

        def call(**inputs: Json) -> Json:
            return self._loop.wait(called(**inputs))

        return call


class Opener(AsyncOpener):
    """What `Runtime.open` returns: enter it with ``with`` or ``async with``."""

    _loop: Loop | None = None

    def __enter__(self) -> Runtime:
        """Open on a loop of its own."""
        self._loop = Loop()
        try:
            return Runtime(self._loop.wait(self.__aenter__()), self._loop)
        except BaseException:
            self._loop.close()
            raise

    def __exit__(self, *found: object) -> None:
        """Close, and end the loop."""
        if self._loop is not None:
            try:
                self._loop.wait(self.__aexit__(*found))
            finally:
                self._loop.close()


async def _next(records: AsyncIterator[SealedRecord]) -> SealedRecord | None:
    return await anext(records, None)


def _wrapped(answer: Any, loop: Loop) -> Any:  # noqa: ANN401 - whatever a method returned
    if isinstance(answer, AsyncRunHandle):
        return RunHandle(answer, loop)
    if isinstance(answer, AsyncRuntime):
        return Runtime(answer, loop)
    return answer

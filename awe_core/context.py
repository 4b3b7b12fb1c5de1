"""What a handler sees of the world: thin faces over one broker.

``def`` handlers get `ExecutionContext`, ``async def`` handlers `AsyncExecutionContext`: the same
names, the second awaitable.  Neither holds a right of its own; every call goes to the `Broker`,
which checks, records and performs it.  A worker process uses the same faces over its channel.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import attrs

from awe_core.errors import WiringError
from awe_core.events import Actor
from awe_core.files import FileEntry, FileResult

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from awe_core.values import JsonObject

_T = TypeVar("_T")


class Broker(Protocol):
    """Performs effects for one attempt of one step; every method may raise `EffectError`."""

    async def read(self, path: str) -> bytes:
        """Give the bytes of a file (``fs.read``)."""

    async def list(self, path: str) -> tuple[FileEntry, ...]:
        """Give the entries of a directory, sorted by name (``fs.list``)."""

    async def stat(self, path: str) -> FileEntry | None:
        """Describe one name, or None where there is nothing (``fs.list``)."""

    async def glob(self, pattern: str) -> tuple[FileEntry, ...]:
        """Give what matches, sorted by path (``fs.list``)."""

    async def write(
        self, path: str, data: bytes, *, mode: str, expect: str | None, parents: bool
    ) -> FileResult:
        """Create or replace a file (``fs.write``)."""

    async def append(self, path: str, data: bytes) -> FileResult:
        """Add to the end of a file (``fs.write``)."""

    async def mkdir(self, path: str, *, parents: bool) -> None:
        """Make a directory (``fs.write``)."""

    async def move(self, source: str, target: str) -> None:
        """Rename without replacing (``fs.write`` on both ends)."""

    async def delete(self, path: str, *, recursive: bool) -> None:
        """Remove a file, or with *recursive* a directory (``fs.delete``)."""

    async def now_us(self) -> int:
        """Give the wall clock in microseconds; recorded (``clock``)."""

    async def random(self, size: int) -> bytes:
        """Give random bytes; recorded (``random``)."""

    async def env(self, name: str) -> str:
        """Give a key of the pack's deployment config; recorded (``env.read``)."""

    async def sleep(self, seconds: float) -> None:
        """Wait, ending early when the context is closed."""

    def log(self, level: str, text: str, fields: JsonObject) -> None:
        """Add a line to the step's diagnostics."""


@attrs.frozen(kw_only=True)
class Attempt:
    """Which attempt of which step a context belongs to."""

    run_id: str
    step: str
    number: int  #: from 1, counting on across epochs
    idempotency_key: str
    deadline_us: int  #: wall clock
    is_dry: bool = False


class _Faces:
    """What both contexts know without asking the broker."""

    def __init__(self, broker: Broker, attempt: Attempt, actor: Actor | None) -> None:
        self._broker = broker
        self._attempt = attempt
        self.actor = actor  #: who asked for the run

    @property
    def run_id(self) -> str:
        """The run this call belongs to."""
        return self._attempt.run_id

    @property
    def step(self) -> str:
        """The step's path."""
        return self._attempt.step

    @property
    def attempt(self) -> int:
        """The attempt, from 1."""
        return self._attempt.number

    @property
    def idempotency_key(self) -> str:
        """The step's key: equal over attempts and restarts."""
        return self._attempt.idempotency_key

    @property
    def deadline_us(self) -> int:
        """When this attempt times out, wall clock in microseconds."""
        return self._attempt.deadline_us

    @property
    def dry_run(self) -> bool:
        """Whether effects go to an overlay."""
        return self._attempt.is_dry

    def log(self, level: str, text: str, **fields: object) -> None:
        """Add a line to the step's diagnostics; redacted and limited, never the audit trail."""
        self._broker.log(level, text, dict(fields))


class AsyncFiles:
    """``ctx.fs`` of an ``async def`` handler."""

    def __init__(self, broker: Broker) -> None:
        """Speak to *broker*."""
        self._broker = broker

    async def read_text(self, path: str, encoding: str = "utf-8") -> str:
        """Read a text file; undecodable bytes raise `UnicodeDecodeError`."""
        return (await self._broker.read(path)).decode(encoding)

    async def read_bytes(self, path: str) -> bytes:
        """Read a file."""
        return await self._broker.read(path)

    async def write_text(
        self,
        path: str,
        text: str,
        *,
        mode: str = "upsert",
        expect: str | None = None,
        parents: bool = False,
    ) -> FileResult:
        """Write a UTF-8 text file; *mode* is create, replace or upsert."""
        data = text.encode()
        return await self._broker.write(path, data, mode=mode, expect=expect, parents=parents)

    async def write_bytes(
        self,
        path: str,
        data: bytes,
        *,
        mode: str = "upsert",
        expect: str | None = None,
        parents: bool = False,
    ) -> FileResult:
        """Write a file; with *expect* only if it now has that hex SHA-256."""
        return await self._broker.write(path, data, mode=mode, expect=expect, parents=parents)

    async def append(self, path: str, data: bytes | str) -> FileResult:
        """Add to the end of a file."""
        return await self._broker.append(path, data.encode() if isinstance(data, str) else data)

    async def mkdir(self, path: str, *, parents: bool = False) -> None:
        """Make a directory, with *parents* also those above it."""
        await self._broker.mkdir(path, parents=parents)

    async def move(self, source: str, target: str) -> None:
        """Rename; an existing target is never replaced."""
        await self._broker.move(source, target)

    async def delete(self, path: str, *, recursive: bool = False) -> None:
        """Remove a file (a symlink as itself), or with *recursive* a directory."""
        await self._broker.delete(path, recursive=recursive)

    async def list(self, path: str = ".") -> tuple[FileEntry, ...]:
        """Give the entries of a directory, sorted by name."""
        return await self._broker.list(path)

    async def stat(self, path: str) -> FileEntry | None:
        """Describe one name, or None where there is nothing."""
        return await self._broker.stat(path)

    async def glob(self, pattern: str) -> tuple[FileEntry, ...]:
        """Give what matches *pattern*, sorted by path."""
        return await self._broker.glob(pattern)


class AsyncClock:
    """``ctx.clock`` of an ``async def`` handler."""

    def __init__(self, broker: Broker) -> None:
        """Speak to *broker*."""
        self._broker = broker

    async def now(self) -> int:
        """Give the wall clock in microseconds; a repeat gets the recorded value."""
        return await self._broker.now_us()

    async def sleep(self, seconds: float) -> None:
        """Wait without holding a thread."""
        await self._broker.sleep(seconds)


class AsyncRandom:
    """``ctx.random`` of an ``async def`` handler."""

    def __init__(self, broker: Broker) -> None:
        """Speak to *broker*."""
        self._broker = broker

    async def bytes(self, size: int) -> bytes:
        """Give random bytes; a repeat gets the recorded ones."""
        return await self._broker.random(size)

    async def uuid(self) -> str:
        """Give a random UUID (RFC 9562, version 4)."""
        return str(uuid.UUID(bytes=await self._broker.random(16), version=4))


class AsyncExecutionContext(_Faces):
    """What an ``async def`` handler gets as its first argument."""

    def __init__(self, broker: Broker, attempt: Attempt, actor: Actor | None = None) -> None:
        """Build the faces of one attempt."""
        super().__init__(broker, attempt, actor)
        self.fs = AsyncFiles(broker)
        self.clock = AsyncClock(broker)
        self.random = AsyncRandom(broker)

    async def env(self, name: str) -> str:
        """Give a key of this pack's table under ``config:``."""
        return await self._broker.env(name)


class _Waiting:
    """An async face whose coroutines are run on the engine's loop while this thread waits."""

    def __init__(self, face: object, loop: asyncio.AbstractEventLoop) -> None:
        self._face = face
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method of the face, whichever it is
        method = getattr(self._face, name)

        def call(*args: object, **kwargs: object) -> object:
            return _wait(method(*args, **kwargs), self._loop)

        return call


def _wait(coroutine: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> _T:
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    except RuntimeError:  # the loop is closed: the engine is gone, and this thread outlived it
        coroutine.close()
        raise


class ExecutionContext:
    """Who acts where: what a ``def`` handler gets, and what a program hands to a workflow engine.

    A program builds one with an *actor* and a *workspace*; it holds no right to effects.  The one a
    handler gets is bound to its step and has ``fs``, ``clock``, ``random`` and ``env`` like
    `AsyncExecutionContext`, without ``await``.
    """

    def __init__(self, *, actor: Actor, workspace: object = None) -> None:
        """Name who acts, and where."""
        self.actor = actor
        self.workspace = workspace

    @classmethod
    def bound(
        cls, inner: AsyncExecutionContext, loop: asyncio.AbstractEventLoop
    ) -> ExecutionContext:
        """Give the waiting twin of *inner* for a handler that runs in a thread."""
        actor = inner.actor or Actor("service", "engine")
        return _BoundContext(inner, loop, actor)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - there is none: it always raises
        if name.startswith("_"):
            raise AttributeError(name)
        raise WiringError("wiring.no_step", name=name)


class _BoundContext(ExecutionContext):
    """The context of one attempt, for a thread."""

    def __init__(
        self, inner: AsyncExecutionContext, loop: asyncio.AbstractEventLoop, actor: Actor
    ) -> None:
        super().__init__(actor=actor)
        self._inner = inner
        self._loop = loop
        self.fs = _Waiting(inner.fs, loop)
        self.clock = _Waiting(inner.clock, loop)
        self.random = _Waiting(inner.random, loop)

    def env(self, name: str) -> str:
        """Give a key of this pack's table under ``config:``."""
        return _wait(self._inner.env(name), self._loop)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of the inner context
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)


__all__ = [
    "AsyncExecutionContext",
    "Attempt",
    "Broker",
    "ExecutionContext",
    "FileEntry",
    "FileResult",
]

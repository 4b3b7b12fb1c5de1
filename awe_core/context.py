"""What a handler sees of the world: thin faces over one broker.

``def`` handlers get `ExecutionContext`, ``async def`` handlers `AsyncExecutionContext`: the same
names, the second awaitable.  Neither holds a right of its own; every call goes to the `Broker`,
which checks, records and performs it.  A worker process uses the same faces over its channel.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from awe_core.errors import WiringError
from awe_core.events import Actor
from awe_core.files import FileEntry, FileResult

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from awe_core.values import JsonObject


class Broker(Protocol):
    """Performs effects for one attempt of one step; every method may raise `EffectError`."""

    async def read(self, path: str) -> bytes:
        """``fs.read``."""

    async def list(self, path: str) -> tuple[FileEntry, ...]:
        """``fs.list``."""

    async def stat(self, path: str) -> FileEntry | None:
        """``fs.list``; None where there is nothing."""

    async def glob(self, pattern: str) -> tuple[FileEntry, ...]:
        """``fs.list``."""

    async def write(
        self, path: str, data: bytes, *, mode: str, expect: str | None, parents: bool
    ) -> FileResult:
        """``fs.write``."""

    async def append(self, path: str, data: bytes) -> FileResult:
        """``fs.write``."""

    async def mkdir(self, path: str, *, parents: bool) -> None:
        """``fs.write``."""

    async def move(self, source: str, target: str) -> None:
        """``fs.write`` on both ends."""

    async def delete(self, path: str, *, recursive: bool) -> None:
        """``fs.delete``."""

    async def now_us(self) -> int:
        """``clock``."""

    async def sleep(self, seconds: float) -> None:
        """``clock``; ends early when the context is closed."""

    async def random(self, size: int) -> bytes:
        """``random``."""

    async def env(self, name: str) -> str:
        """``env.read``."""

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


@attrs.frozen
class AsyncFiles:
    """``ctx.fs`` of an ``async def`` handler; paths are relative to the workspace."""

    _broker: Broker

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


@attrs.frozen
class AsyncClock:
    """``ctx.clock`` of an ``async def`` handler."""

    _broker: Broker

    async def now(self) -> int:
        """Give the wall clock in microseconds; a repeat gets the recorded value."""
        return await self._broker.now_us()

    async def sleep(self, seconds: float) -> None:
        """Wait without holding a thread."""
        await self._broker.sleep(seconds)


@attrs.frozen
class AsyncRandom:
    """``ctx.random`` of an ``async def`` handler."""

    _broker: Broker

    async def bytes(self, size: int) -> bytes:
        """Give random bytes; a repeat gets the recorded ones."""
        return await self._broker.random(size)

    async def uuid(self) -> str:
        """Give a random UUID (RFC 9562, version 4)."""
        return str(uuid.UUID(bytes=await self._broker.random(16), version=4))


class AsyncExecutionContext:
    """What an ``async def`` handler gets as its first argument."""

    def __init__(self, broker: Broker, attempt: Attempt, actor: Actor | None = None) -> None:
        """Build the faces of one attempt."""
        self._broker = broker
        self.fs = AsyncFiles(broker)
        self.clock = AsyncClock(broker)
        self.random = AsyncRandom(broker)
        self.actor = actor  #: who asked for the run
        self.run_id = attempt.run_id
        self.step = attempt.step  #: its path
        self.attempt = attempt.number  #: from 1
        self.idempotency_key = attempt.idempotency_key  #: equal over attempts and restarts
        self.deadline_us = attempt.deadline_us  #: wall clock in microseconds
        self.dry_run = attempt.is_dry  #: whether effects go to an overlay

    def log(self, level: str, text: str, **fields: object) -> None:
        """Add a line to the step's diagnostics; redacted and limited, never the audit trail."""
        self._broker.log(level, text, dict(fields))

    async def env(self, name: str) -> str:
        """Give a key of this pack's table under ``config:``."""
        return await self._broker.env(name)


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
        return _BoundContext(inner, loop)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - there is none: it always raises
        if name.startswith("_"):
            raise AttributeError(name)
        raise WiringError("wiring.no_step", name=name)


class _BoundContext(ExecutionContext):
    """The context of one attempt, for a thread."""

    def __init__(self, inner: AsyncExecutionContext, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(actor=inner.actor or Actor("service", "engine"))
        self._inner = inner
        self._loop = loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - an attribute of the inner context
        if name.startswith("_"):
            raise AttributeError(name)
        if name == "env":
            return _Waiting(self._inner, self._loop).env
        found = getattr(self._inner, name)
        is_face = isinstance(found, (AsyncFiles, AsyncClock, AsyncRandom))
        return _Waiting(found, self._loop) if is_face else found


@attrs.frozen
class _Waiting:
    """An async face whose coroutines are run on the engine's loop while this thread waits."""

    _face: object
    _loop: asyncio.AbstractEventLoop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - a method of the face, whichever it is
        method = getattr(self._face, name)

        def call(*args: object, **kwargs: object) -> object:
            work: Coroutine[Any, Any, object] = method(*args, **kwargs)
            try:
                return asyncio.run_coroutine_threadsafe(work, self._loop).result()
            except RuntimeError:  # the loop is closed: the engine is gone, this thread outlived it
                work.close()
                raise

        return call


__all__ = [
    "AsyncExecutionContext",
    "Attempt",
    "Broker",
    "ExecutionContext",
    "FileEntry",
    "FileResult",
]

"""The control socket: how other processes reach the one that owns a home.

``<home>/control.sock`` is a Unix socket of mode 0600; the peer's user id is checked.  A guest asks
by method and parameters and gets a result or an error in the words of `AweError`.  Socket paths
end at 108 bytes, so both sides go through the home's directory descriptor.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
import struct
from typing import TYPE_CHECKING, Any

import attrs

from awe_core import errors
from awe_core.errors import AweError, EngineError, UsageError
from awe_core.runtime import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from awe_core.values import Json, JsonObject

NAME = "control.sock"


@attrs.frozen
class Server:
    """The owner's side."""

    _server: asyncio.Server
    _home: Path

    @classmethod
    async def start(
        cls, home: Path, answer: Callable[[str, JsonObject], Awaitable[Json]]
    ) -> Server:
        """Listen in *home*; *answer* gets each method and its parameters."""
        path = home / NAME
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _short(home) as short:
            before = os.umask(0o177)
            try:
                listening.bind(f"{short}/{NAME}")
            finally:
                os.umask(before)
        listening.listen(64)
        listening.setblocking(False)  # noqa: FBT003 - the standard library's signature

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await _serve(reader, writer, answer)

        return cls(await asyncio.start_unix_server(serve, sock=listening), home)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            (self._home / NAME).unlink()


class Client:
    """A guest's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over an open connection; one question at a time waits for its answer."""
        self._reader = reader
        self._writer = writer
        self._streams = itertools.count(1)
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, home: Path) -> Client:
        """Reach the owner of *home*.

        :raises EngineError: ``engine.no_owner`` when nobody listens
        """
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(home) as short:
                connecting.connect(f"{short}/{NAME}")
        except OSError as error:
            connecting.close()
            why = error.strerror or type(error).__name__
            raise EngineError("engine.no_owner", home=home, why=why) from None
        connecting.setblocking(False)  # noqa: FBT003 - the standard library's signature
        return cls(*await asyncio.open_unix_connection(sock=connecting))

    async def ask(self, method: str, params: JsonObject) -> Json:
        """Ask the owner and give its answer.

        :raises AweError: the owner's own error, by code and words
        """
        async with self._turn:
            stream = next(self._streams)
            asked = frames.pack(stream, {"method": method, "params": params})
            found = None
            with contextlib.suppress(ConnectionError):  # the owner is gone, as is its answer
                self._writer.write(asked)
                await self._writer.drain()
                found = await frames.read(self._reader)
        if found is None or found[0] != stream:
            raise EngineError("engine.owner_gone", method=method)
        if "error" in found[1]:
            raise _error(found[1]["error"])
        return found[1].get("result")

    async def close(self) -> None:
        """End the connection."""
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def _serve(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    answer: Callable[[str, JsonObject], Awaitable[Json]],
) -> None:
    try:
        if _peer(writer) != os.geteuid():
            return
        while (found := await frames.read(reader)) is not None:
            stream, message = found
            writer.write(frames.pack(stream, await _answered(message, answer)))
            await writer.drain()
    except (EngineError, ConnectionError):
        return
    finally:
        writer.close()


async def _answered(
    message: JsonObject, answer: Callable[[str, JsonObject], Awaitable[Json]]
) -> JsonObject:
    try:
        return {"result": await answer(str(message.get("method")), message.get("params") or {})}
    except AweError as error:
        shown = {k: v for k, v in error.attributes.items() if isinstance(v, (str, int))}
        kind = type(error).__name__
        return {"error": {**error.as_json(), "class": kind, "attributes": shown}}
    except (
        KeyError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:  # a question of no known form
        why = f"{type(error).__name__}: {error}"
        wrong = UsageError("run.request", verb=str(message.get("method"))[:80], why=why[:200])
        return {"error": {**wrong.as_json(), "class": "UsageError", "attributes": {}}}


def _error(found: JsonObject) -> AweError:
    """Build the owner's error again; its sentences are the owner's, word for word."""
    kind = getattr(errors, str(found.get("class")), AweError)
    known = found["code"] in errors.CATALOGUE and issubclass(kind, AweError)
    if known:
        with contextlib.suppress(KeyError, TypeError):
            attributes: dict[str, Any] = dict(found["attributes"])
            return kind(found["code"], details=found["details"], **attributes)
    return EngineError("engine.owner_refused", code=found["code"], message=found["message"])


def _peer(writer: asyncio.StreamWriter) -> int:
    """Give the user id of the process on the other side (Linux: SO_PEERCRED)."""
    connection = writer.get_extra_info("socket")
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack(
        "3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    )
    return int(uid)


@contextlib.contextmanager
def _short(home: Path) -> Iterator[str]:
    """Give a short name of *home*, whatever the length of its path."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}" if os.path.isdir("/proc/self/fd") else str(home)  # noqa: PTH112 - no Path needed
    finally:
        os.close(descriptor)

"""The control socket: how other processes reach the one that owns a home.

``<home>/control.sock`` has mode 0600 and the peer's user id is checked.  Socket paths end at 108
bytes, so both sides go through the home's directory descriptor.  A frame is ``u32 length, u8 kind,
u32 stream`` (big-endian) and a body; kind 1 is one JSON object of at most 1 MiB and 64 levels, read
strictly (40-effects-and-isolation, section 7).  The stream number pairs answer and question.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import socket
import struct
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core import canonical, errors
from awe_core.errors import AweError, EngineError, UsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from awe_core.values import Json, JsonObject

    Answerer: TypeAlias = Callable[[str, JsonObject], Awaitable[Json]]

NAME = "control.sock"
_HEAD = struct.Struct(">IBI")
_PEER = struct.Struct("3i")
_JSON = 1
_LONGEST = 1_048_576
_DEEPEST = 64


@attrs.frozen
class Server:
    """The owner's side."""

    _server: asyncio.Server
    _home: Path

    @classmethod
    async def start(cls, home: Path, answer: Answerer) -> Server:
        """Listen in *home*; *answer* gets each method and its parameters."""
        (home / NAME).unlink(missing_ok=True)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _address(home) as address:
            before = os.umask(0o177)
            try:
                listening.bind(address)
            finally:
                os.umask(before)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                if _peer(writer) != os.geteuid():
                    return
                while (found := await _read(reader)) is not None:
                    stream, message = found
                    writer.write(_frame(stream, await _answered(message, answer)))
                    await writer.drain()
            except (EngineError, ConnectionError):  # no guest of ours, or one that has gone
                return
            finally:
                writer.close()

        return cls(await asyncio.start_unix_server(serve, sock=listening), home)

    async def close(self) -> None:
        """Stop listening and remove the socket."""
        self._server.close()
        with contextlib.suppress(OSError):  # the disk may have turned read-only
            (self._home / NAME).unlink()


class Client:
    """A guest's side; one question at a time waits for its answer."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak over an open connection."""
        self._reader, self._writer = reader, writer
        self._streams = itertools.count(1)
        self._turn = asyncio.Lock()

    @classmethod
    async def connect(cls, home: Path) -> Client:
        """Reach the owner of *home*.

        :raises EngineError: ``engine.no_owner`` when nobody listens
        """
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _address(home) as address:
                connecting.connect(address)
        except OSError as error:
            connecting.close()
            why = error.strerror or type(error).__name__
            raise EngineError("engine.no_owner", home=home, why=why) from None
        return cls(*await asyncio.open_unix_connection(sock=connecting))

    async def ask(self, method: str, params: JsonObject) -> Json:
        """Ask the owner and give its answer.

        :raises AweError: the owner's own error, by code and words
        """
        async with self._turn:
            stream = next(self._streams)
            asked, found = _frame(stream, {"method": method, "params": params}), None
            with contextlib.suppress(ConnectionError):  # the owner is gone, as is its answer
                self._writer.write(asked)
                await self._writer.drain()
                found = await _read(self._reader)
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


def told(home: Path, method: str) -> Json:
    """Ask who owns *home*, from outside of any loop; None where nobody does."""

    async def asked() -> Json:
        client = await Client.connect(home)
        try:
            return await client.ask(method, {})
        finally:
            await client.close()

    with contextlib.suppress(EngineError):
        return asyncio.run(asked())
    return None


async def _answered(message: JsonObject, answer: Answerer) -> JsonObject:
    method = str(message.get("method"))
    try:
        return {"result": await answer(method, message.get("params") or {})}
    except (KeyError, TypeError, ValueError, AttributeError) as fault:  # of no known form
        why = f"{type(fault).__name__}: {fault}"[:200]
        error: AweError = UsageError("run.request", verb=method[:80], why=why)
    except AweError as known:
        error = known
    shown = {k: v for k, v in error.attributes.items() if isinstance(v, (str, int))}
    return {"error": {**error.as_json(), "class": type(error).__name__, "attributes": shown}}


def _error(found: JsonObject) -> AweError:
    """Build the owner's error again; its sentences are the owner's, word for word."""
    kind = getattr(errors, str(found.get("class")), AweError)
    if found["code"] in errors.CATALOGUE and issubclass(kind, AweError):
        with contextlib.suppress(KeyError, TypeError):
            known: AweError = kind(found["code"], details=found["details"], **found["attributes"])
            return known
    return EngineError("engine.owner_refused", code=found["code"], message=found["message"])


def _frame(stream: int, message: JsonObject) -> bytes:
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > _LONGEST:
        raise _bad(why=f"longer than {_LONGEST} bytes")
    return _HEAD.pack(len(body), _JSON, stream) + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, JsonObject] | None:
    """Read one frame; None at the end of the stream."""
    try:
        length, kind, stream = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if kind != _JSON or length > _LONGEST:
            raise _bad(why=f"kind {kind}, {length} bytes")
        body = await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    if canonical.nesting(body) > _DEEPEST:
        raise _bad(why=f"deeper than {_DEEPEST} levels")
    try:
        found = strict_json(body)
    except ValueError as error:
        raise _bad(why=str(error)) from None
    if not isinstance(found, dict):
        raise _bad(why="not an object")
    return stream, found


def strict_json(text: str | bytes) -> Json:
    """Read JSON; no key stands twice, and NaN is none.

    :raises ValueError: it is no JSON
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None  # noqa: TRY003 - becomes a reason


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")  # noqa: TRY003 - becomes a reason
    return found


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")  # noqa: EM102, TRY003 - becomes a reason


def _bad(*, why: str) -> EngineError:
    return EngineError("engine.control_frame", why=why)


def _peer(writer: asyncio.StreamWriter) -> int:
    """Give the user id of the process on the other side (Linux: SO_PEERCRED)."""
    connection = writer.get_extra_info("socket")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return int(_PEER.unpack(found)[1])


@contextlib.contextmanager
def _address(home: Path) -> Iterator[str]:
    """Give a short path of the socket, whatever the length of the home's."""
    descriptor = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{descriptor}"
        yield f"{short if os.path.isdir(short) else home}/{NAME}"  # noqa: PTH112 - a string is due
    finally:
        os.close(descriptor)

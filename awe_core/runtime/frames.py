"""The frames that a guest and the owner of a home exchange over the control socket.

A frame is ``u32 length, u8 kind, u32 stream`` (big-endian) and a body; kind 1 is one JSON object of
at most 1 MiB and 64 levels, read strictly (40-effects-and-isolation, section 7).  The stream number
pairs an answer with its question.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import TYPE_CHECKING

from awe_core.errors import EngineError

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject

_HEAD = struct.Struct(">IBI")
JSON = 1
LONGEST = 1_048_576
DEEPEST = 64


def pack(stream: int, message: JsonObject) -> bytes:
    """Write one JSON frame."""
    body = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
    if len(body) > LONGEST:
        raise EngineError("engine.control_frame", why=f"longer than {LONGEST} bytes")
    return _HEAD.pack(len(body), JSON, stream) + body


async def read(reader: asyncio.StreamReader) -> tuple[int, JsonObject] | None:
    """Read one frame; None at the end of the stream.

    :raises EngineError: ``engine.control_frame`` for anything else than a well-formed JSON frame
    """
    try:
        length, kind, stream = _HEAD.unpack(await reader.readexactly(_HEAD.size))
        if kind != JSON or length > LONGEST:
            raise EngineError("engine.control_frame", why=f"kind {kind}, {length} bytes")
        return stream, parse(await reader.readexactly(length))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def parse(body: bytes) -> JsonObject:
    """Read the JSON object of a frame, strictly."""
    if _depth(body) > DEEPEST:
        raise EngineError("engine.control_frame", why=f"deeper than {DEEPEST} levels")
    try:
        found = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ValueError as error:
        raise EngineError("engine.control_frame", why=str(error)) from None
    if not isinstance(found, dict):
        raise EngineError("engine.control_frame", why="not an object")
    return found


def _depth(body: bytes) -> int:
    """Bound the nesting without recursion; brackets in strings only make it stricter."""
    deepest = depth = 0
    for byte in body:
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")  # noqa: TRY003 - becomes the frame's reason
    return found


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no JSON")  # noqa: TRY003, EM102 - becomes the frame's reason

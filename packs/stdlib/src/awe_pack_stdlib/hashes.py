"""``hash.*``: digests of files."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext

_SLICE = 1 << 20  #: bytes hashed before others have their turn


async def sha256(ctx: AsyncExecutionContext, *, path: str) -> dict[str, Any]:
    """Digest a file with SHA-256 (FIPS 180-4)."""
    data = await ctx.fs.read_bytes(path)
    return {"path": path, "sha256": await _digest(data), "bytes": len(data)}


async def verify(ctx: AsyncExecutionContext, *, path: str, sha256: str) -> dict[str, Any]:
    """Compare a file's SHA-256 with an expected one."""
    found = await _digest(await ctx.fs.read_bytes(path))
    return {"path": path, "matches": hmac.compare_digest(found, sha256), "found": found}


async def _digest(data: bytes) -> str:
    found = hashlib.sha256()
    for start in range(0, len(data), _SLICE):
        if start:
            await asyncio.sleep(0)
        found.update(memoryview(data)[start : start + _SLICE])
    return found.hexdigest()

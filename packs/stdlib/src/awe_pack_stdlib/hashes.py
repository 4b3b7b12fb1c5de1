"""``hash.*``: digests of files."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext


async def sha256(ctx: AsyncExecutionContext, *, path: str) -> dict[str, Any]:
    """Digest a file with SHA-256 (FIPS 180-4)."""
    data = await ctx.fs.read_bytes(path)
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


async def verify(ctx: AsyncExecutionContext, *, path: str, sha256: str) -> dict[str, Any]:
    """Compare a file's SHA-256 with an expected one."""
    data = await ctx.fs.read_bytes(path)
    found = hashlib.sha256(data).hexdigest()
    return {"path": path, "matches": hmac.compare_digest(found, sha256), "found": found}

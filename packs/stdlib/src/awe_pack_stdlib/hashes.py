"""``hash.*``: digests of files; in a thread, so that the engine's loop need not wait."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from awe_core import ExecutionContext


def sha256(ctx: ExecutionContext, *, path: str) -> dict[str, Any]:
    """Digest a file with SHA-256 (FIPS 180-4)."""
    data = ctx.fs.read_bytes(path)
    return {"path": path, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def verify(ctx: ExecutionContext, *, path: str, sha256: str) -> dict[str, Any]:
    """Compare a file's SHA-256 with an expected one."""
    found = hashlib.sha256(ctx.fs.read_bytes(path)).hexdigest()
    return {"path": path, "matches": hmac.compare_digest(found, sha256), "found": found}

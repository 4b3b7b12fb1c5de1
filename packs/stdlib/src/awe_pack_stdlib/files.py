"""``fs.*``: files of the workspace, by the broker; every change can be taken back."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from awe_core import CapabilityError
from awe_pack_stdlib import diffs

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext, FileEntry

Output = dict[str, Any]


async def read_text(ctx: AsyncExecutionContext, *, path: str) -> Output:
    """Read a UTF-8 text file."""
    data = await ctx.fs.read_bytes(path)
    return {"path": path, "text": _decoded(path, data), "bytes": len(data)}


async def read_bytes(ctx: AsyncExecutionContext, *, path: str) -> Output:
    """Read a file as base64."""
    data = await ctx.fs.read_bytes(path)
    return {"path": path, "base64": base64.b64encode(data).decode(), "bytes": len(data)}


async def write_text(
    ctx: AsyncExecutionContext, *, path: str, text: str, mode: str, parents: bool
) -> Output:
    """Create or replace a UTF-8 text file."""
    done = await ctx.fs.write_text(path, text, mode=mode, parents=parents)
    return {"path": path, "bytes": done.size, "sha256": done.digest, "created": done.created}


async def write_bytes(
    ctx: AsyncExecutionContext, *, path: str, base64: str, mode: str, parents: bool
) -> Output:
    """Create or replace a file from base64."""
    data = _from_base64(base64)
    done = await ctx.fs.write_bytes(path, data, mode=mode, parents=parents)
    return {"path": path, "bytes": done.size, "sha256": done.digest, "created": done.created}


async def append_text(ctx: AsyncExecutionContext, *, path: str, text: str) -> Output:
    """Add text to the end of an existing file."""
    done = await ctx.fs.append(path, text)
    return {"path": path, "bytes": done.size, "sha256": done.digest}


async def copy(ctx: AsyncExecutionContext, *, source: str, target: str) -> Output:
    """Copy a file; an existing target is never replaced."""
    data = await ctx.fs.read_bytes(source)
    done = await ctx.fs.write_bytes(target, data, mode="create")
    return {"source": source, "target": target, "bytes": done.size, "sha256": done.digest}


async def move(ctx: AsyncExecutionContext, *, source: str, target: str) -> Output:
    """Rename a file or folder; an existing target is never replaced."""
    await ctx.fs.move(source, target)
    return {"source": source, "target": target}


async def delete(ctx: AsyncExecutionContext, *, path: str, recursive: bool) -> Output:
    """Remove a file, or with *recursive* a folder."""
    await ctx.fs.delete(path, recursive=recursive)
    return {"path": path}


async def make_dir(ctx: AsyncExecutionContext, *, path: str, parents: bool) -> Output:
    """Make a folder."""
    await ctx.fs.mkdir(path, parents=parents)
    return {"path": path}


async def list_dir(ctx: AsyncExecutionContext, *, path: str) -> Output:
    """List a folder."""
    return {"path": path, "entries": [_entry(e) for e in await ctx.fs.list(path)]}


async def stat(ctx: AsyncExecutionContext, *, path: str) -> Output:
    """Describe one name."""
    found = await ctx.fs.stat(path)
    return {"path": path, "exists": found is not None, "entry": found and _entry(found)}


async def find(ctx: AsyncExecutionContext, *, pattern: str) -> Output:
    """Find files and folders by pattern."""
    return {"pattern": pattern, "entries": [_entry(e) for e in await ctx.fs.glob(pattern)]}


async def patch(ctx: AsyncExecutionContext, *, path: str, diff: str) -> Output:
    """Apply a unified diff to one text file."""
    before = _decoded(path, await ctx.fs.read_bytes(path))
    after = diffs.apply(before, diff)
    done = await ctx.fs.write_text(path, after, mode="replace")
    return {"path": path, "bytes": done.size, "sha256": done.digest}


def _entry(found: FileEntry) -> Output:
    return {"path": found.path, "type": found.type, "bytes": found.size, "mtime_us": found.mtime_us}


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        message = f"{path} is no UTF-8 text (byte {error.start}); fs.read_bytes reads it"
        raise CapabilityError("not_text", message) from None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise CapabilityError("not_base64", "the content is no standard base64") from None

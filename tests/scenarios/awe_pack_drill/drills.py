"""The handlers.  They reach beyond the broker on purpose: to be steered by a test."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awe_core import CapabilityError

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext

Output = dict[str, Any]
_meetings: dict[str, asyncio.Barrier] = {}


def _used_up(token: str) -> bool:
    """Whether the token was still there; it is not any more."""
    try:
        Path(token).unlink()
    except FileNotFoundError:
        return False
    return True


async def flaky(ctx: AsyncExecutionContext, *, path: str, text: str, failures: list[str]) -> Output:
    """Append *text*, then fail as long as there is a token left to use up."""
    await ctx.fs.append(path, text)
    for token in failures:
        if _used_up(token):
            message = "the far side is busy"
            raise CapabilityError("busy", message, class_="unavailable")
    return {"path": path}


async def hold(ctx: AsyncExecutionContext, *, path: str, text: str, fifo: str) -> Output:
    """Write, then wait until whoever opened the FIFO has closed it."""
    await ctx.fs.write_text(path, text)
    await asyncio.to_thread(Path(fifo).read_bytes)
    return {"path": path}


def hold_thread(ctx: Any, *, path: str, text: str, fifo: str) -> Output:
    """Wait first, then write; in a thread, which nobody can cancel."""
    Path(fifo).read_bytes()
    ctx.fs.write_text(path, text)
    return {"path": path}


async def stubborn(ctx: AsyncExecutionContext, *, path: str, late: str, fifo: str) -> Output:
    """Write, wait for the FIFO, and when cancelled ask for one more effect."""
    await ctx.fs.write_text(path, "in time")
    try:
        await asyncio.to_thread(Path(fifo).read_bytes)
    except asyncio.CancelledError:
        await ctx.fs.write_text(late, "too late")
    return {"path": path}


async def engrave(ctx: AsyncExecutionContext, *, path: str, text: str) -> Output:
    """Write; the contract says that it cannot, or need not, be taken back."""
    await ctx.fs.write_text(path, text)
    return {"path": path}


async def die(ctx: AsyncExecutionContext, *, path: str, text: str, token: str) -> Output:
    """Write, then end the whole process, as long as the token exists."""
    await ctx.fs.write_text(path, text)
    if _used_up(token):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"path": path}


async def terminate(ctx: AsyncExecutionContext, *, path: str, text: str) -> Output:
    """Have the process told to end, and write once it has heard of it."""
    os.kill(os.getpid(), signal.SIGTERM)
    while signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)
    await ctx.fs.write_text(path, text)
    return {"path": path}


async def die_each_time(ctx: AsyncExecutionContext, *, path: str, text: str) -> Output:
    """Write, then end the whole process."""
    await ctx.fs.write_text(path, text)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def die_always(ctx: AsyncExecutionContext) -> Output:
    """End the whole process."""
    del ctx
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


async def meet(ctx: AsyncExecutionContext, *, first: str, second: str, gate: str) -> Output:
    """Write one file, wait for the other step that has the same gate, write another."""
    await ctx.fs.write_text(first, gate)
    await _meetings.setdefault(gate, asyncio.Barrier(2)).wait()
    await ctx.fs.write_text(second, gate)
    return {"first": first}


async def charge(  # noqa: PLR0913 - how it goes wrong, there and back
    ctx: AsyncExecutionContext,
    *,
    ledger: str,
    entry: str,
    death: str = "",
    failure: str = "",
    undo_death: str,
    undo_failure: str,
) -> Output:
    """Enter *entry* in a book of which nothing is ever rubbed out."""
    del undo_death, undo_failure  # for the call that takes it back
    written = await ctx.fs.append(ledger, f"+{entry}\n")
    if death and _used_up(death):
        os.kill(os.getpid(), signal.SIGKILL)
    if failure and _used_up(failure):
        message = "the far side is busy"
        raise CapabilityError("busy", message, class_="unavailable")
    return {"entry": entry, "size": written.size}


async def refund(
    ctx: AsyncExecutionContext, *, ledger: str, entry: str, death: str = "", failure: str = ""
) -> Output:
    """Enter that *entry* is taken back; twice under one key is once, as the broker answers it."""
    await ctx.fs.append(ledger, f"-{entry}\n")
    if death and _used_up(death):
        os.kill(os.getpid(), signal.SIGKILL)
    if failure not in {"", "breach"} and _used_up(failure):
        message = "the far side is busy"
        raise CapabilityError("busy", message)
    return {"entry": None if failure == "breach" else entry}


async def balance(ctx: AsyncExecutionContext, *, ledger: str, entry: str) -> Output:
    """Tell how often *entry* stands in the book, and as what effect if it does."""
    times = (await ctx.fs.read_text(ledger)).splitlines().count(f"+{entry}")
    return {"times": times, "effect": {"size": times} if times else None}

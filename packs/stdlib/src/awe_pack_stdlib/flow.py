"""``time.*``, ``id.*`` and ``flow.*``: the clock, identifiers, drills and gates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from awe_core import CapabilityError

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext


async def now(ctx: AsyncExecutionContext) -> dict[str, Any]:
    """Give the time, recorded."""
    at_us = await ctx.clock.now()
    text = datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"epoch_us": at_us, "utc": text}


async def sleep(ctx: AsyncExecutionContext, *, seconds: float) -> dict[str, Any]:
    """Wait without holding a thread."""
    await ctx.clock.sleep(seconds)
    return {"slept_us": round(seconds * 1_000_000)}


async def uuid(ctx: AsyncExecutionContext) -> dict[str, Any]:
    """Draw a random UUID, recorded."""
    return {"uuid": await ctx.random.uuid()}


async def fail(ctx: AsyncExecutionContext, *, message: str) -> dict[str, Any]:
    """Fail on purpose."""
    del ctx
    raise CapabilityError("flow_failed", message)


async def approve(ctx: AsyncExecutionContext, *, question: str) -> dict[str, Any]:
    """Pass, once a person has approved the call."""
    del ctx
    return {"question": question, "approved": True}

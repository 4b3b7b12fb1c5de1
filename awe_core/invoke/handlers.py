"""Runs a handler in this process: a coroutine on the loop, anything else in a thread (``inproc``).

What it promises is written down honestly: nothing is enforced against hostile code, a thread that
does not return is abandoned.  Its context is closed first, so it can compute but no longer act.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

from awe_core.context import AsyncExecutionContext, ExecutionContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.invoke.threads import DaemonPool
    from awe_core.values import Json, JsonObject

#: What the in-process executor promises of each right (40, section 7): time and output are watched,
#: everything else rests on the people who put the pack on the root's ``inproc`` list.
PROMISES: Mapping[str, str] = {
    "fs_write": "NONE",
    "fs_read": "NONE",
    "fs_meta": "NONE",
    "net_host": "NONE",
    "exec": "NONE",
    "env": "NONE",
    "timeout": "DETECTED",
    "memory": "NONE",
    "output": "DETECTED",
    "orphan": "NONE",
    "cross_run": "NONE",
}


class InProcess:
    """The executor of the core: no isolation, for code that the root's signers vouch for."""

    name = "inproc"

    def __init__(self, pool: DaemonPool) -> None:
        """Run ``def`` handlers on the threads of *pool*."""
        self._pool = pool

    def probe(self) -> Mapping[str, str]:
        """Give the promises; there is nothing to try."""
        return PROMISES

    async def call(
        self, handler: Callable[..., Any], context: AsyncExecutionContext, arguments: JsonObject
    ) -> Json:
        """Run *handler* to its end.

        :raises BaseException: whatever the handler raised
        """
        if inspect.iscoroutinefunction(handler):
            return await handler(context, **arguments)
        waiting = ExecutionContext.bound(context, asyncio.get_running_loop())
        return await self._pool.run(lambda: handler(waiting, **arguments))

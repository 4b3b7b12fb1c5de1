"""The engine of ``awe bench chaos``, in this process or in a child that is going to be killed.

Every run is submitted under an idempotency key of its own, so a new process that is given the same
list goes on where the last one was stopped and never opens a run twice.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.errors import AweError
from awe_core.events import Actor
from awe_core.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Which workflow a run calls, by whether it is made to fail.
WORKFLOWS = {False: "load_test_quick", True: "load_test_failing"}


async def drive(
    config: Path, fails: Sequence[bool], concurrency: int, progress: Callable[[str], None]
) -> None:
    """Submit every run and wait for it, a fixed number of callers at a time.

    :param progress: hears the name of each run that has ended
    """
    rest = iter(enumerate(fails))
    actor = Actor.person("ana", via="sdk")
    async with Runtime.open(config, actor=actor) as runtime:

        async def caller() -> None:
            for number, is_failing in rest:
                name = f"run-{number}"
                handle = await runtime.submit(
                    WORKFLOWS[is_failing], {"dir": name, "name": name}, idempotency_key=name
                )
                try:
                    await handle.wait()
                except AweError as error:  # this run stays as it is, which the outcome shows
                    print(f"{name}: {error.summary}", file=sys.stderr)  # noqa: T201 - to be seen
                progress(name)

        async with asyncio.TaskGroup() as callers:
            for _ in range(concurrency):
                callers.create_task(caller())


def main() -> None:
    """Drive what standard input describes; a line on standard output for each run that ended."""
    asked = json.load(sys.stdin)
    sys.path[:] = asked["path"]
    work = drive(
        Path(asked["config"]),
        asked["fails"],
        asked["concurrency"],
        lambda name: print(name, flush=True),  # noqa: T201 - how the parent hears of it
    )
    asyncio.run(work)

"""Takes effects back and looks what the world is like, each in the pool, each on the record."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, assert_never

from awe_core.decider import undo_key
from awe_core.errors import AweError, JournalUnwritableError
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    Failure,
    UndoApplied,
    UndoConflict,
    UndoFailed,
    UndoStarted,
)
from awe_core.undo import Applied, Conflict, UndoOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.commands import Inspect, TakeBack
    from awe_core.engine.active import ActiveRun
    from awe_core.engine.parts import Parts
    from awe_core.hookspecs import Seen

#: Undo errors after which another try cannot help.
_FINAL = frozenset(
    {
        "undo.preimage_damaged",
        "undo.discarded",
        "undo.payload",
        "undo.strategy_missing",
        "undo.outcome",
    }
)


class Undoing:
    """Undo and inspection in this process."""

    def __init__(self, parts: Parts, turn: Callable[[ActiveRun], None]) -> None:
        """*turn* is called when an outcome was recorded."""
        self._parts = parts
        self._turn = turn

    def take_back(self, active: ActiveRun, command: TakeBack) -> None:
        """Record that the undo starts; it is durable before anything is touched."""
        item = active.run.item(command.item)
        active.record(
            UndoStarted(
                step=command.step,
                effect=command.item,
                strategy=item.strategy or "",
                try_=command.try_,
                cause=command.cause,
            )
        )
        active.spawn(self._take_back(active, command))

    def inspect(self, active: ActiveRun, command: Inspect) -> None:
        """Look what the world is like; the answer is a fact."""
        if command.item in active.inspecting:
            return
        active.inspecting.add(command.item)
        active.spawn(self._inspect(active, command))

    async def _take_back(self, active: ActiveRun, command: TakeBack) -> None:
        await active.barrier()
        try:
            outcome = await self._undone(active, command)
        except JournalUnwritableError:
            raise
        except Exception as error:  # noqa: BLE001 - a strategy's failure, whatever it is, is recorded
            active.record(self._failed(command, error))
        else:
            active.record(_recorded(command, outcome))
        self._turn(active)

    async def _undone(self, active: ActiveRun, command: TakeBack) -> UndoOutcome:
        record = active.undo_record(command.item)
        key = undo_key(active.run.item(command.item).key or command.item)
        undo = self._parts.undo
        async with asyncio.timeout(undo.timeout_us(record.strategy) / 1e6):
            return await self._parts.pool.run(partial(undo.undo, record, key))

    def _failed(self, command: TakeBack, error: Exception) -> UndoFailed:
        code = error.code if isinstance(error, AweError) else "undo.failed"
        text = error.summary if isinstance(error, AweError) else type(error).__name__
        if isinstance(error, TimeoutError):
            text = "the undo took longer than its strategy allows"
        base = None if code in _FINAL else command.retry_base_us
        return UndoFailed(
            step=command.step,
            effect=command.item,
            err=Failure(code, text, type(error).__name__),
            due_us=None if base is None else self._parts.clock_us() + secrets.randbelow(base + 1),
        )

    async def _inspect(self, active: ActiveRun, command: Inspect) -> None:
        seen = await active.inspect(command.item)
        active.inspecting.discard(command.item)
        active.inspected[command.item] = seen
        active.record(_seen(active, command, seen))
        self._turn(active)


def _recorded(command: TakeBack, outcome: UndoOutcome) -> UndoApplied | UndoConflict:
    match outcome:
        case Applied():
            return UndoApplied(step=command.step, effect=command.item)
        case Conflict(path=path, found_sha256=found, kept=kept):
            return UndoConflict(
                step=command.step,
                effect=command.item,
                found="absent" if found is None else f"sha256:{found}",
                kept=kept or "",
                what=path,
            )
        case _:
            assert_never(outcome)


def _seen(active: ActiveRun, command: Inspect, seen: Seen) -> EffectApplied | EffectFailed:
    item = active.run.item(command.item)
    if seen == "applied":
        return EffectApplied(
            step=command.step, attempt=item.attempt, effect=command.item, found_by="inspect"
        )
    state = {"not_applied": "no", "partial": "partial", "unknown": "unknown"}[seen]
    return EffectFailed(
        step=command.step,
        attempt=item.attempt,
        effect=command.item,
        err=Failure("effect.interrupted", f"looked after a crash: {seen}"),
        applied=state,  # type: ignore[arg-type]  # the three words of `Seen` that are left
        found_by="inspect",
    )

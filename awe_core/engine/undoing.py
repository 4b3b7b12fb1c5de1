"""Takes effects back and looks what the world is like, each in the pool, each on the record."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, assert_never

import attrs

from awe_core import events
from awe_core.capability import UndoCompensate
from awe_core.compensation import READS
from awe_core.decider import undo_key
from awe_core.engine.compensating import COMPENSATE, check_way_back, compensate
from awe_core.errors import (
    AccessError,
    AweError,
    ContractError,
    ExpressionError,
    JournalUnwritableError,
    PackError,
    UndoError,
)
from awe_core.expressions import Template
from awe_core.undo import Applied, Conflict, UndoOutcome

if TYPE_CHECKING:
    from awe_core.capability import UndoStrategyNamed
    from awe_core.commands import Inspect, TakeBack
    from awe_core.engine.active import ActiveRun
    from awe_core.events import EffectIntended, UndoRecord
    from awe_core.hookspecs import Seen
    from awe_core.invoke import Prepared
    from awe_core.values import JsonObject

#: Undo errors after which another try cannot help.
_FINAL = frozenset(
    {
        "undo.preimage_damaged",
        "undo.discarded",
        "undo.payload",
        "undo.outcome",
        "undo.incomplete",
    }
)
_REFUSALS = (AccessError, ContractError, ExpressionError, PackError)


@attrs.frozen
class ByStrategy:
    """The `Capture` of an attempt whose effects a strategy of a plugin takes back."""

    active: ActiveRun
    prepared: Prepared
    undo: UndoStrategyNamed

    async def capture(self, intent: EffectIntended) -> UndoRecord:
        """Have the strategy keep what it needs."""
        parts, name = self.active.parts, self.undo.strategy
        given = Template.compile(self.undo.with_, where=name, roots=READS["before"]).evaluate(
            {
                "input": self.prepared.arguments,
                "config": parts.invoker.config_of(self.prepared.capability),
                "idempotency_key": intent.key,
            }
        )
        return await parts.pool.run(partial(parts.undo.capture, name, intent, given))

    def complete(self, record: UndoRecord, result: JsonObject) -> UndoRecord:
        """Have the strategy add what only the result knows."""
        return self.active.parts.undo.complete(record, result)


def start(active: ActiveRun, command: TakeBack) -> None:
    """Record that one effect is about to be taken back, or who has to act before it can be."""
    item = active.run.item(command.item)
    undo, cap = item.unit.step.undo, None
    try:
        if item.strategy == COMPENSATE and isinstance(undo, UndoCompensate):
            cap = undo.compensate.capability
            check_way_back(active, undo)
        elif item.strategy not in {COMPENSATE, None}:
            active.parts.undo.owner(item.strategy)
    except AweError as error:
        if error.attributes.get("status") != "REVOKED":  # that never comes back
            cause = "strategy" if isinstance(error, UndoError) else "pack"
            reason = f"{error.code}: {error.summary}"
            active.record(events.RunPaused(cause=cause, steps=(command.step,), reason=reason))
            return
    active.record(
        events.UndoStarted(
            step=command.step,
            effect=command.item,
            strategy=item.strategy or "",
            try_=command.try_,
            cause=command.cause,
            cap=cap,
        )
    )


async def take_back(active: ActiveRun, command: TakeBack) -> None:
    """Undo one effect, whose undo is recorded as started; that is durable before anything is."""
    await active.barrier()
    try:
        outcome = await _undone(active, command)
    except JournalUnwritableError:
        raise
    except Exception as error:  # noqa: BLE001 - a strategy's failure, whatever it is, is recorded
        active.record(_failed(active, command, error))
    else:
        active.record(_recorded(command, outcome))


async def inspect(active: ActiveRun, command: Inspect) -> None:
    """Look what the world is like; the answer is a fact."""
    seen, completed = await active.inspect(command.item)
    active.inspecting.discard(command.item)
    active.inspected[command.item] = seen
    active.record(_seen(active, command, seen, completed))
    if seen == "not_applied":
        await active.forget(command.item)


async def _undone(active: ActiveRun, command: TakeBack) -> UndoOutcome:
    record = active.undo_record(command.item)
    if record.strategy == COMPENSATE:
        return await compensate(active, active.run.item(command.item), record)
    key = undo_key(active.run.item(command.item).key or command.item)
    undo = active.parts.undo
    if (owner := undo.owner(record.strategy)) is not None:
        active.parts.invoker.gate.check_plugin(owner, record.strategy, "undo_own")
    async with asyncio.timeout(undo.timeout_us(record.strategy) / 1e6):
        return await active.parts.pool.run(partial(undo.undo, record, key))


def _failed(active: ActiveRun, command: TakeBack, error: Exception) -> events.UndoFailed:
    code, text = "undo.failed", type(error).__name__
    if isinstance(error, AweError):
        code, text = error.code, error.summary
    elif isinstance(error, TimeoutError):
        text = "the undo took longer than its strategy allows"
    is_final = code in _FINAL or isinstance(error, _REFUSALS)
    base = None if is_final else command.retry_base_us
    return events.UndoFailed(
        step=command.step,
        effect=command.item,
        err=events.Failure(code, text, type(error).__name__),
        due_us=None if base is None else active.now_us() + secrets.randbelow(base + 1),
    )


def _recorded(command: TakeBack, outcome: UndoOutcome) -> events.UndoApplied | events.UndoConflict:
    match outcome:
        case Applied(is_noop=is_noop):
            noop = True if is_noop else None
            return events.UndoApplied(step=command.step, effect=command.item, noop=noop)
        case Conflict(path=path, found_sha256=found, kept=kept):
            return events.UndoConflict(
                step=command.step,
                effect=command.item,
                found="absent" if found is None else f"sha256:{found}",
                kept=kept or "",
                what=path,
            )
        case _:
            assert_never(outcome)


def _seen(
    active: ActiveRun, command: Inspect, seen: Seen, completed: UndoRecord | None
) -> events.EffectApplied | events.EffectFailed:
    attempt = active.run.item(command.item).attempt
    if seen == "applied":
        return events.EffectApplied(
            step=command.step,
            attempt=attempt,
            effect=command.item,
            found_by="inspect",
            record=completed,
        )
    state = {"not_applied": "no", "partial": "partial", "unknown": "unknown"}[seen]
    return events.EffectFailed(
        step=command.step,
        attempt=attempt,
        effect=command.item,
        err=events.Failure("effect.interrupted", f"looked after a crash: {seen}"),
        applied=state,  # type: ignore[arg-type]  # the three words of `Seen` that are left
        found_by="inspect",
    )

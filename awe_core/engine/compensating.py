"""Has other capabilities take effects back: the calls ``compensate``, ``before`` and ``lookup``.

Each takes the one road: gate, pinned pack, validation, a grant of its own, the broker, the record.
Nobody is asked again (who approved the step saw it), nothing takes it back in turn, and it has a
key, so that once more after a crash is the same as once (ADR 0007).  What it reads is frozen in
the undo record as soon as it is known; only the step's ``output`` is looked up in the log.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import attrs

from awe_core.capability import Confirm, UndoCaptured, UndoCompensate, UndoStrategyNamed
from awe_core.compensation import READS
from awe_core.context import Attempt
from awe_core.decider import UNDO, ItemState, undo_key
from awe_core.effects import StepBroker, StepRef
from awe_core.errors import AccessError, ExpressionError, UndoError
from awe_core.events import UndoRecord
from awe_core.expressions import Template, truthy
from awe_core.undo import Applied

if TYPE_CHECKING:
    from awe_core.capability import Undo
    from awe_core.decider import Item
    from awe_core.effects import Port
    from awe_core.engine.active import ActiveRun
    from awe_core.events import EffectIntended
    from awe_core.gate import Purpose
    from awe_core.hookspecs import Seen
    from awe_core.invoke import Prepared
    from awe_core.values import Json, JsonObject

COMPENSATE = "compensate"  #: the strategy's name
_TIMEOUT_US = 60_000_000  #: of any such call; its contract may say less
_STANDS = (ItemState.INTENDED, ItemState.APPLIED)
_ROOTS = frozenset().union(*READS.values()) | {"inputs", "steps", "run", "item", "index"}


@attrs.frozen
class Compensation:
    """The `Capture` of an attempt whose effects another capability takes back.

    What a step says itself makes one item, with its first effect, instead of one for each.
    """

    active: ActiveRun
    prepared: Prepared
    undo: UndoCompensate
    is_of_step: bool

    async def capture(self, intent: EffectIntended) -> UndoRecord | None:
        """Read ``before``, and keep the templates with what is known."""
        active, undo = self.active, self.undo
        scope: JsonObject = {
            "input": self.prepared.arguments,
            "config": active.parts.invoker.config_of(self.prepared.capability),
            "idempotency_key": intent.key,
        }
        if self.is_of_step:
            items = active.run.unit(intent.step).items
            if any(i.attempt == intent.attempt and i.state in _STANDS for i in items):
                return None
            scope |= active.run.scope(intent.step)
        if undo.before is not None:
            called, given = undo.before.capability, _compiled(undo.before.with_).evaluate(scope)
            of = _About(intent.step, intent.attempt, f"{intent.effect}-before", intent.key or "")
            scope["before"] = await _call(active, of, called, given, purpose="resume")
        payload: JsonObject = {"call": attrs.asdict(undo.compensate)}
        if undo.lookup is not None:
            given = _compiled(undo.lookup.with_).evaluate(scope)
            payload["lookup"] = {"capability": undo.lookup.capability, "with": given}
        call = _compiled([undo.compensate.with_, undo.compensate.when])
        read = {one.root for one in call.references}
        payload["known"] = {root: found for root, found in scope.items() if root in read}
        return UndoRecord(COMPENSATE, _frozen(payload))

    def complete(self, record: UndoRecord, result: JsonObject) -> UndoRecord:
        """Freeze what the effect's result completes."""
        return _completed(record, effect=result)


def _compiled(value: Json) -> Template:
    return Template.compile(value, where=COMPENSATE, roots=_ROOTS)


def _frozen(payload: JsonObject) -> JsonObject:
    """Evaluate the call if all that it reads is known; what fails there fails when it is due."""
    call, known = payload["call"], payload["known"]
    template = _compiled([call["with_"], call["when"]])
    if any(one.root not in known for one in template.references):
        return payload
    try:
        given, when = template.evaluate(known)
    except ExpressionError:
        return payload
    is_due = call["when"] is None or truthy(when)
    more = {key: payload[key] for key in ("lookup",) if key in payload}
    return {"call": {"capability": call["capability"], "with": given, "when": is_due}, **more}


def _completed(record: UndoRecord, **found: Json) -> UndoRecord:
    if "known" not in record.payload:
        return record
    known = {**record.payload["known"], **found}
    return UndoRecord(COMPENSATE, _frozen({**record.payload, "known": known}))


# ---- taking back -------------------------------------------------------------------------------
async def compensate(active: ActiveRun, item: Item, record: UndoRecord) -> Applied:
    """Make the call that takes *item* back.

    :raises UndoError: ``undo.incomplete``: the step ended without what the call reads
    :raises AweError: why it could not be made, or failed
    """
    if "known" in record.payload:
        output = active.parts.logs.reading(active.run_id).payload(active.run_id, item.order, "out")
        record = _completed(record, **({} if output is None else {"output": json.loads(output)}))
    call = record.payload["call"]
    if "known" in record.payload:
        known, template = record.payload["known"], _compiled([call["with_"], call["when"]])
        lacking = sorted({one.root for one in template.references} - known.keys())
        if not lacking:
            template.evaluate(known)  # raises what it raised before
        about = {"capability": call["capability"], "lacking": ", ".join(lacking)}
        raise UndoError("undo.incomplete", path=item.target, **about)
    if not call["when"]:
        return Applied(is_noop=True)
    key = undo_key(item.key or item.effect)
    of = _About(item.unit.path, item.attempt, item.effect + UNDO, key)
    await _call(active, of, call["capability"], call["with"], purpose="undo_own")
    return Applied()


async def look_up(
    active: ActiveRun, item: Item, record: UndoRecord
) -> tuple[Seen, UndoRecord | None]:
    """Ask the ``lookup`` of a record for the effect: its output's ``effect``, null if none."""
    lookup = record.payload.get("lookup")
    if lookup is None:
        return "unknown", None
    of = _About(item.unit.path, item.attempt, f"{item.effect}-lookup", item.key or item.effect)
    match await _call(active, of, lookup["capability"], lookup["with"], purpose="undo_own"):
        case {"effect": None}:
            return "not_applied", None
        case {"effect": effect}:
            return "applied", _completed(record, effect=effect)
        case _:
            return "unknown", None


def check_way_back(active: ActiveRun, undo: Undo | None) -> None:
    """Refuse what nothing here could take back now.

    :raises AweError: ``undo.strategy_missing``, or why the call may not be made
    """
    match undo:
        case UndoStrategyNamed(strategy=name):
            active.parts.undo.capturing(name)
        case UndoCompensate(compensate=call):
            invoker, name = active.parts.invoker, call.capability
            try:
                found = invoker.registry.resolve(name)
            except AccessError as error:
                raise invoker.gate.reason(name.partition("@")[0]) or error from None
            active.check_pinned(found.pack)
            invoker.gate.check(found.spec.id, found.contract, "undo_own")
        case _:
            pass


# ---- the calls ---------------------------------------------------------------------------------
@attrs.frozen
class _About:
    """What a call beside a step is about."""

    step: str
    attempt: int
    place: str  #: what its effects are named after
    key: str


async def _call(
    active: ActiveRun, of: _About, capability: str, given: JsonObject, *, purpose: Purpose
) -> Json:
    """Make one call; give its output."""
    invoker, now_us = active.parts.invoker, active.now_us()
    prepared = invoker.prepare(
        capability, given, purpose=purpose, confirm=Confirm.POLICY, workspace=active.workspace
    )
    active.check_pinned(prepared.capability.pack)
    timeout_us = min(_TIMEOUT_US, prepared.spec.timeout_us)
    broker = StepBroker(
        cast("Port", _Port(active, prepared, purpose)),
        StepRef(path=of.step, attempt=of.attempt, epoch=0, key=of.key, place=of.place),
        grant=prepared.grant,
        workspace=active.workspace,
        config=invoker.config_of(prepared.capability),
        is_synced=active.parts.settings.effects == "synced",
        undo=UndoCaptured(),  # tells after a crash whether it came about; it makes no item
    )
    attempt = Attempt(
        run_id=active.run_id,
        step=of.step,
        number=of.attempt,
        idempotency_key=of.key,
        deadline_us=now_us + timeout_us,
    )
    found, _ = await invoker.perform(
        prepared, broker, attempt, actor=active.actor, timeout_us=timeout_us
    )
    return found


@attrs.frozen
class _Port:
    """The run's own `Port`, but for what a call beside its steps must not share with them."""

    _active: ActiveRun
    _prepared: Prepared
    _purpose: Purpose

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the run has
        return getattr(self._active, name)

    def check_gate(self, step: str) -> None:  # noqa: ARG002 - the step's own may be over
        """Refuse when this capability may not act."""
        found = self._prepared.capability
        self._active.parts.invoker.gate.check(found.spec.id, found.contract, self._purpose)

    def touched(self, step: str, epoch: int) -> frozenset[tuple[str, str]]:  # noqa: ARG002 - protocol
        """Count from nothing."""
        return frozenset()

    async def inspect(self, effect: str) -> tuple[Seen, None]:
        """Look for an effect of a call that a crash cut off."""
        run = self._active.run_id
        rows = self._active.parts.logs.reading(run).read(run=run)
        intents = (row for row in rows if row.kind == "effect.intended")
        rseq = max(row.rseq or 0 for row in intents if row.event["effect"] == effect)
        record, parts = self._active.record_at(rseq, "undo"), self._active.parts
        if record is None:
            return "unknown", None
        return await parts.pool.run(partial(parts.undo.inspect, record)), None

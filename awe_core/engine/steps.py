"""Admits steps: resolve, prepare, judge, start; and runs their handlers to a recorded end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import attrs

from awe_core import events
from awe_core.capability import UndoCompensate, UndoStrategyNamed
from awe_core.commands import Admit, Rerun
from awe_core.context import Attempt
from awe_core.decider import step_key, wants
from awe_core.effects import StepBroker, StepRef
from awe_core.engine.active import OpenStep
from awe_core.engine.compensating import Compensation, check_way_back
from awe_core.engine.dry import READING
from awe_core.engine.undoing import ByStrategy
from awe_core.errors import (
    AccessError,
    AweError,
    EngineError,
    JournalUnwritableError,
    PackError,
    RunError,
    TrustError,
    UndoError,
    WorkflowError,
)
from awe_core.events import codec
from awe_core.expressions import truthy
from awe_core.handshake import AskPeople, Grant, Refuse, ticket_of
from awe_core.invoke import fault_of
from awe_core.journal import SeqOf, Upsert

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from awe_core.decider import PlanStep
    from awe_core.effects import Capture
    from awe_core.engine.active import ActiveRun
    from awe_core.handshake import Judged, Ticket
    from awe_core.invoke import Prepared
    from awe_core.values import JsonObject


# ---- admission ---------------------------------------------------------------------------------
def admit(active: ActiveRun, command: Admit) -> Callable[[], Coroutine[None, None, None]] | None:
    """Accept an `Admit` with one fact: skipped, failed, asked, refused or started.

    :returns: what has to be done first, beside the loop's turns: asking impure policies
    """
    if is_held_back(active, command):
        return None
    prepared = _prepared(active, command)
    if prepared is None:
        return None
    ticket = active.parts.ledger.ticket(active.run_id, command.step)
    if ticket is not None and ticket.digest == prepared.digest:
        _use(active, command, ticket)
        return None
    return _judge(active, command, replaces=ticket)


def rerun(active: ActiveRun, command: Rerun) -> None:
    """Start again, as the same attempt, what a crash cut off; its approval covers it."""
    admitted = Admit(command.step, command.attempt, command.epoch)
    if _prepared(active, admitted, is_new=False) is not None:
        _start(active, admitted)


def fail(
    active: ActiveRun, command: Admit, error: BaseException, *, started_ns: int | None = None
) -> None:
    """Record that a step failed, before its handler or in it."""
    fault = fault_of(error)
    active.record(
        events.StepFailed(
            step=command.step,
            attempt=command.attempt,
            epoch=command.epoch or None,
            err=fault.failure,
            class_=fault.class_,
            retry_after_us=fault.retry_after_us,
            dur_us=0 if started_ns is None else (time.monotonic_ns() - started_ns) // 1_000,
        )
    )


def is_left_out(active: ActiveRun, command: Admit, scope: JsonObject) -> bool:
    """Whether the step's ``when`` does not hold; then that is recorded."""
    when = active.run.when(command.step)
    if when is None or truthy(when.evaluate(scope)):
        return False
    epoch = command.epoch or None
    active.record(events.StepSkipped(step=command.step, cause="when", epoch=epoch))
    return True


def is_held_back(active: ActiveRun, command: Admit, *, is_unknown: bool = False) -> bool:
    """Whether a dry run does not know what the step works on; then that is recorded."""
    if active.dry is None:
        return False
    if not (is_unknown or active.dry.needs_unknown(active.run.unit(command.step))):
        return False
    epoch = command.epoch or None
    active.record(events.StepSkipped(step=command.step, cause="dry", epoch=epoch))
    return True


def planned(active: ActiveRun, path: str) -> PlanStep:
    """Give the step of the plan that *path* names."""
    found = active.run.unit(path).step
    if found is None:
        raise EngineError("engine.defect", run=active.run_id, why=f"{path!r} is no step")
    return found


def _prepared(active: ActiveRun, command: Admit, *, is_new: bool = True) -> Prepared | None:
    """Prepare the call; None when a fact says why it does not start."""
    step = planned(active, command.step)
    try:
        scope = active.run.scope(command.step)
        if is_new and is_left_out(active, command, scope):
            return None
        most = active.parts.settings.limits.run_bytes
        if active.value_bytes > most:
            found = active.value_bytes
            raise WorkflowError("run.too_large", run=active.run_id, found=found, most=most)
        prepared = active.parts.invoker.prepare(
            step.spec.target,
            step.with_.evaluate(scope),
            purpose="resume",
            confirm=step.confirm,
            workspace=active.workspace,
            undo=step.undo,
        )
        check_way_back(active, step.undo)
        for pack in (prepared.capability.pack, *(pack for _, pack in active.brought)):
            active.check_pinned(pack)
        for workflow, pack in active.brought:
            active.parts.invoker.gate.check_workflow(workflow, pack.record, "resume")
    except (AccessError, PackError, TrustError, UndoError) as error:
        _hold(active, command, error)
        return None
    except AweError as error:
        fail(active, command, error)
        return None
    active.prepared[command.step] = prepared
    return prepared


def _hold(active: ActiveRun, command: Admit, error: AweError) -> None:
    """Hold the run: what may not go on now is no failure, and takes nothing back."""
    cause = "stop" if error.code == "handshake.stopped" else "pack"
    cause = "trust" if isinstance(error, TrustError) else cause
    cause = "strategy" if isinstance(error, UndoError) else cause
    reason = f"{error.code}: {error.summary}"
    active.record(events.RunPaused(cause=cause, steps=(command.step,), reason=reason))


# ---- the handshake -----------------------------------------------------------------------------
def _judge(
    active: ActiveRun, command: Admit, *, replaces: Ticket | None
) -> Callable[[], Coroutine[None, None, None]] | None:
    invoker, prepared = active.parts.invoker, active.prepared[command.step]
    policy = invoker.granted(prepared)
    if policy is not None:
        _start(active, command, policy=policy)
        return None
    now, chain = active.now_us(), invoker.handshake.chain
    request = invoker.ask(
        prepared,
        active.actor,
        run=active.run_id,
        step=command.step,
        attempts=planned(active, command.step).retry.attempts,
        now_us=now,
        limit_us=active.opened.expires_us,
        replaces=None if replaces is None else replaces.request,
    )
    is_dry = active.dry is not None
    facts = invoker.facts(prepared, active.actor, now, is_dry=is_dry)
    if chain.is_pure:
        _judged(active, command, request, chain.judge_now(request, facts))
        return None

    async def ask() -> None:
        answers = await chain.judge(request, facts)
        active.judging.discard(command.step)
        if wants(active.run, command, active.now_us()):
            _judged(active, command, request, answers)

    active.judging.add(command.step)
    return ask


def _judged(
    active: ActiveRun,
    command: Admit,
    request: events.ConfirmationRequest,
    judged: list[Judged],
) -> None:
    match active.parts.invoker.fold(active.prepared[command.step], judged):
        case Refuse(by=by):
            active.record(
                events.HandshakeRefused(
                    step=command.step,
                    digest=request.digest,
                    policy=codec.to_json(by),
                    reason=by.reason,
                )
            )
        case Grant(by=by):
            _start(active, command, policy=codec.to_json(by))
        case AskPeople(requirements=requirements) if active.dry is not None:
            active.dry.asks(request, requirements)
            reads = {kind for effect in request.effects for kind in effect} & READING
            if not is_held_back(active, command, is_unknown=bool(reads)):
                _start(active, command)
        case AskPeople(requirements=requirements) as people:
            asked = attrs.evolve(
                request,
                requirements=requirements,
                policies=tuple(one.record for one in judged),
                expires_us=people.expires_us(request.opened_us, request.expires_us),
            )
            _ask(active, asked)


def _ask(active: ActiveRun, request: events.ConfirmationRequest) -> None:
    """Make the question durable; people see it only afterwards."""
    ledger = active.parts.ledger
    ledger.drop(active.run_id, request.step)
    active.record(
        events.HandshakeRequested(
            step=request.step,
            req=request.id,
            version=request.version,
            digest=request.digest,
            policies=tuple(codec.to_json(one) for one in request.policies),
            need=tuple(codec.to_json(one) for one in request.requirements),
            expires_us=request.expires_us,
            replaces=request.replaces,
            document=codec.to_json(request),
        )
    )
    ledger.ask(request)


def _use(active: ActiveRun, command: Admit, ticket: Ticket) -> None:
    """Burn the ticket in the very transaction that starts the step."""
    try:
        active.parts.ledger.use(ticket, now_us=active.now_us())
    except AweError as error:
        fail(active, command, error)
        return
    nonce = bytes.fromhex(ticket.nonce)
    row = (nonce, ticket.request, ticket.digest, ticket.run, ticket.step, ticket.expires_us)
    upserts = (Upsert("handshake_ticket", (*row, SeqOf(0))),)
    _start(active, command, ticket=ticket_of(ticket.nonce), upserts=upserts)


# ---- start and end -----------------------------------------------------------------------------
def _start(
    active: ActiveRun,
    command: Admit,
    *,
    policy: JsonObject | None = None,
    ticket: str | None = None,
    upserts: tuple[Upsert, ...] = (),
) -> None:
    prepared, invoker = active.prepared[command.step], active.parts.invoker
    spec, capability = prepared.spec, prepared.capability
    if is_held_back(active, command, is_unknown=capability.executor != "inproc"):
        return
    path, number, epoch = command.step, command.attempt, command.epoch
    key = step_key(active.run_id, path, epoch)
    timeout_us = min(planned(active, path).timeout_us, spec.timeout_us)
    deadline_us = active.now_us() + timeout_us
    active.record(
        events.StepStarted(
            step=path,
            attempt=number,
            epoch=epoch or None,
            cap=spec.full_reference,
            pack=capability.pack,
            risk=spec.risk.value,
            effects=prepared.effects,
            executor=capability.executor,
            promises=invoker.promises(capability.executor),
            digest=prepared.digest,
            ticket=ticket,
            policy=policy,
            idem=key,
            deadline_us=deadline_us,
            arguments=prepared.arguments,
        ),
        marks=prepared.marks,
        body=prepared.body,
        upserts=upserts,
    )
    broker = (StepBroker if active.dry is None else active.dry.broker)(
        active,
        StepRef(path=path, attempt=number, epoch=epoch, key=key),
        grant=prepared.grant,
        workspace=active.workspace,
        config=invoker.config_of(capability),
        is_synced=active.parts.settings.effects == "synced",
        undo=spec.undo,
        capture=_capture(active, prepared, planned(active, path)),
    )
    attempt = Attempt(
        run_id=active.run_id,
        step=path,
        number=number,
        idempotency_key=key,
        deadline_us=deadline_us,
        is_dry=active.dry is not None,
    )
    opened = OpenStep(command, prepared, broker, attempt, timeout_us)
    active.open_steps[path] = opened
    active.started.append(opened)


def _capture(active: ActiveRun, prepared: Prepared, step: PlanStep) -> Capture | None:
    """Say who captures the undo of a step's effects, if the broker does not."""
    match step.undo:
        case UndoCompensate() as undo if active.dry is None:
            is_of_step = step.spec.compensation is not None
            return Compensation(active, prepared, undo, is_of_step)
        case UndoStrategyNamed() as named if active.dry is None:
            return ByStrategy(active, prepared, named)
        case _:
            return None


async def run(active: ActiveRun, step: OpenStep) -> None:
    """Run the handler of a started step in this task and record its end, whatever it is."""
    step.task = asyncio.current_task()
    started = time.monotonic_ns()
    if step.is_interrupted:  # before it began
        del active.open_steps[step.command.step]
        fail(active, step.command, _stopped(active, step))
        return
    try:
        if active.is_recovered:  # its start counts before it may take the process down once more
            await active.barrier()
        output, body = await active.parts.invoker.perform(
            step.prepared,
            step.broker,
            step.attempt,
            actor=active.actor,
            timeout_us=step.timeout_us,
        )
    except JournalUnwritableError:
        active.open_steps.pop(step.command.step, None)
        raise
    except BaseException as error:
        if active.is_stopped:  # what a closing engine cuts off stays started, for recovery
            raise
        del active.open_steps[step.command.step]
        if step.is_interrupted and isinstance(error, asyncio.CancelledError):
            error = _stopped(active, step)
        fail(active, step.command, error, started_ns=started)
        return
    del active.open_steps[step.command.step]
    active.record(
        events.StepCompleted(
            step=step.command.step,
            attempt=step.command.attempt,
            epoch=step.command.epoch or None,
            dur_us=(time.monotonic_ns() - started) // 1_000,
            output=output,
        ),
        marks=step.prepared.capability.output.marks(output),
        body=body,
    )
    active.owes_barrier = active.parts.settings.barriers == "step"


def _stopped(active: ActiveRun, step: OpenStep) -> RunError:
    return RunError("step.stopped", step=step.command.step, run=active.run_id)

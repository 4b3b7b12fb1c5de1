"""What people ask of a run and answer to its questions, as facts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, assert_never

import attrs

from awe_core.decider import StepState, foresee
from awe_core.errors import HandshakeError, RunError, UsageError
from awe_core.events import (
    ConfirmationRequest,
    Decision,
    Failure,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeVoted,
    PackRef,
    RunCancelRequested,
    RunPaused,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    codec,
)
from awe_core.handshake import Counted, Granted, Refused, take, ticket_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.decider import Run
    from awe_core.engine.active import ActiveRun
    from awe_core.events import Actor, Fact
    from awe_core.values import JsonObject


_SHORTEST = 12  #: characters of a digest that name a record
_TOLD = 20  #: effects that a refusal names


def asked(active: ActiveRun, verb: str, actor: Actor, params: JsonObject, *, now_us: int) -> Fact:
    """Give the fact that says what *actor* asked for.

    :raises UsageError: ``run.request`` for a verb or parameters that do not exist
    """
    by, reason = str(actor), params.get("reason")
    match verb:
        case "pause":
            return RunPaused(cause="operator", reason=reason, by=by)
        case "resume":
            packs = _accepted(active, params.get("accept") or ())
            return RunResumed(mode="forward", packs=packs or None, reason=reason, by=by)
        case "cancel":
            mode: Literal["keep", "rollback"] = (
                "keep" if params.get("mode") == "keep" else "rollback"
            )
            return RunCancelRequested(via=actor.via, mode=mode, reason=reason, by=by)
        case "rollback":
            return wound_back("rollback", params, by=by)
        case "retry":
            fact = wound_back("retry", params, by=by)
            _refuse_to_repeat(active.run, fact)
            return fact
        case "resolve":
            return _resolved(active, by, params, now_us)
        case _:
            raise UsageError("run.request", verb=verb, why="no such request")


def wound_back(verb: Literal["rollback", "retry"], params: JsonObject, *, by: str) -> RunResumed:
    """Give the fact of a rollback or a retry that *by* asks for."""
    return RunResumed(
        mode=verb,
        to=params.get("to"),
        from_=params.get("from"),
        item=params.get("item"),
        inclusive=True if params.get("inclusive") else None,
        reason=params.get("reason"),
        by=by,
    )


def _refuse_to_repeat(run: Run, fact: RunResumed) -> None:
    """Have somebody give a reason for what a retry would do a second time.

    :raises RunError: ``run.repeats``
    """
    twice = foresee(run, fact).twice
    if twice and not fact.reason:
        told = [f"{one.type} {one.target} (step {one.unit.path})" for one in twice]
        raise RunError(
            "run.repeats", run=run.id, step=fact.from_, count=len(twice), details=told[:_TOLD]
        )


def _accepted(active: ActiveRun, records: Iterable[str]) -> tuple[PackRef, ...]:
    """Find the packs that *records*, or beginnings of their digests, name."""
    loaded = active.parts.invoker.registry.packs()
    found = []
    for wanted in records:
        named = [one for one in loaded if one.digest.startswith(wanted)]
        if len(named) != 1 or len(wanted) < _SHORTEST:
            why = f"no pack that is in force here has the record {wanted}"
            raise UsageError("run.request", verb="resume", why=why)
        record = named[0].record
        found.append(PackRef(record.distribution, record.version, named[0].digest))
    return tuple(found)


def _resolved(active: ActiveRun, by: str, params: JsonObject, now_us: int) -> Fact:
    """What a person says became of a step in doubt."""
    path = str(params.get("step"))
    try:
        unit = active.run.unit(path)
    except KeyError:
        raise UsageError("run.request", verb="resolve", why=f"there is no step {path}") from None
    if unit.state is not StepState.IN_DOUBT:
        raise UsageError("run.request", verb="resolve", why=f"step {path} is not in doubt")
    epoch, reason = unit.epoch or None, params.get("reason")
    match params.get("outcome"):
        case "applied":
            prepared = active.parts.invoker.registry.resolve(unit.step.spec.target)
            output = prepared.output.apply(params.get("output"), side="output")
            return StepCompleted(
                step=path,
                attempt=unit.attempt,
                epoch=epoch,
                dur_us=0,
                output=output,
                resolved_by=by,
                reason=reason,
            )
        case "not_applied":
            return StepRetryScheduled(
                step=path,
                attempt=unit.attempt + 1,
                epoch=epoch,
                due_us=now_us,
                resolved_by=by,
                reason=reason,
            )
        case "roll_back":
            failure = Failure("run.resolved", f"{by} had the step taken back")
            return StepFailed(
                step=path,
                attempt=unit.attempt,
                epoch=epoch,
                err=failure,
                class_="resolved",
                resolved_by=by,
                reason=reason,
            )
        case outcome:
            raise UsageError("run.request", verb="resolve", why=f"{outcome} is no outcome")


def answer(active: ActiveRun, request: ConfirmationRequest, decision: Decision) -> None:
    """Count a person's answer and record what it means.

    :raises HandshakeError: it cannot be taken; the request stays open
    """
    ledger, now = active.parts.ledger, active.now_us()
    if decision.assurance == "signed":  # no key of the people file is compared here yet
        raise HandshakeError(
            "handshake.assurance", request=request.id, given="unproved signature", needed="session"
        )
    # When it was given is the engine's to say: a clock that the answer brings proves nothing.
    outcome = take(request, attrs.evolve(decision, at_us=now), active.parts.people)
    match outcome:
        case Counted(request=counted, missing=missing):
            active.record(
                HandshakeVoted(
                    step=request.step,
                    req=request.id,
                    version=counted.version,
                    digest=request.digest,
                    vote=codec.to_json(counted.votes[-1]),
                    need=tuple(codec.to_json(one) for one in missing),
                )
            )
            ledger.ask(counted)
        case Granted(request=granted):
            ticket = ledger.grant(granted, now_us=now)
            active.record(
                HandshakeGranted(
                    step=granted.step,
                    req=granted.id,
                    version=granted.version,
                    digest=granted.digest,
                    votes=tuple(codec.to_json(vote) for vote in granted.votes),
                    tickets=(ticket_of(ticket.nonce),),
                    ticket_expires_us=ticket.expires_us,
                    nonces=(ticket.nonce,),
                )
            )
        case Refused(vote=vote):
            active.record(
                HandshakeRefused(
                    step=request.step,
                    digest=request.digest,
                    req=request.id,
                    version=request.version,
                    by=vote.by,
                    reason=vote.reason,
                    vote=codec.to_json(vote),
                )
            )
            ledger.close(request.id)
        case _:
            assert_never(outcome)

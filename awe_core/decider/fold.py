"""`evolve`: one fact, folded in place.  `replay` is nothing but that, over and over.

Rules: a fact is checked against `TRANSITIONS` and against what it names before anything changes, so
an illegal one leaves the run as it was.  Nothing starts while the run is held or stopping, and an
undo is legal only for the item whose turn it is: a forged log cannot fold to a lawful state.
"""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, Any

from awe_core import events
from awe_core.decider import undos
from awe_core.decider.course import end, enlist, open_container
from awe_core.decider.legality import check, check_attempt, named_by, refuse
from awe_core.decider.rewind import resume
from awe_core.decider.run import Run
from awe_core.decider.saga import (
    back_off,
    clear,
    closing,
    cut_off,
    fail,
    failure_of,
    is_undoing,
    judge,
    progress,
    stop_run,
)
from awe_core.decider.table import TRANSITIONS, ItemState, Phase, StepState
from awe_core.decider.unit import Container, Goal, Unwind
from awe_core.errors import EngineError, HandshakeRefusedError, RunError, UndoError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.decider.plan import Plan
    from awe_core.decider.unit import Unit
    from awe_core.events import Fact

#: Pauses that only say what the run waits for; it goes on by itself.
_NOTES = frozenset({"handshake", "in_doubt"})
#: Holds that a cancel asked for by somebody lifts; a stop or lost trust outlasts it, but of a
#: dry run, where nothing is to be taken back.
_LIFTED = frozenset({"operator", "crash_loop"})
_MOST_DRIFTS = 3  #: the last of them fails the step


def open_run(plan: Plan, run_id: str, opened: events.RunOpened, *, started_at: str) -> Run:
    """Make the run that *opened* tells of."""
    run = Run(plan, run_id, opened, started_at)
    if opened.inputs is not None:
        run.arguments[0] = opened.inputs
    open_container(run, run.root)
    return run


def replay(plan: Plan, run_id: str, facts: Iterable[Fact], *, started_at: str) -> Run:
    """Fold a whole run; the first fact is its ``run.opened``.

    :raises EngineError: ``decider.illegal_event``
    """
    rest = iter(facts)
    opened = next(rest, None)
    if not isinstance(opened, events.RunOpened):
        raise EngineError(
            "decider.illegal_event",
            run=run_id,
            rseq=0,
            kind=opened and opened.kind,
            why="a run begins with run.opened",
        )
    run = open_run(plan, run_id, opened, started_at=started_at)
    for fact in rest:
        evolve(run, fact)
    return run


def recover(run: Run) -> None:
    """Let `decide` take up what a crash cut off; after a replay, before anything is carried out.

    A mirror of a run that is driven elsewhere does not recover: the facts of the other side's
    recovery fold as any others.
    """
    for unit in run.units[1:]:
        if unit.state is StepState.STARTED and not isinstance(unit, Container):
            cut_off(run, unit)
    for item in run.items:
        if item.state is ItemState.UNDOING and item.owner:
            item.is_lost = True
            if item.owner.index:
                run.duties[item.owner.index] = None


def evolve(run: Run, fact: Fact) -> None:
    """Fold one fact.

    :raises EngineError: ``decider.illegal_event``; the run is as it was
    """
    kind, is_open = type(fact), run.phase is not Phase.CLOSED
    if is_open and (of_step := _OF_STEPS.get(kind)):
        of_step(run, _unit_of(run, fact), fact)
    elif is_open and (of_effect := _OF_EFFECTS.get(kind)):
        of_effect(run, fact)
    elif kind in TRANSITIONS[run.phase]:
        _OF_RUNS[kind](run, fact)
    else:
        refuse(run, fact, f"the run is {run.phase}")
    run.next_rseq += 1
    progress(run)


def _unit_of(run: Run, fact: Fact) -> Unit:
    """Give the unit of *fact*, which may follow its state."""
    unit = named_by(run, fact)
    check(run, fact, unit.state)
    epoch = getattr(fact, "epoch", None)
    if epoch is not None and epoch != unit.epoch:
        refuse(run, fact, f"the step is in epoch {unit.epoch}")
    if unit.unwind and is_undoing(unit):
        refuse(run, fact, "an undo of the step is at work")
    return unit


# ---- the run ------------------------------------------------------------------------------------
def _paused(run: Run, fact: events.RunPaused) -> None:
    unwind = run.root.unwind
    if fact.cause not in _NOTES:
        run.hold = fact.cause
    if unwind and unwind.goal is Goal.PARTIAL and unwind.is_clean:
        run.phase, run.root.unwind = Phase.FORWARD, None


def _resumed(run: Run, fact: events.RunResumed) -> None:
    try:
        resume(run, fact)
    except (RunError, UndoError) as error:
        refuse(run, fact, str(error))


def _cancel_requested(run: Run, fact: events.RunCancelRequested) -> None:
    cause = "expiry" if fact.cause == "expiry" else "cancelled"
    if fact.cause == "asked" and (run.hold in _LIFTED or run.opened.dry):
        run.hold = None
    if run.phase is Phase.DRAINING and run.ending == "stop" and fact.mode == "rollback":
        run.ending, run.cause = "rollback", cause
    code = "run.expired" if cause == "expiry" else "run.cancelled"
    failure = failure_of(RunError(code, run=run.id))
    stop_run(run, "stop" if fact.mode == "keep" else "rollback", cause, failure)


def _closed(run: Run, fact: events.RunClosed) -> None:
    if run.hold or closing(run) != fact.state:
        refuse(run, fact, f"it cannot end {fact.state} now")
    run.phase, run.closed, run.root.unwind = Phase.CLOSED, fact.state, None
    for kept in (run.outputs, run.arguments, run.duties, run.interrupts):
        kept.clear()
    for heap in (run.ready, run.backoffs, run.alarms):
        heap.clear()


# ---- steps --------------------------------------------------------------------------------------
def _begin(run: Run) -> None:
    if run.phase is Phase.OPEN:
        run.phase = Phase.FORWARD


def _started(run: Run, unit: Unit, fact: events.StepStarted) -> None:
    if run.hold or unit.is_doomed or run.phase not in (Phase.OPEN, Phase.FORWARD):
        refuse(run, fact, "nothing may start")
    is_again = unit.state is StepState.STARTED
    container = unit if isinstance(unit, Container) else None
    if fact.attempt != unit.attempt + (not is_again) or (is_again and container):
        refuse(run, fact, f"attempt {fact.attempt} follows {unit.attempt}")
    if container and container.is_fanout and fact.items is None:
        refuse(run, fact, "a fan-out has a length")
    _begin(run)
    run.duties.pop(unit.index, None)
    if is_again:
        unit.reruns, unit.reach, unit.unwind = unit.reruns + 1, 0, None
        return
    unit.attempt, unit.starts, unit.reruns, unit.drifts = fact.attempt, unit.starts + 1, 0, 0
    unit.reach = unit.furthest = 0
    unit.started_rseq, unit.request, unit.due_us = run.next_rseq, None, None
    unit.failure, unit.is_taken_back = None, False
    run.move(unit, StepState.STARTED)
    if container:
        if fact.arguments is not None:
            run.arguments[unit.index] = fact.arguments
        open_container(run, container, fact.items)


def _completed(run: Run, unit: Unit, fact: events.StepCompleted) -> None:
    check_attempt(run, unit, fact)
    _refuse_unresolved(run, unit, fact)
    if isinstance(unit, Container) and unit.pending:
        refuse(run, fact, f"{unit.pending} steps inside have not ended")
    _settle_open(run, unit, ItemState.APPLIED)
    if unit.readers and fact.output is not None:
        run.outputs[unit.index] = fact.output
    end(run, unit, StepState.DONE)


def _refuse_unresolved(
    run: Run, unit: Unit, fact: events.StepCompleted | events.StepFailed | events.StepRetryScheduled
) -> None:
    if unit.state is StepState.IN_DOUBT and fact.resolved_by is None:
        refuse(run, fact, "only a person resolves a doubt")


def _settle_open(run: Run, unit: Unit, state: ItemState) -> None:
    for item in unit.in_state(ItemState.INTENDED):
        run.settle(item, state)


def _failed(run: Run, unit: Unit, fact: events.StepFailed) -> None:
    before, unwind = unit.state, unit.unwind
    has_begun = before in (StepState.STARTED, StepState.CLEARING, StepState.IN_DOUBT)
    if has_begun:
        check_attempt(run, unit, fact)
        _refuse_unresolved(run, unit, fact)
    remains = unwind is not None and unwind.remains > 0
    if before is StepState.CLEARING and unwind and (unwind.queue or not remains):
        refuse(run, fact, "nothing of the attempt remains")
    if before is StepState.STARTED and isinstance(unit, Container) and not unit.is_finished:
        refuse(run, fact, "steps inside have not ended")
    unit.failure, unit.class_, unit.retry_after_us = fact.err, fact.class_, fact.retry_after_us
    if before is StepState.IN_DOUBT:
        _settle_open(run, unit, ItemState.APPLIED)
        fail(run, unit, is_asked=True)
    elif has_begun and remains:
        fail(run, unit)
    elif has_begun:
        judge(run, unit)
    else:
        _turn_away(run, unit)


def _turn_away(run: Run, unit: Unit) -> None:
    """End a step that may not begin; nothing of this attempt is in the world."""
    _begin(run)
    judge(run, unit, may_retry=False)


def _retry_scheduled(run: Run, unit: Unit, fact: events.StepRetryScheduled) -> None:
    if fact.attempt != unit.attempt + 1:
        refuse(run, fact, f"attempt {fact.attempt} follows {unit.attempt}")
    _refuse_unresolved(run, unit, fact)
    if unit.state is StepState.CLEARING and (unwind := unit.unwind):
        if unwind.goal is not Goal.RETRY or not unwind.is_clean:
            refuse(run, fact, "no further attempt is due")
        back_off(run, unit, fact.due_us)
        return
    _settle_open(run, unit, ItemState.NOTHING)
    if unit.is_doomed:
        fail(run, unit)
        return
    known = [] if unit.step.is_idempotent else unit.in_state(ItemState.APPLIED)
    queue = [item for item in known if item.strategy]  # the person knows the rest
    clear(run, unit, Unwind(Goal.RETRY, "retry", queue, next_due_us=fact.due_us))


def _skipped(run: Run, unit: Unit, fact: events.StepSkipped) -> None:
    if (fact.cause == "need") is not unit.is_need_skipped:
        refuse(run, fact, f"{fact.cause} is not why it would not run")
    _begin(run)
    end(run, unit, StepState.SKIPPED)


def _in_doubt(run: Run, unit: Unit, fact: events.StepInDoubt) -> None:
    check_attempt(run, unit, fact)
    run.move(unit, StepState.IN_DOUBT)
    unit.unwind = None
    run.duties.pop(unit.index, None)
    run.interrupts.pop(unit.index, None)


def _intended(run: Run, fact: events.EffectIntended) -> None:
    if not undos.is_for_undo(run, fact):
        undos.intended(run, _unit_of(run, fact), fact)


# ---- handshakes ---------------------------------------------------------------------------------
def _requested(run: Run, unit: Unit, fact: events.HandshakeRequested) -> None:
    _begin(run)
    unit.request, unit.version, unit.due_us = fact.req, fact.version, fact.expires_us
    if unit.state is not StepState.ASKED:
        run.move(unit, StepState.ASKED)
    heappush(run.alarms, (fact.expires_us, unit.index))


def _check_request(run: Run, unit: Unit, fact: Fact, request: str | None) -> None:
    if unit.request not in (None, request):
        refuse(run, fact, f"the open request is {unit.request}")


def _voted(run: Run, unit: Unit, fact: events.HandshakeVoted) -> None:
    _check_request(run, unit, fact, fact.req)
    unit.version = fact.version


def _granted(run: Run, unit: Unit, fact: events.HandshakeGranted) -> None:
    if unit.state is StepState.ASKED:
        _check_request(run, unit, fact, fact.req)
    _begin(run)
    unit.version, unit.due_us = fact.version, None
    run.move(unit, StepState.GRANTED)
    if not unit.is_doomed:
        enlist(run, unit)


def _refused(run: Run, unit: Unit, fact: events.HandshakeRefused) -> None:
    if fact.req is not None:
        _check_request(run, unit, fact, fact.req)
    by = fact.by or (fact.policy or {}).get("name") or "a policy"
    of, path = unit.step.spec.target, unit.path
    error = HandshakeRefusedError("handshake.denied", by=by, capability=of, step=path, run=run.id)
    _deny(run, unit, error)


def _deny(run: Run, unit: Unit, error: HandshakeRefusedError) -> None:
    unit.failure, unit.class_ = failure_of(error), "refused"
    _turn_away(run, unit)


def _expired(run: Run, unit: Unit, fact: events.HandshakeExpired) -> None:
    _check_request(run, unit, fact, fact.req)
    if fact.cause == "withdrawn" and not unit.is_doomed:
        refuse(run, fact, "the run goes on")
    is_too_late = fact.cause == "timeout" and unit.state is StepState.ASKED
    if unit.is_doomed and not is_too_late:
        end(run, unit, StepState.VOID)
        return
    unit.drifts += fact.cause != "timeout"
    if is_too_late or unit.drifts >= _MOST_DRIFTS:
        code = "handshake.expired" if is_too_late else "handshake.drift"
        _deny(run, unit, HandshakeRefusedError(code, request=fact.req, step=unit.path, run=run.id))
    else:
        unit.request = unit.due_us = None
        run.move(unit, StepState.READY)
        enlist(run, unit)


_OF_RUNS: Mapping[type[Fact], Callable[[Run, Any], None]] = {
    events.RunPaused: _paused,
    events.RunResumed: _resumed,
    events.RunCancelRequested: _cancel_requested,
    events.RunClosed: _closed,
    events.UndoDiscarded: undos.discarded,
}
_OF_STEPS: Mapping[type[Fact], Callable[[Run, Unit, Any], None]] = {
    events.StepStarted: _started,
    events.StepCompleted: _completed,
    events.StepFailed: _failed,
    events.StepRetryScheduled: _retry_scheduled,
    events.StepSkipped: _skipped,
    events.StepInDoubt: _in_doubt,
    events.HandshakeRequested: _requested,
    events.HandshakeVoted: _voted,
    events.HandshakeGranted: _granted,
    events.HandshakeRefused: _refused,
    events.HandshakeExpired: _expired,
}
_OF_EFFECTS: Mapping[type[Fact], Callable[[Run, Any], None]] = {
    events.EffectIntended: _intended,
    events.EffectApplied: undos.ended,
    events.EffectFailed: undos.ended,
    events.EffectRefused: undos.refused,
    events.UndoStarted: undos.started,
    events.UndoApplied: undos.applied,
    events.UndoConflict: undos.conflict,
    events.UndoFailed: undos.failed,
}

"""`evolve`: one fact, folded in place.  `replay` is nothing but that, over and over.

Rules: a fact is checked against `TRANSITIONS` and against what it names before anything changes, so
an illegal one leaves the run as it was.  Nothing starts while the run is held or stopping, and an
undo is legal only for the item whose turn it is: a forged log cannot fold to a lawful state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awe_core import events
from awe_core.decider import effects, handshakes, steps
from awe_core.decider.course import open_container
from awe_core.decider.legality import refuse
from awe_core.decider.rewind import resume
from awe_core.decider.run import Run
from awe_core.decider.saga import closing, failure_of, progress, stop_run
from awe_core.decider.table import TRANSITIONS, Phase, StepState
from awe_core.decider.unit import Goal, Inner, Unit
from awe_core.errors import EngineError, RunError
from awe_core.events import RunOpened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.decider.plan import Plan
    from awe_core.events import Fact, RunCancelRequested, RunClosed, RunPaused, RunResumed

#: Pauses that only say what the run waits for; it goes on by itself.
_NOTES = frozenset({"handshake", "in_doubt"})
#: Holds that a cancel asked for by somebody lifts; a stop or lost trust outlasts it.
_LIFTED = frozenset({"operator", "crash_loop"})


def open_run(plan: Plan, run_id: str, opened: RunOpened, *, started_at: str) -> Run:
    """Make the run that *opened* tells of."""
    run = Run(plan, run_id, opened, started_at)
    top = Unit(0, "", None, -1, 0, state=StepState.STARTED, started_rseq=0, inner=Inner())
    run.units.append(top)
    run.paths[""] = 0
    if opened.inputs is not None:
        run.arguments[0] = opened.inputs
    open_container(run, top, len(plan.root.steps))
    run.next_rseq = 1
    return run


def replay(plan: Plan, run_id: str, facts: Iterable[Fact], *, started_at: str) -> Run:
    """Fold a whole run; the first fact is its ``run.opened``.

    :raises EngineError: ``decider.illegal_event``
    """
    rest = iter(facts)
    opened = next(rest, None)
    if not isinstance(opened, RunOpened):
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


def evolve(run: Run, fact: Fact) -> None:
    """Fold one fact.

    :raises EngineError: ``decider.illegal_event``; the run is as it was
    """
    handler = _HANDLERS.get(type(fact))
    is_of_step = hasattr(fact, "step") and run.phase is not Phase.CLOSED
    if handler is None or not (is_of_step or type(fact) in TRANSITIONS[run.phase]):
        refuse(run, fact, f"the run is {run.phase}")
    handler(run, fact)
    run.next_rseq += 1
    progress(run)


def _paused(run: Run, fact: RunPaused) -> None:
    unwind = run.units[0].unwind
    if fact.cause not in _NOTES:
        run.hold = fact.cause
    if unwind and unwind.goal is Goal.PARTIAL and not unwind.queue and not unwind.remains:
        run.phase, run.units[0].unwind = Phase.FORWARD, None


def _resumed(run: Run, fact: RunResumed) -> None:
    try:
        resume(run, fact)
    except RunError as error:
        refuse(run, fact, str(error))


def _cancel_requested(run: Run, fact: RunCancelRequested) -> None:
    ending = "stop" if fact.mode == "keep" else "rollback"
    cause = "expiry" if fact.cause == "expiry" else "cancelled"
    if fact.cause == "asked" and run.hold in _LIFTED:
        run.hold = None
    if run.phase is Phase.DRAINING and run.ending == "stop" and ending == "rollback":
        run.ending, run.cause = "rollback", cause
    code = "run.expired" if cause == "expiry" else "run.cancelled"
    failure = failure_of(RunError(code, run=run.id))
    stop_run(run, "stop" if ending == "stop" else "rollback", cause, failure)


def _closed(run: Run, fact: RunClosed) -> None:
    if run.hold or closing(run) != fact.state:
        refuse(run, fact, f"it cannot end {fact.state} now")
    run.phase, run.closed, run.units[0].unwind = Phase.CLOSED, fact.state, None
    for kept in (run.outputs, run.arguments, run.duties, run.interrupts):
        kept.clear()
    for heap in (run.ready, run.backoffs, run.alarms):
        heap.clear()


_HANDLERS: Mapping[type[Fact], Callable[[Run, Any], None]] = {
    events.RunPaused: _paused,
    events.RunResumed: _resumed,
    events.RunCancelRequested: _cancel_requested,
    events.RunClosed: _closed,
    events.UndoDiscarded: effects.discarded,
    events.StepStarted: steps.started,
    events.StepCompleted: steps.completed,
    events.StepFailed: steps.failed,
    events.StepRetryScheduled: steps.retry_scheduled,
    events.StepSkipped: steps.skipped,
    events.StepInDoubt: steps.in_doubt,
    events.HandshakeRequested: handshakes.requested,
    events.HandshakeVoted: handshakes.voted,
    events.HandshakeGranted: handshakes.granted,
    events.HandshakeRefused: handshakes.refused,
    events.HandshakeExpired: handshakes.expired,
    events.EffectIntended: effects.intended,
    events.EffectApplied: effects.ended,
    events.EffectFailed: effects.ended,
    events.EffectRefused: effects.refused,
    events.UndoStarted: effects.undo_started,
    events.UndoApplied: effects.undo_applied,
    events.UndoConflict: effects.undo_conflict,
    events.UndoFailed: effects.undo_failed,
}

"""Facts of steps: started, completed, failed, scheduled again, skipped, in doubt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.decider.course import end, is_finished, open_container
from awe_core.decider.legality import check_attempt, current, open_items, refuse, unit_of
from awe_core.decider.saga import back_off, clear, fail, judge
from awe_core.decider.table import ItemState, Phase, StepState
from awe_core.decider.unit import Goal, Unwind, is_fanout, unwind_of

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.unit import Unit
    from awe_core.events import (
        StepCompleted,
        StepFailed,
        StepInDoubt,
        StepRetryScheduled,
        StepSkipped,
        StepStarted,
    )


def begin(run: Run) -> None:
    """Note that a step has begun."""
    if run.phase is Phase.OPEN:
        run.phase = Phase.FORWARD


def started(run: Run, fact: StepStarted) -> None:
    """Start a handler, open a container, or start again what a crash cut off."""
    unit = unit_of(run, fact)
    if run.hold or run.parent_of(unit).is_doomed or run.phase not in (Phase.OPEN, Phase.FORWARD):
        refuse(run, fact, "nothing may start")
    is_again = unit.state is StepState.STARTED
    if fact.attempt != unit.attempt + (not is_again) or (is_again and unit.inner):
        refuse(run, fact, f"attempt {fact.attempt} follows {unit.attempt}")
    if is_fanout(unit) and fact.items is None:
        refuse(run, fact, "a fan-out has a length")
    begin(run)
    if is_again:
        unit.reruns += 1
        unit.unwind = None
        run.duties.pop(unit.index, None)
        return
    unit.attempt, unit.starts, unit.reruns = fact.attempt, unit.starts + 1, 0
    unit.started_rseq, unit.request, unit.due_us = run.next_rseq, None, None
    unit.drifts, unit.failure, unit.is_taken_back = 0, None, False
    run.duties.pop(unit.index, None)
    run.move(unit, StepState.STARTED)
    if unit.inner is not None:
        if fact.arguments is not None:
            run.arguments[unit.index] = fact.arguments
        count = fact.items if fact.items is not None else len(run.block_of(unit).steps)
        open_container(run, unit, count)


def completed(run: Run, fact: StepCompleted) -> None:
    """End a step well; what it intended is in the world."""
    unit = current(run, fact)
    if unit.state is StepState.IN_DOUBT and fact.resolved_by is None:
        refuse(run, fact, "only a person resolves a doubt")
    if unit.inner is not None and unit.inner.pending:
        refuse(run, fact, f"{unit.inner.pending} steps inside have not ended")
    for item in open_items(run, unit):
        run.settle(item, ItemState.APPLIED)
    if unit.readers and fact.output is not None:
        run.outputs[unit.index] = fact.output
    end(run, unit, StepState.DONE)


def failed(run: Run, fact: StepFailed) -> None:
    """End an attempt, or refuse to begin one."""
    unit = unit_of(run, fact)
    before = unit.state
    if before in (StepState.STARTED, StepState.CLEARING, StepState.IN_DOUBT):
        check_attempt(run, unit, fact)
    if before is StepState.CLEARING and (unwind_of(unit).queue or not unwind_of(unit).remains):
        refuse(run, fact, "nothing of the attempt remains")
    if before is StepState.IN_DOUBT and fact.resolved_by is None:
        refuse(run, fact, "only a person resolves a doubt")
    if unit.inner is not None and before is StepState.STARTED and not is_finished(unit):
        refuse(run, fact, "steps inside have not ended")
    unit.failure, unit.class_, unit.retry_after_us = fact.err, fact.class_, fact.retry_after_us
    if before is StepState.STARTED and not (unit.unwind and unit.unwind.remains):
        judge(run, unit)
    elif before is StepState.IN_DOUBT:
        for item in open_items(run, unit):
            run.settle(item, ItemState.APPLIED)
        fail(run, unit, is_asked=True)
    elif before in (StepState.STARTED, StepState.CLEARING):
        fail(run, unit)
    else:
        turn_away(run, unit)


def turn_away(run: Run, unit: Unit) -> None:
    """End a step that may not begin; nothing of this attempt is in the world."""
    begin(run)
    judge(run, unit, may_retry=False)


def retry_scheduled(run: Run, fact: StepRetryScheduled) -> None:
    """Wait for the next attempt, which a person may have asked for."""
    unit = unit_of(run, fact)
    if fact.attempt != unit.attempt + 1:
        refuse(run, fact, f"attempt {fact.attempt} follows {unit.attempt}")
    if unit.state is StepState.CLEARING:
        unwind = unwind_of(unit)
        if unwind.goal is not Goal.RETRY or unwind.queue or unwind.remains:
            refuse(run, fact, "no further attempt is due")
        back_off(run, unit, fact.due_us)
        return
    if fact.resolved_by is None:
        refuse(run, fact, "only a person resolves a doubt")
    for item in open_items(run, unit):
        run.settle(item, ItemState.NOTHING)
    if run.parent_of(unit).is_doomed:
        fail(run, unit)
        return
    keeps = unit.step is not None and unit.step.is_idempotent
    queue = [i for i in unit.items if run.items[i].state is ItemState.APPLIED]
    queue = [i for i in queue if run.items[i].strategy and not keeps]  # the person knows the rest
    clear(run, unit, Unwind(Goal.RETRY, "retry", queue, next_due_us=fact.due_us))


def skipped(run: Run, fact: StepSkipped) -> None:
    """End a step that does not run."""
    unit = unit_of(run, fact)
    if (fact.cause == "need") is not unit.is_need_skipped:
        refuse(run, fact, f"{fact.cause} is not why it would not run")
    begin(run)
    end(run, unit, StepState.SKIPPED)


def in_doubt(run: Run, fact: StepInDoubt) -> None:
    """Wait for a person to say what happened."""
    unit = current(run, fact)
    run.move(unit, StepState.IN_DOUBT)
    unit.unwind = None
    run.duties.pop(unit.index, None)
    run.interrupts.pop(unit.index, None)

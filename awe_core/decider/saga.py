"""What follows a failure: it spreads, the run drains, effects are taken back.

Rules (30-engine, section 3): units stand in the order in which they ended; unwinding takes the
newest unit, inside it the newest item, one after the other.  The first failure decides what its run
does; later ones change nothing, a person may still turn a stop into a rollback.  A failure inside a
sub-workflow climbs until a calling step says ``continue`` or has a retry left.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from awe_core.decider.claims import covering
from awe_core.decider.course import end, note_end, oblige
from awe_core.decider.table import ItemState, Phase, StepState
from awe_core.decider.unit import Goal, Unwind, inner_of, is_fanout, unwind_of
from awe_core.events import Failure
from awe_core.workflow import InFlight, OnFailure

if TYPE_CHECKING:
    from typing import Literal

    from awe_core.decider.run import Run
    from awe_core.decider.unit import Item, Unit
    from awe_core.errors import AweError
    from awe_core.events import ClosedState

#: Classes of error that a retry can be for; refusals, conflicts and contracts never are.
_RETRYABLE = frozenset({"timeout", "unavailable", "rate_limited", "error", "interrupted"})
_WAITING_ITEMS = (ItemState.APPLIED, ItemState.UNDOING)


# ---- units fail ---------------------------------------------------------------------------------
def judge(run: Run, unit: Unit, *, may_retry: bool = True) -> None:
    """Decide what follows a failed attempt: another one, going on without it, or the end."""
    doubtful = [i for i in unit.items if run.items[i].state is ItemState.INTENDED]
    stops = run.parent_of(unit).is_doomed
    if doubtful:
        clear(run, unit, Unwind(Goal.JUDGE, run.cause, doubtful=doubtful))
    elif may_retry and not stops and has_retry(run, unit) and _can_clear(run, unit):
        queue = [] if unit.step and unit.step.is_idempotent else attempted(run, unit)
        clear(run, unit, Unwind(Goal.RETRY, "retry", queue))
    elif not stops and run.on_failure(unit) is OnFailure.CONTINUE:
        clear(run, unit, Unwind(Goal.TOLERATE, "failure", standing(run, unit)))
    else:
        fail(run, unit)


def has_retry(run: Run, unit: Unit) -> bool:
    """Whether the class of the failure and the attempts left allow another attempt."""
    if unit.step is None or unit.class_ not in _RETRYABLE:
        return False
    retry = unit.step.retry
    is_for_it = unit.class_ in retry.on or "any" in retry.on
    return is_for_it and unit.starts < retry.attempts and not run.parent_of(unit).is_doomed


def _can_clear(run: Run, unit: Unit) -> bool:
    if unit.step and unit.step.is_idempotent:
        return True
    return all(run.items[index].strategy for index in attempted(run, unit))


def attempted(run: Run, unit: Unit) -> list[int]:
    """What stands of the last attempt, the newest last."""
    if unit.inner is not None:
        return standing(run, unit)
    found = []
    for index in reversed(unit.items):
        item = run.items[index]
        if item.attempt != unit.attempt:
            break
        if item.state in _WAITING_ITEMS:
            found.append(index)
    return found[::-1]


def fail(run: Run, unit: Unit, *, is_asked: bool = False) -> None:
    """End *unit* as FAILED and let the failure spread; a person may have asked for the rollback."""
    end(run, unit, StepState.FAILED)
    if is_asked:
        run.parent_of(unit).failure = run.parent_of(unit).failure or unit.failure
        stop_run(run, "rollback", "failure", unit.failure)
        return
    ends = "stop" if run.on_failure(unit) is OnFailure.STOP else "rollback"
    failure, class_ = unit.failure, unit.class_
    while True:
        parent = run.units[unit.parent]
        inner = inner_of(parent)
        if inner.failure is None:
            inner.failure, inner.class_ = failure, class_
        if not parent.index:
            stop_run(run, "stop" if ends == "stop" else "rollback", "failure", failure)
            return
        parent.class_ = inner.class_
        if inner.is_doomed:
            return
        if not is_fanout(parent) and (
            run.on_failure(parent) is OnFailure.CONTINUE or has_retry(run, parent)
        ):
            stop(run, parent)
            return
        ends = "stop" if run.on_failure(parent) is OnFailure.STOP else "rollback"
        unit = parent


def stop_run(
    run: Run, ending: Literal["rollback", "stop"], cause: str, failure: Failure | None
) -> None:
    """Let the whole run drain; who came first decides how it ends."""
    if run.root.is_doomed:
        return
    run.phase, run.ending, run.cause = Phase.DRAINING, ending, cause
    run.root.failure = run.root.failure or failure
    stop(run, run.units[0])


def stop(run: Run, top: Unit) -> None:
    """Let nothing new start in *top*, close its open questions, cancel or await what runs."""
    cancels = _in_flight_of(run, top) is InFlight.CANCEL
    open_ = [top]
    while open_:
        container = open_.pop()
        inner_of(container).is_doomed = True
        for child in list(run.children(container)):
            if child.inner is not None and child.state is StepState.STARTED:
                open_.append(child)
            else:
                _stop_unit(run, child, cancels=cancels)
        note_end(run, container)


def _in_flight_of(run: Run, container: Unit) -> InFlight:
    while is_fanout(container):  # a fan-out follows the workflow it stands in
        container = run.units[container.parent]
    return run.block_of(container).spec.in_flight


def _stop_unit(run: Run, unit: Unit, *, cancels: bool) -> None:
    match unit.state:
        case StepState.READY:
            run.duties.pop(unit.index, None)
            run.move(unit, StepState.VOID)
        case StepState.GRANTED if unit.request is None:
            run.move(unit, StepState.VOID)
        case StepState.ASKED | StepState.GRANTED:
            oblige(run, unit)
        case StepState.STARTED if unit.unwind is not None:  # a crash cut it off
            oblige(run, unit)
        case StepState.STARTED if cancels:
            run.interrupts[unit.index] = None
        case StepState.BACKOFF:
            end(run, unit, StepState.FAILED)
        case StepState.CLEARING:
            _stop_clearing(run, unit)
        case _:
            pass


def _stop_clearing(run: Run, unit: Unit) -> None:
    """Leave to the unwinding of the whole what is not being taken back this very moment."""
    unwind = unwind_of(unit)
    head = run.items[unwind.queue[-1]] if unwind.queue else None
    is_busy = head is not None and head.state is ItemState.UNDOING
    unwind.goal, unwind.queue = Goal.JUDGE, unwind.queue[-1:] if is_busy else []
    advance(run, unit)


# ---- effects are taken back ---------------------------------------------------------------------
def clear(run: Run, unit: Unit, unwind: Unwind) -> None:
    """Inspect and take back effects of *unit* before it goes on."""
    if unit.state is not StepState.CLEARING:
        run.move(unit, StepState.CLEARING)
    run.interrupts.pop(unit.index, None)
    unwind_with(run, unit, unwind)
    advance(run, unit)


def cut_off(run: Run, unit: Unit) -> None:
    """Inspect and take back what a call did before its handler was lost, to start it again."""
    run.interrupts.pop(unit.index, None)
    doubtful = [i for i in unit.items if run.items[i].state is ItemState.INTENDED]
    unit.unwind = Unwind(Goal.RERUN, "retry", doubtful=doubtful)
    advance(run, unit)


def unwind_with(run: Run, owner: Unit, unwind: Unwind) -> None:
    """Give *owner* the items of *unwind* to take back."""
    for index in unwind.queue:
        run.items[index].owner = owner.index
    owner.unwind = unwind


def standing(run: Run, top: Unit) -> list[int]:
    """What of *top* stands or remains, in the order its units ended, the newest last."""
    found = []
    open_ = [top]
    while open_:
        unit = open_.pop()
        found += [i for i in unit.items if run.items[i].state in _STANDING]
        open_.extend(run.children(unit))
    return sorted(found, key=lambda index: (run.items[index].order, index))


_STANDING = (ItemState.APPLIED, ItemState.RESIDUE, ItemState.UNDOING)


def advance(run: Run, owner: Unit) -> None:
    """Drop what is settled from the head of an unwinding, and move on when nothing is left."""
    unwind = unwind_of(owner)
    while unwind.doubtful and run.items[unwind.doubtful[-1]].state is not ItemState.INTENDED:
        unwind.doubtful.pop()
    while unwind.queue and not _has_work(unwind, run.items[unwind.queue[-1]]):
        unwind.queue.pop()
    if owner.index:
        oblige(run, owner)
        if not unwind.doubtful:
            _conclude(run, owner, unwind)


def _has_work(unwind: Unwind, item: Item) -> bool:
    if item.state is ItemState.RESIDUE and (not item.strategy or blocker(unwind, item)):
        remain(unwind, item)
        return False
    return item.state in _STANDING


def _conclude(run: Run, unit: Unit, unwind: Unwind) -> None:
    match unwind.goal:
        case Goal.JUDGE if not unwind.queue:
            judge(run, unit)
        case Goal.RERUN if not unwind.is_inspected:
            unwind.is_inspected = True
            unwind.queue = attempted(run, unit)
            unwind_with(run, unit, unwind)
        case Goal.TOLERATE if is_clean(unwind):
            end(run, unit, StepState.TOLERATED)
        case Goal.RETRY if unwind.next_due_us is not None and is_clean(unwind):
            back_off(run, unit, unwind.next_due_us)
        case _:
            pass


def back_off(run: Run, unit: Unit, due_us: int) -> None:
    """Let *unit* wait for its next attempt."""
    run.move(unit, StepState.BACKOFF)
    run.duties.pop(unit.index, None)
    unit.unwind, unit.due_us = None, due_us
    heappush(run.backoffs, (due_us, unit.index))


def is_clean(unwind: Unwind) -> bool:
    """Whether everything of it is taken back, with nothing left."""
    return not (unwind.queue or unwind.remains)


def blocker(unwind: Unwind, item: Item) -> str | None:
    """Name the effect that remains on a resource of *item* and was done after it."""
    for claim in item.claims:
        if claim in unwind.blocked:
            return unwind.blocked[claim]
        for above in covering(claim):
            if above in unwind.covered:
                return unwind.covered[above]
    return None


def remain(unwind: Unwind, item: Item) -> None:
    """Note that *item* stays in the world, and what is below it with it."""
    unwind.remains += 1
    for claim in item.claims:
        unwind.covered[claim] = item.effect
        for above in covering(claim):
            unwind.blocked[above] = item.effect


def closing(run: Run) -> ClosedState | None:
    """Give the state the run is to be closed with now; None: it is not over."""
    unwind = run.units[0].unwind
    match run.phase:
        case Phase.OPEN | Phase.FORWARD if not run.root.pending:
            return "COMPLETED"
        case Phase.DRAINING if run.ending == "stop" and not run.root.active:
            return None if is_undoing(run, run.units[0]) else "FAILED"
        case Phase.UNWINDING if unwind and not unwind.queue:
            if unwind.goal is Goal.RUN and not run.remains:
                return "ROLLED_BACK"
            return "FAILED" if unwind.goal is Goal.RUN or unwind.remains else None
        case _:
            return None


def progress(run: Run) -> None:
    """Move the run's own phase on, and drop what is stale at the heads of the heaps."""
    root = run.units[0]
    if run.phase is Phase.DRAINING and not run.root.active and not is_undoing(run, root):
        root.unwind = None
        if run.ending == "rollback":
            run.phase = Phase.UNWINDING
            unwind_with(run, root, Unwind(Goal.RUN, run.cause, standing(run, root)))
            advance(run, root)
    if root.unwind and root.unwind.goal is Goal.REDO and is_clean(root.unwind):
        run.phase, root.unwind = Phase.FORWARD, None
    while run.ready and run.units[run.ready[0]].state not in _ADMISSIBLE:
        heappop(run.ready)
    for heap in (run.backoffs, run.alarms):
        while heap and run.units[heap[0][1]].due_us != heap[0][0]:
            heappop(heap)


_ADMISSIBLE = (StepState.READY, StepState.GRANTED)


def is_undoing(run: Run, owner: Unit) -> bool:
    """Whether an undo of *owner*'s unwinding is at work this moment."""
    queue = owner.unwind.queue if owner.unwind else []
    return bool(queue) and run.items[queue[-1]].state is ItemState.UNDOING


def failure_of(error: AweError) -> Failure:
    """Write an error of ours as it is recorded."""
    return Failure(code=error.code, msg=str(error), type=type(error).__name__)

"""What follows a failure: it spreads, the run drains, effects are taken back.

Rules (30-engine, section 3): units stand in the order in which they ended; unwinding takes the
newest unit, inside it the newest item, one after the other.  The first failure decides what its run
does; later ones change nothing, a person may still turn a stop into a rollback.  A failure inside a
sub-workflow climbs until a calling step says ``continue`` or has a retry left.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Literal

from awe_core.decider.claims import covering
from awe_core.decider.course import end, note_end
from awe_core.decider.table import ItemState, Phase, StepState
from awe_core.decider.unit import Container, Goal, Unwind
from awe_core.events import Failure
from awe_core.workflow import InFlight, OnFailure

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.unit import Item, Unit
    from awe_core.errors import AweError
    from awe_core.events import ClosedState

Ending = Literal["rollback", "stop"]

#: Classes of error that a retry can be for; refusals, conflicts and contracts never are.
_RETRYABLE = frozenset({"timeout", "unavailable", "rate_limited", "error", "interrupted"})
_STANDING = (ItemState.APPLIED, ItemState.RESIDUE, ItemState.UNDOING)


def failure_of(error: AweError) -> Failure:
    """Write an error of ours as it is recorded."""
    return Failure(code=error.code, msg=str(error), type=type(error).__name__)


# ---- units fail ---------------------------------------------------------------------------------
def judge(run: Run, unit: Unit, *, may_retry: bool = True) -> None:
    """Decide what follows a failed attempt: another one, going on without it, or the end."""
    is_kept = unit.step.is_idempotent
    if doubtful := unit.in_state(ItemState.INTENDED):
        clear(run, unit, Unwind(Goal.JUDGE, run.cause, doubtful=doubtful))
        return
    if may_retry and not unit.is_doomed and _has_retry(unit):
        queue = [] if is_kept else attempted(unit)
        if all(item.strategy for item in queue):
            clear(run, unit, Unwind(Goal.RETRY, "retry", queue))
            return
    if not unit.is_doomed and run.on_failure(unit) is OnFailure.CONTINUE:
        clear(run, unit, Unwind(Goal.TOLERATE, "failure", standing(unit)))
    else:
        fail(run, unit)


def _has_retry(unit: Unit) -> bool:
    """Whether the class of the failure and the attempts left allow another attempt."""
    retry = unit.step.retry
    is_for_it = unit.class_ in _RETRYABLE and (unit.class_ in retry.on or "any" in retry.on)
    return is_for_it and unit.starts < retry.attempts


def attempted(unit: Unit) -> list[Item]:
    """What stands of the last attempt, the newest last."""
    if isinstance(unit, Container):
        return standing(unit)
    found = []
    for item in reversed(unit.items):
        if item.attempt != unit.attempt:
            break
        if item.state in (ItemState.APPLIED, ItemState.UNDOING):
            found.append(item)
    return found[::-1]


def standing(top: Unit) -> list[Item]:
    """What of *top* stands or remains, in the order its units ended, the newest last."""
    found = []
    open_ = [top]
    while open_:
        unit = open_.pop()
        found += [item for item in unit.items if item.state in _STANDING]
        open_ += unit.children if isinstance(unit, Container) else ()
    return sorted(found, key=lambda item: (item.order, item.index))


def fail(run: Run, unit: Unit, *, is_asked: bool = False) -> None:
    """End *unit* as FAILED and let the failure spread; a person may have asked for the rollback."""
    end(run, unit, StepState.FAILED)
    failure, class_ = unit.failure, unit.class_
    if is_asked:
        unit.parent.inner_failure = unit.parent.inner_failure or failure
        stop_run(run, "rollback", "failure", failure)
        return
    while True:
        ending: Ending = "stop" if run.on_failure(unit) is OnFailure.STOP else "rollback"
        parent = unit.parent
        if parent.inner_failure is None:
            parent.inner_failure, parent.inner_class = failure, class_
        if not parent.index:
            stop_run(run, ending, "failure", failure)
            return
        parent.class_ = parent.inner_class
        if parent.stops:
            return
        if not parent.is_fanout and (
            run.on_failure(parent) is OnFailure.CONTINUE
            or (_has_retry(parent) and not parent.is_doomed)
        ):
            _stop(run, parent)
            return
        unit = parent


def stop_run(run: Run, ending: Ending, cause: str, failure: Failure | None) -> None:
    """Let the whole run drain; who came first decides how it ends."""
    if run.root.stops:
        return
    run.phase, run.ending, run.cause = Phase.DRAINING, ending, cause
    run.root.inner_failure = run.root.inner_failure or failure
    _stop(run, run.root)


def _stop(run: Run, top: Container) -> None:
    """Let nothing new start in *top*, close its open questions, cancel or await what runs."""
    scope = top
    while scope.is_fanout:  # a fan-out follows the workflow it stands in
        scope = scope.parent
    cancels = run.block_of(scope).spec.in_flight is InFlight.CANCEL
    open_ = [top]
    while open_:
        container = open_.pop()
        container.stops = True
        for child in container.children:
            if isinstance(child, Container) and child.state is StepState.STARTED:
                open_.append(child)
            else:
                _stop_unit(run, child, cancels=cancels)
        note_end(run, container)


def _stop_unit(run: Run, unit: Unit, *, cancels: bool) -> None:
    state = unit.state
    if state is StepState.READY or (state is StepState.GRANTED and unit.request is None):
        run.duties.pop(unit.index, None)
        run.move(unit, StepState.VOID)
    elif state is StepState.STARTED and unit.unwind is None:
        if cancels:
            run.interrupts[unit.index] = None
    elif state in (StepState.ASKED, StepState.GRANTED, StepState.STARTED):
        run.duties[unit.index] = None  # to withdraw its request, or to inspect what was cut off
    elif state is StepState.BACKOFF:
        end(run, unit, StepState.FAILED)
    elif state is StepState.CLEARING and unit.unwind is not None:
        # the unwinding of the whole does what is not being taken back this very moment
        unit.unwind.goal = Goal.JUDGE
        unit.unwind.queue = unit.unwind.queue[-1:] if is_undoing(unit) else []
        advance(run, unit, unit.unwind)


# ---- effects are taken back ---------------------------------------------------------------------
def clear(run: Run, unit: Unit, unwind: Unwind) -> None:
    """Inspect and take back effects of *unit* before it goes on."""
    if unit.state is not StepState.CLEARING:
        run.move(unit, StepState.CLEARING)
    run.interrupts.pop(unit.index, None)
    take_back(run, unit, unwind)


def cut_off(run: Run, unit: Unit) -> None:
    """Inspect and take back what a call did before its handler was lost, to start it again."""
    run.interrupts.pop(unit.index, None)
    take_back(run, unit, Unwind(Goal.RERUN, "retry", doubtful=unit.in_state(ItemState.INTENDED)))


def take_back(run: Run, owner: Unit, unwind: Unwind) -> None:
    """Give *owner* the items of *unwind* to take back."""
    owner.unwind = unwind
    for item in unwind.queue:
        item.owner = owner
    advance(run, owner, unwind)


def advance(run: Run, owner: Unit, unwind: Unwind) -> None:
    """Drop what is settled from the head of an unwinding, and move on when nothing is left."""
    while unwind.doubtful and unwind.doubtful[-1].state is not ItemState.INTENDED:
        unwind.doubtful.pop()
    while unwind.queue and not _has_work(unwind, unwind.queue[-1]):
        unwind.queue.pop()
    if owner.index:
        run.duties[owner.index] = None
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
            unwind.queue = attempted(unit)
            for item in unwind.queue:
                item.owner = unit
        case Goal.TOLERATE if unwind.is_clean:
            end(run, unit, StepState.TOLERATED)
        case Goal.RETRY if unwind.next_due_us is not None and unwind.is_clean:
            back_off(run, unit, unwind.next_due_us)
        case _:
            pass


def back_off(run: Run, unit: Unit, due_us: int) -> None:
    """Let *unit* wait for its next attempt."""
    run.move(unit, StepState.BACKOFF)
    run.duties.pop(unit.index, None)
    unit.unwind, unit.due_us = None, due_us
    heappush(run.backoffs, (due_us, unit.index))


def is_undoing(owner: Unit) -> bool:
    """Whether an undo of *owner*'s unwinding is at work this moment."""
    unwind = owner.unwind
    return bool(unwind and unwind.queue and unwind.queue[-1].state is ItemState.UNDOING)


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


# ---- the run ------------------------------------------------------------------------------------
def closing(run: Run) -> ClosedState | None:
    """Give the state the run is to be closed with now; None: it is not over."""
    phase, root = run.phase, run.root
    if phase is Phase.FORWARD or phase is Phase.OPEN:
        return None if root.pending else "COMPLETED"
    if phase is Phase.DRAINING:
        is_over = run.ending == "stop" and not root.active and not is_undoing(root)
        return "FAILED" if is_over else None
    unwind = root.unwind
    if unwind is None or unwind.queue:
        return None
    if unwind.goal is Goal.RUN:
        return "FAILED" if run.remains else "ROLLED_BACK"
    return "FAILED" if unwind.remains else None


def progress(run: Run) -> None:
    """Move the run's own phase on, and drop what is stale at the heads of the heaps."""
    root = run.root
    if run.phase is Phase.DRAINING and not root.active and not is_undoing(root):
        root.unwind = None
        if run.ending == "rollback":
            run.phase = Phase.UNWINDING
            take_back(run, root, Unwind(Goal.RUN, run.cause, standing(root)))
    if root.unwind and root.unwind.goal is Goal.REDO and root.unwind.is_clean:
        run.phase, root.unwind = Phase.FORWARD, None
    units = run.units
    while run.ready and units[run.ready[0]].state not in (StepState.READY, StepState.GRANTED):
        heappop(run.ready)
    for heap in (run.backoffs, run.alarms) if run.backoffs or run.alarms else ():
        while heap and units[heap[0][1]].due_us != heap[0][0]:
            heappop(heap)

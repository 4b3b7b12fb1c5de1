"""`evolve`: one fact, folded in place.  `replay` is nothing but that, over and over.

Rules: a fact is checked against `TRANSITIONS` and against what it names before anything changes, so
an illegal one leaves the run as it was.  Nothing starts while the run is held or stopping, and an
undo is legal only for the item whose turn it is: a forged log cannot fold to a lawful state.
"""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, Any, NoReturn

from awe_core.decider.plan import Kind
from awe_core.decider.rewind import resume
from awe_core.decider.run import Goal, Inner, Item, Run, Unit, Unwind
from awe_core.decider.saga import (
    advance,
    attempted,
    back_off,
    clear,
    closing,
    cut_off,
    end,
    enlist,
    fail,
    failure_of,
    is_finished,
    is_undoing,
    judge,
    oblige,
    open_container,
    progress,
    remain,
    stop_run,
    unwind_of,
)
from awe_core.decider.table import ENDED, TRANSITIONS, ItemState, Phase, StepState
from awe_core.errors import EngineError, HandshakeRefusedError, RunError
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    HandshakeExpired,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeRequested,
    HandshakeVoted,
    RunCancelRequested,
    RunClosed,
    RunOpened,
    RunPaused,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepInDoubt,
    StepRetryScheduled,
    StepSkipped,
    StepStarted,
    UndoApplied,
    UndoConflict,
    UndoDiscarded,
    UndoFailed,
    UndoStarted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.decider.plan import Plan
    from awe_core.decider.table import State
    from awe_core.events import Fact

#: Pauses that only say what the run waits for; it goes on by itself.
_NOTES = frozenset({"handshake", "in_doubt"})
#: Holds that a cancel asked for by somebody lifts; a stop or lost trust outlasts it.
_LIFTED = frozenset({"operator", "crash_loop"})
_MOST_DRIFTS = 3


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


def refuse(run: Run, fact: Fact, why: str) -> NoReturn:
    """Say that *fact* cannot have happened."""
    raise EngineError(
        "decider.illegal_event", run=run.id, rseq=run.next_rseq, kind=fact.kind, why=why
    )


# ---- run ----------------------------------------------------------------------------------------
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


def _discarded(run: Run, fact: UndoDiscarded) -> None:
    run.is_discarded = True
    named = [run.effects[effect] for effect in fact.effects if effect in run.effects]
    for index in named if fact.effects else range(len(run.items)):
        if run.items[index].state in (ItemState.APPLIED, ItemState.RESIDUE):
            run.settle(run.items[index], ItemState.GONE)


# ---- step ---------------------------------------------------------------------------------------
def _started(run: Run, fact: StepStarted) -> None:
    unit = _unit(run, fact)
    if run.hold or run.parent_of(unit).is_doomed or not _goes_forward(run):
        refuse(run, fact, "nothing may start")
    is_again = unit.state is StepState.STARTED
    if fact.attempt != unit.attempt + (not is_again) or (is_again and unit.inner):
        refuse(run, fact, f"attempt {fact.attempt} follows {unit.attempt}")
    if _kind(unit) is Kind.FANOUT and fact.items is None:
        refuse(run, fact, "a fan-out has a length")
    _begin(run)
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


def _completed(run: Run, fact: StepCompleted) -> None:
    unit = _current(run, fact)
    if unit.state is StepState.IN_DOUBT and fact.resolved_by is None:
        refuse(run, fact, "only a person resolves a doubt")
    if unit.inner is not None and unit.inner.pending:
        refuse(run, fact, f"{unit.inner.pending} steps inside have not ended")
    for item in _open_items(run, unit):
        run.settle(item, ItemState.APPLIED)
    if unit.readers and fact.output is not None:
        run.outputs[unit.index] = fact.output
    end(run, unit, StepState.DONE)


def _failed(run: Run, fact: StepFailed) -> None:
    unit = _unit(run, fact)
    before = unit.state
    if before in (StepState.STARTED, StepState.CLEARING, StepState.IN_DOUBT):
        _check_attempt(run, unit, fact)
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
        for item in _open_items(run, unit):
            run.settle(item, ItemState.APPLIED)
        fail(run, unit, is_asked=True)
    elif before in (StepState.STARTED, StepState.CLEARING):
        fail(run, unit)
    else:
        _refuse_start(run, unit)


def _refuse_start(run: Run, unit: Unit) -> None:
    """End a step that may not begin; nothing of this attempt is in the world."""
    _begin(run)
    judge(run, unit, may_retry=False)


def _retry_scheduled(run: Run, fact: StepRetryScheduled) -> None:
    unit = _unit(run, fact)
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
    for item in _open_items(run, unit):
        run.settle(item, ItemState.NOTHING)
    if run.parent_of(unit).is_doomed:
        fail(run, unit)
        return
    keeps = unit.step is not None and unit.step.is_idempotent
    queue = [i for i in unit.items if run.items[i].state is ItemState.APPLIED]
    queue = [i for i in queue if run.items[i].strategy and not keeps]  # the person knows the rest
    clear(run, unit, Unwind(Goal.RETRY, "retry", queue, next_due_us=fact.due_us))


def _skipped(run: Run, fact: StepSkipped) -> None:
    unit = _unit(run, fact)
    if (fact.cause == "need") is not unit.is_need_skipped:
        refuse(run, fact, f"{fact.cause} is not why it would not run")
    _begin(run)
    end(run, unit, StepState.SKIPPED)


def _in_doubt(run: Run, fact: StepInDoubt) -> None:
    unit = _current(run, fact)
    run.move(unit, StepState.IN_DOUBT)
    unit.unwind = None
    run.duties.pop(unit.index, None)
    run.interrupts.pop(unit.index, None)


# ---- handshake ----------------------------------------------------------------------------------
def _requested(run: Run, fact: HandshakeRequested) -> None:
    unit = _unit(run, fact)
    _begin(run)
    unit.request, unit.version, unit.due_us = fact.req, fact.version, fact.expires_us
    if unit.state is not StepState.ASKED:
        run.move(unit, StepState.ASKED)
    heappush(run.alarms, (fact.expires_us, unit.index))


def _voted(run: Run, fact: HandshakeVoted) -> None:
    _asked(run, fact).version = fact.version


def _granted(run: Run, fact: HandshakeGranted) -> None:
    unit = _unit(run, fact)
    if unit.state is StepState.ASKED and fact.req != unit.request:
        refuse(run, fact, f"the open request is {unit.request}")
    _begin(run)
    unit.version, unit.due_us = fact.version, None
    run.move(unit, StepState.GRANTED)
    if not run.parent_of(unit).is_doomed:
        enlist(run, unit)


def _refused(run: Run, fact: HandshakeRefused) -> None:
    unit = _unit(run, fact)
    if fact.req is not None and unit.request not in (None, fact.req):
        refuse(run, fact, f"the open request is {unit.request}")
    by = fact.by or (fact.policy or {}).get("name") or "a policy"
    target = unit.step.spec.target if unit.step else ""
    error = HandshakeRefusedError(
        "handshake.denied", by=by, capability=target, step=unit.path, run=run.id
    )
    unit.failure, unit.class_ = failure_of(error), "refused"
    _refuse_start(run, unit)


def _expired(run: Run, fact: HandshakeExpired) -> None:
    unit = _asked(run, fact)
    stops = run.parent_of(unit).is_doomed
    if fact.cause == "withdrawn" and not stops:
        refuse(run, fact, "the run goes on")
    is_too_late = fact.cause == "timeout" and unit.state is StepState.ASKED
    if stops and not is_too_late:
        unit.request = unit.due_us = None
        end(run, unit, StepState.VOID)
        return
    unit.drifts += fact.cause != "timeout"
    if is_too_late or unit.drifts >= _MOST_DRIFTS:
        code = "handshake.expired" if is_too_late else "handshake.drift"
        error = HandshakeRefusedError(code, request=fact.req, step=unit.path, run=run.id)
        unit.failure, unit.class_ = failure_of(error), "refused"
        _refuse_start(run, unit)
        return
    unit.request = unit.due_us = None
    run.move(unit, StepState.READY)
    enlist(run, unit)


# ---- effects ------------------------------------------------------------------------------------
def _intended(run: Run, fact: EffectIntended) -> None:
    unit = _current(run, fact)
    known = run.effects.get(fact.effect)
    if known is not None:
        _check(run, fact, run.items[known].state)
    unit.reruns = 0
    strategy, reason = fact.undo.get("strategy"), fact.undo.get("none")
    if strategy is None and reason is None:  # nobody would want it back: no item
        return
    if known is not None:
        item = run.items[known]
        run.settle(item, ItemState.INTENDED)
        item.record, item.record_rseq = fact.record, run.next_rseq
        return
    item = Item(
        index=len(run.items),
        effect=fact.effect,
        unit=unit.index,
        attempt=fact.attempt,
        type=fact.type,
        target=fact.target,
        request=fact.request,
        key=fact.key,
        claims=fact.claims or (fact.target,),
        strategy=strategy,
        reason=reason or "",
        record=fact.record,
        record_rseq=run.next_rseq,
    )
    run.items.append(item)
    run.effects[fact.effect] = item.index
    run.item_counts[item.state] += 1
    unit.items.append(item.index)


def _effect_ended(run: Run, fact: EffectApplied | EffectFailed) -> None:
    unit = run.units[_index(run, fact)]
    known = run.effects.get(fact.effect)
    if known is None:  # a read, or an effect nobody would want back: it changes nothing
        unit.reruns = 0
        return
    item = run.items[known]
    _check(run, fact, item.state)
    if fact.found_by is None:
        unit.reruns = 0
    if isinstance(fact, EffectApplied):
        run.settle(item, ItemState.APPLIED)
        if fact.rec is not None or fact.record is not None:
            item.record, item.record_rseq = fact.record, run.next_rseq
    elif fact.applied == "unknown":
        item.is_unknown = fact.found_by is not None
    else:
        run.settle(item, ItemState.NOTHING if fact.applied == "no" else ItemState.APPLIED)
    if unit.unwind is not None:
        advance(run, unit)


def _effect_refused(run: Run, fact: EffectRefused) -> None:
    run.units[_index(run, fact)].reruns = 0


# ---- undo ---------------------------------------------------------------------------------------
def _undo_started(run: Run, fact: UndoStarted) -> None:
    item, owner = _turn(run, fact)
    if run.hold:
        refuse(run, fact, "nothing may be taken back")
    if item.state is ItemState.UNDOING and fact.try_ != item.tries + 1:
        refuse(run, fact, "its undo is at work")
    run.lost.discard(item.index)
    item.tries, item.due_us, owner.due_us = fact.try_, None, None
    _mark(run, item)
    run.settle(item, ItemState.UNDOING)
    run.duties.pop(owner.index, None)


def _mark(run: Run, item: Item) -> None:
    unit = run.units[item.unit]  # one that a rewind lets wait again stands for its next end
    unit.is_taken_back |= item.owner != unit.index and unit.state in ENDED


def _undo_applied(run: Run, fact: UndoApplied) -> None:
    item, owner = _turn(run, fact)
    run.settle(item, ItemState.UNDONE)
    item.cause = item.why = ""
    _taken(run, owner)


def _undo_conflict(run: Run, fact: UndoConflict) -> None:
    item, owner = _turn(run, fact)
    why = f"changed by someone else since, now {fact.found}; our earlier version: {fact.kept}"
    _leave(run, item, owner, cause="conflict", why=why)


def _undo_failed(run: Run, fact: UndoFailed) -> None:
    item, owner = _turn(run, fact)
    if fact.due_us is None:
        _leave(run, item, owner, cause=fact.cause or "failed", why=fact.err.msg)
        return
    if item.state is not ItemState.UNDOING:
        refuse(run, fact, "it was not tried")
    run.settle(item, ItemState.APPLIED)
    item.due_us = fact.due_us
    if (
        owner.index and unwind_of(owner).goal is Goal.JUDGE
    ):  # the run stops: the whole takes it back
        unwind_of(owner).queue.clear()
        advance(run, owner)
    elif owner.index:
        if run.parent_of(owner).is_doomed:
            oblige(run, owner)
            return
        owner.due_us = fact.due_us
        heappush(run.alarms, (fact.due_us, owner.index))


def _leave(run: Run, item: Item, owner: Unit, *, cause: str, why: str) -> None:
    run.settle(item, ItemState.RESIDUE)
    item.cause, item.why, item.tries, item.due_us = cause, why, 0, None
    run.lost.discard(item.index)
    _mark(run, item)
    remain(unwind_of(owner), item)
    _taken(run, owner)


def _taken(run: Run, owner: Unit) -> None:
    unwind_of(owner).queue.pop()
    advance(run, owner)


def _turn(
    run: Run, fact: UndoStarted | UndoApplied | UndoConflict | UndoFailed
) -> tuple[Item, Unit]:
    """Give the item of *fact* and who takes it back, if it is this item's turn."""
    known = run.effects.get(fact.effect)
    if known is None:
        refuse(run, fact, f"there is no effect {fact.effect}")
    item = run.items[known]
    _check(run, fact, item.state)
    unit = run.units[item.unit]
    if unit.state is StepState.STARTED and unit.unwind is None and _is_last(run, unit, known):
        cut_off(run, unit)  # by an engine that recovered
    owner = run.units[item.owner] if item.owner >= 0 else None
    unwind = owner.unwind if owner else None
    if owner is None or unwind is None or unwind.doubtful or unwind.queue[-1:] != [known]:
        refuse(run, fact, f"it is not the turn of {fact.effect}")
    return item, owner


def _is_last(run: Run, unit: Unit, index: int) -> bool:
    return not _open_items(run, unit) and attempted(run, unit)[-1:] == [index]


# ---- checks -------------------------------------------------------------------------------------
def _check(run: Run, fact: Fact, state: State) -> None:
    if type(fact) not in TRANSITIONS[state]:
        refuse(run, fact, f"it does not follow {state}")


def _index(run: Run, fact: Fact) -> int:
    index = run.paths.get(getattr(fact, "step", ""), 0)
    if not index:
        refuse(run, fact, "there is no such step")
    return index


def _unit(run: Run, fact: Fact) -> Unit:
    unit = run.units[_index(run, fact)]
    _check(run, fact, unit.state)
    epoch = getattr(fact, "epoch", None)
    if epoch is not None and epoch != unit.epoch:
        refuse(run, fact, f"the step is in epoch {unit.epoch}")
    if is_undoing(run, unit):
        refuse(run, fact, "an undo of the step is at work")
    return unit


def _current(run: Run, fact: StepCompleted | StepInDoubt | EffectIntended) -> Unit:
    unit = _unit(run, fact)
    _check_attempt(run, unit, fact)
    return unit


def _check_attempt(run: Run, unit: Unit, fact: Fact) -> None:
    if getattr(fact, "attempt", None) != unit.attempt:
        refuse(run, fact, f"attempt {unit.attempt} is the current one")


def _asked(run: Run, fact: HandshakeVoted | HandshakeExpired) -> Unit:
    unit = _unit(run, fact)
    if unit.request not in (None, fact.req):
        refuse(run, fact, f"the open request is {unit.request}")
    return unit


def _begin(run: Run) -> None:
    if run.phase is Phase.OPEN:
        run.phase = Phase.FORWARD


def _goes_forward(run: Run) -> bool:
    return run.phase in (Phase.OPEN, Phase.FORWARD)


def _kind(unit: Unit) -> Kind | None:
    return unit.step.kind if unit.step else None


def _open_items(run: Run, unit: Unit) -> list[Item]:
    return [run.items[i] for i in unit.items if run.items[i].state is ItemState.INTENDED]


_HANDLERS: Mapping[type[Fact], Callable[[Run, Any], None]] = {
    RunPaused: _paused,
    RunResumed: _resumed,
    RunCancelRequested: _cancel_requested,
    RunClosed: _closed,
    UndoDiscarded: _discarded,
    StepStarted: _started,
    StepCompleted: _completed,
    StepFailed: _failed,
    StepRetryScheduled: _retry_scheduled,
    StepSkipped: _skipped,
    StepInDoubt: _in_doubt,
    HandshakeRequested: _requested,
    HandshakeVoted: _voted,
    HandshakeGranted: _granted,
    HandshakeRefused: _refused,
    HandshakeExpired: _expired,
    EffectIntended: _intended,
    EffectApplied: _effect_ended,
    EffectFailed: _effect_ended,
    EffectRefused: _effect_refused,
    UndoStarted: _undo_started,
    UndoApplied: _undo_applied,
    UndoConflict: _undo_conflict,
    UndoFailed: _undo_failed,
}

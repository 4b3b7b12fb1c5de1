"""Facts of effects and of taking them back: the items of a step, one by one."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING, TypeAlias

from awe_core import events
from awe_core.decider.keys import UNDO
from awe_core.decider.legality import check, check_attempt, named_by, refuse
from awe_core.decider.saga import advance, attempted, cut_off, remain
from awe_core.decider.table import ENDED, ItemState, StepState
from awe_core.decider.unit import Goal, Item

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.unit import Unit, Unwind

    _Turn: TypeAlias = tuple[Item, Unit, Unwind]
    _OfUndo: TypeAlias = (
        events.UndoStarted | events.UndoApplied | events.UndoConflict | events.UndoFailed
    )


# ---- effects ------------------------------------------------------------------------------------
def is_for_undo(run: Run, fact: events.EffectIntended) -> bool:
    """Whether *fact* belongs to the call that takes another effect back; it leaves no item."""
    effect, is_undo, _ = fact.effect.rpartition(f"{UNDO}/")
    item = run.effects.get(effect)
    if is_undo and (item is None or item.state is not ItemState.UNDOING):
        refuse(run, fact, f"{effect} is not being taken back")
    return bool(is_undo)


def intended(run: Run, unit: Unit, fact: events.EffectIntended) -> None:
    """Note what is about to be done, and how it is taken back."""
    check_attempt(run, unit, fact)
    item = run.effects.get(fact.effect)
    if item is not None:
        check(run, fact, item.state)
    unit.went_on()
    strategy, reason = fact.undo.get("strategy"), fact.undo.get("none")
    if strategy is None and reason is None:  # nobody would want it back: no item
        return
    if item is not None:  # a crash came before the act: it takes place now, after what was since
        run.items.remove(item)
        unit.items.remove(item)
        run.item_counts[item.state] -= 1
    item = Item(
        index=run.next_rseq,
        effect=fact.effect,
        unit=unit,
        attempt=fact.attempt,
        type=fact.type,
        target=fact.target,
        key=fact.key,
        claims=fact.claims or (fact.target,),
        strategy=strategy,
        reason=reason or "",
        record=fact.record,
        record_rseq=run.next_rseq,
    )
    run.items.append(item)
    run.effects[fact.effect] = item
    run.item_counts[item.state] += 1
    unit.items.append(item)


def ended(run: Run, fact: events.EffectApplied | events.EffectFailed) -> None:
    """Note whether an effect is in the world."""
    unit = named_by(run, fact)
    item = run.effects.get(fact.effect)
    if item is not None:
        check(run, fact, item.state)
    if item is None or fact.found_by is None:
        unit.went_on()
    if item is None:  # a read, or an effect nobody would want back: it changes nothing
        return
    if isinstance(fact, events.EffectApplied):
        run.settle(item, ItemState.APPLIED)
        if fact.rec is not None or fact.record is not None:
            item.record, item.record_rseq = fact.record, run.next_rseq
    elif fact.applied == "unknown":
        item.is_unknown = fact.found_by is not None
    else:
        run.settle(item, ItemState.NOTHING if fact.applied == "no" else ItemState.APPLIED)
    if unit.unwind is not None:
        advance(run, unit, unit.unwind)


def refused(run: Run, fact: events.EffectRefused) -> None:
    """Note that a handler asked for what it may not have; nothing was tried."""
    named_by(run, fact).went_on()


# ---- undos --------------------------------------------------------------------------------------
def _turn_of(run: Run, fact: _OfUndo) -> _Turn:
    """Give the item of *fact* and who takes it back, if it is this item's turn."""
    item = run.effects.get(fact.effect)
    if item is None:
        refuse(run, fact, f"there is no effect {fact.effect}")
    check(run, fact, item.state)
    if _is_last(item):
        cut_off(run, item.unit)  # by an engine that recovered
    owner = item.owner
    unwind = owner.unwind if owner else None
    if owner is None or unwind is None or unwind.doubtful or unwind.queue[-1:] != [item]:
        refuse(run, fact, f"it is not the turn of {fact.effect}")
    return item, owner, unwind


def _is_last(item: Item) -> bool:
    unit = item.unit
    if unit.state is not StepState.STARTED or unit.unwind is not None:
        return False
    return attempted(unit)[-1:] == [item] and not unit.in_state(ItemState.INTENDED)


def started(run: Run, fact: events.UndoStarted) -> None:
    """Note that an item is being taken back."""
    item, owner, _ = _turn_of(run, fact)
    if run.hold:
        refuse(run, fact, "nothing may be taken back")
    if item.state is ItemState.UNDOING and fact.try_ != item.tries + 1:
        refuse(run, fact, "its undo is at work")
    item.tries, item.is_lost, item.due_us, owner.due_us = fact.try_, False, None, None
    _mark(item, owner)
    run.settle(item, ItemState.UNDOING)
    run.duties.pop(owner.index, None)


def _mark(item: Item, owner: Unit) -> None:
    unit = item.unit  # one that a rewind lets wait again stands for its next end
    unit.is_taken_back |= owner is not unit and unit.state in ENDED


def applied(run: Run, fact: events.UndoApplied) -> None:
    """Note that an item is taken back."""
    item, owner, unwind = _turn_of(run, fact)
    run.settle(item, ItemState.UNDONE)
    item.cause = item.why = ""
    unwind.queue.pop()
    advance(run, owner, unwind)


def conflict(run: Run, fact: events.UndoConflict) -> None:
    """Note that somebody else's change was kept."""
    why = f"changed by someone else since, now {fact.found}"
    why += f"; our earlier version: {fact.kept}" if fact.kept else ""
    _leave(run, _turn_of(run, fact), cause="conflict", why=why)


def failed(run: Run, fact: events.UndoFailed) -> None:
    """Try again later, or leave the item in the world."""
    item, owner, unwind = turn = _turn_of(run, fact)
    if fact.due_us is None:
        _leave(run, turn, cause=fact.cause or "failed", why=fact.err.msg)
        return
    if item.state is not ItemState.UNDOING:
        refuse(run, fact, "it was not tried")
    run.settle(item, ItemState.APPLIED)
    item.due_us = fact.due_us
    if not owner.index:
        return
    if unwind.goal is Goal.JUDGE:  # the run stops: the whole takes it back
        unwind.queue.clear()
        advance(run, owner, unwind)
    elif owner.is_doomed:
        run.duties[owner.index] = None
    else:
        owner.due_us = fact.due_us
        heappush(run.alarms, (fact.due_us, owner.index))


def _leave(run: Run, turn: _Turn, *, cause: str, why: str) -> None:
    item, owner, unwind = turn
    run.settle(item, ItemState.RESIDUE)
    item.cause, item.why, item.tries, item.is_lost, item.due_us = cause, why, 0, False, None
    _mark(item, owner)
    remain(unwind, item)
    unwind.queue.pop()
    advance(run, owner, unwind)


def discarded(run: Run, fact: events.UndoDiscarded) -> None:
    """Note that items can no longer be taken back."""
    named = [run.effects[effect] for effect in fact.effects if effect in run.effects]
    for item in named if fact.effects else run.items:
        if item.state in (ItemState.APPLIED, ItemState.RESIDUE):
            run.settle(item, ItemState.GONE)

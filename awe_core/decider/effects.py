"""Facts of effects and of taking them back: the items of a step, one by one."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING

from awe_core.decider.course import oblige
from awe_core.decider.legality import check, current, index_of, refuse, turn_of
from awe_core.decider.saga import advance, remain
from awe_core.decider.table import ENDED, ItemState
from awe_core.decider.unit import Goal, Item, unwind_of
from awe_core.events import EffectApplied

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.unit import Unit
    from awe_core.events import (
        EffectFailed,
        EffectIntended,
        EffectRefused,
        UndoApplied,
        UndoConflict,
        UndoDiscarded,
        UndoFailed,
        UndoStarted,
    )


def intended(run: Run, fact: EffectIntended) -> None:
    """Note what is about to be done, and how it is taken back."""
    unit = current(run, fact)
    known = run.effects.get(fact.effect)
    if known is not None:
        check(run, fact, run.items[known].state)
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


def ended(run: Run, fact: EffectApplied | EffectFailed) -> None:
    """Note whether an effect is in the world."""
    unit = run.units[index_of(run, fact)]
    known = run.effects.get(fact.effect)
    if known is None:  # a read, or an effect nobody would want back: it changes nothing
        unit.reruns = 0
        return
    item = run.items[known]
    check(run, fact, item.state)
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


def refused(run: Run, fact: EffectRefused) -> None:
    """Note that a handler asked for what it may not have; nothing was tried."""
    run.units[index_of(run, fact)].reruns = 0


def undo_started(run: Run, fact: UndoStarted) -> None:
    """Note that an item is being taken back."""
    item, owner = turn_of(run, fact)
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


def undo_applied(run: Run, fact: UndoApplied) -> None:
    """Note that an item is taken back."""
    item, owner = turn_of(run, fact)
    run.settle(item, ItemState.UNDONE)
    item.cause = item.why = ""
    _taken(run, owner)


def undo_conflict(run: Run, fact: UndoConflict) -> None:
    """Note that somebody else's change was kept."""
    item, owner = turn_of(run, fact)
    why = f"changed by someone else since, now {fact.found}; our earlier version: {fact.kept}"
    _leave(run, item, owner, cause="conflict", why=why)


def undo_failed(run: Run, fact: UndoFailed) -> None:
    """Try again later, or leave the item in the world."""
    item, owner = turn_of(run, fact)
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


def discarded(run: Run, fact: UndoDiscarded) -> None:
    """Note that items can no longer be taken back."""
    run.is_discarded = True
    named = [run.effects[effect] for effect in fact.effects if effect in run.effects]
    for index in named if fact.effects else range(len(run.items)):
        if run.items[index].state in (ItemState.APPLIED, ItemState.RESIDUE):
            run.settle(run.items[index], ItemState.GONE)

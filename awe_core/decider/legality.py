"""Which facts are legal: against `TRANSITIONS`, and against what the fact names.

Rules: everything is checked before anything changes, so an illegal fact leaves the run as it was.
An undo is legal only for the item whose turn it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from awe_core.decider.saga import attempted, cut_off, is_undoing
from awe_core.decider.table import TRANSITIONS, ItemState, StepState
from awe_core.errors import EngineError

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.table import State
    from awe_core.decider.unit import Item, Unit
    from awe_core.events import (
        EffectIntended,
        Fact,
        HandshakeExpired,
        HandshakeVoted,
        StepCompleted,
        StepInDoubt,
        UndoApplied,
        UndoConflict,
        UndoFailed,
        UndoStarted,
    )


def refuse(run: Run, fact: Fact, why: str) -> NoReturn:
    """Say that *fact* cannot have happened."""
    raise EngineError(
        "decider.illegal_event", run=run.id, rseq=run.next_rseq, kind=fact.kind, why=why
    )


def check(run: Run, fact: Fact, state: State) -> None:
    """Refuse *fact* unless the table lets it follow *state*."""
    if type(fact) not in TRANSITIONS[state]:
        refuse(run, fact, f"it does not follow {state}")


def index_of(run: Run, fact: Fact) -> int:
    """Give the unit that *fact* names."""
    index = run.paths.get(getattr(fact, "step", ""), 0)
    if not index:
        refuse(run, fact, "there is no such step")
    return index


def unit_of(run: Run, fact: Fact) -> Unit:
    """Give the unit of *fact*, which may follow its state."""
    unit = run.units[index_of(run, fact)]
    check(run, fact, unit.state)
    epoch = getattr(fact, "epoch", None)
    if epoch is not None and epoch != unit.epoch:
        refuse(run, fact, f"the step is in epoch {unit.epoch}")
    if is_undoing(run, unit):
        refuse(run, fact, "an undo of the step is at work")
    return unit


def current(run: Run, fact: StepCompleted | StepInDoubt | EffectIntended) -> Unit:
    """Give the unit of *fact*, which is about its current attempt."""
    unit = unit_of(run, fact)
    check_attempt(run, unit, fact)
    return unit


def check_attempt(run: Run, unit: Unit, fact: Fact) -> None:
    """Refuse *fact* unless it is about the current attempt."""
    if getattr(fact, "attempt", None) != unit.attempt:
        refuse(run, fact, f"attempt {unit.attempt} is the current one")


def asked(run: Run, fact: HandshakeVoted | HandshakeExpired) -> Unit:
    """Give the unit whose open request *fact* is about."""
    unit = unit_of(run, fact)
    if unit.request not in (None, fact.req):
        refuse(run, fact, f"the open request is {unit.request}")
    return unit


def turn_of(
    run: Run, fact: UndoStarted | UndoApplied | UndoConflict | UndoFailed
) -> tuple[Item, Unit]:
    """Give the item of *fact* and who takes it back, if it is this item's turn."""
    known = run.effects.get(fact.effect)
    if known is None:
        refuse(run, fact, f"there is no effect {fact.effect}")
    item = run.items[known]
    check(run, fact, item.state)
    unit = run.units[item.unit]
    if unit.state is StepState.STARTED and unit.unwind is None and _is_last(run, unit, known):
        cut_off(run, unit)  # by an engine that recovered
    owner = run.units[item.owner] if item.owner >= 0 else None
    unwind = owner.unwind if owner else None
    if owner is None or unwind is None or unwind.doubtful or unwind.queue[-1:] != [known]:
        refuse(run, fact, f"it is not the turn of {fact.effect}")
    return item, owner


def _is_last(run: Run, unit: Unit, index: int) -> bool:
    return not open_items(run, unit) and attempted(run, unit)[-1:] == [index]


def open_items(run: Run, unit: Unit) -> list[Item]:
    """Give the effects of *unit* of which nobody knows whether they came about."""
    return [run.items[i] for i in unit.items if run.items[i].state is ItemState.INTENDED]

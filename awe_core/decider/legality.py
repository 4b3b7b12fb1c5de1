"""Which facts are legal: against `TRANSITIONS`, and against what the fact names.

Rules: everything is checked before anything changes, so an illegal fact leaves the run as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from awe_core.decider.saga import is_undoing
from awe_core.decider.table import TRANSITIONS
from awe_core.errors import EngineError

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.decider.table import State
    from awe_core.decider.unit import Unit
    from awe_core.events import Fact


def refuse(run: Run, fact: Fact, why: str) -> NoReturn:
    """Say that *fact* cannot have happened."""
    raise EngineError(
        "decider.illegal_event", run=run.id, rseq=run.next_rseq, kind=fact.kind, why=why
    )


def check(run: Run, fact: Fact, state: State) -> None:
    """Refuse *fact* unless the table lets it follow *state*."""
    if type(fact) not in TRANSITIONS[state]:
        refuse(run, fact, f"it does not follow {state}")


def named_by(run: Run, fact: Fact) -> Unit:
    """Give the unit that *fact* names, whatever state it is in."""
    unit = run.paths.get(getattr(fact, "step", ""))
    if unit is None or not unit.index:
        refuse(run, fact, "there is no such step")
    return unit


def unit_of(run: Run, fact: Fact) -> Unit:
    """Give the unit of *fact*, which may follow its state."""
    unit = named_by(run, fact)
    check(run, fact, unit.state)
    epoch = getattr(fact, "epoch", None)
    if epoch is not None and epoch != unit.epoch:
        refuse(run, fact, f"the step is in epoch {unit.epoch}")
    if unit.unwind and is_undoing(unit):
        refuse(run, fact, "an undo of the step is at work")
    return unit


def attempt_of(run: Run, fact: Fact) -> Unit:
    """Give the unit of *fact*, which is about its current attempt."""
    unit = unit_of(run, fact)
    if getattr(fact, "attempt", None) != unit.attempt:
        refuse(run, fact, f"attempt {unit.attempt} is the current one")
    return unit

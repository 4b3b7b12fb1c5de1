"""Which facts are legal: against `TRANSITIONS`, and against what the fact names.

Rules: everything is checked before anything changes, so an illegal fact leaves the run as it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

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


def named_by(run: Run, fact: Any) -> Unit:  # noqa: ANN401 - a fact of a step
    """Give the unit that *fact* names, whatever state it is in."""
    unit = run.paths.get(fact.step)
    if unit is None or not unit.index:
        refuse(run, fact, "there is no such step")
    return unit


def check_attempt(run: Run, unit: Unit, fact: Any) -> None:  # noqa: ANN401 - a fact of an attempt
    """Refuse *fact* unless it is about the current attempt of *unit*."""
    if fact.attempt != unit.attempt:
        refuse(run, fact, f"attempt {unit.attempt} is the current one")

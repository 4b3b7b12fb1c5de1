"""The pure decider: a workflow compiled to a `Plan`, a `Run` folded from facts, what to do next.

Theory of operation (30-engine, sections 1 to 3).  A driver folds each fact with `evolve` in the
order of the log, asks `decide` and carries the commands out; every command but `Interrupt` has a
fact that accepts it.  Recovery is `replay`, then `recover`, then `decide`.  Nothing else in AWE
moves the state of a run.

- Pure: the result depends on the arguments alone.  No clock, I/O, randomness or logging, and no
  iteration over sets, whose order would follow the hash seed.
- The only legal moves are those of `TRANSITIONS`; what is absent is ``decider.illegal_event``.
- A fact costs what it touches: its step and what depends on it.  Stopping and rewinding, which
  happen once each time they are asked for, are linear in the run.

It knows no capability's code, no policy and no strategy; facts tell it what they did.
"""

from awe_core.decider.claims import Claims
from awe_core.decider.decision import decide, wants
from awe_core.decider.fold import evolve, open_run, recover, replay
from awe_core.decider.keys import UNDO, effect_key, step_key, undo_key
from awe_core.decider.links import (
    Faults,
    Field,
    Links,
    check_size,
    find_capabilities,
    innermost_first,
    link,
)
from awe_core.decider.plan import Kind, Plan, PlanStep, compile_workflow
from awe_core.decider.rewind import Foreseen, foresee
from awe_core.decider.run import Run
from awe_core.decider.table import ACTIVE, ENDED, ItemState, StepState
from awe_core.decider.unit import Item

__all__ = [
    "ACTIVE",
    "ENDED",
    "UNDO",
    "Claims",
    "Faults",
    "Field",
    "Foreseen",
    "Item",
    "ItemState",
    "Kind",
    "Links",
    "Plan",
    "PlanStep",
    "Run",
    "StepState",
    "check_size",
    "compile_workflow",
    "decide",
    "effect_key",
    "evolve",
    "find_capabilities",
    "foresee",
    "innermost_first",
    "link",
    "open_run",
    "recover",
    "replay",
    "step_key",
    "undo_key",
    "wants",
]

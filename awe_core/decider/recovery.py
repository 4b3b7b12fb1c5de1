"""`recover`: a replayed run whose handlers and undos are gone with their process.

Rules: the facts alone say what was cut off, and `decide` then asks for what the table "In doubt"
of 30-engine, section 3, says.  A mirror of a run that is driven elsewhere does not recover: the
facts of the other side's recovery fold as any others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.decider.course import oblige
from awe_core.decider.saga import cut_off
from awe_core.decider.table import ItemState, StepState

if TYPE_CHECKING:
    from awe_core.decider.run import Run


def recover(run: Run) -> None:
    """Let `decide` take up what a crash cut off; before anything of the run is carried out."""
    for unit in run.units[1:]:
        if unit.state is StepState.STARTED and unit.inner is None:
            cut_off(run, unit)
    for item in run.items:
        if item.state is ItemState.UNDOING:
            run.lost.add(item.index)
            if item.owner:
                oblige(run, run.units[item.owner])

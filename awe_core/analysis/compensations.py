"""Calls that take effects back: they are there, only the last one changes anything, and they fit.

A contract's own are looked at as those of a workflow that calls it and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.arguments import Typing, World
from awe_core.analysis.findings import Level, Report
from awe_core.analysis.skips import find_skips
from awe_core.capability import UndoCompensate
from awe_core.decider import link
from awe_core.workflow import StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.analysis.findings import Finding
    from awe_core.capability import CapabilitySpec
    from awe_core.documents import Parsed

_FIELDS = frozenset({"foreach", "compensation"})


def find_compensations(report: Report, world: World) -> None:
    """Tell of calls that are not there, or cannot be what they are named for."""
    for index, step in enumerate(report.spec.steps):
        if step.compensation is not None and step.capability is None:
            why = "a sub-workflow is taken back by what its own steps say"
            report.says(Level.ERROR, "saga.compensation", index, "compensation", why=why)
            continue
        for role, call in step.compensation.calls() if step.compensation else ():
            target, why = world.capability(call.capability), ""
            if target is None:
                why = f"{call.capability} is offered by no ACTIVE pack"
            elif role != "compensate" and target.changes_world:
                why = f"{call.capability} changes something, and {role} only looks"
            elif role == "lookup" and "effect" not in target.output.get("required", ()):
                why = f"the output of {call.capability} has no required member effect"
            if why:
                at = ("compensation", role, "capability")
                report.says(Level.ERROR, "saga.compensation", index, *at, why=why)
        if step.compensation and "${output" in str(step.compensation.compensate):
            report.says(Level.WARNING, "saga.late_output", index, "compensation", "compensate")


def analyse_compensations(
    spec: WorkflowSpec, capabilities: Mapping[str, CapabilitySpec], report: Report | None = None
) -> tuple[Finding, ...]:
    """Find what is wrong with the calls that take the steps of *spec* back."""
    report, world = report or Report(spec), World(capabilities, {})
    find_compensations(report, world)
    links = link(report)
    if links is not None and report.is_sound:
        Typing(report, links, world, find_skips(report, links)).check(only=_FIELDS)
    return tuple(report.found)


def analyse_undo(
    contract: CapabilitySpec,
    capabilities: Mapping[str, CapabilitySpec],
    parsed: Parsed | None = None,
) -> tuple[Finding, ...]:
    """Find what is wrong with the calls that a contract's ``undo`` names.

    :param parsed: the document *contract* came from, for lines and columns
    """
    if not isinstance(contract.undo, UndoCompensate):
        return ()
    call = StepSpec("undo", capability=contract.reference, compensation=contract.undo)
    spec = WorkflowSpec(
        id=contract.id, version=contract.version, summary="", inputs=contract.input, steps=(call,)
    )
    known = {**capabilities, contract.reference: contract}
    return analyse_compensations(spec, known, _OfContract(spec, parsed))


@attrs.frozen
class _OfContract(Report):
    """Names the places of a contract instead of its workflow's."""

    def where(self, step: int | None, *inside: str | int) -> str:
        at = ("undo", *inside[1:])
        if step is None or self.parsed is None:
            return super().where(None, *at)
        line, column = self.parsed.position_of(at)
        return f"{self.parsed.file}:{line}:{column}"

"""Which steps may not run, which never do, and which may leave no output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.findings import Level
from awe_core.errors import ExpressionError
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.analysis.findings import Report
    from awe_core.analysis.graph import Graph
    from awe_core.expressions import Template


@attrs.frozen
class Skips:
    """What conditions and failures do to the steps of one workflow."""

    skippable: frozenset[int]  #: may not run
    never: Mapping[int, str]  #: does not run, and why
    tolerated: Mapping[int, str]  #: may fail and leave null though what follows runs, and why

    @classmethod
    def of(cls, graph: Graph) -> Skips:
        """Follow conditions along the order."""
        conditions = {f.step: f.template for f in graph.fields if f.name == "when"}
        skippable: set[int] = set()
        never: dict[int, str] = {}
        for index in graph.order:
            when = conditions.get(index)
            strict = [need for need, even in graph.needs[index].items() if not even]
            if when is not None and when.is_constant and _is_false(when):
                never[index] = "its condition is always false"
            elif lost := [need for need in strict if need in never]:
                never[index] = f"it needs {graph.spec.steps[lost[0]].id}, which never runs"
            if when is not None or any(need in skippable for need in strict):
                skippable.add(index)
        tolerated = {
            index: f"step {step.id} may fail and the run goes on (on_failure: continue)"
            for index, step in enumerate(graph.spec.steps)
            if graph.spec.on_failure_of(step) is OnFailure.CONTINUE and step.foreach is None
        }
        return cls(frozenset(skippable), never, tolerated)


def check_reach(report: Report, graph: Graph, skips: Skips) -> None:
    """Warn of steps that never run."""
    for index, why in skips.never.items():
        report.says(
            Level.WARNING,
            "workflow.unreachable",
            index,
            where=report.where(index),
            step=graph.spec.steps[index].id,
            why=why,
        )


def _is_false(when: Template) -> bool:
    """Whether a condition that depends on nothing is falsy, as JMESPath has it."""
    try:
        found = when.evaluate({})
    except ExpressionError:  # fails the step at run time; that is not "never runs"
        return False
    return found is None or found is False or found in ("", [], {})

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
    from awe_core.decider import Links
    from awe_core.expressions import Template


@attrs.frozen
class Skips:
    """What conditions and failures do to the steps of one workflow."""

    skippable: frozenset[int]  #: may not run
    never: Mapping[int, str]  #: does not run, and why

    def absence(self, links: Links, step: int, reader: int | None) -> str | None:
        """Say why *step* may have left no output where *reader* (None: the workflow) reads it."""
        spec = links.spec.steps[step]
        if links.spec.on_failure_of(spec) is OnFailure.CONTINUE and spec.foreach is None:
            return f"step {spec.id} may fail and the run goes on (on_failure: continue)"
        runs_anyway = reader is None or links.needs[reader].get(step, False)
        if runs_anyway and step in self.skippable:
            return f"step {spec.id} may be skipped"
        return None


def find_skips(report: Report, links: Links) -> Skips:
    """Follow conditions along the order, and warn of steps that never run."""
    conditions = {f.step: f.template for f in links.fields if f.name == "when"}
    skippable: set[int] = set()
    never: dict[int, str] = {}
    for index in links.order:
        when = conditions.get(index)
        strict = [need for need, even in links.needs[index].items() if not even]
        if when is not None and when.is_constant and _is_false(when):
            never[index] = "its condition is always false"
        elif lost := [need for need in strict if need in never]:
            never[index] = f"it needs {links.spec.steps[lost[0]].id}, which never runs"
        if when is not None or any(need in skippable for need in strict):
            skippable.add(index)
    for index, why in never.items():
        report.says(Level.WARNING, "workflow.unreachable", index, why=why)
    return Skips(frozenset(skippable), never)


def _is_false(when: Template) -> bool:
    """Whether a condition that depends on nothing is falsy, as JMESPath has it."""
    try:
        found = when.evaluate({})
    except ExpressionError:  # fails the step at run time; that is not "never runs"
        return False
    return found is None or found is False or found in ("", [], {})

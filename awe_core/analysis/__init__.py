"""Static findings of a workflow, before anything of it runs.  Pure.

Errors stop the load; warnings are shown and can be accepted beside their step with a reason;
``saga.undo_coverage`` only tells.  Law: what is called impossible gives null or an error on every
valid instance; what is not understood is unknown, and unknown is never an error.

The chapter: `graph` (order, cycles) · `calls` (what is called) · `types` and `flow` (what values
can be) · `arguments` (references and inputs) · `skips` (what may not run) · `saga` (taking back).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.analysis.arguments import Outputs, Typing
from awe_core.analysis.calls import World, check_capabilities, check_size, innermost_first
from awe_core.analysis.findings import Finding, Level, Report, refuse
from awe_core.analysis.graph import graph_of
from awe_core.analysis.saga import (
    Nature,
    check_saga,
    longest_us,
    nature_of_workflow,
    natures_of,
)
from awe_core.analysis.skips import Skips, check_reach

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.documents import Parsed
    from awe_core.workflow import WorkflowSpec

__all__ = ["Finding", "Level", "analyse", "refuse"]


def analyse(
    spec: WorkflowSpec,
    *,
    capabilities: Mapping[str, CapabilitySpec],
    workflows: Mapping[str, WorkflowSpec],
    parsed: Parsed | None = None,
) -> tuple[Finding, ...]:
    """Find what is wrong, risky or worth knowing in *spec*.

    :param capabilities: contracts by ``id@major``
    :param workflows: workflows by ``id@major``; each is analysed on its own, here only called
    :param parsed: the document *spec* came from, for lines and columns
    :returns: errors first, then warnings, then the rest, each in the order of the file
    """
    report = Report(spec, parsed)
    world = World(capabilities, workflows)
    called = innermost_first(report, world)
    check_capabilities(report, world)
    graph = graph_of(report)
    if called:
        check_size(report, called)
    if graph is not None and called and not _has_errors(report):
        outputs = Outputs(world)
        outputs.learn(called[:-1])
        skips = Skips.of(graph)
        Typing(
            report=report,
            graph=graph,
            outputs=outputs,
            unsure=skips.tolerated,
            skippable=skips.skippable,
        ).check()
        check_reach(report, graph, skips)
        inner = _inner_natures(called[:-1], world)
        check_saga(report, graph, natures_of(spec, world, inner), world)
    levels = list(Level)
    return tuple(sorted(report.found, key=lambda finding: levels.index(finding.level)))


def _has_errors(report: Report) -> bool:
    return any(finding.level is Level.ERROR for finding in report.found)


def _inner_natures(called: tuple[WorkflowSpec, ...], world: World) -> dict[str, Nature]:
    """Give the nature of each workflow that is called, callees first."""
    known: dict[str, Nature] = {}
    for spec in called:
        graph = graph_of(Report(spec, None))
        has_all = all(
            s.capability is None or s.capability in world.capabilities for s in spec.steps
        )
        if graph is not None and has_all:
            natures = natures_of(spec, world, known)
            known[spec.reference] = nature_of_workflow(natures, longest_us(graph, natures))
    return known

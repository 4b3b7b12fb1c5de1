"""Static findings of a workflow, before anything of it runs.  Pure.

Errors stop the load; warnings are shown and can be accepted beside their step with a reason;
``saga.undo_coverage`` only tells.  Law: what is called impossible gives null or an error on every
valid instance; what is not understood is unknown, and unknown is never an error.

How steps hang together is the decider's to say (`link`).  The chapter here: `types` and `flow`
(what values can be) · `arguments` (references and inputs) · `skips` (what may not run) · `saga`
and `compensations` (taking back).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.analysis.arguments import Typing, World
from awe_core.analysis.compensations import (
    analyse_compensations,
    analyse_undo,
    find_compensations,
)
from awe_core.analysis.findings import Finding, Level, Report, refuse
from awe_core.analysis.saga import check_saga
from awe_core.analysis.skips import find_skips
from awe_core.capability import Confirm
from awe_core.decider import check_size, find_capabilities, innermost_first, link
from awe_core.documents import written_us
from awe_core.workflow import StepConfirm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.documents import Parsed
    from awe_core.workflow import WorkflowSpec

__all__ = ["Finding", "Level", "analyse", "analyse_compensations", "analyse_undo", "refuse"]


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
    called = innermost_first(report, workflows)
    find_capabilities(report, capabilities)
    find_compensations(report, world)
    _check_limits(report, capabilities)
    links = link(report)
    if called:
        check_size(report, called)
    if links is not None and report.is_sound:
        for inner in called[:-1]:
            world.learn(inner)
        skips = find_skips(report, links)
        Typing(report, links, world, skips).check()
        check_saga(report, links, called[:-1], capabilities)
        for name in dict.fromkeys(step.capability for step in spec.steps if step.capability):
            found = analyse_undo(capabilities[name], capabilities)  # what only warns: its author's
            report.found.extend(one for one in found if one.level is Level.ERROR)
    levels = list(Level)
    return tuple(sorted(report.found, key=lambda finding: levels.index(finding.level)))


def _check_limits(report: Report, capabilities: Mapping[str, CapabilitySpec]) -> None:
    """Refuse looser confirming and stretched timeouts."""
    for index, step in enumerate(report.spec.steps):
        contract = capabilities.get(step.capability or "")
        if contract is None:
            continue
        target = contract.reference
        is_written = report.parsed is not None and report.parsed.has(("steps", index, "confirm"))
        says_less = step.confirm is StepConfirm.POLICY and contract.confirm is Confirm.ALWAYS
        if is_written and says_less:
            report.says(Level.ERROR, "workflow.confirm_loosened", index, "confirm", target=target)
        if step.timeout_us is not None and step.timeout_us > contract.timeout_us:
            found, most = written_us(step.timeout_us), written_us(contract.timeout_us)
            code = "workflow.timeout_stretched"
            report.says(Level.ERROR, code, index, "timeout", target=target, found=found, most=most)

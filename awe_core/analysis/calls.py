"""What a workflow calls: there, not itself, not too large, and never looser than the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.findings import Level
from awe_core.capability import Confirm
from awe_core.documents import nearest, written_us
from awe_core.workflow import StepConfirm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.analysis.findings import Report
    from awe_core.capability import CapabilitySpec
    from awe_core.workflow import WorkflowSpec

MOST_STEPS = 50_000  #: of one workflow, sub-workflows included, fan-outs counted once
DEEPEST_NESTING = 16  #: levels of sub-workflows below the first


@attrs.frozen
class World:
    """What there is to call, by ``id@major``."""

    capabilities: Mapping[str, CapabilitySpec]
    workflows: Mapping[str, WorkflowSpec]


def innermost_first(report: Report, world: World) -> tuple[WorkflowSpec, ...]:
    """Order the workflow and all it calls, callees first; empty where errors were found."""
    done: dict[str, WorkflowSpec] = {}
    open_: dict[str, WorkflowSpec] = {report.spec.reference: report.spec}
    path = [iter(_called(report.spec))]
    while path:
        reference = next(path[-1], None)
        if reference is None:
            path.pop()
            name, ended = open_.popitem()
            done[name] = ended
        elif reference in open_:
            _recursive(report, [*open_, reference], reference)
            return ()
        elif reference not in done:
            if reference not in world.workflows:
                _unknown_workflow(report, next(reversed(open_)), reference, world)
                return ()
            open_[reference] = world.workflows[reference]
            path.append(iter(_called(world.workflows[reference])))
    return tuple(done.values())


def check_size(report: Report, all_called: tuple[WorkflowSpec, ...]) -> None:
    """Refuse more steps or deeper nesting than a run may have."""
    sizes: dict[str, tuple[int, int]] = {}
    for spec in all_called:
        inner = [sizes[reference] for reference in _called(spec)]
        size = len(spec.steps) + sum(steps for steps, _ in inner)
        sizes[spec.reference] = size, max((1 + depth for _, depth in inner), default=0)
    steps, depth = sizes[report.spec.reference]
    for what, found, most in (
        ("steps", steps, MOST_STEPS),
        ("levels of sub-workflows", depth, DEEPEST_NESTING),
    ):
        if found > most:
            name = report.spec.reference
            report.says(
                Level.ERROR, "workflow.too_large", workflow=name, found=found, what=what, most=most
            )


def check_capabilities(report: Report, world: World) -> None:
    """Refuse capabilities that are not there, looser confirming and stretched timeouts."""
    for index, step in enumerate(report.spec.steps):
        if step.capability is None:
            continue
        contract = world.capabilities.get(step.capability)
        if contract is None:
            close = nearest(step.capability, world.capabilities)
            report.says(
                Level.ERROR,
                "workflow.unknown_capability",
                index,
                workflow=report.spec.reference,
                step=step.id,
                reference=step.capability,
                details=[report.where(index), *([f"did you mean {close}?"] if close else [])],
            )
        else:
            _check_limits(report, index, contract)


def _check_limits(report: Report, index: int, contract: CapabilitySpec) -> None:
    step = report.spec.steps[index]
    is_written = report.parsed is not None and report.parsed.has(("steps", index, "confirm"))
    says_less = step.confirm is StepConfirm.POLICY and contract.confirm is Confirm.ALWAYS
    if is_written and says_less:
        where = report.where(index, "confirm")
        report.says(
            Level.ERROR, "workflow.confirm_loosened", index, where=where, target=contract.reference
        )
    if step.timeout_us is not None and step.timeout_us > contract.timeout_us:
        report.says(
            Level.ERROR,
            "workflow.timeout_stretched",
            index,
            where=report.where(index, "timeout"),
            target=contract.reference,
            found=written_us(step.timeout_us),
            most=written_us(contract.timeout_us),
        )


def _called(spec: WorkflowSpec) -> tuple[str, ...]:
    return tuple(step.workflow for step in spec.steps if step.workflow)


def _recursive(report: Report, names: list[str], reference: str) -> None:
    cycle = names[names.index(reference) :]
    report.says(Level.ERROR, "workflow.recursive", workflow=reference, cycle=" → ".join(cycle))


def _unknown_workflow(report: Report, caller: str, reference: str, world: World) -> None:
    step = next((i for i, s in enumerate(report.spec.steps) if s.workflow == reference), None)
    close = nearest(reference, world.workflows)
    places = [] if step is None else [report.where(step)]
    report.says(
        Level.ERROR,
        "workflow.unknown_workflow",
        step,
        workflow=caller,
        reference=reference,
        details=[*places, *([f"did you mean {close}?"] if close else [])],
    )

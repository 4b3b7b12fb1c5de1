"""How the steps of a workflow hang together: what each reads, needs and calls, in which order.

One reading for two readers: `compile_workflow` raises the first fault, `analysis` collects them all
with their places in the file.  Linear in steps and edges, and nothing recurses.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import ExpressionError, WorkflowError
from awe_core.expressions import Template

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.errors import AweError
    from awe_core.values import Json
    from awe_core.workflow import WorkflowSpec

#: Steps of one workflow, sub-workflows included, fan-outs counted once; levels of sub-workflows.
LARGEST = (50_000, 16)

_INSIDE = frozenset({"inputs", "steps", "run"})
_OF_ITEM = _INSIDE | {"item", "index"}


@attrs.frozen
class Faults:
    """Where faults of a workflow are told.  Here the first is raised."""

    spec: WorkflowSpec

    def where(self, step: int | None, *inside: str | int) -> str:
        """Name a place: workflow, step and field."""
        field = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in inside).lstrip(".")
        name = "" if step is None else f" step {self.spec.steps[step].id}"
        return f"{self.spec.reference}:{name} {field}".rstrip().removesuffix(":")

    def fault(self, step: int | None, error: AweError) -> None:  # noqa: ARG002 - where it is
        """Tell what is wrong with a step, or with the workflow."""
        raise error

    @property
    def is_sound(self) -> bool:
        """Whether no fault was told."""
        return True


@attrs.frozen
class Field:
    """One compiled part of a step or of the workflow."""

    step: int | None  #: None: the workflow
    at: tuple[str, ...]  #: where it stands in it
    template: Template

    @property
    def name(self) -> str:
        """``with``, ``when``, ``foreach``, ``compensation``, ``outputs``, ``concurrency``."""
        return self.at[0]


@attrs.frozen
class Links:
    """How the steps of one workflow hang together."""

    spec: WorkflowSpec
    places: Mapping[str, int]  #: of step ids
    fields: tuple[Field, ...]
    needs: tuple[Mapping[int, bool], ...]  #: of each step: what it needs, and if skipped counts
    uses: Mapping[int | None, Mapping[int, None]]  #: steps whose outputs each reads; None: outputs
    order: tuple[int, ...]  #: needs before dependents


def link(faults: Faults) -> Links | None:
    """Link the steps of one workflow by what they need and read; None: faults were told."""
    spec = faults.spec
    places = _places(faults)
    fields = tuple(_fields(faults))
    needs = [_written(faults, index, places) for index in range(len(spec.steps))]
    uses: dict[int | None, dict[int, None]] = {None: {}, **{i: {} for i in range(len(needs))}}
    for field in fields:
        for used in _used(faults, field, places):
            uses[field.step][used] = None
            if field.step is not None:
                needs[field.step].setdefault(used, False)
    order = _order(needs)
    if len(order) < len(needs):
        _name_cycle(faults, needs, set(order))
    return (
        Links(spec, places, fields, tuple(needs), uses, tuple(order)) if faults.is_sound else None
    )


def _places(faults: Faults) -> dict[str, int]:
    places: dict[str, int] = {}
    for index, step in enumerate(faults.spec.steps):
        if step.id in places:
            where, first = faults.where(index, "id"), faults.where(places[step.id])
            error = WorkflowError("workflow.duplicate", where=where, step=step.id, first=first)
            faults.fault(index, error)
        places.setdefault(step.id, index)
    return places


def _fields(faults: Faults) -> Iterator[Field]:
    for step, at, value, roots in _parts(faults.spec):
        try:
            template = Template.compile(value, where=faults.where(step, *at), roots=roots)
        except ExpressionError as error:
            faults.fault(step, error)
        else:
            yield Field(step, at, template)


def _parts(
    spec: WorkflowSpec,
) -> Iterator[tuple[int | None, tuple[str, ...], Json, frozenset[str]]]:
    yield None, ("outputs",), spec.outputs, _INSIDE
    if spec.concurrency is not None:
        yield None, ("concurrency",), spec.concurrency.key, frozenset({"inputs"})
    for index, step in enumerate(spec.steps):
        if step.when is not None:
            yield index, ("when",), step.when, _INSIDE
        if step.foreach is not None:
            yield index, ("foreach",), step.foreach, _INSIDE
        inside = _INSIDE if step.foreach is None else _OF_ITEM
        yield index, ("with",), step.with_, inside
        for at, value, roots in step.compensation.templates() if step.compensation else ():
            yield index, ("compensation", *at), value, inside | roots


def _written(faults: Faults, index: int, places: Mapping[str, int]) -> dict[int, bool]:
    step = faults.spec.steps[index]
    needs: dict[int, bool] = {}
    for place, need in enumerate(step.needs):
        if need.step in places and need.step != step.id:
            needs[places[need.step]] = need.even_if_skipped
            continue
        close = get_close_matches(need.step, [known for known in places if known != step.id], n=1)
        error = WorkflowError(
            "workflow.unknown_need",
            where=faults.where(index, "needs", place),
            step=step.id,
            need=need.step,
            fix=f"write {close[0]}" if close else "name a step of this workflow",
        )
        faults.fault(index, error)
    return needs


def _used(faults: Faults, field: Field, places: Mapping[str, int]) -> Iterator[int]:
    """Give the steps whose output a field reads."""
    for reference in field.template.references:
        if reference.root != "steps":
            continue
        name = str(reference.path[0]) if reference.path else ""
        if name in places:
            yield places[name]
            continue
        close = get_close_matches(name, places, n=1)
        error = WorkflowError(
            "workflow.reference",
            where=faults.where(field.step, *field.at),
            reference=str(reference),
            details=[f"did you mean steps.{near}?" for near in close],
        )
        faults.fault(field.step, error)


def _order(needs: list[dict[int, bool]]) -> list[int]:
    """Take steps whose needs are all taken, in file order where there is a choice (Kahn)."""
    missing = [len(of) for of in needs]
    dependents: list[list[int]] = [[] for _ in needs]
    for index, of in enumerate(needs):
        for need in of:
            dependents[need].append(index)
    free = [index for index, count in enumerate(missing) if not count]
    for index in free:  # grows while it is walked
        for dependent in dependents[index]:
            missing[dependent] -= 1
            if not missing[dependent]:
                free.append(dependent)
    return free


def _name_cycle(faults: Faults, needs: list[dict[int, bool]], free: set[int]) -> None:
    at = next(index for index in range(len(needs)) if index not in free)
    seen: dict[int, None] = {}
    while at not in seen:  # each step left over needs another that is left over
        seen[at] = None
        at = next(need for need in needs[at] if need not in free)
    walked = list(seen)
    cycle = [*walked[walked.index(at) :], at]
    names = [faults.spec.steps[index].id for index in cycle]
    error = WorkflowError(
        "workflow.cycle",
        workflow=faults.spec.reference,
        cycle=" → ".join(names),
        details=[f"{faults.spec.steps[index].id}: {faults.where(index)}" for index in cycle[:-1]],
    )
    faults.fault(at, error)


# ---- what is called -----------------------------------------------------------------------------
def innermost_first(
    faults: Faults, workflows: Mapping[str, WorkflowSpec]
) -> tuple[WorkflowSpec, ...]:
    """Order a workflow and all it calls, callees first; nothing where faults were told."""
    done: dict[str, WorkflowSpec] = {}
    open_: dict[str, WorkflowSpec] = {faults.spec.reference: faults.spec}
    path = [_called(faults.spec)]
    while path:
        reference = next(path[-1], None)
        if reference is None:
            path.pop()
            name, ended = open_.popitem()
            done[name] = ended
        elif reference in open_:
            names = [*open_, reference]
            cycle = " → ".join(names[names.index(reference) :])
            error = WorkflowError("workflow.recursive", workflow=reference, cycle=cycle)
            faults.fault(None, error)
            return ()
        elif reference not in done:
            if reference not in workflows:
                steps = faults.spec.steps
                at = next((i for i, step in enumerate(steps) if step.workflow == reference), None)
                _unknown(faults, at, next(reversed(open_)), reference, workflows)
                return ()
            open_[reference] = workflows[reference]
            path.append(_called(workflows[reference]))
    return tuple(done.values())


def _called(spec: WorkflowSpec) -> Iterator[str]:
    return (step.workflow for step in spec.steps if step.workflow)


def check_size(
    faults: Faults, called: Iterable[WorkflowSpec], largest: tuple[int, int] = LARGEST
) -> None:
    """Tell of more steps or deeper nesting than a run may have; callees come first."""
    sizes: dict[str, tuple[int, int]] = {}
    for spec in called:
        inner = [sizes[reference] for reference in _called(spec)]
        size = len(spec.steps) + sum(steps for steps, _ in inner)
        sizes[spec.reference] = size, max((1 + depth for _, depth in inner), default=0)
    name = faults.spec.reference
    steps, depth = sizes[name]
    for what, found, most in (
        ("steps", steps, largest[0]),
        ("levels of sub-workflows", depth, largest[1]),
    ):
        if found > most:
            code = "workflow.too_large"
            faults.fault(
                None, WorkflowError(code, workflow=name, found=found, what=what, most=most)
            )


def find_capabilities(faults: Faults, capabilities: Mapping[str, CapabilitySpec]) -> None:
    """Tell of steps that call what is not there."""
    for index, step in enumerate(faults.spec.steps):
        if step.capability is not None and step.capability not in capabilities:
            _unknown(faults, index, faults.spec.reference, step.capability, capabilities)


def _unknown(
    faults: Faults, at: int | None, caller: str, reference: str, known: Iterable[str]
) -> None:
    step = None if at is None else faults.spec.steps[at]
    is_workflow = step is None or step.workflow
    code = "workflow.unknown_workflow" if is_workflow else "workflow.unknown_capability"
    close = get_close_matches(reference, known, n=1)
    places = [] if at is None else [faults.where(at)]
    error = WorkflowError(
        code,
        workflow=caller,
        step=step.id if step else "",
        reference=reference,
        details=[*places, *(f"did you mean {near}?" for near in close)],
    )
    faults.fault(at, error)

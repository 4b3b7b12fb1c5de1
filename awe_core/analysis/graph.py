"""The steps of one workflow as a graph: what each refers to, what it needs, in which order.

Linear in steps and edges and without recursion: a chain of 50,000 steps passes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.findings import Level
from awe_core.documents import nearest
from awe_core.errors import ExpressionError
from awe_core.expressions import Template

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.analysis.findings import Report
    from awe_core.values import Json
    from awe_core.workflow import StepSpec, WorkflowSpec

INSIDE = frozenset({"inputs", "steps", "run"})
OF_ITEM = INSIDE | {"item", "index"}
OF_COMPENSATION = OF_ITEM | {
    "input",
    "output",
    "effect",
    "before",
    "idempotency_key",
    "config",
}


@attrs.frozen
class Field:
    """One compiled part of a step or of the workflow."""

    step: int | None  #: None: the workflow
    name: str  #: with, when, foreach, compensation, outputs, concurrency
    template: Template


@attrs.frozen
class Graph:
    """A workflow whose steps are known, named and in an order that can be run."""

    spec: WorkflowSpec
    places: Mapping[str, int]  #: of step ids
    fields: tuple[Field, ...]
    needs: tuple[Mapping[int, bool], ...]  #: of each step: what it needs, and if skipped counts
    order: tuple[int, ...]  #: needs before dependents

    def ancestors(self, step: int) -> set[int]:
        """Give every step that has ended before *step* starts."""
        found: set[int] = set()
        waiting = [step]
        while waiting:
            for need in self.needs[waiting.pop()]:
                if need not in found:
                    found.add(need)
                    waiting.append(need)
        return found


def graph_of(report: Report) -> Graph | None:
    """Build the graph; None where errors were found that leave none."""
    spec = report.spec
    places = _places(report)
    fields = tuple(_fields(report))
    needs = [_written(report, index, places) for index in range(len(spec.steps))]
    for field in fields:
        for index in _used(report, field, places):
            if field.step is not None:
                needs[field.step].setdefault(index, False)
    order = _order(needs)
    if len(order) < len(needs):
        _name_cycle(report, needs, set(order))
    if any(finding.level is Level.ERROR for finding in report.found):
        return None
    return Graph(spec, places, fields, tuple(needs), tuple(order))


def _places(report: Report) -> dict[str, int]:
    places: dict[str, int] = {}
    for index, step in enumerate(report.spec.steps):
        if step.id in places:
            first = report.where(places[step.id])
            where = report.where(index, "id")
            report.says(
                Level.ERROR, "workflow.duplicate", index, where=where, step=step.id, first=first
            )
        places.setdefault(step.id, index)
    return places


def _fields(report: Report) -> Iterator[Field]:
    spec = report.spec
    whole: list[tuple[int | None, str, Json, frozenset[str]]] = [
        (None, "outputs", spec.outputs, INSIDE)
    ]
    if spec.concurrency is not None:
        whole.append((None, "concurrency", spec.concurrency.key, frozenset({"inputs"})))
    for index, step in enumerate(spec.steps):
        whole += [(index, *part) for part in _parts(step)]
    for at, name, value, roots in whole:
        try:
            template = Template.compile(value, where=report.where(at, name), roots=roots)
        except ExpressionError as error:
            report.add(Level.ERROR, at, error)
        else:
            yield Field(at, name, template)


def _parts(step: StepSpec) -> Iterator[tuple[str, Json, frozenset[str]]]:
    yield "with", step.with_, INSIDE if step.foreach is None else OF_ITEM
    if step.when is not None:
        yield "when", step.when, INSIDE
    if step.foreach is not None:
        yield "foreach", step.foreach, INSIDE
    ours = step.compensation
    for call in (ours.compensate, ours.before, ours.lookup) if ours else ():
        if call is not None:
            yield "compensation", [call.with_, call.when], OF_COMPENSATION


def _written(report: Report, index: int, places: Mapping[str, int]) -> dict[int, bool]:
    step = report.spec.steps[index]
    needs: dict[int, bool] = {}
    for place, need in enumerate(step.needs):
        if need.step in places and need.step != step.id:
            needs[places[need.step]] = need.even_if_skipped
            continue
        close = nearest(need.step, (known for known in places if known != step.id))
        report.says(
            Level.ERROR,
            "workflow.unknown_need",
            index,
            where=report.where(index, "needs", place),
            step=step.id,
            need=need.step,
            fix=f"write {close}" if close else "name a step of this workflow",
        )
    return needs


def _used(report: Report, field: Field, places: Mapping[str, int]) -> Iterator[int]:
    """Give the steps whose output a field reads; report what is no step."""
    for reference in field.template.references:
        if reference.root != "steps":
            continue
        name = reference.path[0] if reference.path else None
        if isinstance(name, str) and name in places:
            yield places[name]
            continue
        close = nearest(str(name), places)
        report.says(
            Level.ERROR,
            "workflow.reference",
            field.step,
            where=report.where(field.step, field.name),
            reference=str(reference),
            details=[f"did you mean steps.{close}?"] if close else [],
        )


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


def _name_cycle(report: Report, needs: list[dict[int, bool]], free: set[int]) -> None:
    at = next(index for index in range(len(needs)) if index not in free)
    seen: dict[int, None] = {}
    while at not in seen:  # each step left over needs another that is left over
        seen[at] = None
        at = next(need for need in needs[at] if need not in free)
    walked = list(seen)
    cycle = [*walked[walked.index(at) :], at]
    report.says(
        Level.ERROR,
        "workflow.cycle",
        at,
        workflow=report.spec.reference,
        cycle=" → ".join(report.spec.steps[index].id for index in cycle),
        details=[f"{report.spec.steps[index].id}: {report.where(index)}" for index in cycle[:-1]],
    )

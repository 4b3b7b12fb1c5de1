"""Types: whether references can be there, and whether targets can take what they are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.analysis.findings import Level
from awe_core.analysis.flow import Flow, follow
from awe_core.analysis.types import (
    NOTHING,
    UNKNOWN,
    Either,
    ListOf,
    Members,
    Type,
    admits,
    choices,
    element,
    kinds,
    kinds_of_value,
    member,
    names,
    of_kind,
    of_schema,
)
from awe_core.documents import nearest
from awe_core.errors import AweError
from awe_core.expressions import Template
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.analysis.calls import World
    from awe_core.analysis.findings import Report
    from awe_core.analysis.graph import Field, Graph
    from awe_core.expressions import Placed
    from awe_core.values import Json, JsonObject
    from awe_core.workflow import StepSpec, WorkflowSpec

_RUN = Members({"id": of_kind("string"), "started_at": UNKNOWN})
_Path: TypeAlias = tuple[str | int, ...]
_INDEX = of_kind("integer")


@attrs.define
class Outputs:
    """The types of what steps give back; a workflow's own is followed once."""

    world: World
    known: dict[str, Type] = attrs.Factory(dict)

    def learn(self, specs: Iterable[WorkflowSpec]) -> None:
        """Follow the outputs of workflows, callees first."""
        for spec in specs:
            self.known[spec.reference] = self._of_workflow(spec)

    def of_step(self, step: StepSpec) -> Type:
        """Give the type of ``steps.ID.output`` once the step has completed."""
        if step.capability is not None:
            contract = self.world.capabilities.get(step.capability)
            found = of_schema(contract.output) if contract else UNKNOWN
        else:
            found = self.known.get(step.target, UNKNOWN)
        if step.foreach is None:
            return found
        item = Either(found, NOTHING) if step.on_failure is OnFailure.CONTINUE else found
        return ListOf(item)

    def scope(self, spec: WorkflowSpec) -> dict[str, Type]:
        """Give the roots that every step of *spec* sees."""
        steps = {step.id: Members({"output": self.of_step(step)}) for step in spec.steps}
        return {"inputs": of_schema(spec.inputs), "steps": Members(steps), "run": _RUN}

    def input_of(self, step: StepSpec) -> JsonObject:
        """Give the schema that the arguments of *step* must fit; what it calls is there."""
        if step.capability is not None:
            return self.world.capabilities[step.capability].input
        return self.world.workflows[step.target].inputs

    def _of_workflow(self, spec: WorkflowSpec) -> Type:
        try:
            template = Template.compile(
                spec.outputs, where=spec.reference, roots=frozenset({"inputs", "steps", "run"})
            )
        except AweError:  # its own check names it
            return UNKNOWN
        scope = self.scope(spec)
        found: dict[str, Type] = dict.fromkeys(spec.outputs, UNKNOWN)
        for placed in template.placed:
            if placed.is_whole and len(placed.path) == 1:
                found[str(placed.path[0])] = follow(placed.expression, scope).type
        return Members(found)


@attrs.frozen
class Typing:
    """Checks every field of a graph."""

    report: Report
    graph: Graph
    outputs: Outputs
    unsure: Mapping[int, str]  #: steps that may leave no output though what follows runs, and why
    skippable: frozenset[int]  #: steps that may not run at all

    def check(self) -> None:
        """Follow every expression, then hold every argument against its target's input."""
        scope = self.outputs.scope(self.graph.spec)
        lists: dict[int | None, Type] = {}
        for field in sorted(self.graph.fields, key=lambda field: field.name != "foreach"):
            if field.name == "compensation":
                continue  # its roots are known when the effect is
            roots = dict(scope)
            if field.step in lists:
                roots |= {"item": element(lists[field.step]), "index": _INDEX}
            flows = self._flows(field, roots)
            if field.name == "foreach":
                lists[field.step] = self._listed(field, flows)
            elif field.name == "with":
                self._arguments(field, flows)

    def _flows(self, field: Field, roots: Mapping[str, Type]) -> dict[_Path, Type]:
        """Follow a field's expressions; give the type of every string that holds one."""
        found: dict[_Path, Type] = {}
        for placed in field.template.placed:
            flow = follow(placed.expression, roots)
            where = self.report.where(field.step, field.name, *placed.path)
            self._check_impossible(field, flow, where)
            if field.name not in {"when", "concurrency"}:  # there, missing is what is asked
                self._check_missing(field, placed, flow, where=where)
            whole = UNKNOWN if flow.impossible else flow.type  # one fault is told once
            found[placed.path] = whole if placed.is_whole else of_kind("string")
        return found

    def _check_impossible(self, field: Field, flow: Flow, where: str) -> None:
        for part in flow.impossible:
            self.report.says(
                Level.ERROR,
                "workflow.reference",
                field.step,
                where=where,
                reference=part.reference,
                details=[f"did you mean {part.near}?"] if part.near else [],
            )

    def _check_missing(self, field: Field, placed: Placed, flow: Flow, *, where: str) -> None:
        whys = dict.fromkeys(flow.optional, "its schema does not require it")
        is_guarded = "||" in placed.expression.text
        for reference in () if is_guarded else placed.expression.references:
            if reference.root == "steps":
                why = self._absence(self.graph.places[str(reference.path[0])], field)
                whys |= {str(reference): why} if why else {}
        for path, why in whys.items():
            code = "workflow.maybe_missing"
            self.report.says(Level.WARNING, code, field.step, where=where, reference=path, why=why)

    def _absence(self, step: int, field: Field) -> str | None:
        """Say why *step* may have left no output where *field* is evaluated."""
        if step in self.unsure:
            return self.unsure[step]
        runs_anyway = field.step is None or self.graph.needs[field.step].get(step, False)
        if runs_anyway and step in self.skippable:
            return f"step {self.graph.spec.steps[step].id} may be skipped"
        return None

    def _listed(self, field: Field, flows: Mapping[_Path, Type]) -> Type:
        found = flows.get(())
        if found is None:
            return UNKNOWN
        if "array" not in kinds(found) and found != NOTHING:
            why = f"a list is expected, found {_named(kinds(found))}"
            self._refuse(field, (), "foreach", why=why)
            return UNKNOWN
        return found

    def _arguments(self, field: Field, flows: Mapping[_Path, Type]) -> None:
        step = self.graph.spec.steps[field.step or 0]
        target = self.outputs.input_of(step)
        for name in _required(target):
            if name not in step.with_:
                self._refuse(field, (), name, why="it is required and not given")
        waiting: list[_Given] = [_Given((), step.with_, of_schema(target))]
        while waiting:
            given = waiting.pop()
            if given.path in flows:
                possible = kinds(flows[given.path]) | {"null"}  # what is missing is null
                if not possible & kinds(given.wanted):
                    self._unfit(field, given, possible - {"null"} or possible)
            elif admits(given.wanted, given.value):
                waiting += self._inner(field, given)
            else:
                self._unfit(field, given, kinds_of_value(given.value))

    def _inner(self, field: Field, given: _Given) -> Iterator[_Given]:
        """Give the parts of an object or list; refuse members the target does not know."""
        match given.value:
            case dict():
                for key, inner in given.value.items():
                    part, _ = member(given.wanted, key)
                    if part == NOTHING:
                        self._unknown(field, given, key)
                    else:
                        yield _Given((*given.path, key), inner, part)
            case list():
                part = element(given.wanted)
                for index, inner in enumerate(given.value):
                    yield _Given((*given.path, index), inner, part)

    def _unfit(self, field: Field, given: _Given, found: frozenset[str]) -> None:
        words = choices(given.wanted)
        expected = ", ".join(map(str, words)) if words else _named(kinds(given.wanted))
        why = f"{expected} is expected, found {_named(found)}"
        self._refuse(field, given.path, ".".join(map(str, given.path)), why=why)

    def _unknown(self, field: Field, given: _Given, key: str) -> None:
        known = sorted(names(given.wanted))
        close = nearest(key, known)
        why = f"did you mean {close}?" if close else f"known: {', '.join(known) or 'nothing'}"
        path = (*given.path, key)
        self._refuse(field, path, ".".join(map(str, path)), why=why)

    def _refuse(self, field: Field, path: _Path, argument: str, *, why: str) -> None:
        self.report.says(
            Level.ERROR,
            "workflow.type",
            field.step,
            where=self.report.where(field.step, field.name, *path),
            target=self.graph.spec.steps[field.step or 0].target,
            argument=argument,
            details=[why],
        )


@attrs.frozen
class _Given:
    """A part of a step's arguments and what its target wants there."""

    path: _Path
    value: Json
    wanted: Type


def _required(schema: JsonObject) -> tuple[str, ...]:
    """Give the members that must be given: required and without a default."""
    properties = schema.get("properties", {})
    return tuple(
        name
        for name in schema.get("required", ())
        if not (isinstance(properties.get(name), dict) and "default" in properties[name])
    )


def _named(found: frozenset[str]) -> str:
    shown = found - {"integer"} if "number" in found else found
    return " or ".join(sorted(shown))

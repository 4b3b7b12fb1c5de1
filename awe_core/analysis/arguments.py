"""Types: whether references can be there, and whether targets can take what they are given."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.analysis.findings import Level
from awe_core.analysis.flow import Flow, follow
from awe_core.analysis.types import (
    NOTHING,
    UNKNOWN,
    Either,
    Type,
    choices,
    element,
    kinds,
    kinds_of_value,
    list_of,
    member,
    names,
    object_of,
    of_kind,
    of_schema,
)
from awe_core.errors import AweError
from awe_core.expressions import Template
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from awe_core.analysis.findings import Report
    from awe_core.analysis.skips import Skips
    from awe_core.capability import CapabilitySpec
    from awe_core.compensation import CapabilityCall, UndoCompensate
    from awe_core.decider import Field, Links
    from awe_core.expressions import Placed
    from awe_core.values import Json, JsonObject
    from awe_core.workflow import StepSpec, WorkflowSpec

_RUN = object_of({"id": of_kind("string"), "started_at": UNKNOWN})
_Path: TypeAlias = tuple[str | int, ...]


@attrs.frozen
class World:
    """What there is to call, by ``id@major``, and what workflows give back, followed once."""

    capabilities: Mapping[str, CapabilitySpec]
    workflows: Mapping[str, WorkflowSpec]
    outputs: dict[str, Type] = attrs.field(factory=dict)

    def learn(self, spec: WorkflowSpec) -> None:
        """Follow the outputs of a workflow; those that it calls were learnt before."""
        roots = frozenset({"inputs", "steps", "run"})
        try:
            template = Template.compile(spec.outputs, where=spec.reference, roots=roots)
        except AweError:  # its own check names it
            return
        scope = self.scope(spec)
        found: dict[str, Type] = dict.fromkeys(spec.outputs, UNKNOWN)
        for placed in template.placed:
            if placed.is_whole and len(placed.path) == 1:
                found[str(placed.path[0])] = follow(placed.expression, scope).type
        self.outputs[spec.reference] = object_of(found)

    def scope(self, spec: WorkflowSpec) -> dict[str, Type]:
        """Give the roots that every step of *spec* sees."""
        steps = {step.id: object_of({"output": self._of_step(step)}) for step in spec.steps}
        return {"inputs": of_schema(spec.inputs), "steps": object_of(steps), "run": _RUN}

    def capability(self, name: str) -> CapabilitySpec | None:
        """Give the contract of ``id@major``, or of an ``id`` its highest version."""
        named = (one for one in self.capabilities.values() if one.id == name)
        return self.capabilities.get(name) or max(named, key=lambda one: one.major, default=None)

    def input_of(self, step: StepSpec) -> JsonObject:
        """Give the schema that the arguments of *step* must fit; what it calls is there."""
        if step.capability is not None:
            return self.capabilities[step.capability].input
        return self.workflows[step.target].inputs

    def _of_step(self, step: StepSpec) -> Type:
        contract = self.capabilities.get(step.capability or "")
        found = of_schema(contract.output) if contract else self.outputs.get(step.target, UNKNOWN)
        if step.foreach is None:
            return found
        return list_of(Either(found, NOTHING) if step.on_failure is OnFailure.CONTINUE else found)


@attrs.frozen
class Typing:
    """Checks every field of a workflow."""

    report: Report
    links: Links
    world: World
    skips: Skips

    def check(self, *, only: Container[str] | None = None) -> None:
        """Follow every expression, then hold every argument against its target's input.

        :param only: the names of the fields to check; None: all
        """
        scope = self.world.scope(self.links.spec)
        lists: dict[int | None, Type] = {}
        for field in self.links.fields:  # of a step, foreach comes before with
            if only is not None and field.name not in only:
                continue
            roots = dict(scope)
            if field.step in lists:
                roots |= {"item": element(lists[field.step]), "index": of_kind("integer")}
            spec = self.report.spec.steps[field.step or 0]
            called, given = spec.target, spec.with_
            if field.name == "compensation" and spec.compensation is not None:
                roots |= self._of_effect(spec, spec.compensation)
                call: CapabilityCall = getattr(spec.compensation, field.at[1])
                called, given = call.capability, call.with_
            fit = _Fit(self.report, field, self._flows(field, roots), called, given)
            if field.name == "foreach":
                lists[field.step] = fit.listed()
            elif field.name == "with":
                fit.check(self.world.input_of(spec))
            elif field.at[-1] == "with" and (target := self.world.capability(called)):
                fit.check(target.input)

    def _of_effect(self, step: StepSpec, undo: UndoCompensate) -> dict[str, Type]:
        """Give the roots that the calls which take a step back see beside its own."""
        contract = self.world.capabilities[step.target]
        before = undo.before and self.world.capability(undo.before.capability)
        return {
            "input": of_schema(contract.input),
            "output": of_schema(contract.output),
            "before": of_schema(before.output) if before else UNKNOWN,
            "effect": UNKNOWN,
            "config": UNKNOWN,
            "idempotency_key": of_kind("string"),
        }

    def _flows(self, field: Field, roots: Mapping[str, Type]) -> dict[_Path, Type]:
        """Follow a field's expressions; give the type of every string that holds one."""
        found: dict[_Path, Type] = {}
        for placed in field.template.placed:
            flow = follow(placed.expression, roots)
            step, at = field.step, (*field.at, *placed.path)
            for path, near in flow.impossible.items():
                details = [f"did you mean {near}?"] if near else []
                code = "workflow.reference"
                self.report.says(Level.ERROR, code, step, *at, reference=path, details=details)
            if field.name not in {"when", "concurrency"}:  # there, missing is what is asked
                for path, why in self._missing(field, placed, flow).items():
                    code = "workflow.maybe_missing"
                    self.report.says(Level.WARNING, code, step, *at, reference=path, why=why)
            whole = UNKNOWN if flow.impossible else flow.type  # one fault is told once
            found[placed.path] = whole if placed.is_whole else of_kind("string")
        return found

    def _missing(self, field: Field, placed: Placed, flow: Flow) -> dict[str, str]:
        whys = dict.fromkeys(flow.optional, "its schema does not require it")
        for reference in () if "||" in placed.expression.text else placed.expression.references:
            if reference.root == "steps":
                step = self.links.places[str(reference.path[0])]
                if why := self.skips.absence(self.links, step, field.step):
                    whys[str(reference)] = why
        return whys


@attrs.frozen
class _Fit:
    """Holds one field against what takes it."""

    report: Report
    field: Field
    flows: Mapping[_Path, Type]  #: of every string that holds an expression
    called: str
    given: Json

    def listed(self) -> Type:
        found = self.flows.get((), UNKNOWN)
        if "array" in kinds(found) or found is NOTHING:
            return found
        self.refuse((), f"a list is expected, found {_named(kinds(found))}", "foreach")
        return UNKNOWN

    def check(self, target: JsonObject) -> None:
        for name in _required(target):
            if name not in self.given:
                self.refuse((), "it is required and not given", name)
        waiting: list[tuple[_Path, Json, Type]] = [((), self.given, of_schema(target))]
        while waiting:
            path, value, wanted = waiting.pop()
            words = choices(wanted)
            if path in self.flows:
                found = kinds(self.flows[path]) | {"null"}  # what is missing is null
                is_fit = bool(found & kinds(wanted))
                found = found - {"null"} or found
            else:
                found = kinds_of_value(value)
                is_fit = bool(found & kinds(wanted)) and (words is None or value in words)
            if not is_fit:
                expected = ", ".join(map(str, words)) if words else _named(kinds(wanted))
                self.refuse(path, f"{expected} is expected, found {_named(found)}")
            elif path not in self.flows:
                waiting += self.inside(path, value, wanted)

    def inside(self, path: _Path, value: Json, wanted: Type) -> Iterator[tuple[_Path, Json, Type]]:
        """Give the parts of an object or list; refuse members the target does not know."""
        if isinstance(value, list):
            part = element(wanted)
            yield from (((*path, index), inner, part) for index, inner in enumerate(value))
        for key, inner in value.items() if isinstance(value, dict) else ():
            part, _ = member(wanted, key)
            if part is not NOTHING:
                yield (*path, key), inner, part
                continue
            known = sorted(names(wanted))
            near = get_close_matches(key, known, n=1)
            why = f"did you mean {near[0]}?" if near else f"known: {', '.join(known) or 'nothing'}"
            self.refuse((*path, key), why)

    def refuse(self, path: _Path, why: str, argument: str = "") -> None:
        argument = argument or ".".join(map(str, path))
        self.report.says(
            Level.ERROR,
            "workflow.type",
            self.field.step,
            *self.field.at,
            *path,
            target=self.called,
            argument=argument,
            details=[why],
        )


def _required(schema: JsonObject) -> Iterable[str]:
    """Give the members that must be given: required and without a default."""
    properties = schema.get("properties", {})
    for name in schema.get("required", ()):
        declared = properties.get(name)
        if not (isinstance(declared, dict) and "default" in declared):
            yield name


def _named(found: frozenset[str]) -> str:
    shown = found - {"integer"} if "number" in found else found
    return " or ".join(sorted(shown))

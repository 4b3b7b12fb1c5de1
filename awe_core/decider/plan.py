"""The plan: a workflow compiled once, with integer indices instead of names.

Rules: one `Block` a workflow, whatever number of steps call it; a block's steps know each other by
index.  Steps inside a sub-workflow have the path ``nested.read``, items of a fan-out ``each[3]``,
and exist in a run only once their container has started.  Whatever cannot be planned rightly is
refused here; the fuller findings are those of `analysis`.  Nothing recurses: a chain of 50,000
steps is a chain of 50,000 loop turns.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NoReturn

import attrs

from awe_core.capability import Confirm
from awe_core.errors import WorkflowError
from awe_core.expressions import Template
from awe_core.workflow import Retry, StepConfirm

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.workflow import StepSpec, WorkflowSpec

MOST_STEPS = 50_000  #: of one workflow, sub-workflows included, fan-outs counted once
DEEPEST_NESTING = 16  #: levels of sub-workflows below the first

_INSIDE = frozenset({"inputs", "steps", "run"})
_OF_ITEM = _INSIDE | {"item", "index"}
_OF_COMPENSATION = _OF_ITEM | {"input", "output", "effect", "before", "idempotency_key", "config"}


class Kind(StrEnum):
    """What starting a step means."""

    CALL = "call"  #: a handler runs
    SCOPE = "scope"  #: a sub-workflow's steps come into being
    FANOUT = "fanout"  #: the items of a list come into being


@attrs.frozen(eq=False)
class PlanStep:
    """One step, ready to be run: its templates compiled, its limits effective."""

    spec: StepSpec
    kind: Kind
    capability: CapabilitySpec | None  #: of a call, and of the calls of a fan-out
    block: Block | None  #: of a scope, and of the scopes of a fan-out
    with_: Template
    when: Template | None
    foreach: Template | None
    index: int  #: place in its block: file order
    needs: tuple[int, ...] = ()
    dependents: tuple[tuple[int, bool], ...] = ()  #: and whether each goes on if this is skipped
    uses: tuple[int, ...] = ()  #: steps whose outputs its templates read
    readers: int = 0  #: how many steps, and the block's outputs, read its output
    item: PlanStep | None = None  #: of a fan-out: what each item runs

    @property
    def timeout_us(self) -> int:
        """One attempt's limit; a step may shorten its contract's, never stretch it."""
        limits = [self.spec.timeout_us, self.capability.timeout_us if self.capability else None]
        return min((us for us in limits if us is not None), default=300_000_000)

    @property
    def confirm(self) -> Confirm:
        """How much confirming the call asks for; a step may only tighten its contract's."""
        if self.spec.confirm is StepConfirm.ALWAYS or self.capability is None:
            return Confirm(self.spec.confirm.value)
        return self.capability.confirm

    @property
    def retry(self) -> Retry:
        """When it is tried again; a fan-out never is, its items are."""
        return Retry() if self.kind is Kind.FANOUT else self.spec.retry

    @property
    def is_idempotent(self) -> bool:
        """Whether running it twice with one key is the same as once."""
        return self.kind is Kind.CALL and self.capability is not None and self.capability.idempotent


@attrs.frozen(eq=False)
class Block:
    """One workflow: steps in file order, and what it gives back."""

    spec: WorkflowSpec
    steps: tuple[PlanStep, ...]
    outputs: Template
    output_uses: tuple[int, ...]  #: steps whose outputs `outputs` reads
    size: int  #: steps, those of sub-workflows included
    depth: int  #: levels of sub-workflows below it


@attrs.frozen(eq=False)
class Plan:
    """A workflow with everything it calls.  Share it between runs; nothing in it changes."""

    root: Block

    @property
    def spec(self) -> WorkflowSpec:
        """The workflow that was compiled."""
        return self.root.spec

    def step(self, path: str) -> PlanStep:
        """Give the step at *path* (``nested.read``; ``each[3]`` is what each item of each runs).

        :raises KeyError: there is none
        """
        block: Block | None = self.root
        found: PlanStep | None = None
        for part in path.split("."):
            name, bracket, _ = part.partition("[")
            found = next((s for s in block.steps if s.spec.id == name), None) if block else None
            if found and bracket:
                found = found.item
            if found is None:
                raise KeyError(path)
            block = found.block if found.kind is Kind.SCOPE else None
        if found is None:
            raise KeyError(path)
        return found

    def block(self, path: str) -> Block:
        """Give the workflow that the scope at *path* runs; ``""`` is the whole.

        :raises KeyError: no scope stands there
        """
        found = self.root if not path else self.step(path).block
        if found is None:
            raise KeyError(path)
        return found


def compile_workflow(
    spec: WorkflowSpec,
    *,
    capabilities: Mapping[str, CapabilitySpec],
    workflows: Mapping[str, WorkflowSpec],
) -> Plan:
    """Compile *spec* and all it calls; the keys of both mappings are ``id@major``.

    :raises WorkflowError: ``workflow.cycle``, ``.recursive``, ``.duplicate``, ``.unknown_need``,
        ``.unknown_capability``, ``.unknown_workflow``, ``.reference``, ``.too_large``
    :raises ExpressionError: a template does not compile
    """
    blocks: dict[str, Block] = {}
    for called in _innermost_first(spec, workflows):
        blocks[called.reference] = _block(called, capabilities, blocks)
    return Plan(blocks[spec.reference])


def _innermost_first(
    spec: WorkflowSpec, workflows: Mapping[str, WorkflowSpec]
) -> Iterable[WorkflowSpec]:
    """Order *spec* and everything below it so that what is called comes before who calls it."""
    done: dict[str, WorkflowSpec] = {}
    open_: dict[str, WorkflowSpec] = {spec.reference: spec}
    path = [iter(_called(spec))]
    while path:
        reference = next(path[-1], None)
        if reference is None:
            path.pop()
            name, ended = open_.popitem()
            done[name] = ended
        elif reference in open_:
            names = list(open_)
            cycle = [*names[names.index(reference) :], reference]
            raise WorkflowError("workflow.recursive", workflow=reference, cycle=" → ".join(cycle))
        elif reference not in done:
            if reference not in workflows:
                caller = next(reversed(open_))
                raise WorkflowError(
                    "workflow.unknown_workflow", workflow=caller, reference=reference
                )
            open_[reference] = workflows[reference]
            path.append(iter(_called(workflows[reference])))
    return done.values()


def _called(spec: WorkflowSpec) -> tuple[str, ...]:
    return tuple(step.workflow for step in spec.steps if step.workflow)


def _block(
    spec: WorkflowSpec, capabilities: Mapping[str, CapabilitySpec], blocks: Mapping[str, Block]
) -> Block:
    places = _places(spec)
    outputs = Template.compile(spec.outputs, where=f"{spec.reference}: outputs", roots=_INSIDE)
    output_uses = _uses(outputs, places, where=spec.reference)
    steps = [
        _step(spec, index, capabilities=capabilities, blocks=blocks)
        for index in range(len(spec.steps))
    ]
    uses = [_uses_of(spec, step, places) for step in steps]
    needs = [_needs(spec, step, places, uses[step.index]) for step in steps]
    _refuse_cycle(spec, needs)
    _refuse_size(spec, steps)
    dependents: list[list[tuple[int, bool]]] = [[] for _ in steps]
    readers = [0] * len(steps)
    for index in output_uses:
        readers[index] += 1
    for step in steps:
        for need, even_if_skipped in needs[step.index].items():
            dependents[need].append((step.index, even_if_skipped))
        for used in uses[step.index]:
            readers[used] += 1
    return Block(
        spec=spec,
        steps=tuple(
            attrs.evolve(
                step,
                needs=tuple(needs[step.index]),
                dependents=tuple(dependents[step.index]),
                uses=uses[step.index],
                readers=readers[step.index],
            )
            for step in steps
        ),
        outputs=outputs,
        output_uses=output_uses,
        size=_size(steps),
        depth=_depth(steps),
    )


def _size(steps: Iterable[PlanStep]) -> int:
    return sum(1 + (step.block.size if step.block else 0) for step in steps)


def _depth(steps: Iterable[PlanStep]) -> int:
    return max((1 + step.block.depth for step in steps if step.block), default=0)


def _places(spec: WorkflowSpec) -> dict[str, int]:
    places: dict[str, int] = {}
    for index, step in enumerate(spec.steps):
        if step.id in places:
            first = f"step {places[step.id] + 1}"
            raise WorkflowError(
                "workflow.duplicate", where=spec.reference, step=step.id, first=first
            )
        places[step.id] = index
    return places


def _step(
    spec: WorkflowSpec,
    index: int,
    *,
    capabilities: Mapping[str, CapabilitySpec],
    blocks: Mapping[str, Block],
) -> PlanStep:
    step = spec.steps[index]
    if step.workflow is None and step.target not in capabilities:
        raise WorkflowError(
            "workflow.unknown_capability",
            workflow=spec.reference,
            step=step.id,
            reference=step.target,
        )
    where = f"{spec.reference}: step {step.id}"
    is_fanout = step.foreach is not None
    inner = PlanStep(
        spec=step,
        kind=Kind.SCOPE if step.workflow else Kind.CALL,
        capability=None if step.workflow else capabilities[step.target],
        block=blocks[step.workflow] if step.workflow else None,
        with_=Template.compile(
            step.with_, where=f"{where}: with", roots=_OF_ITEM if is_fanout else _INSIDE
        ),
        when=_expression(step.when, where=f"{where}: when"),
        foreach=_expression(step.foreach, where=f"{where}: foreach"),
        index=index,
    )
    if not is_fanout:
        return inner
    item = attrs.evolve(inner, when=None, foreach=None)
    return attrs.evolve(inner, kind=Kind.FANOUT, item=item)


def _expression(value: object, *, where: str) -> Template | None:
    return None if value is None else Template.compile(value, where=where, roots=_INSIDE)


def _uses_of(spec: WorkflowSpec, step: PlanStep, places: Mapping[str, int]) -> tuple[int, ...]:
    where = f"{spec.reference}: step {step.spec.id}"
    found: dict[int, None] = {}
    for template in (step.when, step.foreach, step.with_, *_compensation(step, where)):
        if template is not None:
            found.update(dict.fromkeys(_uses(template, places, where=where)))
    return tuple(found)


def _compensation(step: PlanStep, where: str) -> Iterable[Template]:
    """Compile the step's own compensation, for what it refers to."""
    ours = step.spec.compensation
    for call in (ours.compensate, ours.before, ours.lookup) if ours else ():
        if call is not None:
            yield Template.compile(
                [call.with_, call.when], where=f"{where}: compensation", roots=_OF_COMPENSATION
            )


def _uses(template: Template, places: Mapping[str, int], *, where: str) -> tuple[int, ...]:
    found: dict[int, None] = {}
    for reference in template.references:
        if reference.root != "steps":
            continue
        name = reference.path[0] if reference.path else None
        if not isinstance(name, str) or name not in places:
            raise WorkflowError("workflow.reference", where=where, reference=str(reference))
        found[places[name]] = None
    return tuple(found)


def _needs(
    spec: WorkflowSpec, step: PlanStep, places: Mapping[str, int], uses: tuple[int, ...]
) -> dict[int, bool]:
    """Give each need and whether it may be skipped; what is written wins over what is implied."""
    needs = dict.fromkeys(uses, False)
    for need in step.spec.needs:
        if need.step not in places:
            raise WorkflowError(
                "workflow.unknown_need",
                where=spec.reference,
                step=step.spec.id,
                need=need.step,
                fix="name a step of this workflow",
            )
        needs[places[need.step]] = need.even_if_skipped
    return needs


def _refuse_cycle(spec: WorkflowSpec, needs: list[dict[int, bool]]) -> None:
    """Take away steps whose needs are all taken away (Kahn); what is left holds a cycle."""
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
    if len(free) < len(needs):
        _name_cycle(spec, needs, missing)


def _name_cycle(spec: WorkflowSpec, needs: list[dict[int, bool]], missing: list[int]) -> NoReturn:
    at = next(index for index, count in enumerate(missing) if count)
    seen: dict[int, None] = {}
    while at not in seen:  # each step left over needs another that is left over
        seen[at] = None
        at = next(need for need in needs[at] if missing[need])
    walked = list(seen)
    names = [spec.steps[index].id for index in [*walked[walked.index(at) :], at]]
    raise WorkflowError("workflow.cycle", workflow=spec.reference, cycle=" → ".join(names))


def _refuse_size(spec: WorkflowSpec, steps: list[PlanStep]) -> None:
    for what, found, most in (
        ("steps", _size(steps), MOST_STEPS),
        ("levels of sub-workflows", _depth(steps), DEEPEST_NESTING),
    ):
        if found > most:
            raise WorkflowError(
                "workflow.too_large", workflow=spec.reference, found=found, what=what, most=most
            )

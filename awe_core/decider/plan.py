"""The plan: a workflow compiled once, with integer indices instead of names.

Rules: one `Block` a workflow, whatever number of steps call it; a block's steps know each other by
index.  Steps inside a sub-workflow have the path ``nested.read``, items of a fan-out ``each[3]``,
and exist in a run only once their container has started.  Nothing recurses.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from awe_core.capability import Confirm
from awe_core.decider.links import (
    LARGEST,
    Faults,
    check_size,
    find_capabilities,
    innermost_first,
    link,
)
from awe_core.decider.table import direct
from awe_core.expressions import Template
from awe_core.workflow import Retry, StepConfirm, StepSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.capability import CapabilitySpec, Undo
    from awe_core.decider.links import Links
    from awe_core.workflow import WorkflowSpec


@direct
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
    when: Template | None = None
    foreach: Template | None = None
    needs: tuple[int, ...] = ()
    dependents: tuple[tuple[int, bool], ...] = ()  #: and whether each goes on if this is skipped
    uses: tuple[int, ...] = ()  #: steps whose outputs its templates read
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
    def undo(self) -> Undo | None:
        """How its effects are taken back: as the step says, else as the contract does."""
        return self.spec.compensation or (self.capability.undo if self.capability else None)

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
    concurrency: Template | None = None  #: runs for which it gives the same wait for each other


@attrs.frozen(eq=False)
class Plan:
    """A workflow with everything it calls.  Share it between runs; nothing in it changes."""

    root: Block
    top: PlanStep  #: the run itself, as if a step had called it


def compile_workflow(
    spec: WorkflowSpec,
    *,
    capabilities: Mapping[str, CapabilitySpec],
    workflows: Mapping[str, WorkflowSpec],
    largest: tuple[int, int] = LARGEST,
) -> Plan:
    """Compile *spec* and all it calls; the keys of both mappings are ``id@major``.

    :raises WorkflowError: ``workflow.cycle``, ``.recursive``, ``.duplicate``, ``.unknown_need``,
        ``.unknown_capability``, ``.unknown_workflow``, ``.reference``, ``.too_large``
    :raises ExpressionError: a template does not compile
    """
    called = innermost_first(Faults(spec), workflows)
    check_size(Faults(spec), called, largest)
    blocks: dict[str, Block] = {}
    for one in called:
        faults = Faults(one)
        find_capabilities(faults, capabilities)
        if (links := link(faults)) is not None:
            blocks[one.reference] = _block(links, capabilities, blocks)
    root = blocks[spec.reference]
    nothing = Template.compile({}, where=spec.reference, roots=frozenset())
    return Plan(root, PlanStep(StepSpec(""), Kind.SCOPE, None, root, nothing))


def _block(
    links: Links, capabilities: Mapping[str, CapabilitySpec], blocks: Mapping[str, Block]
) -> Block:
    dependents: list[list[tuple[int, bool]]] = [[] for _ in links.needs]
    for index, needs in enumerate(links.needs):
        for need, even_if_skipped in needs.items():
            dependents[need].append((index, even_if_skipped))
    templates = {(field.step, field.name): field.template for field in links.fields}
    steps = []
    for index, spec in enumerate(links.spec.steps):
        plain = PlanStep(
            spec=spec,
            kind=Kind.SCOPE if spec.workflow else Kind.CALL,
            capability=None if spec.workflow else capabilities[spec.target],
            block=blocks[spec.workflow] if spec.workflow else None,
            with_=templates[index, "with"],
            needs=tuple(links.needs[index]),
            dependents=tuple(dependents[index]),
            uses=tuple(links.uses[index]),
        )
        foreach = templates.get((index, "foreach"))
        step = attrs.evolve(plain, when=templates.get((index, "when")), foreach=foreach)
        steps.append(attrs.evolve(step, kind=Kind.FANOUT, item=plain) if foreach else step)
    outputs, concurrency = templates[None, "outputs"], templates.get((None, "concurrency"))
    return Block(links.spec, tuple(steps), outputs, tuple(links.uses[None]), concurrency)

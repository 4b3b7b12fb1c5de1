"""Compiled workflows, each made once: a pack's, a document's, or the one step of a call."""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core import canonical
from awe_core.analysis import analyse_compensations, analyse_undo, refuse
from awe_core.capability import UndoCompensate, UndoStrategyNamed
from awe_core.contract import Schema
from awe_core.decider import compile_workflow
from awe_core.documents import load_workflow
from awe_core.errors import AccessError
from awe_core.workflow import StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.capability import CapabilitySpec
    from awe_core.config.settings import Limits
    from awe_core.decider import Plan
    from awe_core.decider.plan import Block
    from awe_core.events import PackRef
    from awe_core.gate import Purpose
    from awe_core.registry import CapabilityRegistry
    from awe_core.values import JsonObject

_K = TypeVar("_K")
_V = TypeVar("_V")
_KEPT = 512  #: compiled workflows, and schemas, and documents


@attrs.frozen
class Called:
    """What a plan reaches beyond its own steps, each once."""

    capabilities: tuple[tuple[str, Purpose], ...]  #: and what each would be called for
    strategies: tuple[str, ...]


class Plans:
    """Plans and input schemas of what this registry can run."""

    def __init__(self, registry: CapabilityRegistry, limits: Limits) -> None:
        """Compile against what *registry* holds, nothing larger than *limits* say."""
        self._registry, self._limits = registry, limits
        self._plans: dict[int, tuple[WorkflowSpec, Plan]] = {}
        self._inputs: dict[int, tuple[WorkflowSpec, Schema]] = {}
        self._calls: dict[str, WorkflowSpec] = {}
        self._documents: dict[str, WorkflowSpec] = {}
        self._digests: dict[int, tuple[WorkflowSpec, str]] = {}
        self._called: dict[int, tuple[Plan, Called]] = {}
        self._generation = registry.generation

    def document(self, document: JsonObject, *, file: str) -> WorkflowSpec:
        """Read a workflow that stands in no pack; one that was read before is given again.

        :raises DocumentError: it cannot be read
        """
        key = canonical.digest_value(document)
        found = self._documents.get(key)
        if found is None:
            found = load_workflow(self.text(document), file=file)
            _keep(self._documents, key, found)
        return found

    def of(self, spec: WorkflowSpec) -> Plan:
        """Compile *spec*, or give what was compiled before.

        :raises WorkflowError: it cannot be compiled
        """
        if self._generation != self._registry.generation:
            self._generation = self._registry.generation
            self._plans.clear()
        found = self._plans.get(id(spec))
        if found is None:
            plan = compile_workflow(
                spec,
                capabilities=self._registry.capabilities,
                workflows=self._registry.workflows,
                largest=(self._limits.steps_per_run, self._limits.nesting),
            )
            found = (spec, plan)
            _keep(self._plans, id(spec), found)
        return found[1]

    def inputs(self, spec: WorkflowSpec) -> Schema:
        """Compile the schema of a workflow's inputs."""
        found = self._inputs.get(id(spec))
        if found is None:
            schema = Schema.compile(spec.inputs, where=f"{spec.reference}: inputs")
            found = (spec, schema)
            _keep(self._inputs, id(spec), found)
        return found[1]

    def workflow(self, reference: str) -> WorkflowSpec:
        """Give a pack's workflow by ``id@major``, or by id its highest version.

        :raises AccessError: ``workflow.unknown`` with the nearest names
        """
        known = self._registry.workflows
        if reference in known:
            return known[reference]
        found = [spec for spec in known.values() if spec.id == reference]
        if not found:
            near = difflib.get_close_matches(reference, known, n=3)
            details = [f"did you mean {' or '.join(near)}?"] if near else []
            raise AccessError("workflow.unknown", workflow=reference, details=details)
        return max(found, key=lambda spec: spec.major)

    @staticmethod
    def text(document: JsonObject) -> str:
        """Write a workflow's document as the loader reads it: JSON is YAML."""
        return json.dumps(document, ensure_ascii=False)

    def digest(self, spec: WorkflowSpec, document: JsonObject | None) -> str:
        """Digest the workflow: its document, or the approved spec of its pack, or the call."""
        if document is not None:
            return canonical.digest_value(document)
        found = self._digests.get(id(spec))
        if found is None:
            found = (spec, canonical.digest_value([spec.id, spec.version]))
            _keep(self._digests, id(spec), found)
        return found[1]

    def called(self, plan: Plan) -> Called:
        """Name every capability that a run of *plan* can call, and every strategy it needs.

        :raises AweError: one that takes effects back is not there, or cannot be called as written
        """
        found = self._called.get(id(plan))
        if found is None:
            undos = (step.undo for block in blocks(plan) for step in block.steps)
            named = {one.strategy: None for one in undos if isinstance(one, UndoStrategyNamed)}
            found = (plan, Called(tuple(dict.fromkeys(self._calls_of(plan))), tuple(named)))
            _keep(self._called, id(plan), found)
        return found[1]

    def _calls_of(self, plan: Plan) -> Iterator[tuple[str, Purpose]]:
        known = self._registry.capabilities
        for block in blocks(plan):
            if any(step.compensation for step in block.spec.steps):
                refuse(analyse_compensations(block.spec, known))
            for step in block.steps:
                if step.capability is None:
                    continue
                yield step.capability.reference, "new"
                if isinstance(step.capability.undo, UndoCompensate):
                    written = self._registry.document(step.capability)
                    refuse(analyse_undo(step.capability, known, written))
                if isinstance(step.undo, UndoCompensate):
                    for role, call in step.undo.calls():
                        yield call.capability, "new" if role == "before" else "undo_own"

    def brought(self, plan: Plan) -> Iterator[tuple[str, PackRef]]:
        """Give every workflow of a pack that *plan* is made of, and the pack."""
        for block in blocks(plan):
            reference = block.spec.reference
            if self._registry.workflows.get(reference) is block.spec:
                yield reference, self._registry.pack_of_workflow(reference)

    def call(self, capability: CapabilitySpec) -> WorkflowSpec:
        """Give the workflow of one step that a single call is: arguments in, output out.

        Its inputs are the contract's, so that what does not fit opens no run, and what is marked
        sensitive is so from the first record on.
        """
        found = self._calls.get(capability.full_reference)
        if found is None:
            found = self._calls[capability.full_reference] = WorkflowSpec(
                id=capability.id,
                version=capability.version,
                summary=capability.summary,
                inputs=capability.input,
                steps=(StepSpec(id="call", capability=capability.reference, with_="${inputs}"),),
                outputs="${steps.call.output}",
            )
        return found


def _keep(kept: dict[_K, _V], key: _K, value: _V) -> None:
    """Keep *value*, and forget the oldest: a server meets documents without end."""
    if len(kept) >= _KEPT:
        del kept[next(iter(kept))]
    kept[key] = value


def blocks(plan: Plan) -> Iterator[Block]:
    """Give every workflow that *plan* is made of, each once."""
    found = [plan.root]
    for block in found:  # grows while it is walked
        yield block
        inner = (step.block for step in block.steps if step.block is not None)
        found += (one for one in inner if one not in found)

"""Compiled workflows, each made once: a pack's, a document of its own, or the one step of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core import canonical
from awe_core.contract import Schema
from awe_core.decider import compile_workflow
from awe_core.workflow import StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from awe_core.capability import CapabilitySpec
    from awe_core.decider import Plan
    from awe_core.registry import CapabilityRegistry
    from awe_core.values import JsonObject


class Plans:
    """Plans and input schemas of what this registry can run."""

    def __init__(self, registry: CapabilityRegistry) -> None:
        """Compile against what *registry* holds."""
        self._registry = registry
        self._plans: dict[int, tuple[WorkflowSpec, Plan]] = {}
        self._inputs: dict[int, tuple[WorkflowSpec, Schema]] = {}
        self._calls: dict[str, WorkflowSpec] = {}

    def of(self, spec: WorkflowSpec) -> Plan:
        """Compile *spec*, or give what was compiled before.

        :raises WorkflowError: it cannot be compiled
        """
        found = self._plans.get(id(spec))
        if found is None:
            plan = compile_workflow(
                spec,
                capabilities=self._registry.capabilities,
                workflows=self._registry.workflows,
            )
            found = self._plans[id(spec)] = (spec, plan)
        return found[1]

    def inputs(self, spec: WorkflowSpec) -> Schema:
        """Compile the schema of a workflow's inputs."""
        found = self._inputs.get(id(spec))
        if found is None:
            schema = Schema.compile(spec.inputs, where=f"{spec.reference}: inputs")
            found = self._inputs[id(spec)] = (spec, schema)
        return found[1]

    def call(self, capability: CapabilitySpec) -> WorkflowSpec:
        """Give the workflow of one step that a single call is: arguments in, output out."""
        found = self._calls.get(capability.full_reference)
        if found is None:
            found = self._calls[capability.full_reference] = WorkflowSpec(
                id=capability.id,
                version=capability.version,
                summary=capability.summary,
                steps=(StepSpec(id="call", capability=capability.reference, with_="${inputs}"),),
                outputs="${steps.call.output}",
            )
        return found


def digest_of(document: JsonObject) -> str:
    """``sha256:`` digest of a workflow's document."""
    return canonical.digest_value(document)



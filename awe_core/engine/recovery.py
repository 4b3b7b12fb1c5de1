"""Reads a run again from its records: for an engine that goes on with it, and for views.

Replay is `decode`, then the decider's `replay`, nothing else; values are loaded only where something
unfinished reads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.decider import compile_workflow, replay
from awe_core.documents import structure_workflow
from awe_core.engine.active import loaded
from awe_core.errors import RunError
from awe_core.events import (
    Actor,
    ConfirmationRequest,
    HandshakeRequested,
    RunOpened,
    codec,
    decode,
)
from awe_core.workflow import StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from awe_core.capability import CapabilitySpec
    from awe_core.decider import Plan, Run
    from awe_core.events import Fact
    from awe_core.journal import Reading
    from awe_core.registry import CapabilityRegistry
    from awe_core.values import JsonObject


@attrs.frozen
class View:
    """A run folded from its records, with what a page about it needs beside."""

    run: Run
    facts: tuple[Fact, ...]
    opened_us: int
    head: str  #: ``seq:hash`` of its last record


def view(journal: Reading, run: str, registry: CapabilityRegistry) -> View:
    """Fold the records of *run*.

    :raises RunError: ``run.unknown``; ``run.version_gone`` when its workflow is not there any more
    """
    records = list(journal.read(run=run))
    if not records:
        raise RunError("run.unknown", run=run)
    facts = tuple(decode(record.event) for record in records)
    opened = facts[0]
    if not isinstance(opened, RunOpened):
        raise RunError("run.unknown", run=run)
    plan = plan_of(opened, registry, document=loaded(journal, run, 0, "spec"))
    folded = replay(plan, run, facts)
    last = records[-1]
    return View(folded, facts, records[0].ts, f"{last.seq}:{last.hash.hex()}")


def plan_of(opened: RunOpened, registry: CapabilityRegistry, *, document: JsonObject | None) -> Plan:
    """Compile the workflow a run was opened with: a pack's, its own document, or one call."""
    ref = opened.workflow
    try:
        if document is not None:
            return registry.compile(structure_workflow(document))
        major = f"{ref.id}@{ref.version.partition('.')[0]}"
        if opened.call:
            return registry.compile(call_workflow(registry.resolve(major).spec))
        return registry.plan(major)
    except LookupError:
        raise RunError("run.version_gone", run=ref.id, workflow=ref.id, version=ref.version) from None


def call_workflow(spec: CapabilitySpec) -> WorkflowSpec:
    """Give the workflow of one step that a single call is: arguments in, output out."""
    return WorkflowSpec(
        id=spec.id,
        version=spec.version,
        summary=spec.summary,
        steps=(StepSpec(id="call", capability=spec.reference, with_="${inputs}"),),
        outputs="${steps.call.output}",
    )


def supply(journal: Reading, run: Run) -> None:
    """Load the values that something unfinished in *run* reads."""
    for missing in run.unloaded():
        part = "out" if missing.kind == "output" else "in"
        run.supply(missing, loaded(journal, run.id, missing.rseq, part))


def open_questions(journal: Reading, found: View) -> list[ConfirmationRequest]:
    """Give the requests of a run that nobody has answered yet, in their newest version."""
    requests: dict[str, ConfirmationRequest] = {}
    for rseq, fact in enumerate(found.facts):
        if isinstance(fact, HandshakeRequested):
            document = loaded(journal, found.run.id, rseq, "request")
            if document is not None:
                requests[fact.step] = codec.from_json(ConfirmationRequest, document)
    return [r for step, r in requests.items() if found.run.unit(step).request == r.id]


def actor_of(opened: RunOpened) -> Actor:
    """Who asked for the run, as the log says."""
    kind, _, name = opened.by.partition(":")
    return Actor(kind, name, opened.for_, via=opened.via)  # type: ignore[arg-type]  # as recorded

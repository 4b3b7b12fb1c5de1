"""``awe workflows``, ``awe capabilities``: what may be called here, and is a workflow sound."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from awe_core.analysis import analyse, refuse
from awe_core.cli.opening import deployment
from awe_core.cli.render import Answer, answer, block, details, error_lines, listing
from awe_core.cli.shared import group
from awe_core.documents import load_workflow, read
from awe_core.errors import AccessError, AweError

if TYPE_CHECKING:
    from awe_core.registry import Capability, CapabilityRegistry
    from awe_core.runtime.deployment import Deployment
    from awe_core.workflow import WorkflowSpec


@group()
def workflows() -> None:
    """See and check workflows."""


@workflows.command("list")
def list_workflows() -> Answer:
    """List the workflows of verified packs."""
    found = sorted(deployment().registry.workflows.items())
    return listing(({"id": key, "summary": one.summary} for key, one in found), "id summary")


@workflows.command()
@click.argument("workflow", metavar="FILE|ID")
@click.option("--strict", is_flag=True, help="A warning that is not accepted fails the check.")
def check(workflow: str, strict: bool) -> Answer:  # noqa: FBT001 - click's
    """Find what is wrong, risky or worth knowing in a workflow, running nothing."""
    here = deployment()
    parsed = (
        read("workflow", Path(workflow).read_bytes(), file=workflow) if _is_file(workflow) else None
    )
    spec = named(workflow, here.registry)
    known = here.registry
    found = analyse(spec, capabilities=known.capabilities, workflows=known.workflows, parsed=parsed)
    lines = [f"nothing may run here: {here.failure.summary}"] if here.failure else []
    for one in found:
        first, *rest = error_lines(one.error)
        accepted = [f"  accepted: {one.accepted}"] if one.accepted else rest
        lines += [first.replace("error", one.level.value, 1), *accepted]
    try:
        refuse(found, strict=strict)
    except AweError:
        return answer(found, *lines, exit_code=7)
    return answer(found, *lines, f"{spec.reference} can run")


@workflows.command()
@click.argument("workflow", metavar="FILE|ID")
def graph(workflow: str) -> Answer:
    """Print the steps of a workflow as a Mermaid diagram."""
    spec = named(workflow, deployment().registry)
    edges = [(need.step, step.id) for step in spec.steps for need in step.needs]
    nodes = [f'  {step.id}["{step.id}: {step.target}"]' for step in spec.steps]
    return answer(edges, "graph TD", *nodes, *(f"  {one} --> {other}" for one, other in edges))


@group()
def capabilities() -> None:
    """See what may be called."""


@capabilities.command("list")
def list_capabilities() -> Answer:
    """List the capabilities of verified packs, and whether they may run now."""
    here = deployment()
    found = map(here.registry.resolve, sorted(here.registry.capabilities))
    return listing([_facts(one, here) for one in found], "id risk effects pack may_run")


@capabilities.command("show")
@click.argument("capability", metavar="ID")
def show_capability(capability: str) -> Answer:
    """Show the contract of capability ID."""
    here = deployment()
    found = here.registry.resolve(capability)
    schemas = {"input": found.spec.input, "output": found.spec.output}
    return details({**_facts(found, here), "contract": found.contract}, *block(schemas))


def named(workflow: str, registry: CapabilityRegistry) -> WorkflowSpec:
    """Give the workflow of a file, or of a pack by ID or ID@MAJOR.

    :raises AccessError: ``workflow.unknown``
    """
    if _is_file(workflow):
        return load_workflow(Path(workflow).read_bytes(), file=workflow)
    known = sorted(registry.workflows.items(), reverse=True)
    found = next((spec for key, spec in known if workflow in {key, spec.id}), None)
    if found is None:
        raise AccessError("workflow.unknown", workflow=workflow)
    return found


def _is_file(workflow: str) -> bool:
    """Tell a file by its suffix, so that no file can take the place of an id."""
    return workflow.endswith((".yaml", ".yml")) and Path(workflow).is_file()


def _facts(found: Capability, here: Deployment) -> dict[str, object]:
    spec = found.spec
    try:
        here.gate.check(spec.id, found.contract, "new")
    except AweError as error:
        may_run = error.summary
    else:
        may_run = "yes"
    return {
        "id": spec.full_reference,
        "summary": spec.summary,
        "risk": spec.risk.value,
        "effects": sorted({effect.kind for effect in spec.effects}),
        "undo": type(spec.undo).__name__.removeprefix("Undo"),
        "pack": f"{found.pack.dist} {found.pack.version}",
        "may_run": may_run,
    }

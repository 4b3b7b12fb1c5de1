"""``awe workflows`` and ``awe capabilities``: what may be called here, and is this workflow sound."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from awe_core.analysis import analyse, refuse
from awe_core.cli.opening import deployment
from awe_core.cli.render import Answer, Table, answer, block
from awe_core.cli.shared import group
from awe_core.documents import load_workflow, read
from awe_core.errors import AweError, UsageError

if TYPE_CHECKING:
    from awe_core.analysis import Finding
    from awe_core.capability import CapabilitySpec
    from awe_core.registry import Capability
    from awe_core.runtime.deployment import Deployment
    from awe_core.workflow import WorkflowSpec


@group()
def workflows() -> None:
    """See and check workflows."""


@workflows.command("list")
def list_workflows() -> Answer:
    """List the workflows of verified packs."""
    found = _here().registry.workflows
    rows = [(name, len(spec.steps), spec.summary) for name, spec in sorted(found.items())]
    return answer(sorted(found), Table(("workflow", "steps", "summary"), rows))


@workflows.command()
@click.argument("workflow", metavar="FILE|ID")
@click.option("--strict", is_flag=True, help="A warning that is not accepted fails the check.")
def check(workflow: str, strict: bool) -> Answer:  # noqa: FBT001 - click's
    """Find what is wrong, risky or worth knowing in a workflow, running nothing."""
    here, file = _here(), Path(workflow)
    known = here.registry.workflows
    if file.is_file():
        text = file.read_bytes()
        parsed, spec = read("workflow", text, file=workflow), load_workflow(text, file=workflow)
    else:
        parsed, spec = None, _workflow(workflow, here)
    capabilities = here.registry.capabilities
    found = analyse(spec, capabilities=capabilities, workflows=known, parsed=parsed)
    try:
        refuse(found, strict=strict)
    except AweError:
        code = 7
    else:
        code = 0
    notes = [f"nothing may run here: {here.failure.summary}"] if here.failure else []
    lines = [line for finding in found for line in _finding(finding)]
    end = f"{spec.reference}: {len(found)} finding{'s' * (len(found) != 1)}"
    return answer(found, *notes, *lines, end, exit_code=code)


@workflows.command()
@click.argument("workflow", metavar="FILE|ID")
def graph(workflow: str) -> Answer:
    """Print the steps of a workflow as a Mermaid diagram."""
    file = Path(workflow)
    is_file = file.is_file()
    spec = (
        load_workflow(file.read_bytes(), file=workflow) if is_file else _workflow(workflow, _here())
    )
    edges = [(need.step, step.id) for step in spec.steps for need in step.needs]
    nodes = [f'  {step.id}["{step.id}: {step.target}"]' for step in spec.steps]
    arrows = [f"  {before} --> {after}" for before, after in edges]
    return answer({"edges": edges}, "graph TD", *nodes, *arrows)


@group()
def capabilities() -> None:
    """See what may be called."""


@capabilities.command("list")
def list_capabilities() -> Answer:
    """List the capabilities of verified packs, and whether they may run now."""
    here = _here()
    found = [here.registry.resolve(name) for name in sorted(here.registry.capabilities)]
    rows = [
        (c.spec.full_reference, c.spec.risk.value, _kinds(c.spec), c.pack.dist, _may_run(c, here))
        for c in found
    ]
    table = Table(("capability", "risk", "effects", "pack", "may run"), rows)
    return answer([{"id": row[0], "risk": row[1], "pack": row[3]} for row in rows], table)


@capabilities.command("show")
@click.argument("capability", metavar="ID")
def show_capability(capability: str) -> Answer:
    """Show the contract of capability ID."""
    here = _here()
    found = here.registry.resolve(capability)
    spec = found.spec
    facts = [
        ("capability", spec.full_reference),
        ("summary", spec.summary),
        ("risk", spec.risk.value),
        ("effects", _kinds(spec) or "none"),
        ("undo", type(spec.undo).__name__.removeprefix("Undo")),
        ("confirm", spec.confirm.value),
        ("pack", f"{found.pack.dist} {found.pack.version}"),
        ("contract", found.contract),
        ("may run", _may_run(found, here)),
    ]
    return answer(
        spec, Table((), facts), "input", *block(spec.input), "output", *block(spec.output)
    )


def _here() -> Deployment:
    return deployment(int(time.time()))


def _workflow(name: str, here: Deployment) -> WorkflowSpec:
    known = here.registry.workflows
    found = next((s for key, s in sorted(known.items()) if name in {key, s.id}), None)
    if found is None:
        details = [f"known: {', '.join(sorted(known)) or 'none'}"]
        raise UsageError("cli.unknown", what=f"workflow or file {name}", details=details)
    return found


def _finding(found: Finding) -> list[str]:
    lines = [f"{found.level.value}[{found.code}]: {found.message}"]
    lines += [f"  {detail}" for detail in found.details]
    lines += [f"  accepted: {found.accepted}"] if found.accepted else []
    return lines + ([f"  next: {found.next}"] if found.next and not found.accepted else [])


def _kinds(spec: CapabilitySpec) -> str:
    return ", ".join(sorted({effect.kind for effect in spec.effects}))


def _may_run(found: Capability, here: Deployment) -> str:
    try:
        here.gate.check(found.spec.id, found.contract, "new")
    except AweError as error:
        return error.summary
    return "yes"

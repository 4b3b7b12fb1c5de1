"""What there is and how it is: ``status`` ``doctor`` ``version`` ``completion`` ``config``
``workflows`` ``capabilities`` ``bench``."""

from __future__ import annotations

import platform
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import get_completion_class

from awe_core import __version__, documents, health
from awe_core.analysis import analyse, refuse
from awe_core.cli import root
from awe_core.cli.arguments import arguments
from awe_core.cli.drawing import drawn
from awe_core.cli.opening import deployment, now_s, opener, pass_runtime, settings
from awe_core.cli.planning import outlined
from awe_core.cli.render import Answer, answer, block, details, error_lines, jsonable, listing
from awe_core.cli.shared import command, group, options
from awe_core.errors import AccessError, AweError, UsageError
from awe_core.runtime.requests import is_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.registry import Capability, CapabilityRegistry
    from awe_core.runtime import Deployment, Runtime
    from awe_core.workflow import WorkflowSpec


# ---- the deployment -----------------------------------------------------------------------------
@command()
@pass_runtime(observer=True)
def status(runtime: Runtime) -> Answer:
    """Say how the deployment is, on one screen."""
    found = health.status(runtime, now_s=now_s())
    return details(found, *(f"waits for an answer: awe approve {one}" for one in found.waiting))


@command()
@click.argument("topics", nargs=-1, type=click.Choice(tuple(health.TOPICS)), metavar="[TOPIC...]")
def doctor(topics: tuple[str, ...]) -> Answer:
    """Check the machine and the home; name cause and next step of all that is not green."""
    found = health.doctor(settings(), topics, now_s=now_s())
    is_red = any(check.level is health.Level.RED for check in found)
    return listing(found, "topic what level found next", exit_code=7 if is_red else 0)


@command()
def version() -> Answer:
    """Say what is installed."""
    parts = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return details({"awe": __version__, **parts, "platform": platform.platform()})


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> Answer:
    """Print the completion script of a shell: eval "$(awe completion bash)"."""
    kind = get_completion_class(shell)
    script = "" if kind is None else kind(root, {}, "awe", "_AWE_COMPLETE").source()
    return answer({"script": script}, *script.splitlines())


@group()
def config() -> None:
    """See and check the settings."""


@config.command("show")
def show_config() -> Answer:
    """Show every setting and where it came from."""
    return listing(settings().settings, "key value origin")


@config.command("check")
def check_config() -> Answer:
    """Check awe.yaml and everything that is laid over it."""
    file = settings().file
    return answer({"file": file}, f"{file or 'the defaults, without an awe.yaml,'} can be used")


@config.command()
@click.argument("kind", type=click.Choice(documents.KINDS), default="deployment")
def schema(kind: str) -> Answer:
    """Print the JSON Schema of a KIND of document."""
    found = jsonable(documents.schema(kind))
    return answer(found, *block(found))


# ---- workflows and capabilities -----------------------------------------------------------------
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
@click.argument("words", nargs=-1, metavar="[K=V...]")
@click.option("--strict", is_flag=True, help="A warning that is not accepted fails the check.")
@click.option("--plan", "is_plan", is_flag=True, help="Say what it would do with these inputs.")
def check(
    workflow: str,
    words: tuple[str, ...],
    strict: bool,  # noqa: FBT001 - click's
    is_plan: bool,  # noqa: FBT001
) -> Answer:
    """Find what is wrong, risky or worth knowing in a workflow, running nothing."""
    if words and not is_plan:
        raise UsageError("cli.argument", word=words[0], why="inputs are for --plan alone")
    here, parsed = deployment(), None
    if is_file(workflow):
        parsed = documents.read("workflow", Path(workflow).read_bytes(), file=workflow)
    spec, known = named(workflow, here.registry), here.registry
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
    lines.append(f"{spec.reference} can run")
    if not is_plan:
        return answer(found, *lines)
    with opener() as runtime:
        root = runtime.config.workspace.root
        given = arguments(words, None, schema=spec.inputs, workspace=root)
        plan = runtime.outline(workflow, given)
    return answer({"findings": found, "plan": plan}, *lines, *outlined(plan))


@workflows.command()
@click.argument("workflow", metavar="FILE|ID")
@click.option("--svg", metavar="FILE|-", help="Draw it instead, into FILE or to stdout.")
def graph(workflow: str, svg: str | None) -> Answer:
    """Print the steps of a workflow as a Mermaid diagram."""
    registry = deployment().registry
    spec = named(workflow, registry)
    if svg is not None:
        lines = drawn(spec, registry.capabilities)
        if svg == "-":
            return answer({"svg": "\n".join(lines)}, *lines)
        Path(svg).write_text("\n".join([*lines, ""]), encoding="utf-8")
        return answer({"file": svg}, f"drawn in {svg}")
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
    if is_file(workflow):
        return documents.load_workflow(Path(workflow).read_bytes(), file=workflow)
    known = sorted(registry.workflows.items(), reverse=True)
    found = next((spec for key, spec in known if workflow in {key, spec.id}), None)
    if found is None:
        is_path = workflow.endswith((".yaml", ".yml")) or "/" in workflow
        details = [f"there is no such file in {Path.cwd()} either"] if is_path else []
        raise AccessError("workflow.unknown", workflow=workflow, details=details)
    return found


def _facts(found: Capability, here: Deployment) -> dict[str, object]:
    spec, may_run = found.spec, "yes"
    try:
        here.gate.check(spec.id, found.contract, "new")
    except AweError as error:
        may_run = error.summary
    return {
        "id": spec.full_reference,
        "summary": spec.summary,
        "risk": spec.risk.value,
        "effects": sorted({effect.kind for effect in spec.effects}),
        "undo": type(spec.undo).__name__.removeprefix("Undo"),
        "pack": f"{found.pack.dist} {found.pack.version}",
        "may_run": may_run,
    }


# ---- measuring ----------------------------------------------------------------------------------
_MANY = click.IntRange(min=1)
_many = click.option("--concurrency", type=_MANY, default=20, show_default=True)
_page = click.option(
    "--html",
    "file",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write the report as one page, with plots.",
)


@group()
def bench() -> None:
    """Measure load and torment runs, in a deployment made for it and removed afterwards."""


@bench.command()
@options(click.option("--runs", type=_MANY, default=1000, show_default=True), _many, _page)
@click.option(
    "--isolation",
    type=click.Choice(["workspace", "session", "run"]),
    default="workspace",
    show_default=True,
    help="One journal for what.",
)
@click.option("--failing", is_flag=True, help="The variant whose write must be taken back.")
@click.option("--barriers", type=click.Choice(["output", "step"]), help="Beside the default.")
@click.option("--effects", type=click.Choice(["synced", "unsynced"]), help="Beside the default.")
def load(file: Path | None, **asked: Any) -> Answer:  # noqa: ANN401 - click's
    """Measure the published unit of work beside the same work by hand."""
    from awe_core.testing import load as loading  # noqa: PLC0415 - drags in a test bench
    from awe_core.testing.page import load_page  # noqa: PLC0415 - the same

    asked["is_profiled"] = file is not None
    return _reported(loading.measure(loading.LoadOptions(**asked), _told), file, load_page)


@bench.command()
@options(click.option("--runs", type=_MANY, default=100, show_default=True), _many, _page)
@click.option("--probability", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option("--seed", type=int, help="Of all choices; else drawn, and printed.")
@click.option("--kill", type=click.IntRange(min=0), default=0, help="SIGKILL the engine so often.")
def chaos(file: Path | None, **asked: Any) -> Answer:  # noqa: ANN401 - click's
    """Make runs fail on purpose and compare the files before and after."""
    from awe_core.testing import chaos as tormenting  # noqa: PLC0415 - drags in a test bench
    from awe_core.testing.page import chaos_page  # noqa: PLC0415 - the same

    found = tormenting.measure(tormenting.ChaosOptions(**asked), _told)
    return _reported(found, file, chaos_page)


def _told(progress: str) -> None:
    click.echo(progress, err=True)


def _reported(report: Any, file: Path | None, page: Callable[[Any], str]) -> Answer:  # noqa: ANN401 - of either bench
    if file is not None:
        file.write_text(page(report), encoding="utf-8")
    return answer(report, *report.lines(), exit_code=0 if report.is_ok else 7)

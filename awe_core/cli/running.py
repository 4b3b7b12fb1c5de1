"""``awe run`` and ``awe call``: arguments in, a run in the foreground, how it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from awe_core.cli.arguments import arguments
from awe_core.cli.following import finish
from awe_core.cli.looking import named
from awe_core.cli.opening import pass_runtime
from awe_core.cli.planning import planned
from awe_core.cli.render import Answer, answer
from awe_core.cli.shared import command, duration
from awe_core.errors import EngineError

if TYPE_CHECKING:
    from awe_core.runtime import Runtime
    from awe_core.values import JsonObject

_words = click.argument("words", nargs=-1, metavar="[K=V...]")
_source = click.option("--input", "source", metavar="FILE|-", help="The arguments as an object.")
_dry = click.option("--dry-run", "is_dry", is_flag=True, help="Show the plan; change nothing.")
_key = click.option("--idempotency-key", "key", metavar="K", help="Twice with one key is one run.")


@command()
@click.argument("workflow", metavar="WORKFLOW|FILE|FACADE")
@_words
@_source
@_key
@_dry
@click.option("--detach", is_flag=True, help="Hand the run to the owner of the home and leave.")
@click.option(
    "--wait", callback=duration, metavar="30s", help="Wait so long at most; the run goes on."
)
@pass_runtime()
def run(  # noqa: PLR0913, PLR0917 - click hands each option over
    runtime: Runtime,
    workflow: str,
    words: tuple[str, ...],
    source: str | None,
    key: str | None,
    is_dry: bool,  # noqa: FBT001
    detach: bool,  # noqa: FBT001
    wait: int | None,
) -> Answer:
    """Run a workflow that is ACTIVE, a workflow FILE, or what a facade exposes."""
    if detach and runtime.role == "owner":
        raise EngineError("cli.detached")
    facade = workflow if workflow in runtime.deployment.gate.snapshot.facades else None
    schema = _schema(runtime, workflow, facade)
    inputs = arguments(words, source, schema=schema, workspace=runtime.config.workspace.root)
    if is_dry:
        return planned(runtime.plan(workflow, inputs, facade=facade))
    handle = runtime.submit(workflow, inputs, idempotency_key=key, facade=facade)
    if detach:
        shown = f"run {handle.run_id} goes on; next: awe runs watch {handle.run_id}"
        return answer({"run": handle.run_id}, shown)
    return finish(runtime, handle, timeout=None if wait is None else wait / 1e6)


@command()
@click.argument("capability", metavar="CAPABILITY")
@_words
@_source
@_key
@_dry
@pass_runtime()
def call(  # noqa: PLR0913, PLR0917 - click hands each option over
    runtime: Runtime,
    capability: str,
    words: tuple[str, ...],
    source: str | None,
    key: str | None,
    is_dry: bool,  # noqa: FBT001
) -> Answer:
    """Call one capability: a run of one step, like any other."""
    schema = runtime.deployment.capability(capability).input
    given = arguments(words, source, schema=schema, workspace=runtime.config.workspace.root)
    if is_dry:
        return planned(runtime.plan_call(capability, given))
    return finish(runtime, runtime.submit_call(capability, given, idempotency_key=key))


def _schema(runtime: Runtime, workflow: str, facade: str | None) -> JsonObject:
    """Give the schema of the inputs: of a file, a workflow, or what a facade exposes."""
    registry = runtime.deployment.registry
    if facade is not None:
        exposes = runtime.deployment.gate.facade(facade).document["exposes"]
        if "capability" in exposes:
            found: JsonObject = runtime.deployment.capability(exposes["capability"]).input
            return found
        workflow = exposes["workflow"]
    return named(workflow, registry).inputs

"""``awe runs``: see runs and steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from awe_core.cli import render
from awe_core.cli.arguments import read_object
from awe_core.cli.following import steer, words
from awe_core.cli.opening import pass_runtime
from awe_core.cli.render import Answer, answer, details, listing, moment
from awe_core.cli.shared import group, invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.journal import SealedRecord
    from awe_core.runtime import RunHandle, Runtime

_STATES = ("PENDING", "RUNNING", "PAUSED", "FAILED", "ROLLED_BACK", "COMPLETED")
_run = click.argument("run", metavar="RUN")
_reason = click.option("--reason", metavar="T", help="Kept in the audit trail.")


@group()
def runs() -> None:
    """See runs and steer them.  RUN may be shortened to a unique prefix."""


@runs.command("list")
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only these.")
@click.option("--limit", default=100, show_default=True, help="At most so many.")
@pass_runtime(observer=True)
def list_(runtime: Runtime, state: str | None, limit: int) -> Answer:
    """List runs, the newest first."""
    return listing(runtime.runs(state=state, limit=limit), "run_id workflow state actor opened_us")


@runs.command()
@_run
@click.option("--residue", "only", flag_value="residue", help="Only what remains in the world.")
@click.option("--doubt", "only", flag_value="doubt", help="Only steps with an unknown outcome.")
@pass_runtime(observer=True)
def show(runtime: Runtime, run: str, only: str | None) -> Answer:
    """Show RUN: steps, effects, what remains, what may be done now."""
    view = runtime.attach(run).status()
    match only:
        case "residue":
            return listing(view.residue, "effect step what why")
        case "doubt":
            doubtful = (step for step in view.steps if step.state == "IN_DOUBT")
            return listing(doubtful, "path capability attempt")
        case _:
            waits = (f"waits for an answer: awe approve {request}" for request in view.waiting)
            return details(view, *waits)


@runs.command()
@_run
@pass_runtime()
def watch(runtime: Runtime, run: str) -> Answer:
    """Follow RUN until it closes; with --json a document a record."""
    return render.stream(runtime.attach(run).events(), _line, invocation())


@runs.command()
@_run
@_reason
@pass_runtime()
def pause(runtime: Runtime, run: str, reason: str | None) -> Answer:
    """Begin no further step of RUN."""
    handle = runtime.attach(run)
    handle.pause(reason)
    return answer({"run": handle.run_id}, f"run {handle.run_id} pauses")


def _verb(
    name: str, says: str, *options: Callable[..., Any], wanted: str = "COMPLETED"
) -> click.Command:
    """Make a command that asks something of a run and follows what becomes of it.

    :param name: of the command and of the handle's method, which takes the options by name
    """

    def steered(runtime: Runtime, run: str, **asked: Any) -> Answer:  # noqa: ANN401 - click's
        def ask(handle: RunHandle) -> None:
            getattr(handle, name)(**asked)

        return steer(runtime, run, ask, wanted=wanted)

    function = pass_runtime()(steered)
    for option in (*reversed(options), _reason, _run):
        function = option(function)
    made: click.Command = runs.command(name, help=says)(function)
    return made


_verb("resume", "Let RUN go on.")
_verb(
    "cancel",
    "End RUN before its time.",
    click.option("--rollback", "mode", flag_value="rollback", default=True, help="Take it back."),
    click.option("--keep", "mode", flag_value="keep", help="Leave what was done."),
    wanted="ROLLED_BACK",
)
undo = _verb(
    "rollback",
    "Take back what RUN did, newest first.",
    click.option("--to", metavar="STEP", help="Only what depends on STEP; then RUN waits."),
    click.option("--inclusive", is_flag=True, help="STEP too."),
    wanted="ROLLED_BACK",
)
_verb(
    "retry",
    "Take back a step and what depends on it, and run them anew.",
    click.option("--from", "from_step", required=True, metavar="STEP", help="The first of them."),
)
_verb(
    "resolve",
    "Say what became of a STEP whose outcome a crash left unknown.",
    click.argument("step", metavar="STEP"),
    click.option("--applied", "outcome", flag_value="applied", default=None, help="It happened."),
    click.option("--not-applied", "outcome", flag_value="not_applied", help="It did not happen."),
    click.option("--roll-back", "outcome", flag_value="roll_back", help="Take back what is there."),
    click.option(
        "--output",
        metavar="FILE",
        callback=lambda _ctx, _param, file: None if file is None else read_object(file),
        help="With --applied: what the step gave.",
    ),
)


def _line(record: SealedRecord) -> str | None:
    text = words(record.event)
    return None if text is None else f"{moment(record.ts)}  {text}"

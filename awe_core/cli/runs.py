"""``awe runs``: see runs and steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from awe_core.cli import render
from awe_core.cli.arguments import read_object
from awe_core.cli.following import steer, words
from awe_core.cli.opening import pass_runtime
from awe_core.cli.render import Answer, Table, answer, moment
from awe_core.cli.shared import group, invocation
from awe_core.errors import UsageError

if TYPE_CHECKING:
    from awe_core.journal import SealedRecord
    from awe_core.runtime import RunHandle, RunView, Runtime

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
    found = runtime.runs(state=state, limit=limit)
    rows = [(r.run_id, r.workflow, r.state, r.actor, moment(r.opened_us)) for r in found]
    return answer(found, Table(("run", "workflow", "state", "by", "opened"), rows))


@runs.command()
@_run
@click.option("--residue", is_flag=True, help="Only what remains in the world.")
@click.option("--doubt", is_flag=True, help="Only what nobody knows the outcome of.")
@pass_runtime(observer=True)
def show(runtime: Runtime, run: str, residue: bool, doubt: bool) -> Answer:  # noqa: FBT001 - click's
    """Show RUN: steps, effects, what remains, what may be done now."""
    view = runtime.attach(run).status()
    if residue:
        return answer(view.residue, _residue(view))
    if doubt:
        doubtful = [step for step in view.steps if step.state == "IN_DOUBT"]
        rows = [
            (s.path, s.capability, f"awe runs resolve {view.run_id} {s.path}") for s in doubtful
        ]
        return answer(doubtful, Table(("step", "capability", "next"), rows))
    steps = [(s.path, s.state, s.capability, s.attempt) for s in view.steps]
    items = [(i.step, i.type, i.target, i.state) for i in view.items]
    return answer(
        view,
        f"run {view.run_id} {view.state} ({view.phase})",
        f"{view.workflow} by {view.actor}, opened {moment(view.opened_us)}",
        *([f"{view.error.code}: {view.error.msg}"] if view.error else []),
        Table(("step", "state", "capability", "attempt"), steps, empty="no step yet"),
        *([Table(("step", "effect", "target", "state"), items)] if items else []),
        *([_residue(view)] if view.residue else []),
        *(f"waits for an answer: awe approve {request}" for request in view.waiting),
        f"legal now: {', '.join(view.actions) or 'nothing'}",
    )


@runs.command()
@_run
@pass_runtime()
def watch(runtime: Runtime, run: str) -> Answer:
    """Follow RUN until it closes; with --json a document a record."""
    handle = runtime.attach(run)
    return render.stream(handle.events(after=-1, follow=True), _line, invocation())


@runs.command()
@_run
@_reason
@pass_runtime()
def pause(runtime: Runtime, run: str, reason: str | None) -> Answer:
    """Begin no further step of RUN."""
    handle = runtime.attach(run)
    handle.pause(reason)
    return answer({"run": handle.run_id}, f"run {handle.run_id} pauses")


@runs.command()
@_run
@_reason
@pass_runtime()
def resume(runtime: Runtime, run: str, reason: str | None) -> Answer:
    """Let RUN go on."""
    return steer(runtime, run, lambda handle: handle.resume(reason))


@runs.command()
@_run
@click.option("--rollback/--keep", default=True, help="Take back what was done, or keep it.")
@pass_runtime()
def cancel(runtime: Runtime, run: str, rollback: bool) -> Answer:  # noqa: FBT001 - click's
    """End RUN before its time."""
    mode = "rollback" if rollback else "keep"
    return steer(runtime, run, lambda handle: handle.cancel(mode=mode), wanted="ROLLED_BACK")


@runs.command()
@_run
@click.option("--to", metavar="STEP", help="Only what depends on STEP; then RUN waits.")
@click.option("--inclusive", is_flag=True, help="STEP too.")
@_reason
@pass_runtime()
def rollback(
    runtime: Runtime,
    run: str,
    to: str | None,
    inclusive: bool,
    reason: str | None,  # noqa: FBT001 - click's
) -> Answer:
    """Take back what RUN did, newest first."""

    def ask(handle: RunHandle) -> None:
        handle.rollback(reason, to=to, inclusive=inclusive)

    return steer(runtime, run, ask, wanted="ROLLED_BACK" if to is None else "PAUSED")


undo = rollback  # ``awe undo RUN`` is this very command


@runs.command()
@_run
@click.option("--from", "step", required=True, metavar="STEP", help="The first step to run anew.")
@_reason
@pass_runtime()
def retry(runtime: Runtime, run: str, step: str, reason: str | None) -> Answer:
    """Take back STEP and what depends on it, and run them anew."""
    return steer(runtime, run, lambda handle: handle.retry(step, reason))


@runs.command()
@_run
@click.argument("step", metavar="STEP")
@click.option("--applied", "outcome", flag_value="applied", help="It has happened.")
@click.option("--not-applied", "outcome", flag_value="not_applied", help="It has not happened.")
@click.option("--roll-back", "outcome", flag_value="roll_back", help="Take back what may be there.")
@click.option("--output", metavar="FILE", help="With --applied: what the step gave.")
@_reason
@pass_runtime()
def resolve(  # noqa: PLR0913, PLR0917 - click hands each option over
    runtime: Runtime,
    run: str,
    step: str,
    outcome: str | None,
    output: str | None,
    reason: str | None,
) -> Answer:
    """Say what became of a STEP whose outcome a crash left unknown."""
    if outcome is None:
        what = "say --applied, --not-applied or --roll-back"
        raise UsageError("cli.usage", what=what, command="awe runs resolve")
    found = None if output is None else read_object(output)

    def ask(handle: RunHandle) -> None:
        handle.resolve(step, outcome=outcome, output=found, reason=reason)

    return steer(runtime, run, ask)


def _residue(view: RunView) -> Table:
    rows = [(one.step, one.what, one.why) for one in view.residue]
    return Table(("remains of step", "what", "why"), rows, empty="nothing remains")


def _line(record: SealedRecord) -> str | None:
    text = words(record.event)
    return None if text is None else f"{moment(record.ts)}  {text}"

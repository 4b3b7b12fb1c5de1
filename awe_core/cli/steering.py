"""``awe runs`` ``undo`` ``approvals`` ``approve`` ``deny``: see runs and steer them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from awe_core.cli import render
from awe_core.cli.arguments import read_object
from awe_core.cli.asking import confirm
from awe_core.cli.following import answer_request, is_grave, request_lines, steer, words
from awe_core.cli.opening import pass_runtime
from awe_core.cli.render import Answer, answer, details, listing, moment
from awe_core.cli.shared import command, group, invocation, options
from awe_core.errors import UsageError
from awe_core.events import codec

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.events import ConfirmationRequest
    from awe_core.events.confirmation import Verdict
    from awe_core.journal import SealedRecord
    from awe_core.runtime import RunHandle, Runtime

# ---- runs --------------------------------------------------------------------------------------
_STATES = ("PENDING", "RUNNING", "PAUSED", "FAILED", "ROLLED_BACK", "COMPLETED")
_MANY = click.IntRange(1, 1_000_000)
_run = click.argument("run", metavar="RUN")
_reason = click.option("--reason", metavar="T", help="Kept in the audit trail.")


@group()
def runs() -> None:
    """See runs and steer them.  RUN may be shortened to a unique prefix."""


@runs.command("list")
@click.option("--state", type=click.Choice(_STATES, case_sensitive=False), help="Only these.")
@click.option("--limit", type=_MANY, default=100, show_default=True, help="At most so many.")
@pass_runtime(observer=True)
def list_runs(runtime: Runtime, state: str | None, limit: int) -> Answer:
    """List runs, the newest first."""
    return listing(
        runtime.runs(state=state, limit=limit), "run_id workflow dry state actor opened_us"
    )


@runs.command("show")
@_run
@click.option("--residue", "only", flag_value="residue", help="Only what remains in the world.")
@click.option("--doubt", "only", flag_value="doubt", help="Only steps with an unknown outcome.")
@pass_runtime(observer=True)
def show_run(runtime: Runtime, run: str, only: str | None) -> Answer:
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
    name: str, says: str, *taken: Callable[..., Any], wanted: str = "COMPLETED"
) -> click.Command:
    """Make a command that asks something of a run and follows what becomes of it.

    :param name: of the command and of the handle's method, which takes the options by name
    """

    def steered(runtime: Runtime, run: str, **asked: Any) -> Answer:  # noqa: ANN401 - click's
        if asked.pop("dry_run", False):
            return _foreseen(runtime, run, name, **asked)

        def ask(handle: RunHandle) -> None:
            getattr(handle, name)(**asked)

        return steer(runtime, run, ask, wanted=wanted)

    function = options(_run, _reason, *taken)(pass_runtime()(steered))
    made: click.Command = runs.command(name, help=says)(function)
    return made


_verb(
    "resume",
    "Let RUN go on.",
    click.option(
        "--accept", multiple=True, metavar="RECORD", help="With this other record of a pack."
    ),
)
_verb(
    "cancel",
    "End RUN before its time.",
    click.option("--rollback", "mode", flag_value="rollback", default=True, help="Take it back."),
    click.option("--keep", "mode", flag_value="keep", help="Leave what was done."),
    wanted="ROLLED_BACK",
)
_dry_run = click.option("--dry-run", is_flag=True, help="Only show what it would do.")
_back = (
    click.option("--to", metavar="STEP", help="Only what depends on STEP; then RUN waits."),
    click.option("--inclusive", is_flag=True, help="STEP too."),
    click.option("--item", type=_MANY, metavar="N", help="Only this item of a closed RUN."),
    _dry_run,
)
_verb("rollback", "Take back what RUN did, newest first.", *_back, wanted="ROLLED_BACK")
_verb(
    "retry",
    "Take back a step and what depends on it, and run them anew.",
    click.option("--from", "from_step", required=True, metavar="STEP", help="The first of them."),
    _dry_run,
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


@command()
@_run
@_reason
@options(*_back)
@click.option(
    "--save-as",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Take nothing back: write the version of before that item N left to somebody's change.",
)
@pass_runtime()
def undo(runtime: Runtime, run: str, save_as: Path | None, **asked: Any) -> Answer:  # noqa: ANN401
    """Take back what RUN did, newest first; or save what could not be restored."""
    if asked.pop("dry_run") and save_as is None:
        return _foreseen(runtime, run, "rollback", **asked)
    if save_as is None:
        return steer(runtime, run, lambda handle: handle.rollback(**asked), wanted="ROLLED_BACK")
    if asked["item"] is None:
        raise UsageError("cli.usage", what="--save-as needs --item N", command="awe undo")
    earlier = runtime.attach(run).earlier(asked["item"])
    try:
        with save_as.open("xb") as file:
            file.write(earlier)
    except FileExistsError:
        raise UsageError("cli.exists", file=str(save_as)) from None
    return answer({"file": str(save_as), "bytes": len(earlier)}, f"saved {save_as}")


def _foreseen(
    runtime: Runtime,
    run: str,
    verb: Any,  # noqa: ANN401 - one of two words
    *,
    reason: str | None,
    **asked: Any,  # noqa: ANN401 - click's
) -> Answer:
    """Show what a rollback or a retry would do; its reason is not needed for that."""
    del reason
    would = runtime.attach(run).foresee(verb, **asked)
    lines: list[str] = []
    for title, items in (
        ("takes back", would.undo),
        ("cannot take back", would.stays),
        ("does a second time what stays", would.twice if verb == "retry" else ()),
    ):
        lines += [title, *(f"  {i.number}. {i.type} {i.target} (step {i.step})" for i in items)]
        lines = lines if items else lines[:-1]
    if would.again:
        then = "runs anew" if verb == "retry" else "then waits, to be run anew"
        lines += [then, *(f"  {step}" for step in would.again)]
    return answer(would, *(lines or ["nothing to do"]))


def _line(record: SealedRecord) -> str | None:
    text = words(record.event)
    return None if text is None else f"{moment(record.ts)}  {text}"


# ---- the handshake -----------------------------------------------------------------------------
_id = click.argument("request", metavar="ID")


@command()
@_id
@click.option("--digest", metavar="D", help="The call you say yes to; needed without a terminal.")
@click.option("--reason", metavar="T", help="Kept in the audit trail.")
@pass_runtime()
def approve(runtime: Runtime, request: str, digest: str | None, reason: str | None) -> Answer:
    """Say yes to the one exact call that request ID shows."""
    asked = runtime.approval(request)
    look = f"awe approvals show {asked.id}"
    confirm(
        request_lines(asked), digest=asked.digest, given=digest, look=look, is_grave=is_grave(asked)
    )
    return _decided(runtime, asked, "approve", reason)


@command()
@_id
@click.option("--send-back", "verdict", flag_value="send_back", help="The agent may read why.")
@click.option("--reason", required=True, metavar="T", help="Kept in the audit trail.")
@pass_runtime()
def deny(runtime: Runtime, request: str, verdict: Verdict | None, reason: str) -> Answer:
    """Say no to the call that request ID shows."""
    return _decided(runtime, runtime.approval(request), verdict or "deny", reason)


@group()
def approvals() -> None:
    """See what waits for a person."""


@approvals.command("list")
@click.option("--mine", is_flag=True, help="Only what you can answer.")
@pass_runtime(observer=True)
def list_approvals(runtime: Runtime, mine: bool) -> Answer:  # noqa: FBT001 - click's
    """List open requests, the oldest first."""
    found = [codec.to_json(request) for request in runtime.approvals(mine=mine)]
    return listing(found, "id capability risk requester run expires_us")


@approvals.command("show")
@_id
@pass_runtime(observer=True)
def show_approval(runtime: Runtime, request: str) -> Answer:
    """Show request ID whole: effects, arguments, undo, digest, who may answer."""
    found = runtime.approval(request)
    return answer(codec.to_json(found), *request_lines(found))


def _decided(
    runtime: Runtime, asked: ConfirmationRequest, verdict: Verdict, reason: str | None
) -> Answer:
    """Record an answer; where no other process drives the run, stay until it has gone on."""
    handle = answer_request(runtime, asked, verdict, reason)
    state = (handle.wait() if runtime.role == "owner" else handle.result()).state
    data = {"request": asked.id, "verdict": verdict, "run": asked.run, "state": state}
    return answer(data, f"request {asked.id}: {verdict}; run {asked.run} {state}")

"""``awe approve``, ``awe deny``, ``awe approvals``: what is asked, shown whole, and the answer."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import click

from awe_core.capability import Risk
from awe_core.cli.asking import confirmed, is_yes, terminal
from awe_core.cli.opening import actor, pass_runtime
from awe_core.cli.render import Answer, Table, answer, block, compact, moment
from awe_core.cli.shared import command, group
from awe_core.errors import HandshakeRefusedError, UsageError
from awe_core.events import Decision, codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.events import ConfirmationRequest
    from awe_core.events.confirmation import Verdict
    from awe_core.runtime import Runtime


@command()
@click.argument("request", metavar="ID")
@click.option("--digest", metavar="D", help="The call you say yes to; needed without a terminal.")
@click.option("--reason", metavar="T", help="Kept in the audit trail.")
@pass_runtime()
def approve(runtime: Runtime, request: str, digest: str | None, reason: str | None) -> Answer:
    """Say yes to the one exact call that request ID shows."""
    asked = runtime.approval(request)
    if not confirmed(lines(asked), digest=asked.digest, given=digest, is_grave=_is_grave(asked)):
        raise UsageError("cli.declined", what=f"request {asked.id}")
    runtime.decide(decision(asked, "approve", reason))
    return answer({"request": asked.id, "run": asked.run}, f"request {asked.id} approved")


@command()
@click.argument("request", metavar="ID")
@click.option("--send-back", is_flag=True, help="The agent may read the reason and try otherwise.")
@click.option("--reason", required=True, metavar="T", help="Kept in the audit trail.")
@pass_runtime()
def deny(runtime: Runtime, request: str, send_back: bool, reason: str) -> Answer:  # noqa: FBT001 - click's
    """Say no to the call that request ID shows."""
    asked = runtime.approval(request)
    runtime.decide(decision(asked, "send_back" if send_back else "deny", reason))
    return answer({"request": asked.id, "run": asked.run}, f"request {asked.id} denied")


@group()
def approvals() -> None:
    """See what waits for a person."""


@approvals.command("list")
@click.option("--mine", is_flag=True, help="Only what you can answer.")
@pass_runtime(observer=True)
def list_(runtime: Runtime, mine: bool) -> Answer:  # noqa: FBT001 - click's
    """List open requests, the oldest first."""
    found = runtime.approvals(mine=mine)
    rows = [(r.id, r.capability, r.risk, r.requester, r.run, moment(r.expires_us)) for r in found]
    table = Table(("request", "capability", "risk", "requester", "run", "expires"), rows)
    return answer([codec.to_json(each) for each in found], table)


@approvals.command()
@click.argument("request", metavar="ID")
@pass_runtime(observer=True)
def show(runtime: Runtime, request: str) -> Answer:
    """Show request ID whole: effects, arguments, undo, digest, who may answer."""
    found = runtime.approval(request)
    return answer(codec.to_json(found), *lines(found))


def lines(asked: ConfirmationRequest) -> Iterator[str]:
    """Show a request; what the agent says of it stands last and framed."""
    yield f"{asked.capability} in step {asked.step} of run {asked.run}, risk {asked.risk}"
    for part in asked.summary:
        first = ", ".join(part.get("first", ()))
        yield f"  does       {part['phrase']} ({part['count']}): {first}"
    undo = asked.undo.get("kind", "none")
    yield f"  undo       {'cannot be undone: ' if undo == 'none' else ''}{compact(asked.undo)}"
    for_whom = f" on behalf of {asked.on_behalf_of}" if asked.on_behalf_of else ""
    yield f"  requester  {asked.requester}{for_whom}"
    yield f"  expires    {moment(asked.expires_us)}"
    for need in asked.requirements:
        who = " or ".join(need.roles) or "anybody enrolled"
        yield f"  needs      {need.quorum} of {who}, assurance {need.min_assurance}"
    yield from (f"  answered   {vote.by}: {vote.verdict}" for vote in asked.votes)
    yield "  arguments"
    yield from (f"    {line}" for line in block(asked.arguments))
    yield f"  effects    {compact(asked.effects)}"
    if asked.preview is not None:
        yield "  preview"
        yield from (f"    {line}" for line in _preview(asked.preview))
    yield f"  digest     {asked.digest}"
    if asked.said is not None:
        yield "  the agent says, and nobody has checked:"
        yield from (f"  | {line}" for line in asked.said.splitlines())


def _preview(preview: dict[str, object]) -> Iterable[str]:
    diff = preview.get("diff")
    return diff.splitlines() if isinstance(diff, str) else block(preview)


def decision(asked: ConfirmationRequest, verdict: Verdict, reason: str | None) -> Decision:
    """Answer exactly what was shown, as whoever sits here."""
    by = actor()
    return Decision(
        request=asked.id,
        version=asked.version,
        digest=asked.digest,
        verdict=verdict,
        by=str(by),
        via="cli",
        assurance=by.assurance,  # type: ignore[arg-type]  # a channel sets only words of the scale
        at_us=time.time_ns() // 1000,
        reason=reason,
    )


def asked_at_the_console(runtime: Runtime, waiting: Iterable[str]) -> bool:
    """Answer open requests of a foreground run, if the policy ``console`` is configured.

    EOF and Ctrl-C deny.  Gives False when there is nobody to ask.
    """
    if not any(policy.policy == "console" for policy in runtime.config.confirm):
        return False
    with terminal() as tty:
        if tty is None:
            return False
        for request in waiting:
            asked = runtime.approval(request)
            tty.say(lines(asked))
            try:
                is_approved = is_yes(tty, asked.digest, is_grave=_is_grave(asked))
            except KeyboardInterrupt:
                is_approved = False
            runtime.decide(decision(asked, "approve" if is_approved else "deny", "at the console"))
        return bool(tuple(waiting))


def _is_grave(asked: ConfirmationRequest) -> bool:
    return Risk(asked.risk) >= Risk.HIGH

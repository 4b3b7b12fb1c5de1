"""``awe approve``, ``awe deny``, ``awe approvals``: what is asked, shown whole, and the answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from awe_core.capability import Risk
from awe_core.cli.asking import confirm, terminal
from awe_core.cli.opening import actor, pass_runtime
from awe_core.cli.render import Answer, answer, block, compact, listing, moment
from awe_core.cli.shared import command, group
from awe_core.events import Decision, codec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.events import ConfirmationRequest, Requirement
    from awe_core.events.confirmation import Verdict
    from awe_core.runtime import Runtime

_id = click.argument("request", metavar="ID")


@command()
@_id
@click.option("--digest", metavar="D", help="The call you say yes to; needed without a terminal.")
@click.option("--reason", metavar="T", help="Kept in the audit trail.")
@pass_runtime()
def approve(runtime: Runtime, request: str, digest: str | None, reason: str | None) -> Answer:
    """Say yes to the one exact call that request ID shows."""
    asked = runtime.approval(request)
    look, grave = f"awe approvals show {asked.id}", Risk(asked.risk) >= Risk.HIGH
    confirm(lines(asked), digest=asked.digest, given=digest, look=look, is_grave=grave)
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
def list_(runtime: Runtime, mine: bool) -> Answer:  # noqa: FBT001 - click's
    """List open requests, the oldest first."""
    found = [codec.to_json(request) for request in runtime.approvals(mine=mine)]
    return listing(found, "id capability risk requester run expires_us")


@approvals.command()
@_id
@pass_runtime(observer=True)
def show(runtime: Runtime, request: str) -> Answer:
    """Show request ID whole: effects, arguments, undo, digest, who may answer."""
    found = runtime.approval(request)
    return answer(codec.to_json(found), *lines(found))


def lines(asked: ConfirmationRequest) -> Iterator[str]:
    """Show a request; what the agent says of it stands last and framed."""
    diff = (asked.preview or {}).get("diff")
    seen = "none was made" if asked.preview is None else compact(asked.preview)
    preview = diff.split("\n") if isinstance(diff, str) else [seen]
    behalf = f" on behalf of {asked.on_behalf_of}" if asked.on_behalf_of else ""
    yield f"{asked.capability} in step {asked.step} of run {asked.run}, risk {asked.risk}"
    for title, values in (
        ("does", [f"{p['phrase']} ({p['count']}): {', '.join(p['first'])}" for p in asked.summary]),
        ("undo", [" ".join(str(word) for word in asked.undo.values())]),
        ("requester", [f"{asked.requester}{behalf}"]),
        ("open until", [moment(asked.expires_us)]),
        ("needs", [_needed(need) for need in asked.requirements]),
        ("answered", [f"{vote.by}: {vote.verdict}" for vote in asked.votes]),
        ("arguments", block(asked.arguments)),
        ("effects", [compact(effect) for effect in asked.effects]),
        ("preview", preview),
        ("digest", [asked.digest]),
        ("it says, and nobody has checked", [f"| {x}" for x in (asked.said or "").splitlines()]),
    ):
        yield from (f"  {'' if n else title:10}  {value}" for n, value in enumerate(values))


def _needed(need: Requirement) -> str:
    who = " or ".join(need.roles) or "anybody enrolled"
    return f"{need.quorum} of {who}, assurance {need.min_assurance}"


def asked_at_the_console(runtime: Runtime, waiting: tuple[str, ...]) -> bool:
    """Answer open requests of a foreground run, if the policy ``console`` is configured.

    EOF and Ctrl-C deny.  Gives False when there is nothing to ask, or nobody.
    """
    is_configured = any(policy.policy == "console" for policy in runtime.config.confirm)
    with terminal() as tty:
        if tty is None or not is_configured:
            return False
        for asked in map(runtime.approval, waiting):
            grave = Risk(asked.risk) >= Risk.HIGH
            try:
                is_approved = tty.confirms(lines(asked), asked.digest, is_grave=grave)
            except KeyboardInterrupt:
                is_approved = False
            runtime.decide(_decision(asked, "approve" if is_approved else "deny", "at the console"))
    return bool(waiting)


def _decided(
    runtime: Runtime, asked: ConfirmationRequest, verdict: Verdict, reason: str | None
) -> Answer:
    """Record an answer; where no other process drives the run, stay until it has gone on."""
    runtime.decide(_decision(asked, verdict, reason))
    handle = runtime.attach(asked.run)
    state = (handle.wait() if runtime.role == "owner" else handle.result()).state
    data = {"request": asked.id, "verdict": verdict, "run": asked.run, "state": state}
    return answer(data, f"request {asked.id}: {verdict}; run {asked.run} {state}")


def _decision(asked: ConfirmationRequest, verdict: Verdict, reason: str | None) -> Decision:
    """Answer exactly what was shown, as whoever sits here."""
    by = actor()
    return Decision(
        request=asked.id,
        version=asked.version,
        digest=asked.digest,
        verdict=verdict,
        by=str(by),
        via="cli",
        assurance=by.assurance,
        at_us=time.time_ns() // 1000,
        reason=reason,
    )

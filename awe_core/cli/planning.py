"""Plans as people read them: what a dry run foresaw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.cli.render import Answer, answer, compact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.values import JsonObject


def planned(plan: JsonObject) -> Answer:
    """Show a dry run; one that fails ends like the run that it foretells."""
    is_well = plan["state"] == "COMPLETED"
    return answer(plan, *_lines(plan), exit_code=0 if is_well else 4)


def _lines(plan: JsonObject) -> Iterator[str]:
    yield f"dry run {plan['run']} of {plan['workflow']}: nothing was changed"
    for step in plan["steps"]:
        yield _head(step)
        if step["error"] is not None:
            yield f"    error[{step['error']['code']}]: {step['error']['message']}"
        for effect in step["effects"]:
            yield from _effect(effect)
    yield from _way(plan)
    if plan["held"] is not None:
        yield f"held: {plan['held']}"
    if plan["error"] is not None:
        yield f"it would fail: error[{plan['error']['code']}]: {plan['error']['message']}"
    yield f"{'complete' if plan['complete'] else 'incomplete'}; digest {plan['digest']}"


def outlined(plan: JsonObject) -> Iterator[str]:
    """Show what a workflow would do as far as its inputs tell."""
    for step in plan["steps"]:
        yield _head(step)
        yield from (f"    {compact(effect)}" for effect in step.get("effects", ()))
    yield from _way(plan)


def _head(step: JsonObject) -> str:
    undo = " ".join(str(word) for word in (step.get("undo") or {}).values()) or "nothing to undo"
    says = f"{step['says']}, differs at every run" if step.get("varies") else step["says"]
    return f"{step['step']}  {step['calls']}  {says}  undo: {undo}"


def _way(plan: JsonObject) -> Iterator[str]:
    """Tell whom the way forward asks, and where the way back ends."""
    for asked in plan["approvals"]:
        needs = "; ".join(
            f"{need['quorum']} of {' or '.join(need['roles']) or 'anybody enrolled'}"
            for need in asked["requirements"]
        )
        yield f"approval to expect: step {asked['step']}, risk {asked['risk']}, {needs}"
    if plan["pivot"] is not None:
        yield f"after step {plan['pivot']} this run cannot be fully taken back"


def _effect(effect: JsonObject) -> Iterator[str]:
    to = f" -> {effect['to']}" if "to" in effect else ""
    yield f"    {effect['act']} {effect['target']}{to}"
    if "diff" in effect:
        yield from (f"      {line}" for line in effect["diff"].splitlines())
        if effect.get("is_cut"):
            yield "      (cut)"
    elif to == "" and effect["act"] != "mkdir":
        yield f"      {_told(effect['before'])} -> {_told(effect['after'])}"


def _told(one: JsonObject) -> str:
    size = f" of {one['bytes']} bytes" if "bytes" in one else ""
    return f"{one['kind']}{size} {one.get('sha256', '')[:16]}".rstrip()

"""What a workflow would do, as far as its arguments tell: no handler starts, nothing is recorded.

An argument that comes from another step, from an item, or from an input that was not given is
`UNKNOWN`; everything else is narrowed and judged as in a run.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from awe_core.capability import undo_in_words
from awe_core.engine.dry import UNKNOWN, expected, is_final
from awe_core.errors import AweError
from awe_core.expressions import truthy
from awe_core.handshake import AskPeople, Refuse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.decider import Plan, PlanStep
    from awe_core.decider.plan import Block
    from awe_core.events import Actor
    from awe_core.expressions import Expression, Template
    from awe_core.invoke import Invoker
    from awe_core.values import JsonObject


async def outline(
    invoker: Invoker, plan: Plan, inputs: JsonObject, actor: Actor, *, now_us: int
) -> JsonObject:
    """Say what each step may do, what people would be asked, and where the way back ends."""
    steps: list[JsonObject] = []
    approvals: list[JsonObject] = []
    pivot = None
    for path, step, given in _walked(plan.root, inputs):
        arguments, is_known = _arguments(step.with_, {"inputs": given})
        found: JsonObject = {"step": path, "calls": step.spec.target, "says": _says(step, given)}
        steps.append(found)
        if step.capability is None:
            continue
        is_changing = step.capability.changes_world
        found["undo"] = undo_in_words(step.undo) if is_changing and step.undo else None
        pivot = pivot or (path if is_final(step) else None)
        try:
            prepared = invoker.prepare(
                step.spec.target,
                arguments,
                purpose="new",
                confirm=step.confirm,
                is_known=is_known,
                undo=step.undo,
            )
            found["effects"] = list(prepared.effects)
            about = {"run": "", "step": path, "attempts": step.retry.attempts, "now_us": now_us}
            request = invoker.ask(prepared, actor, **about, limit_us=None, replaces=None)  # type: ignore[arg-type]  # each by its name
            facts = invoker.facts(prepared, actor, now_us, is_dry=True)
            judged = await invoker.handshake.chain.judge(request, facts)
        except AweError as error:
            found["says"] = f"refused: {error.code}: {error.summary}"
            continue
        match invoker.fold(prepared, judged):
            case Refuse(by=by):
                found["says"] = f"refused by {by.name}: {by.reason}"
            case AskPeople(requirements=requirements):
                approvals.append(expected(request, requirements))
            case _:
                pass
    return {"steps": steps, "approvals": approvals, "pivot": pivot}


def _walked(root: Block, inputs: JsonObject) -> Iterator[tuple[str, PlanStep, JsonObject]]:
    """Give each step with its path and the inputs its scope knows: needs before dependents."""
    open_ = [("", root, inputs, _ordered(root))]
    while open_:
        prefix, block, given, rest = open_[-1]
        index = next(rest, None)
        if index is None:
            open_.pop()
            continue
        step = block.steps[index]
        path = f"{prefix}{step.spec.id}"
        yield path, step, given
        if step.block is not None:
            inner, _ = _arguments(step.with_, {"inputs": given})
            known = {key: value for key, value in inner.items() if value != UNKNOWN}
            shown = f"{path}[]." if step.foreach else f"{path}."
            open_.append((shown, step.block, known, _ordered(step.block)))


def _ordered(block: Block) -> Iterator[int]:
    needs = {index: step.needs for index, step in enumerate(block.steps)}
    return iter(TopologicalSorter(needs).static_order())


def _arguments(template: Template, scope: JsonObject) -> tuple[JsonObject, bool]:
    """Fill in what is known; also says whether that is everything."""
    unknown = {at.path[:1] for at in template.placed if not _is_known(at.expression, scope)}
    try:
        found = template.evaluate(scope)
    except AweError:  # an operator met what is not known
        found, unknown = {}, {()}
    found = found if isinstance(found, dict) else {}
    return {**found, **{str(key[0]): UNKNOWN for key in unknown if key}}, not unknown


def _is_known(reading: Template | Expression, scope: JsonObject) -> bool:
    """Whether all that *reading* reads is among the inputs that are known."""
    known = scope["inputs"]
    return all(
        one.root == "inputs" and one.path and one.path[0] in known for one in reading.references
    )


def _says(step: PlanStep, given: JsonObject) -> str:
    scope = {"inputs": given}
    if step.when is not None and _is_known(step.when, scope):
        return "planned" if truthy(step.when.evaluate(scope)) else "skipped"
    says = "planned" if step.when is None else "planned if its condition holds"
    return f"{says}, for each item" if step.foreach is not None else says

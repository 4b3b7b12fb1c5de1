"""Compiling workflows, and the two small tables beside the run machine: keys and claims."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.capability import CapabilitySpec, Confirm, Risk
from awe_core.compensation import CapabilityCall, UndoCompensate
from awe_core.decider import (
    Claims,
    Kind,
    Plan,
    PlanStep,
    compile_workflow,
    effect_key,
    step_key,
    undo_key,
)
from awe_core.decider.claims import covering
from awe_core.errors import EffectError, ExpressionError, WorkflowError
from awe_core.workflow import Need, Retry, StepConfirm, StepSpec, WorkflowSpec

CAPABILITY = CapabilitySpec(
    id="do.it",
    version="1.0.0",
    summary="x",
    risk=Risk.LOW,
    confirm=Confirm.NEVER,
    timeout_us=5_000,
    input={"type": "object"},
    output={"type": "object"},
    handler="m:f",
)


def step(name: str, *needs: str, **more: Any) -> StepSpec:
    target = {} if "workflow" in more else {"capability": "do.it@1"}
    return StepSpec(name, **{**target, "needs": tuple(map(Need, needs)), **more})


def flow(*steps: StepSpec, name: str = "flow", **more: Any) -> WorkflowSpec:
    return WorkflowSpec(id=name, version="1.2.0", summary="x", steps=steps, **more)


def compiled(spec: WorkflowSpec, *others: WorkflowSpec) -> Plan:
    return compile_workflow(
        spec,
        capabilities={"do.it@1": CAPABILITY},
        workflows={other.reference: other for other in others},
    )


def planned(plan: Plan, path: str) -> PlanStep:
    """Give the step at *path*: ``nested.read``; ``each[3]`` is what each item of each runs."""
    block = plan.root
    for part in path.split("."):
        name, bracket, _ = part.partition("[")
        found = next(s for s in block.steps if s.spec.id == name)
        found = found.item if bracket else found
        block = found.block
    return found


def refused(spec: WorkflowSpec, *others: WorkflowSpec) -> tuple[str, str]:
    with pytest.raises(WorkflowError) as caught:
        compiled(spec, *others)
    return caught.value.code, caught.value.summary


# ---- the plan ------------------------------------------------------------------------------------
def test_needs_are_what_is_written_and_what_is_referred_to() -> None:
    plan = compiled(
        flow(
            step("a"),
            step("b"),
            step("c", "a", with_={"x": "${steps.b.output.n}"}),
            outputs={"n": "${steps.c.output}"},
        )
    )

    third = planned(plan, "c")
    assert ({1, 0}, (1,)) == (set(third.needs), third.uses)
    assert ((2, False),) == planned(plan, "a").dependents
    assert (2,) == plan.root.output_uses


def test_a_written_need_may_allow_a_skip_that_the_reference_would_not() -> None:
    need = Need("a", even_if_skipped=True)
    plan = compiled(flow(step("a"), step("b", needs=(need,), with_={"x": "${steps.a.output}"})))

    assert ((1, True),) == planned(plan, "a").dependents


def test_conditions_lists_and_compensations_refer_too() -> None:
    undo = UndoCompensate(CapabilityCall("do.it", {"x": "${steps.c.output} ${effect.id}"}))
    plan = compiled(
        flow(
            step("a"),
            step("b"),
            step("c"),
            step("d", when="${steps.a.output}", foreach="${steps.b.output}", compensation=undo),
        )
    )

    assert (0, 1, 2) == planned(plan, "d").uses


def test_paths_lead_into_scopes_and_items() -> None:
    inner = flow(step("read"), name="inner")
    plan = compiled(
        flow(
            step("sub", workflow="inner@1"),
            step("each", foreach="${inputs.of}", workflow="inner@1", when="${inputs.go}"),
        ),
        inner,
    )

    assert (Kind.SCOPE, Kind.CALL) == (planned(plan, "sub").kind, planned(plan, "sub.read").kind)
    assert (Kind.FANOUT, Kind.SCOPE) == (planned(plan, "each").kind, planned(plan, "each[3]").kind)
    assert planned(plan, "each[3]").when is None
    assert planned(plan, "each[3].read") is planned(plan, "sub.read")
    assert (plan.top.block, plan.root.spec.id) == (plan.root, "flow")


def test_limits_are_effective() -> None:
    plan = compiled(
        flow(
            step("a", timeout_us=9_000, confirm=StepConfirm.ALWAYS),
            step("b", timeout_us=1_000),
            step("c", foreach="${inputs.of}", retry=Retry(attempts=3)),
            step("d", workflow="inner@1"),
        ),
        flow(step("read"), name="inner"),
    )

    assert [5_000, 1_000] == [planned(plan, path).timeout_us for path in ("a", "b")]
    assert [Confirm.ALWAYS, Confirm.NEVER, Confirm.POLICY] == [
        planned(plan, path).confirm for path in ("a", "b", "d")
    ]
    assert (1, 3) == (planned(plan, "c").retry.attempts, planned(plan, "c[0]").retry.attempts)
    assert planned(plan, "d").timeout_us == 300_000_000


def test_a_cycle_is_named_whole() -> None:
    spec = flow(step("start"), step("a", "c", "start"), step("b", "a"), step("c", "b"))

    assert (
        "workflow.cycle",
        "flow@1: these steps wait for each other: a → c → b → a",
    ) == refused(spec)


def test_a_step_that_refers_to_itself_is_a_cycle() -> None:
    assert refused(flow(step("a", with_={"x": "${steps.a.output}"})))[1].endswith("a → a")


def test_recursion_is_named_whole() -> None:
    other = flow(step("y", workflow="flow@1"), name="other")

    assert ("workflow.recursive", "flow@1 calls itself: flow@1 → other@1 → flow@1") == refused(
        flow(step("x", workflow="other@1")), other
    )


@pytest.mark.parametrize(
    ("steps", "code"),
    [
        ([step("a"), step("a")], "workflow.duplicate"),
        ([step("a", "zzz")], "workflow.unknown_need"),
        ([StepSpec("a", capability="no.such@1")], "workflow.unknown_capability"),
        ([step("a", workflow="none@1")], "workflow.unknown_workflow"),
        ([step("a", with_={"x": "${steps.zzz.output}"})], "workflow.reference"),
        ([step("a"), step("b", with_={"x": "${steps}"})], "workflow.reference"),
    ],
)
def test_what_cannot_be_planned_is_refused(steps: list[StepSpec], code: str) -> None:
    assert code == refused(flow(*steps))[0]


def test_item_and_index_exist_in_a_fan_out_alone() -> None:
    compiled(flow(step("a", foreach="${inputs.of}", with_={"x": "${item} ${index}"})))

    with pytest.raises(ExpressionError):
        compiled(flow(step("a", with_={"x": "${item}"})))
    with pytest.raises(ExpressionError):
        compiled(flow(step("a", foreach="${inputs.of}", when="${item}")))


def nest(levels: int) -> tuple[WorkflowSpec, list[WorkflowSpec]]:
    inner = [flow(step("leaf"), name="w0")]
    inner += [flow(step("go", workflow=f"w{n - 1}@1"), name=f"w{n}") for n in range(1, levels)]
    return flow(step("go", workflow=f"w{levels - 1}@1")), inner


def test_sub_workflows_nest_sixteen_deep_and_no_deeper() -> None:
    spec, inner = nest(16)
    assert compiled(spec, *inner).root.steps

    spec, inner = nest(17)
    code, says = refused(spec, *inner)
    assert ("workflow.too_large", True) == (code, "17 levels" in says)


def test_the_limit_of_steps_counts_those_of_sub_workflows() -> None:
    inner = flow(*(step(f"s{n}") for n in range(10_000)), name="inner")
    five = [step(f"c{n}", workflow="inner@1") for n in range(5)]

    assert len(compiled(flow(*five[:4]), inner).root.steps) == 4
    assert "50005 steps" in refused(flow(*five), inner)[1]


def test_a_deployment_may_set_lower_limits_for_what_it_compiles() -> None:
    inner = flow(step("s"), name="inner")
    spec = flow(step("c", workflow="inner@1"), step("d"))

    for largest in ((2, 16), (50_000, 0)):
        with pytest.raises(WorkflowError) as refusal:
            compile_workflow(
                spec,
                capabilities={"do.it@1": CAPABILITY},
                workflows={inner.reference: inner},
                largest=largest,
            )
        assert "workflow.too_large" == refusal.value.code


# ---- keys ----------------------------------------------------------------------------------------
def test_keys_are_what_the_chapter_says() -> None:
    key = step_key("r1", "nested.read", 0)

    assert "hweublokuph5wbkrmhogjbs4qhxs7vx6" == key
    assert len({key, step_key("r1", "nested.read", 1), step_key("r1", "nested", 0)}) == 3
    assert (f"{key}-0", f"{key}-mail~2") == (
        effect_key(key, 0),
        effect_key(key, "mail", taken_back=2),
    )
    assert f"{key}-0-undo" == undo_key(effect_key(key, 0))


@given(st.text(), st.text(), st.integers(0, 9))
def test_a_step_key_shows_nothing_of_what_it_is_made_of(run: str, path: str, epoch: int) -> None:
    assert set(step_key(run, path, epoch)) <= set("abcdefghijklmnopqrstuvwxyz234567")


# ---- claims --------------------------------------------------------------------------------------
def test_a_claim_covers_what_is_below_and_meets_what_is_above() -> None:
    claims = Claims()

    assert claims.acquire("a", "fs/out/x") is None
    assert "a" == claims.acquire("b", "fs/out/x/y")
    assert "a" == claims.acquire("c", "fs/out")
    assert claims.acquire("d", "fs/out/xy") is None
    assert claims.acquire("a", "fs/out/x/z") is None
    claims.release("a")
    assert claims.acquire("b", "fs/out/x/y") is None
    assert "d" == claims.acquire("c", "fs/out")


def test_who_would_close_a_cycle_is_told_so_and_waits_for_nobody() -> None:
    claims = Claims()
    for name in "abc":
        claims.acquire(name, f"fs/{name}")

    assert "b" == claims.acquire("a", "fs/b")
    assert "c" == claims.acquire("b", "fs/c")
    with pytest.raises(EffectError, match="c waits for a waits for b") as caught:
        claims.acquire("c", "fs/a")
    assert "effect.deadlock" == caught.value.code
    claims.release("c")
    assert claims.acquire("b", "fs/c") is None


def test_a_wait_that_was_given_up_closes_no_cycle() -> None:
    claims = Claims()
    claims.acquire("a", "fs/a")
    claims.acquire("b", "fs/b")
    claims.acquire("a", "fs/b")

    claims.withdraw("a", "fs/b")

    assert "a" == claims.acquire("b", "fs/a")


def test_a_step_that_ends_while_it_waits_waits_no_more() -> None:
    claims = Claims()
    claims.acquire("a", "fs/a")
    claims.acquire("b", "fs/a")
    claims.acquire("b", "fs/b")

    claims.release("b")
    claims.release("nobody")

    assert claims.acquire("a", "fs/b") is None


def test_nobody_waits_for_a_step_that_has_ended() -> None:
    claims = Claims()
    claims.acquire("a", "fs/a")
    claims.acquire("b", "fs/a")
    claims.release("a")
    claims.acquire("b", "fs/b")

    assert "b" == claims.acquire("a", "fs/b")


def test_a_scope_keeps_what_its_steps_have_claimed_and_lends_it_to_the_next() -> None:
    claims = Claims()
    claims.acquire("s.a", "fs/x")
    claims.release("s.a", to="s")

    assert "s" == claims.acquire("b", "fs/x/y")
    assert "s" == claims.acquire("sa", "fs/x")
    assert claims.acquire("s.c[1]", "fs") is None
    assert "s.c[1]" == claims.acquire("s.b", "fs/x")
    claims.release("s.c[1]", to="s")
    assert claims.acquire("s.b", "fs/x/y") is None
    claims.release("s.b")
    claims.release("s")
    assert claims.acquire("b", "fs/x/y") is None


def test_who_waits_for_a_scope_waits_for_the_steps_in_it() -> None:
    claims = Claims()
    claims.acquire("s.a", "fs/x")
    claims.release("s.a", to="s")
    claims.acquire("b", "fs/y")
    assert "s" == claims.acquire("b", "fs/x")

    with pytest.raises(EffectError, match=r"s\.c waits for b waits for s"):
        claims.acquire("s.c", "fs/y")


NAMES = st.sampled_from(["a", "s", "s.a", "s.b", "s.f[0]", "s.f[0].b"])


@given(st.lists(st.tuples(NAMES, st.sampled_from(["x", "x/y", "x/y/z", "w", "", "end"]))))
def test_no_two_steps_ever_hold_what_overlaps(asked: list[tuple[str, str]]) -> None:
    claims, held = Claims(), dict[str, set[str]]()
    for name, resource in asked:
        if resource in ("", "end"):
            to = "s" if resource and name.startswith("s.") else None
            claims.release(name, to=to)
            kept = held.pop(name, set())
            if to and kept:
                held.setdefault(to, set()).update(kept)
            continue
        outer = {other for other in held if name.startswith((f"{other}.", f"{other}["))}
        others = {r for o, rs in held.items() if o != name and o not in outer for r in rs}
        overlaps = any(r in covering(resource) or resource in covering(r) for r in others)
        try:
            is_granted = claims.acquire(name, resource) is None
        except EffectError:
            is_granted = False
        assert is_granted is not overlaps
        if is_granted:
            for other in outer:
                held[other].discard(resource)
            held.setdefault(name, set()).add(resource)

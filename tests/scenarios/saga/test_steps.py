"""The fields of a step: order, conditions, retries, time, fan-outs, scopes, confirmations."""

from __future__ import annotations

import pytest

from awe_core.errors import DocumentError

INNER = {"path": "inner.txt", "fails": "true"}


def test_a_skipped_need_skips_what_needs_it_unless_it_may_be_skipped(story):
    steps = (
        story.write("a", "a.txt", 'when: "${inputs.path}"')
        + story.write("b", "b.txt", needs="a")
        + story.write("c", "c.txt", needs="{step: a, even_if: skipped}")
        + story.write("d", "d.txt")
    )
    with story.one_at_a_time().place.open() as rt:
        run = story.submit(rt, steps)
        assert "COMPLETED" == run.wait().state
        told = story.tell("needs", run)
    assert ["c", "d"] == [one["step"] for one in told if one["kind"] == "step.started"]
    assert {"c.txt": "ours", "d.txt": "ours"} == story.world()


def test_a_condition_that_cannot_be_evaluated_fails_its_step(story):
    steps = story.write("a", "a.txt") + story.write(
        "b", "b.txt", 'when: "${abs(inputs)}"', needs="a"
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        result = run.wait()
        story.tell("when_fails", run)
    assert ("ROLLED_BACK", {}) == (result.state, story.world())


@pytest.mark.parametrize("kind", ["flaky", "flaky_again"])
def test_before_a_retry_the_attempt_is_taken_back_unless_it_is_idempotent(kind, story):
    story.put("log.txt", "theirs, ")
    given = {"path": "log.txt", "text": "ours", "failures": [story.place.token("one")]}
    retry = "retry: {attempts: 3, backoff: 1ms, on: [unavailable]}"
    with story.place.open() as rt:
        run = story.submit(rt, story.call("flaky", f"drill.{kind}", retry, **given))
        assert "COMPLETED" == run.wait().state
        told = story.tell(f"retry_{kind}", run)
    taken_back = [one for one in told if one["kind"] == "undo.applied"]
    assert (0 if kind == "flaky_again" else 1) == len(taken_back)
    assert {"log.txt": "theirs, ours"} == story.world()


def test_attempts_have_an_end_and_other_classes_have_none(story):
    story.put("log.txt", "theirs, ")
    tokens = [story.place.token("one"), story.place.token("two")]
    given = {"path": "log.txt", "text": "ours", "failures": tokens}
    with story.place.open() as rt:
        twice = story.submit(
            rt,
            story.call(
                "flaky", "drill.flaky", "retry: {attempts: 2, backoff: 1ms, on: [any]}", **given
            ),
        )
        assert "ROLLED_BACK" == twice.wait().state
        tokens = [story.place.token("one")]
        given["failures"] = tokens
        other = story.submit(
            rt,
            story.call(
                "flaky", "drill.flaky", "retry: {attempts: 2, backoff: 1ms, on: [timeout]}", **given
            ),
        )
        assert "ROLLED_BACK" == other.wait().state
        story.tell("retry_ends", twice, other)
    assert {"log.txt": "theirs, "} == story.world()


def test_an_attempt_of_what_cannot_be_taken_back_is_not_repeated(story):
    story.put("stone.txt", "theirs, ")
    given = {"path": "stone.txt", "text": "ours", "failures": [story.place.token("one")]}
    retry = "retry: {attempts: 3, backoff: 1ms, on: [unavailable]}"
    with story.place.open() as rt:
        run = story.submit(rt, story.call("engrave", "drill.engrave_flaky", retry, **given))
        assert "FAILED" == run.wait().state
        story.tell("retry_impossible", run)
    assert {"stone.txt": "theirs, ours"} == story.world()


def test_a_step_that_takes_too_long_has_failed_and_is_taken_back(story):
    fifo = story.fifo("slow")
    slow = story.call(
        "slow", "drill.hold", "timeout: 100ms", path="slow.txt", text="ours", fifo=fifo
    )
    with story.place.open() as rt:
        run = story.submit(rt, slow)
        story.reached(fifo)
        assert "ROLLED_BACK" == run.wait().state
        story.release(fifo)
        story.tell("timeout", run)
    assert {} == story.world()


def test_a_fan_out_gives_its_outputs_in_order_and_none_for_none(story):
    head = 'outputs: {all: "${steps.each.output[].path}", none: "${steps.none.output}"}\n'
    items = '["c", "a", "b"]'
    given = {"path": '"${item}.txt"', "text": "ours"}
    steps = story.call("each", "fs.write_text", f"foreach: {items}", "max_parallel: 1", **given)
    steps += story.call("none", "fs.write_text", "foreach: []", needs="each", **given)
    with story.place.open() as rt:
        run = story.submit(rt, steps, head=head)
        assert {"all": ["c.txt", "a.txt", "b.txt"], "none": []} == run.wait().unwrap()
        story.tell("foreach", run)
    assert ["a.txt", "b.txt", "c.txt"] == list(story.world())


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_failing_item_is_taken_back_alone_where_the_step_goes_on(goes_on, story):
    story.put("1.txt", "theirs, ")
    story.put("2.txt", "theirs, ")
    token = story.place.token("one")
    items = f'[{{n: 1, t: []}}, {{n: 2, t: ["{token}"]}}]'
    given = {"path": '"${item.n}.txt"', "text": "ours", "failures": '"${item.t}"'}
    more = ("max_parallel: 1", *(("on_failure: continue",) if goes_on else ()))
    steps = story.call("each", "drill.flaky", f"foreach: {items}", *more, **given)
    with story.place.open() as rt:
        run = story.submit(rt, steps, head='outputs: {all: "${steps.each.output}"}\n')
        result = run.wait()
        story.tell(f"foreach_{'continue' if goes_on else 'fails'}", run)
    first = "theirs, ours" if goes_on else "theirs, "
    assert ("COMPLETED" if goes_on else "ROLLED_BACK") == result.state
    assert {"1.txt": first, "2.txt": "theirs, "} == story.world()
    if goes_on:
        assert {"all": [{"path": "1.txt"}, None]} == result.output


def test_scopes_in_scopes_are_one_undo_stack(story):
    steps = (
        story.scope("nested", "drill_outer", path="inner.txt")
        + story.write("after", "after.txt", needs="nested")
        + story.call("fail", "flow.fail", needs="after")
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "ROLLED_BACK" == run.wait().state
        told = story.tell("scopes", run)
    back = [one["step"] for one in told if one["kind"] == "undo.applied"]
    assert ["after", "nested.inner.write", "nested.before"] == back
    assert {} == story.world()


@pytest.mark.parametrize("goes_on", [True, False])
def test_a_failure_inside_a_scope_is_decided_by_the_calling_step(goes_on, story):
    more = ("on_failure: continue",) if goes_on else ()
    steps = story.write("first", "first.txt") + story.scope(
        "nested", "drill_outer", *more, needs="first", **INNER
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps + story.write("last", "last.txt", needs="nested"))
        result = run.wait()
        story.tell(f"scope_{'continue' if goes_on else 'fails'}", run)
    assert ("COMPLETED" if goes_on else "ROLLED_BACK") == result.state
    assert ({"first.txt", "last.txt"} if goes_on else set()) == set(story.world())


def test_a_step_may_not_loosen_what_its_contract_asks_for(story):
    gate = story.call("gate", "flow.approve", "confirm: never", question="now")
    with story.place.open() as rt, pytest.raises(DocumentError) as caught:
        story.submit(rt, gate)
    assert "steps[0].confirm" in str(caught.value)


def test_a_step_may_tighten_and_a_denial_takes_back_what_came_before(story):
    steps = story.write("a", "a.txt") + story.write("b", "b.txt", "confirm: always", needs="a")
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "PAUSED" == run.wait().state
        (asked,) = rt.approvals()
        run.deny(asked.id, asked.digest, asked.version, "not today")
        assert "ROLLED_BACK" == run.wait().state
        story.tell("denied", run)
    assert {} == story.world()


def test_what_two_branches_change_is_changed_by_one_after_the_other(story):
    """The second waits for the first to end, so the newest unit has the newest effect."""
    fifo = story.fifo("first")
    steps = (
        story.call("one", "drill.hold", path="shared.txt", text="one", fifo=fifo)
        + story.write("two", "shared.txt", text="two")
        + story.call("fail", "flow.fail", needs="one, two")
    )
    story.put("shared.txt", "theirs")
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        story.until(run, "step.started", step="two")
        story.release(fifo)
        assert "ROLLED_BACK" == run.wait().state
        told = story.tell("claims", run)
    kinds = [(one["kind"], one.get("step")) for one in told]
    assert kinds.index(("step.completed", "one")) < kinds.index(("effect.intended", "two"))
    assert {"shared.txt": "theirs"} == story.world()


def test_a_cycle_of_claims_fails_the_step_that_closes_it(story):
    meet = {"gate": "of_the_cycle"}
    steps = story.call("one", "drill.meet", first="a.txt", second="b.txt", **meet)
    steps += story.call("two", "drill.meet", first="b.txt", second="a.txt", **meet)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        result = run.wait()
        events = [record.event for record in run.events(follow=False)]
    failed = [one["err"]["code"] for one in events if one["kind"] == "step.failed"]
    assert "effect.deadlock" == failed[0]
    assert ("ROLLED_BACK", {}) == (result.state, story.world())


def test_a_claim_outlasts_a_failed_attempt(story):
    """Backoff and clearing included: nobody changes between the attempts what is taken back."""
    story.put("log.txt", "theirs, ")
    tokens = [story.place.token("one")]
    steps = story.call(
        *("one", "drill.flaky", "retry: {attempts: 2, backoff: 1s, jitter: none, on: [any]}"),
        path="log.txt",
        text='"one, "',
        failures=tokens,
    )
    steps += story.call("two", "drill.flaky", path="log.txt", text="two", failures=[])
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "COMPLETED" == run.wait().state
        story.tell("claims_retry", run)
    assert {"log.txt": "theirs, one, two"} == story.world()


def test_twenty_items_that_touch_overlapping_paths_neither_wait_for_ever_nor_mix(story):
    items = "[" + ", ".join(f'"{"d/" * (n % 2)}f{n % 5}.txt"' for n in range(20)) + "]"
    for n in range(5):
        story.put(f"f{n}.txt", "")
        story.put(f"d/f{n}.txt", "")
    given = {"path": '"${item}"', "text": "+", "failures": "[]"}
    steps = story.call("each", "drill.flaky", f"foreach: {items}", "max_parallel: 20", **given)
    before = story.world()
    with story.place.open() as rt:
        run = story.submit(rt, steps + story.call("fail", "flow.fail", needs="each"))
        assert "ROLLED_BACK" == run.wait().state
        counts = [record.kind for record in run.events(follow=False)]
    assert (20, 20) == (counts.count("effect.applied"), counts.count("undo.applied"))
    assert before == story.world()


def test_items_that_need_the_same_new_folder_make_it_once(story):
    items = "[" + ", ".join(f'"new/deep/{n}.txt"' for n in range(20)) + "]"
    given = {"path": '"${item}"', "text": "+", "parents": "true"}
    each = ("each", "fs.write_text", f"foreach: {items}", "max_parallel: 20")
    with story.place.open() as rt:
        run = story.submit(rt, story.call(*each, **given))
        assert "COMPLETED" == run.wait().state
        assert 20 == len(story.world())
        assert 22 == len(run.status().items)
        run.rollback()
        assert "ROLLED_BACK" == run.wait().state
    assert [] == list(story.place.work.iterdir())


def test_handlers_that_fill_every_thread_have_their_effects_flushed_and_taken_back(story):
    with story.place.file.open("a") as settings:
        settings.write("engine: {limits: {threads: 1}}\n")
    first, second = story.fifo("first"), story.fifo("second")
    steps = story.call("a", "drill.hold_thread", path="a.txt", text="ours", fifo=first)
    fails = story.call("fail", "flow.fail", needs="a", message="m")
    with story.place.open() as rt:
        run = story.submit(rt, steps + fails)
        story.reached(first)
        story.release(first)
        story.until(run, "step.failed")
        other = story.submit(rt, steps.replace(first, second))
        story.reached(second)  # the one thread of handlers is taken
        assert "ROLLED_BACK" == run.wait().state
        story.release(second)
        assert "COMPLETED" == other.wait().state
    assert {"a.txt": "ours"} == story.world()

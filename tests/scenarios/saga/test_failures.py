"""A step fails: what ends, what is taken back, what remains and what a second rollback does."""

from __future__ import annotations

import itertools
import secrets
import threading
from typing import Any

import attrs
import pytest

import awe_core
from awe_core.events import Actor
from awe_core.testing import me
from awe_core.undo import UndoManager
from awe_core.workspace import Workspace


def branches(story, slow, *, head=""):
    """Give a workflow whose branch *slow* is at work when the other one fails."""
    gate = story.fifo("gate")
    steps = story.call("gate", "drill.hold_thread", path="gate.txt", text="ours", fifo=gate)
    return gate, slow + steps + story.call("fail", "flow.fail", needs="gate"), head


def test_a_failure_cancels_what_is_in_flight_and_takes_all_back_newest_end_first(story):
    fifo = story.fifo("slow")
    slow = story.call("slow", "drill.hold", path="slow.txt", text="ours", fifo=fifo)
    gate, steps, _ = branches(story, slow + story.call("never", "flow.fail", needs="slow"))
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        story.release(gate)
        assert "ROLLED_BACK" == run.wait().state
        story.release(fifo)
        story.tell("in_flight_cancel", run)
    assert {} == story.world()


def test_a_failure_waits_for_what_is_in_flight_where_the_workflow_says_so(story):
    fifo = story.fifo("slow")
    slow = story.call("slow", "drill.hold", path="slow.txt", text="ours", fifo=fifo)
    gate, steps, head = branches(story, slow, head="in_flight: wait\n")
    with story.place.open() as rt:
        run = story.submit(rt, steps, head=head)
        story.reached(fifo)
        story.release(gate)
        story.until(run, "step.failed", step="fail")
        story.release(fifo)
        assert "ROLLED_BACK" == run.wait().state
        story.tell("in_flight_wait", run)
    assert {} == story.world()


def overtaken(story, golden, capability, **given):
    """Roll a run back while a handler beside the failure holds on; give what was told."""
    fifo = story.fifo("slow")
    slow = story.call("slow", capability, path="slow.txt", fifo=fifo, **given)
    gate, steps, _ = branches(story, slow)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        story.release(gate)
        assert "ROLLED_BACK" == run.wait().state
        story.release(fifo)
        told = story.tell(golden, run)
    assert {} == story.world()
    return told


def test_a_revoked_context_performs_nothing_more(story):
    told = overtaken(story, "revoked", "drill.stubborn", late="late.txt")
    assert ["effect.late"] == [one["code"] for one in told if one["kind"] == "effect.refused"]


def test_a_thread_that_does_not_return_is_abandoned_and_can_do_nothing_more(story):
    told = overtaken(story, "abandoned", "drill.hold_thread", text="ours")
    assert "effect.applied" in {one["kind"] for one in told}


def test_a_failed_step_is_the_newest_unit(story):
    story.put("log.txt", "theirs\n")
    tokens = [story.place.token("one")]
    steps = story.write("first", "first.txt") + story.call(
        "flaky", "drill.flaky", path="log.txt", text="ours", failures=tokens, needs="first"
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "ROLLED_BACK" == run.wait().state
        story.tell("newest_unit", run)
    assert {"log.txt": "theirs\n"} == story.world()


def test_nothing_remains_also_when_nothing_was_done(story):
    with story.place.open() as rt:
        run = story.submit(
            rt, story.call("fail", "flow.fail") + story.write("b", "b", needs="fail")
        )
        assert "ROLLED_BACK" == run.wait().state
        story.tell("nothing_done", run)
    assert {} == story.world()


def test_what_cannot_be_taken_back_remains_and_the_rest_is_taken_back(story):
    steps = (
        story.write("before", "before.txt")
        + story.call("jot", "drill.jot", path="jotted.txt", text="ours", needs="before")
        + story.call("engrave", "drill.engrave", path="stone.txt", text="ours", needs="jot")
        + story.write("after", "after.txt", needs="engrave")
        + story.call("fail", "flow.fail", needs="after")
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        result = run.wait()
        story.tell("irreversible", run)
    assert "FAILED" == result.state
    assert [("engrave", "it is carved in stone")] == [(r.step, r.why) for r in result.residue]
    assert {"jotted.txt": "ours", "stone.txt": "ours"} == story.world()


def test_a_conflict_keeps_theirs_and_says_where_our_earlier_version_lies(story):
    story.put("shared.txt", "earlier")
    with story.place.open() as rt:
        run = story.submit(
            rt, story.write("a", "a.txt") + story.write("b", "shared.txt", needs="a")
        )
        assert "COMPLETED" == run.wait().state
        story.put("shared.txt", "theirs")
        run.rollback("it was wrong")
        result = run.wait()
        story.tell("conflict", run)
    assert "FAILED" == result.state
    assert {"shared.txt": "theirs"} == story.world()


SHARED = ("one", "two", "three")


def damaged(story, rt):
    """Complete a run that wrote one file thrice, lose the newest pre-image, roll it back."""
    story.put("shared.txt", "earlier")
    steps, before = story.write("other", "other.txt"), "other"
    for name in SHARED:
        steps += story.write(name, "shared.txt", text=name, needs=before)
        before = name
    run = story.submit(rt, steps)
    assert "COMPLETED" == run.wait().state
    (slot,) = (one for one in story.slots() if one.read_text() == "two")
    slot.write_text("damaged")
    run.rollback("it was wrong")
    return run, slot


def test_unwinding_goes_on_past_a_residue_and_leaves_what_is_below_it(story):
    with story.place.open() as rt:
        run, _ = damaged(story, rt)
        result = run.wait()
        story.tell("residue", run)
    assert "FAILED" == result.state
    assert ["one", "two", "three"] == [one.step for one in result.residue]
    assert {"shared.txt": "three"} == story.world()


def test_a_second_rollback_tries_only_the_residue_again(story):
    with story.place.open() as rt:
        run, slot = damaged(story, rt)
        first = run.wait()
        (last,) = [r.rseq for r in run.events(follow=False) if r.kind == "run.closed"][-1:]
        slot.write_text("two")
        run.rollback("repaired")
        assert "ROLLED_BACK" == run.wait().state
        told = story.tell("residue_again", run)
    assert 3 == len(first.residue)
    again = [one["step"] for one in told[last + 1 :] if one["kind"] == "undo.applied"]
    assert ["three", "two", "one"] == again
    assert {"shared.txt": "earlier"} == story.world()


def test_an_undo_that_fails_is_tried_again_in_place(story, monkeypatch):
    monkeypatch.setattr(secrets, "randbelow", lambda most: most - 1)  # no try comes too soon
    with story.place.open() as rt:
        story.put("sub/theirs.txt", "theirs")
        first = story.write("first", "first.txt")
        run = story.submit(rt, first + story.write("second", "sub/second.txt", needs="first"))
        assert "COMPLETED" == run.wait().state
        sub = story.place.work / "sub"
        sub.rename(story.place.folder / "elsewhere")
        sub.symlink_to(story.place.folder / "elsewhere")
        run.rollback("it was wrong")
        story.until(run, "undo.failed", step="second")
        sub.unlink()
        (story.place.folder / "elsewhere").rename(sub)
        assert "ROLLED_BACK" == run.wait().state
        story.tell("undo_retried", run)
    assert {"sub/theirs.txt": "theirs"} == story.world()


class Hanging(UndoManager):
    """Undo strategies that hang the first time, and have little time for it."""

    def __init__(self, *parts):
        super().__init__(*parts)
        self.released = threading.Event()
        self._times = itertools.count()

    def timeout_us(self, name):
        return super().timeout_us(name) // 60

    def undo(self, record, key):
        if not next(self._times):
            self.released.wait()
            raise TimeoutError
        return super().undo(record, key)


@attrs.frozen
class Written:
    """A run, as far as a journal tells of it."""

    journal: Any
    run_id: str

    def events(self, *, follow):
        assert not follow
        return self.journal.read(run=self.run_id)


def test_an_undo_that_hangs_has_failed_when_its_time_is_up(story):
    journal = awe_core.Journal.open(story.place.home)
    workspace = Workspace.open(story.place.work, store=story.place.home / "undo")
    undo = Hanging(journal, workspace)
    engine = awe_core.RuntimeEngine(
        awe_core.CapabilityRegistry.load(home=story.place.home),
        undo_manager=undo,
        audit_logger=awe_core.AuditLogger(journal, []),
    )
    steps = story.write("a", "a.txt") + story.write("b", "b.txt", needs="a")
    file = story.place.workflow(steps + story.call("fail", "flow.fail", needs="b"))
    context = awe_core.ExecutionContext(actor=Actor.person(me()), workspace=workspace)
    result = awe_core.WorkflowEngine(engine).run(awe_core.WorkflowSpec.load(file), {}, context)
    undo.released.set()
    assert "ROLLED_BACK" == result.state
    told = story.tell("undo_hangs", Written(journal, result.run_id))
    assert ["b"] == [one["step"] for one in told if one["kind"] == "undo.failed"]
    assert {} == story.world()
    engine.close()
    workspace.close()
    journal.close()


@pytest.mark.parametrize("ending", ["stop", "switch"])
def test_a_stop_leaves_what_is_there_for_a_later_rollback(ending, story):
    head = "enable_auto_rollback: false\n" if ending == "switch" else ""
    more = () if ending == "switch" else ("on_failure: stop",)
    steps = story.write("a", "a.txt") + story.call("fail", "flow.fail", *more, needs="a")
    with story.place.open() as rt:
        run = story.submit(rt, steps, head=head)
        result = run.wait()
        assert ("FAILED", 1) == (result.state, result.standing)
        assert {"a.txt": "ours"} == story.world()
        run.rollback("later")
        assert "ROLLED_BACK" == run.wait().state
        story.tell(f"stop_{ending}", run)
    assert {} == story.world()


def test_continue_takes_back_the_step_alone_and_goes_on(story):
    story.put("log.txt", "theirs\n")
    tokens = [story.place.token("one")]
    flaky = {"path": "log.txt", "text": "ours", "failures": tokens}
    steps = (
        story.write("first", "first.txt")
        + story.call("flaky", "drill.flaky", "on_failure: continue", needs="first", **flaky)
        + story.write("last", "last.txt", needs="flaky")
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "COMPLETED" == run.wait().state
        story.tell("continue", run)
    assert {"first.txt": "ours", "last.txt": "ours", "log.txt": "theirs\n"} == story.world()


def test_continue_with_something_that_remains_rolls_back_the_run(story):
    story.put("stone.txt", "theirs, ")
    given = {"path": "stone.txt", "text": "ours", "failures": [story.place.token("one")]}
    steps = story.write("first", "first.txt") + story.call(
        "engrave", "drill.engrave_flaky", "on_failure: continue", needs="first", **given
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        result = run.wait()
        story.tell("continue_residue", run)
    assert "FAILED" == result.state
    assert {"stone.txt": "theirs, ours"} == story.world()

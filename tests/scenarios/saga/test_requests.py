"""What people ask of a run: cancel, pause, roll back, roll back to a step, retry from one."""

from __future__ import annotations

import pytest

from awe_core import cli
from awe_core.errors import RunError, UndoError


def holding(story):
    """Give the steps of a run that stands in its second step, and the FIFO it waits at."""
    fifo = story.fifo("hold")
    held = {"path": "held.txt", "text": "ours", "fifo": fifo}
    steps = story.write("a", "a.txt") + story.call("hold", "drill.hold", needs="a", **held)
    return fifo, steps + story.write("last", "last.txt", needs="hold")


@pytest.mark.parametrize("mode", ["rollback", "keep"])
def test_a_cancelled_run_drains_and_is_taken_back_or_kept(mode, story):
    fifo, steps = holding(story)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        run.cancel(mode, "enough")
        result = run.wait()
        story.release(fifo)
        with pytest.raises(RunError) as caught:
            run.cancel()
        story.tell(f"cancel_{mode}", run)
    assert "run.illegal_state" == caught.value.code
    kept = {"a.txt": "ours", "held.txt": "ours"} if mode == "keep" else {}
    assert ("FAILED" if kept else "ROLLED_BACK", len(kept)) == (result.state, result.standing)
    assert kept == story.world()


def test_a_paused_run_ends_what_it_is_at_and_begins_nothing(story):
    fifo, steps = holding(story)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        run.pause("a look first")
        assert ("PAUSED", 1) == (run.status().state, run.status().in_flight)
        story.release(fifo)
        story.until(run, "step.completed", step="hold")
        assert "PAUSED" == run.wait().state
        assert 0 == run.status().in_flight
        assert {"a.txt", "held.txt"} == set(story.world())
        run.resume("go on")
        assert "COMPLETED" == run.wait().state
        story.tell("pause", run)
    assert {"a.txt", "held.txt", "last.txt"} == set(story.world())


def test_a_cancel_lifts_a_persons_hold(story):
    fifo, steps = holding(story)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.reached(fifo)
        run.pause()
        story.release(fifo)
        assert "PAUSED" == run.wait().state
        run.cancel()
        assert "ROLLED_BACK" == run.wait().state
        story.tell("pause_cancel", run)
    assert {} == story.world()


def test_a_question_expires_with_its_run(story):
    steps = story.write("a", "a.txt") + story.write("b", "b.txt", "confirm: always", needs="a")
    with story.place.open() as rt:
        run = story.submit(rt, steps, head="expires: 1s\n")
        assert "PAUSED" == run.wait().state
        story.until(run, "run.closed")
        story.tell("expiry_asked", run)
        assert "ROLLED_BACK" == run.result().state
    assert {} == story.world()


def test_an_expiry_of_a_held_run_acts_when_it_is_resumed(story):
    fifo, steps = holding(story)
    with story.place.open() as rt:
        run = story.submit(rt, steps, head="expires: 1s\n")
        story.reached(fifo)
        run.pause()
        story.release(fifo)
        story.until(run, "run.cancel_requested", cause="expiry")
        assert {"a.txt", "held.txt"} == set(story.world())
        assert "PAUSED" == run.status().state
        run.resume()
        assert "ROLLED_BACK" == run.wait().state
        told = story.tell("expiry_held", run)
    kinds = [one["kind"] for one in told]
    assert kinds.index("run.resumed") < kinds.index("undo.started")
    assert {} == story.world()


def chain(story, *names):
    """Give steps that write a file each, one after the other, beside one that stands alone."""
    steps, before = story.write("alone", "alone.txt"), ""
    for name in names:
        steps += story.write(name, f"{name}.txt", needs=before)
        before = name
    return steps


def test_a_completed_run_is_taken_back(story):
    with story.one_at_a_time().place.open() as rt:
        run = story.submit(rt, chain(story, "one", "two"))
        assert "COMPLETED" == run.wait().state
        run.rollback("it was wrong")
        assert "ROLLED_BACK" == run.wait().state
        story.tell("rollback_completed", run)
        with pytest.raises(RunError) as caught:
            run.rollback()
    assert "run.illegal_state" == caught.value.code
    assert {} == story.world()


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_rollback_to_a_step_takes_back_its_dependents_and_leaves_other_branches(inclusive, story):
    with story.one_at_a_time().place.open() as rt:
        run = story.submit(rt, chain(story, "one", "two", "three"))
        assert "COMPLETED" == run.wait().state
        run.rollback("again from here", to="two", inclusive=inclusive)
        result = run.wait()
        left = set(story.world())
        run.resume("now")
        assert "COMPLETED" == run.wait().state
        story.tell(f"rollback_to{'_inclusive' * inclusive}", run)
    assert "PAUSED" == result.state
    assert {"alone.txt", "one.txt", *(() if inclusive else ("two.txt",))} == left
    assert {f"{n}.txt" for n in ("alone", "one", "two", "three")} == set(story.world())


def test_a_rollback_to_a_step_takes_who_changed_its_resources_later_with_it(story):
    fifo = story.fifo("order")
    steps = (
        story.write("one", "one.txt")
        + story.write("two", "shared.txt", needs="one")
        + story.call("wait", "drill.hold_thread", path="wait.txt", text="ours", fifo=fifo)
        + story.write("other", "shared.txt", text="other", needs="wait")
    )
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        story.until(run, "step.completed", step="two")
        story.reached(fifo)
        story.release(fifo)
        assert "COMPLETED" == run.wait().state
        run.rollback("again", to="one")
        assert "PAUSED" == run.wait().state
        story.tell("rollback_to_shared", run)
    assert {"one.txt", "wait.txt"} == set(story.world())


def test_a_partial_rollback_with_something_that_remains_ends_failed(story):
    steps = story.write("one", "one.txt")
    steps += story.call("engrave", "drill.engrave", path="stone.txt", text="ours", needs="one")
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "COMPLETED" == run.wait().state
        run.rollback("again", to="one")
        assert "FAILED" == run.wait().state
        story.tell("rollback_to_residue", run)
    assert {"one.txt", "stone.txt"} == set(story.world())


def test_a_failed_run_is_retried_from_the_step_that_failed(story):
    story.put("log.txt", "theirs, ")
    given = {"path": "log.txt", "text": "ours", "failures": [story.place.token("one")]}
    steps = story.write("a", "a.txt") + story.call("flaky", "drill.flaky", needs="a", **given)
    with story.place.open() as rt:
        run = story.submit(rt, steps, head="enable_auto_rollback: false\n")
        assert "FAILED" == run.wait().state
        run.retry("flaky", "the far side is back")
        assert "COMPLETED" == run.wait().state
        story.tell("retry_from", run)
    assert {"a.txt": "ours", "log.txt": "theirs, ours"} == story.world()


def test_a_run_taken_back_is_retried_with_all_that_does_not_stand(story):
    story.put("log.txt", "theirs, ")
    given = {"path": "log.txt", "text": "ours", "failures": [story.place.token("one")]}
    steps = story.write("a", "a.txt") + story.call("flaky", "drill.flaky", needs="a", **given)
    with story.place.open() as rt:
        run = story.submit(rt, steps)
        assert "ROLLED_BACK" == run.wait().state
        run.retry("flaky", "the far side is back")
        assert "COMPLETED" == run.wait().state
        story.tell("retry_from_rolled_back", run)
    assert {"a.txt": "ours", "log.txt": "theirs, ours"} == story.world()


def test_a_retry_asks_for_confirmations_anew(story):
    with story.place.open() as rt:
        run = story.submit(rt, story.write("a", "a.txt", "confirm: always"))
        for again in (True, False):
            assert "PAUSED" == run.wait().state
            (asked,) = rt.approvals()
            run.approve(asked.id, asked.digest, asked.version)
            assert "COMPLETED" == run.wait().state
            if again:
                run.retry("a")
        story.tell("retry_confirmed", run)
    assert {"a.txt": "ours"} == story.world()


def test_one_item_of_a_closed_run_is_taken_back_alone_unless_something_stands_on_it(story):
    steps = story.write("one", "shared.txt", text="one")
    steps += story.write("two", "shared.txt", text="two", needs="one")
    with story.place.open() as rt:
        run = story.submit(rt, steps + story.write("other", "other.txt", needs="two"))
        assert "COMPLETED" == run.wait().state
        assert [1, 2, 3] == [item.number for item in run.status().items]
        with pytest.raises(RunError) as caught:
            run.rollback(item=1)
        assert "two/1/0 first" in str(caught.value.hint)
        with pytest.raises(RunError) as unknown:
            run.rollback(item=4)
        run.rollback("only this", item=2)
        result = run.wait()
        assert ("FAILED", 2, ()) == (result.state, result.standing, result.residue)
        assert {"shared.txt": "one", "other.txt": "ours"} == story.world()
        run.rollback("and the rest")
        assert "ROLLED_BACK" == run.wait().state
        story.tell("rollback_item", run)
    assert ("run.illegal_state", "run.unknown_item") == (caught.value.code, unknown.value.code)
    assert {} == story.world()


def test_what_does_not_exist_cannot_be_rolled_back_to_and_the_run_is_as_it_was(story):
    with story.place.open() as rt:
        run = story.submit(rt, story.write("a", "a.txt"))
        assert "COMPLETED" == run.wait().state
        for ask in (lambda: run.rollback(to="none"), lambda: run.retry("none")):
            with pytest.raises(RunError) as caught:
                ask()
            assert "run.unknown_step" == caught.value.code
        assert "COMPLETED" == run.status().state
        run.rollback()
        assert "ROLLED_BACK" == run.wait().state


def test_what_a_conflict_kept_is_saved_and_never_over_something(story, monkeypatch, capsys):
    story.put("shared.txt", "earlier")
    monkeypatch.chdir(story.place.folder)
    with story.place.open() as rt:
        run = story.submit(
            rt, story.write("a", "a.txt") + story.write("b", "shared.txt", needs="a")
        )
        run.wait()
        with pytest.raises(UndoError):
            run.earlier(2)  # nothing was left
        story.put("shared.txt", "theirs")
        run.rollback()
        assert "FAILED" == run.wait().state
        assert b"earlier" == run.earlier(2)
    saved = story.place.folder / "saved.txt"
    save = ("undo", run.run_id, "--item", "2", "--save-as", str(saved))
    assert (0, "earlier") == (cli.run(save), saved.read_text())
    saved.write_text("somebody's")
    assert (8, "somebody's") == (cli.run(save), saved.read_text())
    assert 2 == cli.run((*save[:2], *save[4:]))
    assert 8 == cli.run((*save[:3], "7", *save[4:]))
    capsys.readouterr()
    assert {"shared.txt": "theirs"} == story.world()

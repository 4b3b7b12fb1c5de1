"""A process is killed in the middle of a step: what the next one finds, does and asks.

Each death is a real SIGKILL right after the effect, before the step's end is recorded.
"""

from __future__ import annotations

import os
import signal

import pytest

from awe_core.errors import AweError, ContractError, UsageError


def killed(story, host, steps):
    """Run a workflow in a process of its own, which dies in it."""
    flow = story.place.workflow(steps)
    assert -signal.SIGKILL == host.run("work", story.place, workflow=flow, inputs={})


def dying(story, kind):
    """Give steps the second of which ends the process, once."""
    story.put("old.txt", "theirs")
    token = story.place.token("death")
    return story.write("a", "a.txt") + story.call(
        "die", f"drill.{kind}", needs="a", path="old.txt", text="ours", token=token
    )


def recovered(rt):
    (row,) = rt.runs()
    return rt.attach(row.run_id)


@pytest.mark.parametrize("kind", ["die", "die_again"])
def test_what_was_applied_is_taken_back_and_done_again_or_answered_from_the_log(kind, story, host):
    killed(story, host, dying(story, kind))
    with story.place.open() as rt:
        run = recovered(rt)
        assert "COMPLETED" == run.wait().state
        told = story.tell(f"doubt_{kind}", run)
    undone = [one["step"] for one in told if one["kind"] == "undo.applied"]
    assert ([] if kind == "die_again" else ["die"]) == undone
    assert {"a.txt": "ours", "old.txt": "ours"} == story.world()


def test_what_began_and_intended_nothing_runs_again_as_the_same_attempt(story, host):
    gone = story.fifo("gone")
    pid = host.spawn(
        "work",
        story.place,
        workflow=story.place.workflow(
            story.write("a", "a.txt")
            + story.call(
                "wait", "drill.hold_thread", needs="a", path="w.txt", text="ours", fifo=gone
            )
        ),
        inputs={},
    )
    story.reached(gone)
    with story.place.open(observer=True) as rt:
        story.until(recovered(rt), "step.started", step="wait")
    os.kill(pid, signal.SIGKILL)
    assert -signal.SIGKILL == host.reap(pid)
    story.release(gone)
    with story.place.open() as rt:
        run = recovered(rt)
        story.reached(gone)
        story.release(gone)
        assert "COMPLETED" == run.wait().state
        told = story.tell("doubt_nothing", run)
    assert 2 == sum((one["kind"], one.get("step")) == ("step.started", "wait") for one in told)
    assert {"a.txt": "ours", "w.txt": "ours"} == story.world()


@pytest.fixture
def doubtful(story, host):
    """Give a deployment whose one run has a step that nobody can judge."""
    killed(story, host, dying(story, "report") + story.write("last", "last.txt", needs="die"))
    return story


def test_what_cannot_be_taken_back_is_in_doubt_until_somebody_says_it_happened(doubtful):
    with doubtful.place.open() as rt:
        run = recovered(rt)
        assert "PAUSED" == run.wait().state
        for output in (None, {"path": 7}):
            with pytest.raises(ContractError):
                run.resolve("die", "applied", output=output)
        for step, outcome in (("last", "applied"), ("none", "applied"), ("die", "perhaps")):
            with pytest.raises((AweError, UsageError)):
                run.resolve(step, outcome)
        assert "PAUSED" == run.status().state
        run.resolve("die", "applied", output={"path": "old.txt"}, reason="I looked")
        assert "COMPLETED" == run.wait().state
        doubtful.tell("doubt_applied", run)
    assert {"a.txt", "last.txt", "old.txt"} == set(doubtful.world())


def test_what_did_not_happen_is_tried_again(doubtful):
    doubtful.put("old.txt", "theirs")
    with doubtful.place.open() as rt:
        run = recovered(rt)
        assert "PAUSED" == run.wait().state
        run.resolve("die", "not_applied", reason="I looked")
        assert "COMPLETED" == run.wait().state
        doubtful.tell("doubt_not_applied", run)
    assert {"a.txt": "ours", "last.txt": "ours", "old.txt": "ours"} == doubtful.world()


def test_what_is_in_doubt_can_be_rolled_back_with_the_run(doubtful):
    with doubtful.place.open() as rt:
        run = recovered(rt)
        assert "PAUSED" == run.wait().state
        run.resolve("die", "roll_back", reason="I looked")
        result = run.wait()
        doubtful.tell("doubt_roll_back", run)
    assert "FAILED" == result.state
    assert ["die"] == [one.step for one in result.residue]
    assert {"old.txt": "ours"} == doubtful.world()


@pytest.mark.parametrize("capability", ["drill.die_each_time", "drill.die_each_time_again"])
def test_a_step_that_kills_its_process_after_its_first_effect_each_time_is_held(
    capability, story, host
):
    killed(story, host, story.call("die", capability, path="w.txt", text="ours"))
    ended = [host.run("recover", story.place) for _ in range(3)]
    assert [-signal.SIGKILL, -signal.SIGKILL, 0] == ended
    with story.place.open() as rt:
        run = recovered(rt)
        assert "PAUSED" == run.wait().state
        run.cancel(reason="it is poisonous")
        assert "ROLLED_BACK" == run.wait().state
    assert {} == story.world()
    assert not story.place.proof().findings


def test_a_step_that_kills_its_process_again_and_again_is_held(story, host):
    """Two recoveries run it again and die of it; the third asks somebody instead."""
    killed(story, host, story.call("die", "drill.die_always"))
    ended = [host.run("recover", story.place) for _ in range(5)]
    assert [0, 0] == ended[3:]
    with story.place.open() as rt:
        run = recovered(rt)
        assert "PAUSED" == run.wait().state
        run.cancel(reason="it is poisonous")
        assert "ROLLED_BACK" == run.wait().state
        told = story.tell("crash_loop", run)
    assert ["crash_loop"] == [one["cause"] for one in told if one["kind"] == "run.paused"]

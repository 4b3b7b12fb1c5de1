"""How long a closed run can be taken back, and what becomes of what was kept for it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from awe_core.errors import UndoError
from awe_core.journal import JournalReader


def keeping(story, text):
    with story.place.file.open("a") as settings:
        settings.write(f"undo: {{{text}}}\n")


def replaced(story, rt, name="old.txt", *more):
    """Run what replaces a file, whose earlier version then lies in the undo store."""
    if not (story.place.work / name).exists():
        story.put(name, "theirs")
    return story.submit(rt, story.write("w", name) + "".join(more))


def discarded(story):
    with JournalReader(story.place.home) as journal:
        return [(row.run, row.event) for row in journal.read() if row.kind == "undo.discarded"]


def eventually(found):
    while not found():  # the test's own time limit ends a wait for what never comes
        time.sleep(0.01)


def test_what_is_kept_of_a_closed_run_outlives_the_process(story):
    with story.place.open() as rt:
        name = replaced(story, rt).run_id
        assert "COMPLETED" == rt.attach(name).wait().state
    with story.place.open() as rt:
        run = rt.attach(name)
        run.rollback("not wanted")
        assert "ROLLED_BACK" == run.wait().state
    assert {"old.txt": "theirs"} == story.world()
    assert [] == discarded(story)


def test_after_its_time_a_closed_run_can_no_longer_be_taken_back_and_says_so(story):
    with story.place.open() as rt:
        name = replaced(story, rt).run_id
        rt.attach(name).wait()
    keeping(story, "keep: 1ms")
    with story.place.open() as rt:
        eventually(lambda: not story.slots())
        run = rt.attach(name)
        (item,) = run.status().items
        for ask in (run.rollback, lambda why: run.retry("w", why)):
            with pytest.raises(UndoError) as refused:
                ask("not wanted")
            assert "undo.discarded" == refused.value.code
        assert "COMPLETED" == run.wait().state
        assert () == run.status().actions
    assert "can no longer be taken back" == item.undo
    ((of, event),) = discarded(story)
    assert (name, "retention", [item.effect], 6) == (
        of,
        event["cause"],
        event["effects"],
        event["bytes"],
    )
    assert {"old.txt": "ours"} == story.world()
    assert "verified" == story.place.proof().verdict


def test_of_an_open_run_nothing_is_ever_dropped(story):
    with story.place.open() as rt:
        asked = story.call("ask", "fs.stat", "confirm: always", needs="w", path="x")
        name = replaced(story, rt, "old.txt", asked).run_id
        other = replaced(story, rt, "closed.txt")
        assert ("PAUSED", "COMPLETED") == (rt.attach(name).wait().state, other.wait().state)
    keeping(story, "keep: 1ms")
    with story.place.open() as rt:
        eventually(lambda: discarded(story))
        run = rt.attach(name)
        run.cancel("no more")
        assert "ROLLED_BACK" == run.wait().state
    assert [other.run_id] == [of for of, _ in discarded(story)]
    assert {"closed.txt": "ours", "old.txt": "theirs"} == story.world()


def test_a_run_that_left_nothing_needs_no_record_of_what_is_dropped(story):
    with story.place.open() as rt:
        run = replaced(story, rt, "old.txt", story.call("fail", "flow.fail", needs="w"))
        assert "ROLLED_BACK" == run.wait().state
    assert (story.place.home / "undo" / run.run_id).is_dir()
    keeping(story, "keep: 1ms")
    with story.place.open():
        eventually(lambda: not (story.place.home / "undo" / run.run_id).exists())
    assert [] == discarded(story)


def test_nothing_is_kept_of_what_completes_where_people_say_so(story):
    keeping(story, "keep: 0")
    with story.place.open() as rt:
        run = replaced(story, rt)
        assert "COMPLETED" == run.wait().state
        eventually(lambda: not story.slots())
        stop = replaced(
            story, rt, "other.txt", story.call("fail", "flow.fail", "on_failure: stop", needs="w")
        )
        assert "FAILED" == stop.wait().state
    assert [(run.run_id, "success")] == [(of, event["cause"]) for of, event in discarded(story)]
    with story.place.open() as rt:
        stop = rt.attach(stop.run_id)
        stop.rollback("later")
        assert "ROLLED_BACK" == stop.wait().state
    assert {"old.txt": "ours", "other.txt": "theirs"} == story.world()


def test_files_that_a_crash_left_after_their_record_go_without_a_second_one(story):
    keeping(story, "keep: 0")
    with story.place.open() as rt:
        name = replaced(story, rt).run_id
        rt.attach(name).wait()
        eventually(lambda: discarded(story) and not story.slots())
    left = story.place.home / "undo" / name / "00000000-000000"
    left.parent.mkdir(exist_ok=True)
    left.write_text("theirs")
    (left.parent / "00000000-000001").mkdir(mode=0o500)  # a folder that was deleted
    os.utime(left.parent, (0, 0))
    with story.place.file.open() as settings:
        text = settings.read()
    story.place.file.write_text(text.replace("keep: 0", "keep: 1ms"))
    with story.place.open():
        eventually(lambda: not left.parent.exists())
    assert 1 == len(discarded(story))


# ---- room ---------------------------------------------------------------------------------------
def test_a_full_undo_store_refuses_what_it_could_not_take_back(story):
    keeping(story, "quota: 10")
    with story.place.open() as rt:
        first = replaced(story, rt)
        assert "COMPLETED" == first.wait().state
        result = replaced(story, rt, "other.txt").wait()
        first.rollback("make room")
        assert "ROLLED_BACK" == first.wait().state
        assert "COMPLETED" == replaced(story, rt, "other.txt").wait().state
    assert ("ROLLED_BACK", "undo.full") == (result.state, result.error.code)
    assert {"old.txt": "theirs", "other.txt": "ours"} == story.world()
    assert [] == discarded(story)


def test_a_full_undo_store_drops_the_oldest_closed_runs_where_people_say_so(story):
    keeping(story, "quota: 15, on_quota: evict_closed")
    with story.place.open() as rt:
        asked = story.call("ask", "fs.stat", "confirm: always", needs="w", path="x")
        waits = replaced(story, rt, "open.txt", asked)
        assert "PAUSED" == waits.wait().state
        runs = []
        for n in range(3):
            runs.append(replaced(story, rt, f"{n}.txt"))
            assert "COMPLETED" == runs[-1].wait().state
        story.put("huge.txt", "x" * 16)
        result = replaced(story, rt, "huge.txt").wait()
        assert "undo.full" == result.error.code  # not even with all that may go
        waits.cancel("no more")
        assert "ROLLED_BACK" == waits.wait().state
    told = discarded(story)
    assert [run.run_id for run in runs[:2]] == [of for of, _ in told]
    assert {"quota"} == {event["cause"] for _, event in told}
    assert "theirs" == story.world()["open.txt"]
    assert "verified" == story.place.proof().verdict


# ---- deaths -------------------------------------------------------------------------------------
@pytest.mark.parametrize("capability", ["fs.write_text", "drill.die"])  # idempotent, and not
def test_what_was_staged_for_an_act_that_never_came_about_is_dropped(capability, story, host):
    story.put("old.txt", "theirs")
    token = {"token": story.place.folder / "none"} if capability == "drill.die" else {}
    flow = story.place.workflow(story.call("w", capability, path="old.txt", text="ours", **token))
    swap = ["exchange", 2]  # the first one is how the store is tried
    died = host.run("work", story.place, workflow=flow, inputs={}, armed=True, kill_at=swap)
    assert -signal.SIGKILL == died
    staged = [path.name for path in story.slots()]
    assert {"old.txt": "theirs"} == story.world()
    with story.place.open() as rt:
        assert "COMPLETED" == rt.attach(rt.runs()[0].run_id).wait().state
    now = [path.name for path in story.slots()]
    assert (1, 1, False) == (len(staged), len(now), staged == now)

"""A process dies at each call that makes something durable; the next one leaves no half-way world.

``AWE_CRASH_POINTS=all`` kills at every one of them; else an even sample of them is taken.
"""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from awe_core.journal import JournalReader, Readings

if TYPE_CHECKING:
    from collections.abc import Iterator

_SOME = 10  #: kills of one sort

pytestmark = pytest.mark.parametrize("drill", ["workspace", "run", "session"], indirect=True)


def points(total: int) -> Iterator[int]:
    """Give the points to kill at, evenly."""
    some = total if os.environ.get("AWE_CRASH_POINTS") == "all" else min(_SOME, total)
    return (1 + (number * total) // some for number in range(some))


def _recorded(drill, *, fails: bool, role: str = "work", **order):
    """Run once to its end; give the number of points, and the world before and after."""
    one = drill()
    before = one.begin()
    flow = one.flow(fails=fails)
    assert 0 == one.host.run(role, one.place, workflow=flow, inputs={}, armed=True, **order)
    (names,) = [said["points"] for said in one.host.said(one.place) if "points" in said]
    return len(names), before, one.place.tree()


def _killed(drill, at: int, *, fails: bool, **order):
    one = drill()
    before = one.begin()
    flow = one.flow(fails=fails)
    ended = one.host.run(
        "work", one.place, workflow=flow, inputs={}, armed=True, kill_at=at, **order
    )
    assert ended in {-signal.SIGKILL, 0}
    return one, before


def test_a_run_killed_anywhere_completes_or_was_never_accepted(drill):
    total, before, after = _recorded(drill, fails=False)
    assert before != after
    for at in points(total):
        one, _ = _killed(drill, at, fails=False)
        assert 0 == one.host.run("recover", one.place), (at, one.host.said(one.place))
        assert one.check(before, after) <= {"COMPLETED"}, at


def test_a_run_killed_anywhere_on_its_way_to_a_failure_is_rolled_back(drill):
    total, before, after = _recorded(drill, fails=True)
    assert before == after
    for at in points(total):
        one, _ = _killed(drill, at, fails=True)
        assert 0 == one.host.run("recover", one.place), (at, one.host.said(one.place))
        assert one.check(before, before) <= {"ROLLED_BACK"}, at


def test_a_rollback_of_a_completed_run_killed_anywhere_is_finished_by_the_next(drill):
    total, before, _ = _recorded(drill, fails=False)
    whole, _, after = _recorded(drill, fails=False, rollback=True)
    assert before == after
    for at in points(whole - total):
        one, _ = _killed(drill, total - 1 + at, fails=False, rollback=True)
        assert 0 == one.host.run("recover", one.place), (at, one.host.said(one.place))
        ended = one.check(before, one.place.tree())
        assert ended <= {"COMPLETED", "ROLLED_BACK"}, at


def test_a_recovery_killed_anywhere_is_finished_by_the_next(drill):
    total, before, _ = _recorded(drill, fails=True)
    for number, at in enumerate(points(total)):
        one, _ = _killed(drill, at, fails=True)
        one.host.run("recover", one.place, armed=True, kill_at=6 + 3 * number)
        one.host.run("recover", one.place, armed=True, kill_at=4 + number)
        assert 0 == one.host.run("recover", one.place), (at, one.host.said(one.place))
        assert one.check(before, before) <= {"ROLLED_BACK"}, at


_PAYS = """\
  - {id: pay, capability: drill.charge@1, with: {ledger: book.txt, entry: a}}
  - {id: fail, capability: flow.fail@1, needs: [pay]}
"""


def test_a_call_that_takes_back_is_made_exactly_once_for_each_entry_whenever_it_is_killed(drill):
    """A killed entry is known by its lookup, a killed call by its key; the book only grows."""

    def lived(**order):
        one = drill()
        one.place.work.mkdir(exist_ok=True)
        book = one.place.work / "book.txt"
        book.write_text("")
        flow = one.place.workflow(_PAYS)
        one.host.run("work", one.place, workflow=flow, inputs={}, armed=True, **order)
        return one, book

    one, _ = lived()
    (names,) = [said["points"] for said in one.host.said(one.place) if "points" in said]
    for at in points(len(names)):
        one, book = lived(kill_at=at)
        assert 0 == one.host.run("recover", one.place), (at, one.host.said(one.place))
        entries = [line[:2] for line in book.read_text().splitlines()]
        assert ["+a", "-a"] * (len(entries) // 2) == entries, (at, names[at - 1])
        with one.place.open(observer=True) as rt:
            assert {row.state for row in rt.runs()} <= {"ROLLED_BACK"}
        assert "verified" == one.place.proof().verdict


def test_no_file_that_takes_a_run_back_goes_before_the_log_says_that_it_does(drill):
    one = drill()
    one.place.work.mkdir(exist_ok=True)
    settings = one.place.file.read_text()
    write = "  - {id: w, capability: fs.write_text@1, with: {path: a.txt, text: x}}\n"
    flow = one.place.workflow(write)

    def kept():
        one.place.file.write_text(settings)
        (one.place.work / "a.txt").write_text("theirs")
        with one.place.open() as rt:
            run = rt.submit(flow)
            assert "COMPLETED" == run.wait().state
        one.place.file.write_text(f"{settings}undo: {{keep: 1ms}}\n")
        return run.run_id

    def told():
        with JournalReader(one.place.home) as journal, closing(Readings(journal)) as logs:
            found = (logs.reading(run).read(run=run, kinds={"undo.discarded"}) for run in runs)
            return [row.run for rows in found for row in rows]

    runs = [kept()]
    assert 0 == one.host.run("forget", one.place, armed=True)
    names = one.host.said(one.place)[-1]["points"]
    for at in points(len(names)):
        runs.append(kept())
        one.host.run("forget", one.place, armed=True, kill_at=at)
        is_kept = bool(list((one.place.home / "undo" / runs[-1]).glob("*")))
        assert is_kept or runs[-1] in told(), names[at - 1]
    assert 0 == one.host.run("forget", one.place)
    assert sorted(runs) == sorted(told())
    assert "verified" == one.place.proof().verdict

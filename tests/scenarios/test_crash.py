"""A process dies at each call that makes something durable; the next one leaves no half-way world.

``AWE_CRASH_POINTS=all`` kills at every one of them; else an even sample of them is taken.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

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

"""A process dies at each call that makes something durable; the next one leaves no half-way world.

``AWE_CRASH_POINTS=all`` kills at every one of them; else an even sample of them is taken.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEPS = """\
  - id: folder
    capability: fs.make_dir@1
    with: {path: out}
  - id: create
    capability: fs.write_text@1
    needs: [folder]
    with: {path: out/new.txt, text: "new\\n", mode: create}
  - id: replace
    capability: fs.write_text@1
    needs: [create]
    with: {path: old.txt, text: "replaced\\n", mode: replace}
  - id: append
    capability: fs.append_text@1
    needs: [replace]
    with: {path: log.txt, text: "second\\n"}
  - id: delete
    capability: fs.delete@1
    needs: [append]
    with: {path: doomed, recursive: true}
  - id: move
    capability: fs.move@1
    needs: [delete]
    with: {source: from.txt, target: out/to.txt}
"""
_FAIL = """\
  - id: fail
    capability: flow.fail@1
    needs: [move]
"""
_SOME = 10  #: kills of one sort


@attrs.frozen
class Drill:
    """One place, ready for a workflow that changes the world in every way."""

    place: object
    host: object

    def begin(self):
        work = self.place.work
        (work / "doomed" / "deep").mkdir(parents=True)
        for name in ("old.txt", "log.txt", "from.txt", "doomed/a.txt", "doomed/deep/b.txt"):
            (work / name).write_text(f"{name} as it was\n")
        return self.place.tree()

    def flow(self, *, fails: bool):
        return str(self.place.workflow(_STEPS + _FAIL * fails))

    def check(self, before, after) -> set[str]:
        """Everything that was submitted has ended, wholly or not at all, and it is proved."""
        said = self.host.said(self.place)
        assert [] == [one["died"] for one in said if "died" in one]
        with self.place.open(observer=True) as rt:
            states = {row.run_id: row.state for row in rt.runs()}
            views = [rt.attach(run).status() for run in states]
        for one in said:
            if one.get("state") == "OPENED":
                assert one["run"] in states  # acknowledged, so it is there
            elif "run" in one:
                assert one["state"] in {states[one["run"]], "COMPLETED"}
        assert [] == [one for view in views for one in view.residue]
        ended = set(states.values())
        expected = after if ended == {"COMPLETED"} else before
        assert expected == self.place.tree()
        report = self.place.proof()
        assert ("verified", 0) == (report.verdict, report.open_runs), report.findings
        return ended


def points(total: int) -> Iterator[int]:
    """Give the points to kill at, evenly."""
    some = total if os.environ.get("AWE_CRASH_POINTS") == "all" else min(_SOME, total)
    return (1 + (number * total) // some for number in range(some))


@pytest.fixture(scope="module")
def drill(host, tmp_path_factory, place_of):
    """Give fresh places, one for each kill."""

    def fresh() -> Drill:
        return Drill(place_of(tmp_path_factory.mktemp("crash") / "deployment"), host)

    return fresh


def _recorded(drill, *, fails: bool, role: str = "work", **order):
    """Run once to its end; give the number of points, and the world before and after."""
    one = drill()
    before = one.begin()
    flow = one.flow(fails=fails)
    assert 0 == one.host.run(role, one.place, workflow=flow, inputs={}, armed=True, **order)
    (names,) = [said["points"] for said in one.host.said(one.place) if "points" in said]
    return len(names), before, one.place.tree()


def _killed(drill, at: int, *, fails: bool, **order) -> Drill:
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

"""A process dies at each system call that makes something durable; the next one finishes its work.

``strace`` kills it on entry, so a call of SQLite's counts like one of ours.  Its counts are per
thread and per call: the process dies in the first thread that comes so far.
``AWE_CRASH_POINTS=all`` kills at every one; else an even sample of each sort is taken.
"""

from __future__ import annotations

import itertools
import os
import signal
from typing import TYPE_CHECKING

import pytest
import recorded

from awe_core.journal import JournalReader

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("tracing")

_SOME = 10  #: kills of one sort


def _points(trace: Path, root: Path, *, some: int = _SOME) -> list[tuple[str, int]]:
    """Give call and count of what became durable in *root*, files of one kind beside each other."""
    found: dict[tuple[str, int], str] = {}
    for call in recorded.calls(trace):
        inside = [p for p in call.paths() if p.startswith(f"{root}/") and p != f"{root}/acks"]
        if call.name in recorded.DURABLE and inside:
            found.setdefault((call.name, call.nth), inside[0])
    ordered = sorted(found, key=lambda point: (point[0], found[point].rpartition("/")[0], point[1]))
    assert len(ordered) > 2 * some, ordered
    everything = os.environ.get("AWE_CRASH_POINTS") == "all"
    return ordered if everything else recorded.sampled(ordered, some)


def _killing(name: str, nth: int) -> tuple[str, ...]:
    return ("-o", os.devnull, "-e", f"inject={name}:signal=SIGKILL:when={nth}")


def _recorded(drill, tmp_path: Path, *, fails: bool, **order):
    """Run once to its end; give the points, and the world before and after."""
    one, trace = drill(), tmp_path / "trace"
    before = one.begin()
    flow = one.flow(fails=fails)
    options = recorded.options(trace)
    assert 0 == one.host.traced("work", one.place, *options, workflow=flow, inputs={}, **order)
    return _points(trace, one.place.folder), before, one.place.tree()


def _killed(drill, point: tuple[str, int], *, fails: bool, **order):
    one = drill()
    one.begin()
    options, flow = _killing(*point), one.flow(fails=fails)
    ended = one.host.traced("work", one.place, *options, workflow=flow, inputs={}, **order)
    assert ended in {-signal.SIGKILL, 0}
    return one


def _recovered(one) -> None:
    assert 0 == one.host.run("recover", one.place), one.host.said(one.place)


def test_a_run_killed_at_any_call_completes_or_was_never_accepted(drill, tmp_path, each):
    points, before, after = _recorded(drill, tmp_path, fails=False)
    assert before != after
    for point in points:
        with each(point):
            one = _killed(drill, point, fails=False)
            _recovered(one)
            assert one.check(before, after) <= {"COMPLETED"}


def test_a_run_killed_at_any_call_on_its_way_to_a_failure_is_rolled_back(drill, tmp_path, each):
    points, before, after = _recorded(drill, tmp_path, fails=True)
    assert before == after
    for point in points:
        with each(point):
            one = _killed(drill, point, fails=True)
            _recovered(one)
            assert one.check(before, before) <= {"ROLLED_BACK"}


def test_a_rollback_killed_at_any_call_is_finished_by_the_next(drill, tmp_path, each):
    points, before, after = _recorded(drill, tmp_path, fails=False, rollback=True)
    forward, _, done = _recorded(drill, tmp_path, fails=False)
    assert before == after
    for point in sorted(set(points) - set(forward)):
        with each(point):
            one = _killed(drill, point, fails=False, rollback=True)
            _recovered(one)
            assert one.check(before, done) <= {"COMPLETED", "ROLLED_BACK"}


def test_a_recovery_killed_at_any_call_is_finished_by_the_next(drill, tmp_path, each):
    """Half of them recover what was going forward, half what was being taken back."""
    points, before, _ = _recorded(drill, tmp_path, fails=True)
    syncs = sorted(nth for name, nth in points if name in {"fsync", "fdatasync"})
    firsts = [("fdatasync", syncs[len(syncs) // 2]), ("fdatasync", syncs[-1])]
    whole = _killed(drill, firsts[0], fails=True)
    trace = tmp_path / "recovery"
    assert 0 == whole.host.traced("recover", whole.place, *recorded.options(trace))
    for first, point in zip(itertools.cycle(firsts), _points(trace, whole.place.folder)):
        with each(point):
            one = _killed(drill, first, fails=True)
            one.host.traced("recover", one.place, *_killing(*point))
            one.host.traced("recover", one.place, *_killing(*point))
            _recovered(one)
            assert one.check(before, before) <= {"ROLLED_BACK"}


def test_a_home_killed_while_its_keys_are_made_opens_afterwards(drill, tmp_path, each):
    one, trace = drill(), tmp_path / "trace"
    assert 0 == one.host.traced("recover", one.place, *recorded.options(trace))
    points = {
        (call.name, call.nth)
        for call in recorded.calls(trace)
        if call.name in {"write", "rename", "unlink"}
        and call.paths()[0].startswith(f"{one.place.home}/keys/")
    }
    assert points
    for point in sorted(points):
        with each(point):
            one = _killed(drill, point, fails=False)
            _recovered(one)


def test_a_rollback_that_is_on_record_is_finished_by_the_next(drill, each):
    """However few of the rows beside the record were written."""
    whole, forward = drill(), drill()
    order = {"role": "work", "inputs": {}, "armed": True}
    for one, more in ((whole, {"rollback": True}), (forward, {})):
        before = one.begin()
        flow = one.flow(fails=False)
        assert 0 == one.host.run(place=one.place, workflow=flow, **order, **more)
    points = [
        [s["points"] for s in one.host.said(one.place) if "points" in s] for one in (whole, forward)
    ]
    ((names,), (first,)) = points
    commits = [n for n, name in enumerate(names, 1) if name == "COMMIT" and n > len(first) - 3]
    for at in commits[:4]:
        with each(at):
            one = drill()
            one.begin()
            flow = one.flow(fails=False)
            more = {"rollback": True, "kill_at": at}
            one.host.run(place=one.place, workflow=flow, **order, **more)
            _recovered(one)
            with JournalReader(one.place.home) as journal:
                kinds = [row.kind for row in journal.read()]
            ended = one.check(before, one.place.tree())
            assert {"ROLLED_BACK"} == ended or "run.resumed" not in kinds

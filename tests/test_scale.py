"""Scale: a step costs as much in a large run as in a small one, and nothing recurses.

Costs are counted, not timed: lines executed, bytes held.  The sizes here are for every day;
``AWE_TEST_SCALE=full`` (`tox -e scale`) takes those of the design, 30-engine section 7.  What is
timed stands in ``tests/bench/engine.py``, whose shapes and driver are used here.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import itertools
import os
import sys
from pathlib import Path

import pytest

from awe_core.decider import replay
from awe_core.testing.deployment import Deployment
from awe_core.testing.measuring import packs

_SOURCE = Path(__file__).parent / "bench" / "engine.py"
_SPEC = importlib.util.spec_from_file_location("bench_engine", _SOURCE)
bench = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(bench)

IS_FULL = os.environ.get("AWE_TEST_SCALE") == "full"
SMALL, LARGE = 100, 10_000 if IS_FULL else 1_000
LONGEST = 50_000 if IS_FULL else 2_000
MOST = 1.2  #: how much dearer a step may be in the large run
DEPTH = 60  #: frames that may stand on the test's own

pytestmark = pytest.mark.timeout(1_800 if IS_FULL else 120)


@pytest.fixture(scope="module")
def made(wheels, tmp_path_factory):
    os.environ.setdefault("AWE_TEST_WHEELS", str(wheels))
    with Deployment.create(tmp_path_factory.mktemp("made"), packs()) as found:
        yield found


@contextlib.contextmanager
def counted():
    """Count the lines of Python that are executed inside; each turn of a loop counts."""
    lines, before = itertools.count(), sys.gettrace()

    def note(_frame, event, _what):
        if event == "line":
            next(lines)
        return note

    found = []
    sys.settrace(note)
    try:
        yield found
    finally:
        sys.settrace(before)
    found.append(next(lines))


# ---- cost ---------------------------------------------------------------------------------------
def runs(work):
    """Have a workflow compiled before it is counted."""

    def prepared(spec):
        plan = bench.compiled(spec)
        return lambda: work(plan)

    return prepared


WORKS = {
    "compiled": lambda spec: lambda: bench.compiled(spec),
    "analysed": lambda spec: lambda: bench.findings(spec),
    "run": runs(bench.forward),
    "run and back": runs(bench.back),
}


@pytest.mark.parametrize("what", WORKS)
@pytest.mark.parametrize("shape", bench.SHAPES, ids=lambda shape: shape.__name__)
def test_a_step_costs_as_much_in_a_large_workflow_as_in_a_small_one(shape, what):
    few, many = shape(SMALL, "few"), shape(LARGE, "many")  # no cache has seen these names
    costs = []
    for spec in (few, many):
        work = WORKS[what](spec)
        with counted() as lines:
            work()
        costs.append(lines[0] / len(spec.steps))

    assert costs[1] < MOST * costs[0]


def test_a_fact_costs_as_much_to_replay_in_a_large_run_as_in_a_small_one():
    costs = []
    for count in (SMALL, LARGE):
        plan, facts = bench.compiled(bench.layers(count)), []
        bench.Course(plan, facts).drive()
        with counted() as lines:
            again = replay(plan, "r1", facts, started_at=bench.AT)
        costs.append(lines[0] / len(facts))
        assert "COMPLETED" == again.state

    assert costs[1] < MOST * costs[0]


# ---- no recursion -------------------------------------------------------------------------------
def test_a_long_chain_compiles_is_analysed_runs_and_unwinds_on_a_low_stack():
    spec = bench.chain(LONGEST)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + DEPTH)
    try:
        plan, found = bench.compiled(spec), bench.findings(spec)
        facts = []
        ended = bench.Course(plan, facts).drive(last=spec.steps[-1].id).run
        again = replay(plan, "r1", facts, started_at=bench.AT)
    finally:
        sys.setrecursionlimit(before)

    assert ["saga.undo_coverage"] == [finding.code for finding in found]
    assert ("ROLLED_BACK", "ROLLED_BACK") == (ended.state, again.state)
    assert [f.step for f in facts if f.kind == "undo.applied"] == [
        one.id for one in reversed(spec.steps)
    ]


# ---- a wide need --------------------------------------------------------------------------------
def test_a_step_that_needs_1_100_others_starts_once_after_all_of_them():
    facts = []
    ended = bench.Course(bench.compiled(bench.gathered(1_101)), facts).drive().run

    assert ended.state == "COMPLETED"
    begun = [fact.step for fact in facts if fact.kind == "step.started"]
    done = [fact.step for fact in facts if fact.kind == "step.completed"]
    assert begun[-1] == done[-1] == "last"
    assert 1_101 == len(begun) == len(done)


# ---- memory -------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", bench.SHAPES, ids=lambda shape: shape.__name__)
def test_a_step_of_an_open_run_takes_at_most_two_kibibytes(shape):
    assert bench.bytes_a_step(shape(LARGE)) < 2_048


def test_outputs_that_nobody_reads_any_more_are_not_held():
    spec = bench.chain(SMALL)
    run = bench.Course(bench.compiled(spec)).drive(stop=SMALL - 1).run

    assert 1 == len(run.outputs)


# ---- the engine ---------------------------------------------------------------------------------
def test_a_step_costs_the_engine_as_much_in_a_large_run_as_in_a_small_one(made, tmp_path):
    async def run(place):
        async with place.open() as runtime:
            await runtime.run(bench.document(10))
            for count in (SMALL, LARGE):
                spec = bench.document(count)
                with counted() as lines:
                    ended = await runtime.run(spec)
                costs.append(lines[0] / count)
                assert "COMPLETED" == ended.state

    costs = []
    asyncio.run(run(made.copy(tmp_path / "home")))

    assert costs[1] < MOST * costs[0]


# ---- parked runs --------------------------------------------------------------------------------
def test_runs_that_wait_for_people_are_not_held_in_memory_and_all_are_there(made, tmp_path):
    count = 10_000 if IS_FULL else 100
    place = made.copy(tmp_path / "home")
    asyncio.run(bench.park(place, count))

    async def look():
        async with place.open() as runtime:
            engine = runtime._door.engine  # noqa: SLF001 - what it holds is looked at
            assert {} == engine._active  # noqa: SLF001 - the same
            assert count == len(runtime.runs("PAUSED", limit=count + 1))
            asked = runtime.approvals()
            assert count == len({one.run for one in asked})
            handle = runtime.attach(asked[0].run)
            await handle.approve(asked[0].id, asked[0].digest, asked[0].version)
            assert "COMPLETED" == (await handle.wait()).state
            assert {} == engine._active  # noqa: SLF001 - the same

    asyncio.run(look())


def test_a_run_that_only_waits_costs_an_engine_that_opens_no_line_of_python(made, tmp_path):
    costs = []
    for count in (10, 200):
        place = made.copy(tmp_path / f"home{count}")
        asyncio.run(bench.park(place, count))
        costs.append(asyncio.run(_recovered(place)))

    assert costs[1] < costs[0] + 20


async def _recovered(place):
    """Count what it takes to look at the runs once more, as at the start."""
    async with place.open() as runtime:
        with counted() as lines:
            await runtime._door.engine.recover()  # noqa: SLF001 - at what it does is looked
        return lines[0]

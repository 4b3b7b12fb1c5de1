"""Chaos: what was made to fail is taken back, what is killed is taken up; and a lie is noticed."""

from __future__ import annotations

import json

import attrs
import pytest

from awe_core.testing.chaos import ChaosOptions, ChaosReport, measure
from awe_core.testing.page import chaos_page


@pytest.fixture(autouse=True)
def _built(wheels, monkeypatch):
    monkeypatch.setenv("AWE_TEST_WHEELS", str(wheels))


def report(**changes):
    found = ChaosReport(
        options=ChaosOptions(runs=10, seed=7, kill=1),
        seed=7,
        machine={},
        injected_failures=4,
        rolled_back=4,
        file_removed=4,
        completed=6,
        effects=4,
        undone=4,
        residue=0,
        states={"COMPLETED": 6, "ROLLED_BACK": 4},
        trees=("a", "a"),
        kills=1,
        verdict="verified",
    )
    return attrs.evolve(found, **changes)


@pytest.mark.parametrize(("runs", "probability", "failing"), [(10, 0.5, 6), (2, 1.0, 2)])
def test_whatever_a_seed_makes_fail_is_taken_back(runs, probability, failing):
    found = measure(ChaosOptions(runs=runs, concurrency=4, probability=probability, seed=3))

    assert ((), True) == (found.failures, found.is_ok)
    assert (failing, failing, failing, failing) == (
        found.injected_failures,
        found.rolled_back,
        found.file_removed,
        found.undone,
    )
    assert (runs - failing, runs - failing) == (found.completed, found.states.get("COMPLETED", 0))
    assert found.trees[0] == found.trees[1]


def test_an_engine_that_is_killed_loses_nothing_and_leaves_nothing_half_done():
    found = measure(ChaosOptions(runs=24, concurrency=8, seed=3, kill=2))

    assert ((), True) == (found.failures, found.is_ok)
    assert 2 == found.kills
    assert "verified" == found.verdict


def test_a_report_is_json_with_equal_counts_where_all_is_well():
    document = json.loads(json.dumps(report().as_json()))

    counts = ("injected_failures", "rolled_back", "file_removed", "undone")
    assert {4} == {document[name] for name in counts}
    assert (0, True, []) == (document["residue"], document["ok"], document["failures"])
    text = "\n".join(report().lines())
    assert "rolled back   4/4" in text
    assert "engine killed 1 times" in text


def test_a_page_says_what_became_of_all_that_was_injected():
    page = chaos_page(report(machine={"awe": "<1>"}))

    assert "<td>rolled back</td><td>4/4 of the runs that were made to fail</td>" in page
    assert "awe &lt;1&gt;" in page
    assert ">COMPLETED</text>" in page
    assert "failed: 3 effects remain" in chaos_page(report(residue=3))


def test_progress_is_told_of_runs_and_of_kills():
    told = []
    measure(ChaosOptions(runs=100, concurrency=20, seed=3), told.append)
    measure(ChaosOptions(runs=8, concurrency=4, seed=3, kill=1), told.append)

    assert "100 of 100 runs" == told[0]
    assert "killed 1 times, 8 of 8 runs have ended" in told


@pytest.mark.parametrize(
    "changes",
    [
        {"rolled_back": 3},
        {"file_removed": 3},
        {"undone": 3},
        {"residue": 1},
        {"completed": 5},
        {"kills": 0},
        {"trees": ("a", "b")},
        {"verdict": "failed"},
    ],
)
def test_each_inequality_fails_the_check(changes):
    found = report(**changes)

    assert 1 == len(found.failures)
    assert not found.is_ok
    assert found.lines()[-1] == f"failed: {found.failures[0]}"

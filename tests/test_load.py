"""The load: what it counts and checks, and what its floor does.  No figure of time is judged."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sqlite3
import threading
from pathlib import Path

import attrs
import pytest

from awe_core import canonical
from awe_core.documents import load_workflow
from awe_core.invoke.inprocess import InProcess
from awe_core.testing.deployment import Deployment
from awe_core.testing.floor import Floor
from awe_core.testing.load import DEFAULT, PEERS, Figures, LoadOptions, LoadReport, Mode, measure
from awe_core.testing.measuring import (
    BODY,
    Held,
    Parts,
    is_right,
    lay_out,
    leaked,
    packs,
    tree_digest,
)
from awe_core.testing.page import load_page

NOTHING = Held(0, 0, 0, 0, 0)
HAS_PROC = Path("/proc/self/fd").is_dir()


@pytest.fixture(autouse=True)
def _built(wheels, monkeypatch):
    monkeypatch.setenv("AWE_TEST_WHEELS", str(wheels))


def figures(**changes):
    found = Figures(
        mode=DEFAULT,
        runs=100,
        rate=50.0,
        p50_ms=10.0,
        p95_ms=20.0,
        p99_ms=30.0,
        cpu_ms=1.0,
        records=14.0,
        barriers=2.0,
        flushes=4.0,
        floor_rate=200.0,
        floor_cpu_ms=0.5,
        in_flight=10.0,
        wrong=0,
        leaks=NOTHING,
    )
    return attrs.evolve(found, **changes)


def report(*rows, **options):
    return LoadReport(
        options=LoadOptions(runs=100, concurrency=10, **options),
        machine={
            "awe": "1",
            "python": "3",
            "sqlite": "3",
            "system": "Linux",
            "cores": "2",
            "file_system": "ext4",
        },
        executor="inproc",
        figures=rows,
        peak_mib=50.0,
    )


# ---- the whole ---------------------------------------------------------------------------------
@pytest.mark.parametrize("failing", [False, True])
def test_both_modes_are_measured_the_default_first_and_every_check_holds(failing):
    found = measure(LoadOptions(runs=8, concurrency=4, failing=failing))

    assert ((), True) == (found.failures, found.is_ok)
    assert [DEFAULT, PEERS] == [one.mode for one in found.figures]
    default, peers = found.figures
    assert default.records == peers.records > 10
    assert peers.flushes == peers.barriers  # nothing but commits is flushed there
    assert default.flushes - default.barriers == 2  # of the file and of its folder
    assert default.in_flight is None  # too few to say


def test_a_report_is_json_and_says_under_which_conditions_its_figures_stand():
    found = report(figures(), figures(mode=PEERS))

    document = json.loads(json.dumps(found.as_json()))
    assert [("output", "synced"), ("step", "unsynced")] == [
        (one["mode"]["barriers"], one["mode"]["effects"]) for one in document["modes"]
    ]
    assert {"full"} == {one["durability"] for one in document["modes"]}
    text = "\n".join(found.lines())
    assert text.index("effects synced") < text.index("effects unsynced")
    assert "executor inproc" in text
    assert document["machine"]["file_system"] in text


def test_progress_is_told_while_each_mode_is_measured():
    told = []
    measure(LoadOptions(runs=4, concurrency=2), told.append)

    assert [
        "barriers output, effects synced: 4 of 4 runs",
        "barriers step, effects unsynced: 4 of 4 runs",
    ] == told


# ---- as a page ---------------------------------------------------------------------------------
def shown(**changes):
    """Give a page of a report with plots, whose names want to be markup."""
    plots = {
        "latencies_ms": (1.0, 2.0, 9.0, 20.0),
        "ended_s": (0.1, 0.2, 0.3, 1.5),
        "cpu_parts": {"<b>journal": 0.7, "engine": 0.3},
    }
    found = report(figures(**plots), figures(mode=PEERS, **plots, **changes))
    found = attrs.evolve(found, machine={**found.machine, "file_system": "</p><script>x"})
    return load_page(found)


def test_a_page_says_all_that_the_report_says_both_modes_beside_each_other():
    page = shown()

    header = page.partition("<tr>")[2].partition("</tr>")[0]
    assert header.index("effects synced") < header.index("effects unsynced")
    for name in ("ratio to the floor", "p99 ms", "barriers a workflow", "connections left open"):
        assert f"<td>{name}</td>" in page
    assert 2 == page.count("<figcaption>latency</figcaption>")
    assert 2 == page.count("<figcaption>workflows a second</figcaption>")
    assert "every check holds" in page
    assert "<p class=bad>failed: 1 of 100 runs are not as they must be</p>" in shown(wrong=1)


def test_a_page_holds_no_markup_from_outside_and_asks_for_nothing():
    page = shown()

    assert "<script>" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;journal" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    assert not re.search(r"(src|href|xlink)=|url\(|@import|https?:", page)


def test_every_run_stands_in_the_histogram_once():
    bars = re.findall(r"ms and more: (\d+) runs", shown())

    assert 2 * 4 == sum(map(int, bars))


def test_a_measured_load_can_be_shown():
    page = load_page(measure(LoadOptions(runs=8, concurrency=4, is_profiled=True)))

    assert 2 == page.count("<figcaption>where the processor time goes")
    assert ">journal</text>" in page


# ---- options -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("asked", "modes"),
    [
        ({}, (DEFAULT, PEERS)),
        ({"barriers": "step"}, (DEFAULT, Mode("step", "synced"))),
        ({"effects": "unsynced"}, (DEFAULT, Mode("output", "unsynced"))),
        ({"barriers": "output", "effects": "synced"}, (DEFAULT,)),
    ],
)
def test_whatever_is_asked_the_default_is_measured_first(asked, modes):
    assert modes == LoadOptions(**asked).modes


# ---- checks ------------------------------------------------------------------------------------
def test_a_report_whose_checks_hold_says_which_they_are():
    found = report(figures())

    assert found.is_ok
    assert "checked: every file is right" in found.lines()[-1]
    assert found.figures[0].floor_ratio == 0.25


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"wrong": 1}, "1 of 100 runs are not as they must be"),
        ({"leaks": Held(2, 0, 1, 0, 0)}, "left open: 2 files, 1 tasks"),
        ({"in_flight": 8.0}, "rate x latency gives 8.0 in flight, not 10"),
    ],
)
def test_a_check_that_does_not_hold_fails_the_report_by_name(changes, why):
    found = report(figures(), figures(**changes))

    assert (why,) == found.failures
    assert not found.is_ok
    assert found.as_json()["ok"] is False
    assert f"failed: {why}" in found.lines()


def test_latency_that_says_little_is_not_held_against_anybody():
    assert report(figures(in_flight=None)).is_ok
    assert report(figures(in_flight=11.4)).is_ok


# ---- the floor ---------------------------------------------------------------------------------
def test_the_floor_does_the_same_work_and_keeps_each_step(tmp_path):
    folders = lay_out(tmp_path, (f"run-{n}" for n in range(6)))
    before = threading.active_count()

    with Floor(tmp_path / "floor.db") as floor:
        floor.run(folders, concurrency=3, is_failing=False)

    assert all(is_right(folder, is_failing=False) for folder in folders)
    with sqlite3.connect(tmp_path / "floor.db") as db:
        steps = db.execute("SELECT run, group_concat(n) FROM step GROUP BY run").fetchall()
    db.close()
    assert sorted((str(folder), "1,2,3,4") for folder in folders) == sorted(steps)
    assert before == threading.active_count()


def test_the_failing_floor_removes_its_file(tmp_path):
    folders = lay_out(tmp_path, ["one"])
    before = tree_digest(folders)

    with Floor(tmp_path / "floor.db") as floor:
        floor.run(folders, concurrency=2, is_failing=True)

    assert is_right(folders[0], is_failing=True)
    assert before == tree_digest(folders)


# ---- what is measured --------------------------------------------------------------------------
def test_a_folder_is_right_only_with_exactly_what_the_run_must_leave(tmp_path):
    (folder,) = lay_out(tmp_path, ["one"])
    assert 1024 == len(BODY.encode())
    assert is_right(folder, is_failing=True)
    assert not is_right(folder, is_failing=False)

    (folder / "report.md").write_text(f"# one\n\n{BODY}\n")
    assert is_right(folder, is_failing=False)
    (folder / "more").write_text("")
    assert not is_right(folder, is_failing=False)


def test_a_digest_of_folders_sees_bytes_names_and_permissions(tmp_path):
    (folder,) = lay_out(tmp_path, ["one"])
    seen = {tree_digest([folder])}

    (folder / "input.txt").write_text("other")
    seen.add(tree_digest([folder]))
    (folder / "input.txt").chmod(0o600)
    seen.add(tree_digest([folder]))
    (folder / "input.txt").rename(folder / "output.txt")
    seen.add(tree_digest([folder]))

    assert 4 == len(seen)


@pytest.mark.skipif(not HAS_PROC, reason="only /proc tells how many files are open")
def test_what_stays_open_is_counted_by_its_kind():
    async def count():
        before = Held.now()
        assert not await leaked(before, settles_s=0.1)
        pipe = os.pipe()
        try:
            return await leaked(before, settles_s=0.1)
        finally:
            for end in pipe:
                os.close(end)

    assert Held(2, 0, 0, 0, 0) == asyncio.run(count())


def test_a_connection_counts_as_open_until_it_is_closed():
    async def count(*, closes):
        before = Held.now()
        connection = sqlite3.connect(":memory:")
        if closes:
            connection.close()
        left = (await leaked(before, settles_s=0.1)).connections
        connection.close()
        return left

    assert 1 == asyncio.run(count(closes=False))
    assert 0 == asyncio.run(count(closes=True))


def test_processor_time_is_told_by_the_part_that_took_it():
    with Parts() as found:
        canonical.value({"a": [*range(50_000)]})

    assert "canonical" == next(iter(found.shares))
    assert 1 == pytest.approx(sum(found.shares.values()))


def test_without_built_wheels_the_installed_packs_are_named(monkeypatch):
    assert all(wheel.suffix == ".whl" for wheel in packs())
    monkeypatch.delenv("AWE_TEST_WHEELS")
    assert ("awe-pack-stdlib", "awe-pack-load-test") == packs()


def test_with_barriers_at_steps_no_handler_begins_before_earlier_ends_are_durable(
    tmp_path, monkeypatch
):
    durable = []
    call = InProcess.call
    spec = {
        "awe": "workflow/v1",
        "id": "t.two",
        "version": "1.0.0",
        "summary": "Two steps, one after the other.",
        "steps": [
            {"id": "a", "capability": "id.uuid@1"},
            {"id": "b", "capability": "id.uuid@1", "needs": ["a"]},
        ],
    }

    async def drive(place):
        async with place.open(flags={"engine.barriers": "step"}) as runtime:

            async def counted(*given):
                sql = "SELECT count(*) FROM log WHERE kind = 'step.completed'"
                durable.append(runtime.journal.rows(sql)[0][0])
                return await call(*given)

            monkeypatch.setattr(InProcess, "call", counted)
            await runtime.run(load_workflow(json.dumps(spec), file="two"))

    with Deployment.create(tmp_path / "made", packs()) as made:
        asyncio.run(drive(made.copy(tmp_path / "home")))
    assert durable == [0, 1]

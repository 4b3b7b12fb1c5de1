"""Limits of the engine: who waits, who is refused, and what waiting runs hold in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sqlite3
import weakref
from contextlib import closing

import attrs
import pytest

from awe_core.documents import load_workflow
from awe_core.errors import EngineError, ExpressionError, HandshakeError, WorkflowError
from awe_core.testing.deployment import Deployment, me
from awe_core.testing.measuring import packs

SLEEP = {"id": "s", "capability": "time.sleep@1", "with": {"seconds": 3600}}
ASK = {"id": "s", "capability": "id.uuid@1", "confirm": "always"}
NOW = {"id": "s", "capability": "id.uuid@1"}


@pytest.fixture(scope="module")
def made(wheels, tmp_path_factory):
    os.environ.setdefault("AWE_TEST_WHEELS", str(wheels))
    with Deployment.create(tmp_path_factory.mktemp("made"), packs()[:1], people=(me(),)) as found:
        yield found


@pytest.fixture
def place(made, tmp_path):
    return made.copy(tmp_path / "home")


def flow(*steps, **more):
    about = {"awe": "workflow/v1", "id": "t.flow", "version": "1.0.0", "summary": "Steps."}
    return load_workflow(json.dumps({**about, "steps": steps, **more}), file="flow.yaml")


def keyed(step, limit=1):
    inputs = {"type": "object", "properties": {"repo": {"type": "string"}}}
    return flow(step, inputs=inputs, concurrency={"key": "${inputs.repo}", "limit": limit})


def limits(**found):
    return {f"engine.limits.{name}": value for name, value in found.items()}


def engine_of(runtime):
    return runtime._door.engine  # noqa: SLF001 - what no caller sees is looked at here


def held(engine):
    """Give the runs in memory."""
    return engine._active  # noqa: SLF001 - as above


async def quiet():
    """Let the loop do all that is due now."""
    for _ in range(50):
        await asyncio.sleep(0)


async def until(condition):
    while not condition():  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.001)


async def swept(engine):
    """Let go of all that can be."""
    for _ in range(2):
        await quiet()
        await engine.sweep()


def events(handle):
    journal = handle._runtime.journal  # noqa: SLF001 - now, not as they come
    return [record.kind for record in journal.read(run=handle.run_id)]


def begun(handles):
    return [handle for handle in handles if "step.started" in events(handle)]


def states(handles):
    return [handle.status().state for handle in handles]


async def answer(runtime, handle, verdict):
    (asked,) = [one for one in runtime.approvals() if one.run == handle.run_id]
    await handle.answer(verdict, asked.id, asked.digest, asked.version)


async def end(handles):
    for handle in handles:
        if handle.status().state not in {"COMPLETED", "FAILED", "ROLLED_BACK"}:
            await handle.cancel()
            await handle.wait()


# ---- runs wait to begin -------------------------------------------------------------------------
def test_no_more_runs_move_than_may_and_the_rest_begin_in_order(place):
    async def go():
        async with place.open(flags=limits(active_runs=2)) as runtime:
            handles = [await runtime.submit(flow(SLEEP)) for _ in range(4)]
            await until(lambda: len(begun(handles)) == 2)
            await quiet()
            assert ["RUNNING", "RUNNING", "PENDING", "PENDING"] == states(handles)
            await end(handles[1:2])
            await until(lambda: len(begun(handles)) == 3)
            assert ["RUNNING", "ROLLED_BACK", "RUNNING", "PENDING"] == states(handles)
            await end(handles)

    asyncio.run(go())


def test_a_run_that_waits_for_a_person_leaves_its_place_to_another(place):
    async def go():
        async with place.open(flags=limits(active_runs=1)) as runtime:
            asking = await runtime.submit(flow(ASK))
            assert "PAUSED" == (await asking.wait()).state
            assert "COMPLETED" == (await runtime.run(flow(NOW))).state
            await answer(runtime, asking, "approve")
            assert "COMPLETED" == (await asking.wait()).state

    asyncio.run(go())


def test_a_run_that_waits_to_begin_can_be_cancelled_and_expires(place):
    async def go():
        async with place.open(flags=limits(active_runs=1)) as runtime:
            first = await runtime.submit(flow(SLEEP))
            second = await runtime.submit(flow(SLEEP))
            third = await runtime.submit(flow(SLEEP), expires_us=1_000)
            await second.cancel()
            assert "ROLLED_BACK" == (await second.wait()).state
            assert "ROLLED_BACK" == (await third.wait()).state
            assert [] == begun([second, third])
            await end([first])

    asyncio.run(go())


def test_over_the_queue_a_submission_is_refused_and_says_when_to_come_back(place):
    async def go():
        flags = limits(active_runs=1, queued_submissions=1)
        async with place.open(flags=flags) as runtime:
            handles = [await runtime.submit(flow(SLEEP)) for _ in range(2)]
            with pytest.raises(EngineError) as refused:
                await runtime._door.answer(  # noqa: SLF001 - the SDK would wait
                    "submit",
                    {
                        "call": "id.uuid",
                        "inputs": {},
                        "actor": {"kind": "person", "id": me(), "via": "sdk"},
                    },
                )
            assert "engine.busy" == refused.value.code
            assert 1 == refused.value.attributes["retry_after"]
            assert 2 == len(runtime.runs())

            waiting = asyncio.create_task(runtime.run(flow(NOW)))  # the SDK waits
            await end(handles)
            assert "COMPLETED" == (await waiting).state

    asyncio.run(go())


@pytest.mark.parametrize("which", ["uncommitted_records", "uncommitted_bytes"])
def test_while_much_is_not_durable_yet_a_submission_is_refused(place, which):
    async def go():
        async with place.open(flags=limits(**{which: 1})) as runtime:
            journal = engine_of(runtime).parts.journal
            check = engine_of(runtime).parts.admission.check
            first = asyncio.create_task(runtime.submit(flow(NOW)))
            await asyncio.sleep(0)
            assert journal.queued
            with pytest.raises(EngineError) as refused:
                check(journal)
            assert "engine.busy" == refused.value.code
            await (await first).wait()
            check(journal)

    asyncio.run(go())


def test_a_closing_engine_lets_what_began_end_and_nothing_new_begin(place):
    short = {**SLEEP, "with": {"seconds": 0.1}}

    async def go():
        async with place.open(flags=limits(active_runs=1)) as runtime:
            handles = [await runtime.submit(flow(short)) for _ in range(2)]
            await until(lambda: begun(handles))
        return [handle.run_id for handle in handles]

    async def look(ids):
        async with place.open(observer=True) as runtime:
            return states([runtime.attach(one) for one in ids])

    assert ["COMPLETED", "PENDING"] == asyncio.run(look(asyncio.run(go())))


# ---- steps wait for a place ---------------------------------------------------------------------
def test_no_more_steps_are_in_flight_than_may_and_each_gets_its_turn(place):
    async def go():
        wide = flow(*({**SLEEP, "id": f"s{n}"} for n in range(3)))
        async with place.open(flags=limits(steps_in_flight=2)) as runtime:
            handles = [await runtime.submit(wide) for _ in range(2)]
            await until(lambda: begun(handles))
            await quiet()
            started = [events(handle).count("step.started") for handle in handles]
            assert 2 == sum(started)
            late = await runtime.submit(flow(NOW))
            await quiet()
            assert [] == begun([late])
            await end(handles)
            assert "COMPLETED" == (await late.wait()).state

    asyncio.run(go())


def test_a_run_that_this_process_cannot_drive_any_further_gives_its_place_back(place):
    async def go():
        flags = limits(active_runs=1, steps_in_flight=1)
        async with place.open(flags=flags) as runtime:
            first, second = [await runtime.submit(flow(step)) for step in (SLEEP, NOW)]
            await until(lambda: begun([first]))
            held(engine_of(runtime))[first.run_id].give_up(EngineError("engine.closing"))
            assert "COMPLETED" == (await second.wait()).state
            await swept(engine_of(runtime))
            with pytest.raises(EngineError):  # whoever asks later hears of it too
                await first.wait()

    asyncio.run(go())


# ---- concurrency --------------------------------------------------------------------------------
def test_runs_of_one_key_wait_for_each_other_and_those_of_another_do_not(place):
    async def go():
        async with place.open() as runtime:
            given = ["a", "a", "b", "a"]
            handles = [await runtime.submit(keyed(ASK), {"repo": one}) for one in given]
            await quiet()
            assert ["PAUSED", "PENDING", "PAUSED", "PENDING"] == states(handles)
            await answer(runtime, handles[0], "approve")
            assert "PAUSED" == (await handles[1].wait()).state
            assert ["COMPLETED", "PAUSED", "PAUSED", "PENDING"] == states(handles)
            await handles[1].cancel()
            await until(lambda: states(handles)[3] == "PAUSED")

    asyncio.run(go())


def test_as_many_runs_of_a_key_go_on_as_its_limit_says(place):
    async def go():
        async with place.open() as runtime:
            handles = [await runtime.submit(keyed(ASK, limit=2), {"repo": "a"}) for _ in range(3)]
            await quiet()
            assert ["PAUSED", "PAUSED", "PENDING"] == states(handles)

    asyncio.run(go())


def test_a_key_that_gives_no_value_opens_no_run(place):
    async def go():
        async with place.open() as runtime:
            inputs = {"type": "object", "properties": {"n": {"type": "integer"}}}
            spec = flow(NOW, inputs=inputs, concurrency={"key": "${length(inputs.n)}"})
            with pytest.raises(ExpressionError):
                await runtime.submit(spec, {"n": 5})
            assert [] == runtime.runs()

    asyncio.run(go())


def test_runs_that_waited_for_a_key_wait_on_over_a_restart_and_begin_in_order(place):
    async def before():
        async with place.open() as runtime:
            return [(await runtime.submit(keyed(ASK), {"repo": "a"})).run_id for _ in range(4)]

    async def after():
        async with place.open() as runtime:
            handles = [runtime.attach(one) for one in ids]
            for n in range(4):
                await quiet()
                assert ["COMPLETED"] * n + ["PAUSED"] + ["PENDING"] * (3 - n) == states(handles)
                await answer(runtime, handles[n], "approve")
                await handles[n].wait()

    ids = asyncio.run(before())
    asyncio.run(after())


# ---- what a workflow may hold -------------------------------------------------------------------
def test_a_workflow_larger_than_the_deployment_allows_is_refused_before_a_run_exists(place):
    async def go():
        async with place.open(flags=limits(steps_per_run=2)) as runtime:
            spec = flow(*({**NOW, "id": f"s{n}"} for n in range(3)))
            with pytest.raises(WorkflowError) as refused:
                await runtime.submit(spec)
            assert "workflow.too_large" == refused.value.code
            assert [] == runtime.runs()

    asyncio.run(go())


def test_a_list_longer_than_may_be_gone_over_fails_its_step_before_the_first_item(place):
    async def go():
        async with place.open(flags=limits(foreach_items=2)) as runtime:
            inputs = {"type": "object", "properties": {"of": {"type": "array"}}}
            spec = flow({**NOW, "foreach": "${inputs.of}"}, inputs=inputs)
            assert "COMPLETED" == (await runtime.run(spec, {"of": [1, 2]})).state
            ended = await runtime.run(spec, {"of": [1, 2, 3]})
            assert ("ROLLED_BACK", "workflow.too_large") == (ended.state, ended.error.code)
            assert [] == begun([runtime.attach(ended.run_id)])

    asyncio.run(go())


def test_a_run_whose_values_are_too_many_starts_no_further_step_also_after_a_restart(place):
    steps = [{**NOW, "id": "a"}, {**ASK, "needs": ["a"]}]

    async def before():
        async with place.open(flags=limits(run_bytes="1MiB")) as runtime:
            handle = await runtime.submit(flow(*steps))
            assert "PAUSED" == (await handle.wait()).state
            return handle.run_id

    async def after(run):
        async with place.open(flags=limits(run_bytes=20)) as runtime:
            handle = runtime.attach(run)
            await answer(runtime, handle, "approve")
            ended = await handle.wait()
            assert ("ROLLED_BACK", "run.too_large") == (ended.state, ended.error.code)
            ended = await runtime.run(flow(*steps))
            assert ("ROLLED_BACK", "run.too_large") == (ended.state, ended.error.code)

    asyncio.run(after(asyncio.run(before())))


def test_a_value_larger_than_may_stand_in_a_row_lies_in_a_file_and_is_read_from_there(place):
    async def go():
        async with place.open(flags=limits(value_bytes=100)) as runtime:
            inputs = {"type": "object", "properties": {"text": {"type": "string"}}}
            spec = flow(NOW, inputs=inputs, outputs={"text": "${inputs.text}"})
            ended = await runtime.run(spec, {"text": "x" * 200})
            assert {"text": "x" * 200} == ended.output
            sql = "SELECT size FROM payload WHERE run = ? AND file IS NOT NULL"
            assert 3 == len(runtime.journal.rows(sql, (ended.run_id,)))

    asyncio.run(go())


# ---- parked runs --------------------------------------------------------------------------------
def test_a_run_that_only_waits_is_let_go_of_and_read_again_when_it_is_answered(place):
    async def go():
        async with place.open() as runtime:
            engine = engine_of(runtime)
            steps = [{**NOW, "id": "a"}, {**ASK, "needs": ["a"]}]
            spec = flow(*steps, outputs={"a": "${steps.a.output.uuid}"})
            handle = await runtime.submit(spec)
            await handle.wait()
            seen = weakref.ref(held(engine)[handle.run_id])
            await quiet()
            await engine.sweep()
            assert seen() is not None  # it may have come here this very moment
            await engine.sweep()
            gc.collect()
            assert seen() is None
            assert "PAUSED" == (await handle.wait()).state

            await answer(runtime, handle, "approve")
            ended = await handle.wait()
            assert "COMPLETED" == ended.state
            assert ended.output["a"]

    asyncio.run(go())


def test_a_run_that_was_let_go_of_wakes_when_it_is_due(place):
    async def go():
        async with place.open() as runtime:
            engine = engine_of(runtime)
            handle = await runtime.submit(flow(ASK), expires_us=400_000)
            await handle.wait()
            await swept(engine)
            assert handle.run_id not in held(engine)
            await until(lambda: states([handle]) == ["ROLLED_BACK"])

    asyncio.run(go())


def test_who_waits_for_a_run_that_was_let_go_of_and_has_a_date_waits_for_that(place):
    async def go():
        retry = {"attempts": 2, "backoff": "1s", "jitter": "none", "on": ["any"]}
        failing = {"id": "s", "capability": "flow.fail@1", "with": {"message": "m"}, "retry": retry}
        async with place.open() as runtime:
            engine = engine_of(runtime)
            handle = await runtime.submit(flow(failing))
            await until(lambda: held(engine)[handle.run_id].rests)
            early = asyncio.create_task(handle.wait())
            await swept(engine)
            assert handle.run_id in held(engine)  # somebody would wait in vain
            early.cancel()
            await asyncio.gather(early, return_exceptions=True)
            await swept(engine)
            assert handle.run_id not in held(engine)
            waiting = asyncio.create_task(handle.wait())
            await quiet()
            assert not waiting.done()
            assert "ROLLED_BACK" == (await waiting).state

    asyncio.run(go())


def test_what_runs_or_waits_for_its_turn_is_not_let_go_of(place):
    async def go():
        async with place.open(flags=limits(active_runs=1)) as runtime:
            engine = engine_of(runtime)
            handles = [await runtime.submit(flow(SLEEP)) for _ in range(2)]
            await until(lambda: begun(handles))
            await swept(engine)
            assert {h.run_id for h in handles} <= set(held(engine))
            assert "RUNNING" == states(handles)[0]
            await end(handles)

    asyncio.run(go())


def test_a_run_that_has_ended_is_let_go_of_also_when_nobody_waited_for_it(place):
    async def go():
        async with place.open() as runtime:
            engine = engine_of(runtime)
            handle = await runtime.submit(flow(NOW))
            await until(lambda: states([handle]) == ["COMPLETED"])
            await swept(engine)
            assert {} == held(engine)

    asyncio.run(go())


def test_the_engine_sweeps_by_itself(place):
    async def go():
        async with place.open() as runtime:
            engine = engine_of(runtime)
            engine.parts.settings = attrs.evolve(engine.parts.settings, park_us=1_000)
            handle = await runtime.submit(flow(ASK))
            await handle.wait()
            await until(lambda: handle.run_id not in held(engine))

    asyncio.run(go())


# ---- runs that only wait, over a restart --------------------------------------------------------
def again(place, look):
    """Open the home as the next process does, and have *look* look at it."""

    async def go():
        async with place.open() as runtime:
            return await look(runtime, engine_of(runtime))

    return asyncio.run(go())


def left(place, *runs):
    """Leave *runs*, each a workflow, its inputs and more, until they only wait; give their ids."""

    async def go():
        async with place.open() as runtime:
            handles = [await runtime.submit(spec, given, **more) for spec, given, more in runs]
            await until(lambda: all(held(engine_of(runtime))[h.run_id].rests for h in handles))
            await engine_of(runtime).parts.journal.barrier()
            return [handle.run_id for handle in handles]

    return asyncio.run(go())


def test_runs_that_only_wait_are_not_read_at_the_next_start_and_yet_asked_and_answered(place):
    approved, cancelled, denied = left(place, *[(flow(ASK), {}, {})] * 3)

    async def look(runtime, engine):
        assert {} == held(engine)
        assert {approved, cancelled, denied} == {one.run for one in runtime.approvals()}
        handles = {run: runtime.attach(run) for run in (approved, cancelled, denied)}
        await answer(runtime, handles[approved], "approve")
        await handles[cancelled].cancel()
        await answer(runtime, handles[denied], "deny")
        ends = [(await handles[run].wait()).state for run in (approved, cancelled, denied)]
        assert ["COMPLETED", "ROLLED_BACK", "ROLLED_BACK"] == ends
        assert [] == runtime.approvals()

    again(place, look)


def test_what_a_run_that_only_waits_was_asked_in_many_versions_is_shown_in_the_newest(place):
    (run,) = left(place, (flow(ASK, {**ASK, "id": "t"}), {}, {}))

    async def look(runtime, engine):
        handle, asked = runtime.attach(run), runtime.approvals()
        assert list(handle.status().waiting) == [one.id for one in asked]
        await handle.answer("approve", asked[0].id, asked[0].digest, asked[0].version)
        await until(lambda: [one.id for one in runtime.approvals()] == [asked[1].id])
        assert [asked[1].id] == list(handle.status().waiting)
        assert {run} == set(held(engine))

    again(place, look)


def test_an_answer_to_what_no_run_asks_is_refused(place):
    left(place, (flow(ASK), {}, {}))

    async def look(runtime, engine):
        (asked,) = runtime.approvals()
        for request in ("hs_unknown", ""):
            with pytest.raises(HandshakeError) as refused:
                await runtime.attach(asked.run).answer("approve", request, asked.digest, 1)
            assert "handshake.unknown" == refused.value.code
        assert {} == held(engine)

    again(place, look)


def test_what_came_due_meanwhile_is_woken_a_few_at_a_time_and_all_of_it_ends(place):
    runs = left(place, *[(flow(ASK), {}, {"expires_us": 3_000_000})] * 130)

    async def look(runtime, _):
        await until(lambda: not runtime.runs("PAUSED", limit=500))
        assert {"ROLLED_BACK"} == {row.state for row in runtime.runs(limit=500)}
        assert len(runs) == len(runtime.runs(limit=500))

    again(place, look)


def test_a_run_that_waits_for_a_time_goes_on_after_the_next_start(place):
    retry = {"attempts": 2, "backoff": "300ms", "jitter": "none", "on": ["any"]}
    failing = {"id": "s", "capability": "flow.fail@1", "with": {"message": "m"}, "retry": retry}
    waited, unawaited = left(place, (flow(failing), {}, {}), (flow(failing), {}, {}))

    async def look(runtime, _):
        assert "ROLLED_BACK" == (await runtime.attach(waited).wait()).state
        await until(lambda: runtime.attach(unawaited).status().state == "ROLLED_BACK")

    again(place, look)


def test_a_run_that_waits_keeps_its_key_over_a_restart(place):
    left(place, (keyed(ASK), {"repo": "a"}, {}))

    async def look(runtime, _):
        handle = await runtime.submit(keyed(NOW), {"repo": "a"})
        await quiet()
        assert "PENDING" == handle.status().state
        assert "COMPLETED" == (await runtime.run(keyed(NOW), {"repo": "b"})).state

    again(place, look)


def test_a_row_that_is_behind_the_log_is_not_believed(place):
    (run,) = left(place, (flow(ASK), {}, {}))
    with closing(sqlite3.connect(place.home / "journal.db")) as db:
        (row,) = db.execute("SELECT waiting, due_us, state, last_rseq FROM run").fetchall()
    assert "somebody" == row[0]

    async def approve(runtime, _):
        await answer(runtime, runtime.attach(run), "approve")
        await runtime.attach(run).wait()

    again(place, approve)
    with closing(sqlite3.connect(place.home / "journal.db")) as db, db:
        db.execute("UPDATE run SET waiting=?, due_us=?, state=?, last_rseq=?", row)

    async def look(_, engine):
        assert [run] == list(held(engine))

    again(place, look)

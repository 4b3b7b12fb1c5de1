"""Logs beside the workspace's: which run lies where, what is sealed, that nothing stays open."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import shutil
import sqlite3
from pathlib import Path

import pytest

from awe_core import canonical, signing
from awe_core.audit import parse_pins, verify_home
from awe_core.documents import load_workflow
from awe_core.errors import AuditError, EngineError, JournalError, JournalUnwritableError
from awe_core.events import Actor
from awe_core.journal import Draft, JournalReader, Logs, Readings
from awe_core.journal.chain import leaf
from awe_core.journal.isolated import folder_of
from awe_core.testing.deployment import Deployment, me
from awe_core.testing.measuring import Held, is_right, lay_out, leaked, packs

ASK = {"id": "s", "capability": "id.uuid@1", "confirm": "always"}
NOW = {"id": "s", "capability": "id.uuid@1"}
FILE = {"path": "a.txt", "text": "a\n", "mode": "create"}
WRITE = {"id": "s", "capability": "fs.write_text@1", "with": FILE}
SLEEP = {"id": "s", "capability": "time.sleep@1", "with": {"seconds": 3600}}


@pytest.fixture(scope="module")
def made(wheels, tmp_path_factory):
    os.environ.setdefault("AWE_TEST_WHEELS", str(wheels))
    folder = tmp_path_factory.mktemp("made")
    with Deployment.create(folder, packs(), people=(me(),), workspace="work") as found:
        yield found


@pytest.fixture
def place(made, tmp_path):
    return made.copy(tmp_path / "home")


def flow(*steps):
    about = {"awe": "workflow/v1", "id": "t.flow", "version": "1.0.0", "summary": "Steps."}
    return load_workflow(json.dumps({**about, "steps": steps}), file="flow.yaml")


def opened(place, isolation, **more):
    return place.open(flags={"engine.isolation": isolation}, **more)


def logs_of(runtime) -> Logs:
    return runtime._door.engine.parts.logs  # noqa: SLF001 - what no caller sees is looked at here


def handles_of(runtime):
    return logs_of(runtime)._handles  # noqa: SLF001 - as above


def proof(place, **more):
    """Verify the home by its own key, as `awe audit verify` does."""
    public = base64.b64encode(b"\1" + signing.log_key(place.home, may_create=False).public)
    with JournalReader(place.home) as journal:
        return verify_home(journal, pins=parse_pins(f"demo/* {public.decode()}"), **more)


def kinds(journal, run=None):
    return [record.kind for record in journal.read(run=run)]


async def ended(runtime, *steps, **inputs):
    return await runtime.run(flow(*steps), inputs)


def beside(place):
    """Give the folders of the logs beside the workspace's."""
    return sorted(file.parent for file in place.home.glob("logs/*/journal.db"))


# ---- what lies where ----------------------------------------------------------------------------
def test_a_run_has_a_log_of_its_own_that_the_workspace_opens_and_seals(place):
    async def go():
        async with opened(place, "run") as runtime:
            found = await ended(runtime, WRITE)
            handle = runtime.attach(found.run_id)
            events = [one.kind async for one in handle.events()]
            assert "COMPLETED" == handle.status().state == runtime.runs()[0].state
            assert found == handle.result()
            return found, events

    found, events = asyncio.run(go())
    (folder,) = beside(place)
    with JournalReader(place.home) as workspace, JournalReader(folder, host=workspace) as own:
        assert ["run.opened", "run.closed"] == kinds(workspace, found.run_id)
        head, closed = workspace.read(run=found.run_id)
        assert (0, folder.name) == (head.rseq, head.event["log"])
        assert (1, 2) == (closed.rseq, closed.event["count"])
        assert events == kinds(own, found.run_id)
        assert ["run.opened", "step.started", "effect.intended"] == events[:3]
        assert "run.closed" == events[-1]
        last = own.last(found.run_id)
        assert f"{last.seq}:{last.hash.hex()}" == found.head
        sealed = closed.event["sealed"]
        assert {"log", "size", "root"} == set(sealed)
        assert (folder.name, last.seq + 1) == (sealed["log"], sealed["size"])
        assert {"id": found.run_id, "type": "run"} == own.record(0).event["scope"]
        assert "sealed" not in last.event
        assert workspace.payload(found.run_id, 0, "in") is None  # values lie beside the records
        assert own.payload(found.run_id, 0, "in") == b"{}"
    report = proof(place, payloads=True)
    assert ("verified", 1, 0) == (report.verdict, report.logs, report.open_runs)


def test_the_runs_of_one_caller_share_a_log_while_one_process_owns_the_home(place):
    async def go(actor):
        async with opened(place, "session", actor=actor) as runtime:
            return [(await ended(runtime, NOW)).run_id for _ in range(2)]

    async def both():
        ana, ben = Actor.person("ana"), Actor.person("ben")
        async with opened(place, "session", actor=ana) as runtime:
            mine = [(await ended(runtime, NOW)).run_id for _ in range(2)]
            runtime.actor = ben
            return [*mine, (await ended(runtime, NOW)).run_id]

    runs = [*asyncio.run(both()), *asyncio.run(go(Actor.person("ana")))]
    with JournalReader(place.home) as workspace:
        logs = [next(workspace.read(run=run)).event["log"] for run in runs]
    assert logs[0] == logs[1]
    assert 3 == len(set(logs))  # another caller, and the same one of another process
    assert logs[3] == logs[4]
    report = proof(place)
    assert ("verified", 3) == (report.verdict, report.logs)


def test_what_closes_again_is_sealed_again(place):
    async def go():
        async with opened(place, "run") as runtime:
            run = (await ended(runtime, WRITE)).run_id
        async with opened(place, "run") as runtime:  # another process, from the log alone
            handle = runtime.attach(run)
            await handle.rollback("it was a test")
            assert "ROLLED_BACK" == (await handle.wait()).state
            return run

    run = asyncio.run(go())
    with JournalReader(place.home) as workspace:
        told = list(workspace.read(run=run))
    assert ["run.opened", "run.closed", "run.resumed", "run.closed"] == [r.kind for r in told]
    assert [0, 1, 2, 3] == [record.rseq for record in told]
    assert told[1].event["sealed"]["size"] < told[3].event["sealed"]["size"]
    assert "verified" == proof(place).verdict


def test_a_home_may_hold_runs_of_every_kind_and_goes_on_with_each(place):
    async def submitted(isolation):
        async with opened(place, isolation) as runtime:
            handle = await runtime.submit(flow(ASK))
            assert "PAUSED" == (await handle.wait()).state
            return handle.run_id

    async def approved(isolation):
        async with opened(place, isolation) as runtime:
            for asked in runtime.approvals():
                await runtime.attach(asked.run).approve(asked.id, asked.digest, asked.version)
            runs = [runtime.attach(row.run_id) for row in runtime.runs()]
            return {run.run_id: (await run.wait()).state for run in runs}

    runs = [asyncio.run(submitted(one)) for one in ("workspace", "session", "run")]
    assert dict.fromkeys(runs, "COMPLETED") == asyncio.run(approved("workspace"))
    assert 2 == len(beside(place))
    assert "verified" == proof(place, payloads=True).verdict


def test_who_only_looks_on_reads_what_the_owner_writes(place):
    async def go():
        async with opened(place, "run") as owner, place.open(observer=True) as other:
            found = [await ended(owner, NOW) for _ in range(12)]
            assert [one.output for one in found] == [
                other.attach(one.run_id).result().output for one in found
            ]
            assert {"COMPLETED"} == {other.attach(one.run_id).status().state for one in found}

    asyncio.run(go())


def test_a_key_names_a_run_only_once_all_of_its_opening_is_durable(place):
    async def go():
        async with opened(place, "run") as runtime:
            both = [runtime.submit(flow(NOW), idempotency_key="k") for _ in range(2)]
            for one in asyncio.as_completed(both):
                first = await one
                with JournalReader(place.home) as workspace:
                    assert ["run.opened"] == kinds(workspace, first.run_id)[:1]
            assert "COMPLETED" == (await first.wait()).state
            with JournalReader(place.home) as workspace:  # told of only when it is sealed
                assert "sealed" in workspace.last(first.run_id).event
                assert "COMPLETED" == workspace.run_row(first.run_id)["state"]
        async with opened(place, "run") as runtime:
            again = await runtime.submit(flow(NOW), idempotency_key="k")
            assert first.run_id == again.run_id

    asyncio.run(go())
    assert 1 == len(beside(place))


# ---- crashes: every other point is killed at in tests/scenarios/test_crash.py -------------------
def cut(folder, size, *, state=None):
    """Take a log back to its first *size* records, as a crash or somebody could."""
    db = sqlite3.connect(folder / "journal.db", isolation_level=None)
    kept = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in kept:
        db.execute(f"DROP TRIGGER {name}")
    for table, column in (("log", "seq"), ("payload", "seq"), ("checkpoint", "size - 1")):
        db.execute(f"DELETE FROM {table} WHERE {column} >= {size}")  # noqa: S608 - of this test
    if state:
        db.execute("UPDATE run SET state = ?, closed_us = NULL", (state,))
    for _, sql in kept:
        db.execute(sql)
    db.close()


def test_a_seal_that_a_crash_left_out_is_all_that_the_next_process_writes(place):
    async def go():
        async with opened(place, "run") as runtime:
            return await ended(runtime, WRITE)

    async def recovered():
        async with opened(place, "run") as runtime:
            assert found == await runtime.attach(found.run_id).wait()
            assert "COMPLETED" == runtime.runs()[0].state

    found = asyncio.run(go())
    (folder,) = beside(place)
    with JournalReader(place.home) as workspace, JournalReader(folder) as own:
        opening, closed = workspace.read(run=found.run_id)
        records = kinds(own, found.run_id)
    cut(place.home, closed.seq, state="RUNNING")
    asyncio.run(recovered())
    with JournalReader(place.home) as workspace, JournalReader(folder) as own:
        again = list(workspace.read(run=found.run_id))
        assert [opening.kind, closed.kind] == [record.kind for record in again]
        assert closed.event["sealed"]["log"] == again[1].event["sealed"]["log"]
        assert again[1].event["count"] == 2
        assert records == kinds(own, found.run_id)
    assert ("verified", 0) == ((report := proof(place)).verdict, report.open_runs)


# ---- somebody meddles ---------------------------------------------------------------------------
def change(folder):
    db = sqlite3.connect(folder / "journal.db", isolation_level=None)
    (sql,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'log_keep_u'").fetchone()
    db.execute("DROP TRIGGER log_keep_u")
    db.execute("UPDATE log SET body = CAST(replace(body, 'a.txt', 'b.txt') AS BLOB) WHERE seq = 3")
    assert 1 == db.execute("SELECT changes()").fetchone()[0]
    db.execute(sql)
    db.close()


def shorten(folder):
    cut(folder, 4)


def lose(folder):
    shutil.rmtree(folder)


def spoil(folder):
    (folder / "journal.db").write_bytes(b"no database" * 1000)


def swap(folder):
    (other,) = (one for one in folder.parent.iterdir() if one != folder)
    for file in ("journal.db",):
        mine, its = (folder / file).read_bytes(), (other / file).read_bytes()
        (folder / file).write_bytes(its)
        (other / file).write_bytes(mine)


def forge(folder):
    """Write another history under the same name, with links that hold and no signature."""
    made = sqlite3.connect(folder / "journal.db", isolation_level=None)
    (trigger,) = made.execute("SELECT sql FROM sqlite_master WHERE name = 'log_keep_u'").fetchone()
    made.execute("DROP TRIGGER log_keep_u")
    prev = None
    for seq, body in made.execute("SELECT seq, body FROM log ORDER BY seq").fetchall():
        line = json.loads(body)
        line["event"] = json.loads(json.dumps(line["event"]).replace("a.txt", "b.txt"))
        line["prev"] = line["prev"] if prev is None else prev.hex()
        text = json.dumps(line, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        prev = leaf(text)
        made.execute("UPDATE log SET body = ?, hash = ? WHERE seq = ?", (text, prev, seq))
    made.execute("DELETE FROM checkpoint")
    made.execute(trigger)
    made.close()


@pytest.mark.parametrize(
    ("meddle", "code"),
    [
        (change, "audit.hash"),
        (shorten, "audit.truncated"),
        (lose, "audit.log_lost"),
        (spoil, "audit.log_lost"),
        (swap, "audit.log_id"),
        (forge, "audit.forked"),
    ],
)
def test_a_log_that_is_not_as_it_was_sealed_is_found_and_named(place, meddle, code):
    async def go():
        async with opened(place, "run") as runtime:
            steps = [{**WRITE, "with": {**FILE, "path": f"{n}a.txt"}} for n in "xy"]
            return [(await ended(runtime, step)).run_id for step in steps]

    runs = asyncio.run(go())
    assert "verified" == proof(place).verdict
    with JournalReader(place.home) as workspace:
        log = next(workspace.read(run=runs[0])).event["log"]
    folder = place.home / "logs" / log
    meddle(folder)
    report = proof(place)
    assert ("failed", 7) == (report.verdict, report.exit_code)
    named = [one for one in report.findings if one.code == code]
    assert named
    assert f"run {runs[0]} in {folder}" == named[0].where
    assert runs[0] in named[0].as_error().summary
    if meddle in {lose, spoil, swap}:  # and nobody is told what it says
        with JournalReader(place.home) as workspace, pytest.raises((AuditError, JournalError)):
            Readings(workspace).reading(runs[0])


@pytest.mark.parametrize("log", ["../../etc", "", 7, "A" * 32])
def test_a_record_that_names_a_log_cannot_lead_out_of_the_home(place, log):
    asyncio.run(empty(place))
    with JournalReader(place.home) as workspace, pytest.raises(AuditError) as refused:
        folder_of(workspace, log)
    assert "audit.not_canonical" == refused.value.code


async def empty(place):
    async with opened(place, "run"):
        pass


# ---- handles ------------------------------------------------------------------------------------
def test_two_handles_are_enough_for_twenty_runs_that_wait_and_come_back(place):
    async def go():
        async with opened(place, "run") as runtime:
            logs = logs_of(runtime)
            logs._limit = 2  # noqa: SLF001 - else an eighth of what the process may open
            handles = await asyncio.gather(*(runtime.submit(flow(ASK)) for _ in range(20)))
            assert {"PAUSED"} == {(await one.wait()).state for one in handles}
            assert await ended(runtime, NOW)  # makes room
            assert len(handles_of(runtime)) <= 2
            for _ in range(2):
                await runtime._door.engine.sweep()  # noqa: SLF001 - now, not in half a minute
            for asked in runtime.approvals():
                await runtime.attach(asked.run).approve(asked.id, asked.digest, asked.version)
            assert {"COMPLETED"} == {(await one.wait()).state for one in handles}
            assert await ended(runtime, NOW)
            assert len(handles_of(runtime)) <= 2

    asyncio.run(go())
    report = proof(place, payloads=True)
    assert ("verified", 22, 0) == (report.verdict, report.logs, report.open_runs)


def test_taking_up_runs_that_wait_opens_nothing_for_writing(place):
    async def go():
        async with opened(place, "run") as runtime:
            for _ in range(3):
                await (await runtime.submit(flow(ASK))).wait()
        with JournalReader(beside(place)[0]) as own:
            size = own.head().size
        async with opened(place, "run") as runtime:
            assert 3 == len(runtime.approvals())
            await asyncio.sleep(0.1)  # longer than a row may wait
            assert not handles_of(runtime)
        with JournalReader(beside(place)[0]) as own:
            assert size == own.head().size

    asyncio.run(go())


@pytest.mark.parametrize("isolation", ["run", "session"])
def test_a_log_is_closed_soon_after_its_runs_have_ended(place, isolation):
    async def go():
        async with opened(place, isolation) as runtime:
            waiting = await runtime.submit(flow(ASK))
            await waiting.wait()
            await ended(runtime, NOW)
            assert {"run": 2, "session": 1}[isolation] == len(handles_of(runtime))
            while isolation == "run" and len(handles_of(runtime)) > 1:  # noqa: ASYNC110 - as it ends
                await asyncio.sleep(0.01)
            (handle,) = handles_of(runtime).values()
            assert not handle.on_idle()  # somebody may answer any time
            await waiting.cancel()
            await waiting.wait()
            while handles_of(runtime):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
            await ended(runtime, NOW)

    asyncio.run(go())
    assert ("verified", 0) == ((report := proof(place)).verdict, report.open_runs)
    with JournalReader(beside(place)[0]) as own:
        assert own.newest_note()[0] == own.head().size  # it was closed well


def test_who_leaves_closes_every_log(place):
    async def go():
        async with opened(place, "run") as runtime:
            runs = [(await ended(runtime, NOW)).run_id for _ in range(12)]
            await (await runtime.submit(flow(ASK))).wait()
            workspace, held = runtime.journal, [*handles_of(runtime).values()]
            held[0].on_idle()
            assert held[0] not in workspace._others  # noqa: SLF001 - as above
        async with opened(place, "run") as runtime:
            assert {"COMPLETED"} == {runtime.attach(run).result().state for run in runs}
            logs = logs_of(runtime)
            assert 8 == len(logs._readers)  # noqa: SLF001 - as above
            held += logs._readers.values()  # noqa: SLF001 - as above
        return held

    for one in asyncio.run(go()):
        with pytest.raises(JournalError):
            list(one.read())
    for folder in beside(place):
        with JournalReader(folder) as own:
            assert "log.closed" == kinds(own)[-1]


def test_a_handle_stays_open_while_its_run_is_at_work(place):
    async def go():
        async with opened(place, "run") as runtime:
            logs = logs_of(runtime)
            logs._limit = 1  # noqa: SLF001 - as above
            sleeping = await runtime.submit(flow(SLEEP))
            (first,) = handles_of(runtime)
            for _ in range(3):
                await ended(runtime, NOW)
            assert first in handles_of(runtime)
            assert 2 == len(handles_of(runtime))
            await sleeping.cancel()
            await sleeping.wait()

    asyncio.run(go())


def test_no_run_with_a_log_of_its_own_begins_while_most_descriptors_are_in_use(place):
    async def go(isolation):
        async with opened(place, isolation) as runtime:
            logs = logs_of(runtime)
            logs.most_files, enough = 3, logs.most_files
            waiting = asyncio.create_task(runtime.run(flow(NOW)))
            if isolation == "run":
                with pytest.raises(EngineError) as refused:
                    runtime._door.engine.parts.admission.check(logs)  # noqa: SLF001 - as above
                told = refused.value
                assert ("engine.busy", "open files") == (told.code, told.attributes["what"])
                assert 1 == told.attributes["retry_after"]
                await asyncio.sleep(0.05)
                assert [] == beside(place)
                logs.most_files = enough
            assert "COMPLETED" == (await waiting).state  # the SDK has asked again

    asyncio.run(go("workspace"))
    asyncio.run(go("run"))
    assert 1 == len(beside(place))


def test_the_limits_follow_what_the_process_may_open(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def go():
        async with opened(place, "run") as runtime:
            logs = logs_of(runtime)
            return logs._limit, logs.most_files  # noqa: SLF001 - as above

    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        assert (50, 320) == asyncio.run(go())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- faults -------------------------------------------------------------------------------------
def cap(journal, pages):
    """Have SQLite find no room beyond so many pages."""
    journal._db.execute(f"PRAGMA max_page_count={pages}").fetchone()  # noqa: SLF001 - a small disk


@pytest.mark.parametrize("which", ["own", "workspace"])
def test_a_run_of_which_a_log_is_full_is_given_up_and_goes_on_once_there_is_room(place, which):
    async def go():
        async with opened(place, "run") as runtime:
            asking = await runtime.submit(flow(ASK, {**WRITE, "id": "w", "needs": ["s"]}))
            assert "PAUSED" == (await asking.wait()).state
            (own,) = handles_of(runtime).values()
            journal = own if which == "own" else runtime.journal
            cap(journal, journal.rows("SELECT page_count FROM pragma_page_count")[0][0])
            with pytest.raises(JournalUnwritableError) as full:
                await fill(asking)
            assert "journal.full" == full.value.code
            if which == "own":  # it is the one run's affair
                assert "COMPLETED" == (await ended(runtime, NOW)).state
            cap(journal, 1 << 30)
            (asked,) = runtime.approvals()
            held = runtime._door.engine._active  # noqa: SLF001 - as above
            while asking.run_id not in held or held[asking.run_id].failed:  # noqa: ASYNC110 - it comes back by itself
                await asyncio.sleep(0.01)
            await asking.approve(asked.id, asked.digest, asked.version)
            assert "COMPLETED" == (await asking.wait()).state

    async def fill(run):
        while True:
            await run.pause("x" * 2000)
            await run.resume()

    asyncio.run(go())
    assert ("verified", 0) == ((report := proof(place)).verdict, report.open_runs)


def record_of(kind, rseq, text=""):
    return Draft(
        canonical.line({"kind": kind, "rseq": rseq, "run": "r", "x": text}), "r", rseq, kind
    )


@pytest.mark.parametrize("is_begun", [True, False])
def test_what_a_full_log_drops_is_not_told_to_the_workspace(place, is_begun):
    async def go():
        async with opened(place, "run") as runtime:
            logs = logs_of(runtime)
            log = logs.begin("r", "")
            (own,) = handles_of(runtime).values()
            if is_begun:
                log.append([record_of("run.opened", 0)])
                await log.barrier()
            cap(own, own.rows("SELECT page_count FROM pragma_page_count")[0][0])
            log.append([record_of("run.closed", 1, "x" * 200_000)])
            with pytest.raises(JournalUnwritableError):
                await log.barrier()
            cap(own, 1 << 30)
            await log.barrier()
            await runtime.journal.barrier()
            return kinds(runtime.journal, "r")

    assert ["run.opened"] * is_begun == asyncio.run(go())


def test_who_waits_for_a_run_is_not_woken_by_a_pause_that_is_over(place):
    async def go():
        async with opened(place, "run") as runtime:
            run = await runtime.submit(flow(SLEEP))
            active = runtime._door.engine._active[run.run_id]  # noqa: SLF001 - as above
            waiting = asyncio.create_task(active.settled())
            await asyncio.sleep(0)
            await active.tell()
            await asyncio.sleep(0)
            assert not waiting.done()
            await run.cancel()
            await waiting

    asyncio.run(go())


def test_where_no_log_can_be_made_no_run_begins(place):
    async def go():
        async with opened(place, "run") as runtime:
            (place.home / "logs").write_text("in the way")
            with pytest.raises(JournalUnwritableError) as refused:
                await ended(runtime, NOW)
            assert "journal.unwritable" == refused.value.code
            assert [] == runtime.runs()
            (place.home / "logs").unlink()
            assert "COMPLETED" == (await ended(runtime, NOW)).state

    asyncio.run(go())


def test_a_sink_that_is_required_wants_to_see_what_runs_record(place):
    place.configure("audit: {sinks: [{sink: jsonl, path: ../audit, required: true}]}\n")

    async def go(isolation):
        async with opened(place, isolation) as runtime:
            await ended(runtime, NOW)

    asyncio.run(go("workspace"))
    with pytest.raises(AuditError) as refused:
        asyncio.run(go("run"))
    assert "sink.isolated" == refused.value.code


# ---- nothing is left ----------------------------------------------------------------------------
def threads():
    """Count as the kernel does, daemons and those that Python does not know included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


RUNS = int(os.environ.get("AWE_TEST_SOAK", "300"))
WORKERS = 120


@pytest.mark.timeout(120 if RUNS < 1000 else 3600)
@pytest.mark.parametrize("isolation", ["workspace", "session", "run"])
def test_after_many_runs_at_a_time_nothing_is_left_open(place, isolation):
    async def drive(runtime, folders):
        async def caller(rest):
            for number, folder in rest:
                name = "load_test_failing" if number % 2 else "load_test_quick"
                found = await runtime.run(name, {"dir": folder.name, "name": folder.name})
                assert ("ROLLED_BACK" if number % 2 else "COMPLETED") == found.state
                busiest.append(len(runtime._door.engine._active))  # noqa: SLF001 - as above

        busiest, rest = [0], iter(enumerate(folders))
        async with asyncio.TaskGroup() as callers:
            for _ in range(WORKERS):
                callers.create_task(caller(rest))
        return max(busiest)

    async def go():
        async with opened(place, "workspace") as runtime:  # what a process keeps from the first run
            await drive(runtime, lay_out(place.workspace, ["warm-0", "warm-1"]))
        before, tasks = Held.now(), threads()
        folders = lay_out(place.workspace, (f"run-{n}" for n in range(RUNS)))
        async with opened(place, isolation) as runtime:
            assert await drive(runtime, folders) >= 100
        assert not await leaked(before)
        assert threads() <= tasks
        return folders

    folders = asyncio.run(go())
    for number, folder in enumerate(folders):
        assert is_right(folder, is_failing=bool(number % 2))
    report = proof(place)
    assert ("verified", 0) == (report.verdict, report.open_runs)
    assert {"workspace": 0, "session": 1, "run": RUNS}[isolation] == report.logs

"""Simulated lives hold every promise, and so does the engine where a life once broke one."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from awe_core.decider import StepState
from awe_core.engine import Submission
from awe_core.errors import EngineError, JournalUnwritableError, RunError
from awe_core.events import (
    Actor,
    Decision,
    EffectIntended,
    RunPaused,
    StepFailed,
    StepInDoubt,
    decode,
    encode,
)
from awe_core.events.parts import Failure
from awe_core.testing.simulation import Life, Stage, explained
from awe_core.testing.simulation.machine import Machine
from awe_core.testing.simulation.session import engine_of
from awe_core.testing.simulation.watched import Place, Signer, Store, Undo, Witness

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

SIMULATE = (sys.executable, "-m", "awe_core.testing.simulation")
ANA = Actor.person("ana", via="cli")


def simulated(*words, **environ):
    """Live lives in a process of their own: each of theirs is forked from it."""
    command = [*SIMULATE, *map(str, words)]
    found = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **environ})
    return found.returncode, found.stdout, found.stderr.decode()


# -------------------------------------------------------------------------------------------- lives
@pytest.mark.parametrize("first", range(0, 100, 25))  # tox -e lives: 2,000
def test_whatever_happens_in_a_life_the_journal_explains_the_world(first):
    assert (0, b"25 lives, 0 failed\n", "") == simulated("--first", first, "--seeds", 25)


@pytest.mark.parametrize(
    "seed",
    [
        25,  # a step was stopped before its start was durable, and never ended
        208,  # the last try to undo failed after it had undone
        893,  # somebody had overwritten what a person then called not applied
        4972,  # a scope was taken back after others had changed its files
    ],
)
def test_a_life_that_once_went_wrong_goes_right(seed):
    assert (0, b"1 lives, 0 failed\n", "") == simulated("--seed", seed)


@pytest.mark.parametrize("kill_at", range(3, 60, 4))
def test_a_life_goes_on_wherever_it_was_killed(kill_at):
    assert (0, b"1 lives, 0 failed\n", "") == simulated("--seed", 2, "--kill-at", kill_at)


def test_one_seed_gives_the_same_journal_under_any_hash_seed():
    one, other = (simulated("--seed", 16, "--show", PYTHONHASHSEED=seed) for seed in "12")
    assert one == other
    assert b'"kind":"undo.applied"' in one[1]


@pytest.fixture
def life(tmp_path):
    """Give a life that was lived and is kept."""
    script = (
        "import pathlib, sys; from awe_core.testing.simulation import Life, Stage, lived;"
        "root = pathlib.Path(sys.argv[1]);"
        "sys.exit(bool(lived(Life(seed=16, root=root, stage=Stage.set()))))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)
    found = Life(seed=16, root=tmp_path, stage=Stage.set())
    found.documents()
    assert [] == list(explained(found))
    return found


@pytest.mark.parametrize(
    "lie",
    [
        {"acted": "r0/a.txt", "made": "0" * 64},
        {"run": "nobody", "opened": 9},
        {"answered": "hs_nobody"},
        {"foreign": "r0/a.txt", "made": "0" * 64},
        {"fault": "it broke"},
    ],
)
def test_what_was_seen_and_is_not_explained_is_noticed(life, lie):
    with (life.root / "ledger").open("a") as ledger:
        ledger.write(json.dumps({**lie, "us": 0}) + "\n")
    assert 1 == len(list(explained(life)))


def test_a_file_that_is_not_what_the_log_says_is_noticed(life):
    (life.place / "r0" / "a.txt").write_text("something else")
    assert 1 == len(list(explained(life)))


# ------------------------------------------------------------------------- what lives have found
class Calm(random.Random):
    """Chance without surprises: no delay, no failure."""

    def random(self):
        return 0.5

    def choice(self, seq):
        return seq[0]

    def randrange(self, *_):
        return 79


class Watching(Witness):
    """Sees, after each commit, what the newest record is and what the run's row says."""

    def __init__(self, tmp_path):
        machine = Machine("a test", numbers=tmp_path / "numbers")
        machine.dice = Calm()
        super().__init__(machine, os.open(tmp_path / "ledger", os.O_WRONLY | os.O_CREAT))
        self.journal = None
        self.seen = []

    def point(self, where):
        if where == "after a commit" and self.journal is not None:
            rows = self.journal.rows("SELECT kind FROM log ORDER BY seq DESC LIMIT 1")
            self.seen.append((rows[0][0], *(row["state"] for row in self.journal.run_rows())))


@pytest.fixture
def engine_in(tmp_path):
    """Run a test's coroutine with an engine over a fresh home."""
    stage, watching = Stage.set(), Watching(tmp_path)
    Store.witness = Undo.witness = Place.witness = stage.skills.witness = watching
    (tmp_path / "place").mkdir()

    async def held(test):
        opened = {"awe": "simulated", "trust": "dev-local"}
        home = tmp_path / "home"
        journal = Store.open(home, signer=Signer(), origin="simulated", opened=opened)
        watching.journal = journal
        with Place.open(tmp_path / "place", store=tmp_path / "undo") as place:
            engine = engine_of(stage, watching, journal, Undo(journal, place))
            try:
                await test(engine, watching)
            finally:
                watching.full = 0.0
                await engine.close()
                journal.close()

    def run(test: Callable[..., Coroutine[None, None, None]]) -> None:
        asyncio.run(held(test))

    yield run
    os.close(watching.ledger)


async def submitted(engine, *steps):
    document = {
        "awe": "workflow/v1",
        "id": "flow",
        "version": "1.0.0",
        "summary": "Simulated.",
        "steps": [{"with": {"path": "a.txt"}, **step} for step in steps],
    }
    spec = engine.plans.document(document, file="flow")
    run = await engine.submit(Submission(spec=spec, inputs={}, actor=ANA, document=document))
    await engine.settled(run)
    return run


def rseqs(engine, run):
    return [record.rseq for record in engine.parts.journal.read(run=run)]


def taken(engine, run):
    """Give the run as it is in memory."""
    return engine._take(run)  # noqa: SLF001 - callers only see it through the journal


PUT = {"id": "put", "capability": "sim.put@1"}
SEND = {"id": "send", "capability": "sim.send@1"}  # a person is asked


def test_capabilities_of_one_program_do_not_take_each_other_for_a_changed_pack(engine_in):
    async def test(engine, _):
        think = {"id": "think", "capability": "sim.think@1", "needs": ["put"]}
        run = await submitted(engine, PUT, think)
        assert "COMPLETED" == engine.parts.journal.run_row(run)["state"]

    engine_in(test)


def test_doubt_about_an_effect_can_be_recorded():
    fact = StepInDoubt(step="a", attempt=1, effects=("r1/a/1/0",), inspect=("unknown",))
    assert fact == decode(json.loads(encode(fact, run="r1", rseq=1)))


def test_a_request_that_reopens_a_run_is_in_its_row_as_soon_as_it_is_durable(engine_in):
    async def test(engine, watching):
        run = await submitted(engine, PUT)
        await engine.control(run, "rollback", actor=ANA, params={})
        assert ("run.resumed", "RUNNING") in watching.seen
        await engine.settled(run)
        assert "ROLLED_BACK" == engine.parts.journal.run_row(run)["state"]

    engine_in(test)


def test_a_run_whose_records_were_dropped_goes_on_from_the_log(engine_in):
    async def test(engine, watching):
        run = await submitted(engine, SEND)
        watching.full = 1.0
        with pytest.raises(JournalUnwritableError):
            await engine.control(run, "pause", actor=ANA, params={"reason": "x" * 100_000})
        with pytest.raises(JournalUnwritableError):
            await engine.settled(run)
        watching.full = 0.0
        await engine.control(run, "pause", actor=ANA, params={})
        assert list(range(3)) == rseqs(engine, run)

    engine_in(test)


def test_an_answer_that_was_dropped_can_be_given_again(engine_in):
    async def test(engine, watching):
        run = await submitted(engine, SEND)
        (asked,) = engine.parts.ledger
        answer = Decision(
            request=asked.id,
            version=asked.version,
            digest=asked.digest,
            verdict="approve",
            by="person:ana",
            via="cli",
            assurance="session",
            at_us=0,
            reason="x" * 100_000,
        )
        watching.full = 1.0
        with pytest.raises(JournalUnwritableError):
            await engine.decide(answer)
        watching.full = 0.0
        await engine.decide(answer)
        await engine.settled(run)
        assert "COMPLETED" == engine.parts.journal.run_row(run)["state"]

    engine_in(test)


def test_what_is_queued_of_a_run_that_was_given_up_stands_before_it_is_read_again(engine_in):
    async def test(engine, _):
        run = await submitted(engine, SEND)
        active = taken(engine, run)
        active.record(RunPaused(cause="operator"))
        active.give_up(EngineError("engine.closing"))
        assert "operator" == taken(engine, run).run.hold

    engine_in(test)


def test_claims_are_held_again_after_a_replay_until_their_step_has_ended(engine_in):
    async def test(engine, _):
        active = taken(engine, await submitted(engine, SEND))
        unit, where = active.run.unit("send"), {"step": "send", "attempt": 1}
        failed = StepFailed(**where, err=Failure("x", "y"), class_="error")
        intent = {"effect": "r/send/1/0", "type": "fs.write", "target": "a.txt", "request": "-"}
        intended = EffectIntended(**where, **intent, key="k", claims=("fs/a.txt",), undo={})

        unit.state = StepState.WAITING  # the intent is of an epoch that is over
        active.remember(intended)
        await active.claim("third", "fs/a.txt")
        active._claims.release("third")  # noqa: SLF001 - as its end would

        unit.state = StepState.STARTED
        active.remember(intended)
        waiting = asyncio.ensure_future(active.claim("other", "fs/a.txt"))
        for unit.state in (StepState.STARTED, StepState.BACKOFF):
            active.remember(failed)
            await asyncio.sleep(0)
            assert not waiting.done()
        unit.state = StepState.FAILED
        active.remember(failed)
        await waiting

    engine_in(test)


def test_a_request_that_is_not_possible_is_refused_and_leaves_the_run_alone(engine_in):
    async def test(engine, _):
        run = await submitted(engine, PUT)
        with pytest.raises(RunError) as caught:
            await engine.control(run, "retry", actor=ANA, params={"from": "nowhere"})
        assert "run.unknown_step" == caught.value.code
        assert taken(engine, run).failed is None

    engine_in(test)

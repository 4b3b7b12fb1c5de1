"""What happens to one engine: callers, people who answer, an operator, a neighbour."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from awe_core.config.settings import Limits
from awe_core.decider import StepState
from awe_core.engine import Parts, RuntimeEngine, Settings, Submission, open_questions
from awe_core.errors import AweError, JournalUnwritableError
from awe_core.events import Actor, Decision
from awe_core.handshake import Auto, Ledger, People, PolicyChain
from awe_core.invoke import Handshake, InProcess, Invoker
from awe_core.testing.simulation.flows import digest, text_of
from awe_core.testing.simulation.watched import Inline, Place, Signer, Store, Undo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.events import ConfirmationRequest, Verdict
    from awe_core.journal import Journal
    from awe_core.testing.simulation.flows import Stage
    from awe_core.testing.simulation.lives import Life
    from awe_core.testing.simulation.watched import Witness
    from awe_core.undo import UndoManager
    from awe_core.values import JsonObject

OPEN_STATES = ("PENDING", "RUNNING", "PAUSED")
_PEOPLE = People({"ana": ("operator", "approver"), "lin": ("approver",)}, is_dev=True)
LIMITS = Limits(
    active_runs=256,
    steps_in_flight_per_run=32,
    steps_in_flight=128,
    threads=4,
    queued_submissions=10_000,
    uncommitted_records=10_000,
    uncommitted_bytes=16 << 20,
    steps_per_run=50_000,
    nesting=16,
    foreach_items=10_000,
    value_bytes=1 << 20,
    run_bytes=64 << 20,
)
_ROUNDS = 300  #: of the last process, ten seconds each: more than any run may need


def engine_of(stage: Stage, witness: Witness, journal: Journal, undo: UndoManager) -> RuntimeEngine:
    """Wire the real engine as `runtime` does, over what is watched."""
    pool = Inline(witness)
    invoker = Invoker(
        stage.registry,
        stage.gate,
        workspace=undo.workspace,
        handshake=Handshake(chain=PolicyChain([Auto.configured({})], threads=pool)),
        executors={"inproc": InProcess(pool)},
        config={},
        deployment="simulated",
        mac=journal.mac,
    )
    return RuntimeEngine(
        Parts(
            journal=journal,
            invoker=invoker,
            undo=undo,
            ledger=Ledger(),
            people=_PEOPLE,
            pool=pool,
            handlers=pool,
            clock_us=witness.machine.clock,
            settings=Settings(limits=LIMITS, trust="dev-local", shutdown_us=1_000_000),
        )
    )


class Session:
    """What happens to one engine: callers, people, an operator, a neighbour."""

    def __init__(self, life: Life, witness: Witness, *, is_last: bool) -> None:
        self.life, self.witness, self.dice, self.is_last = life, witness, witness.dice, is_last
        self.runs: dict[int, str] = {}
        self.engine: RuntimeEngine
        self.journal: Journal

    async def held(self) -> None:
        """Hold it: open, let things happen, close."""
        try:
            self.journal = Store.open(
                self.life.home,
                signer=Signer(),
                origin="simulated",
                opened={"awe": "simulated", "trust": "dev-local"},
                clock_us=self.witness.machine.clock,
            )
        except JournalUnwritableError:  # a full disk: no process begins on one
            return
        place = Place.open(self.life.place, store=self.life.root / "undo")
        undo = Undo(self.journal, place)
        self.engine = engine_of(self.life.stage, self.witness, self.journal, undo)
        await self.engine.recover()
        for run, error in self.engine.unreadable.items():
            self.witness.note(fault=f"run {run} cannot be taken up: {error.summary}")
        documents = self.life.documents()
        others = [self._people(), *(self._caller(n, one) for n, one in enumerate(documents))]
        if not self.is_last:
            others += [self._operator(), self._neighbour()]
        tasks = [asyncio.ensure_future(one) for one in others]
        if self.is_last or self.life.kill_at is not None:
            await self._finish(len(documents))
        else:
            await asyncio.sleep(self.dice.uniform(5, 120))
        for task in tasks:
            task.cancel()
        for one in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(one, Exception):
                self.witness.note(fault=f"a caller met {type(one).__name__}: {one}")
        await self._look_for_defects()
        await self.engine.close()
        self.journal.close()
        self.witness.note(closed=True, points=self.witness.points)

    async def _caller(self, number: int, document: JsonObject) -> None:
        """Submit one workflow until that is acknowledged, and wait for its end at times."""
        await asyncio.sleep(self.dice.uniform(0, 10))
        wanted = Submission(
            spec=self.engine.plans.document(document, file="flow"),
            inputs={"dir": f"r{number}", "flag": number % 2 == 0},
            actor=Actor("agent", "helper", "person:ana", via="sdk"),
            document=document,
            idempotency_key=f"run-{number}",
        )
        while number not in self.runs:
            with contextlib.suppress(JournalUnwritableError):
                self.runs[number] = run = await self.engine.submit(wanted)
                self.witness.note(opened=number, run=run)
            await asyncio.sleep(1)
        with contextlib.suppress(JournalUnwritableError):
            await self.engine.settled(self.runs[number])
            row = self.journal.run_row(self.runs[number]) or {}
            self.witness.note(told=self.runs[number], state=row.get("state"))

    async def _people(self) -> None:
        """Answer what is asked."""
        while True:
            await asyncio.sleep(self.dice.uniform(1, 8))
            for request in self._asked():
                verdict: Verdict = "approve" if self.dice.random() < 0.8 else "deny"
                decision = Decision(
                    request=request.id,
                    version=request.version,
                    digest=request.digest,
                    verdict=verdict,
                    by=self.dice.choice(("person:ana", "person:lin")),
                    via="cli",
                    assurance="session",
                    at_us=self.witness.machine.clock(),
                )
                with contextlib.suppress(AweError):
                    await self.engine.decide(decision)
                    self.witness.note(answered=request.id)

    def _asked(self) -> list[ConfirmationRequest]:
        """Give what waits for an answer, also of runs that the engine has not read."""
        open_ = [str(row["id"]) for row in self.journal.run_rows(state=OPEN_STATES)]
        return [one for run in open_ for one in open_questions(self.journal, run)]

    async def _operator(self) -> None:
        """Ask something of a run now and then; what is refused was not possible just then."""
        verbs = ("pause", "resume", "resume", "cancel", "rollback", "retry", "resolve")
        while True:
            await asyncio.sleep(self.dice.uniform(2, 15))
            if self.runs:
                run = self.runs[self.dice.choice(sorted(self.runs))]
                await self._ask(run, self.dice.choice(verbs))

    async def _ask(self, run: str, verb: str) -> None:
        params: JsonObject = {"reason": "a drill"}
        with contextlib.suppress(AweError):
            units = [one for one in self.engine.reader.view(run).run.steps() if one.path]
            if verb == "retry" and units:
                params["from"] = self.dice.choice(units).path
            if verb == "rollback" and units and self.dice.random() < 0.3:
                params["to"] = self.dice.choice(units).path
            if verb == "resolve":
                doubtful = [one for one in units if one.state is StepState.IN_DOUBT]
                params |= self._resolution(doubtful)
            actor = Actor.person("ana", via="cli")
            await self.engine.control(run, verb, actor=actor, params=params)
            self.witness.note(asked=verb, run=run)

    def _resolution(self, doubtful: Sequence[Any]) -> JsonObject:
        """What a person who has looked at the world says of a step in doubt."""
        if not doubtful:
            return {}
        step = doubtful[0]
        item = step.items[-1]
        file = self.life.place / item.target
        made = text_of(item.key).encode()
        if file.exists() and file.read_bytes() == made:
            done = {"outcome": "applied", "output": {"path": item.target}}
        else:
            done = {"outcome": "not_applied"}
        return {"step": step.path, **self.dice.choice((done, {"outcome": "roll_back"}))}

    async def _neighbour(self) -> None:
        """Change a file now and then, in one move, as another program would."""
        for number in range(1000):
            await asyncio.sleep(self.dice.uniform(10, 60))
            there = sorted(path for path in self.life.place.glob("r*/*.txt") if path.is_file())
            if there and self.dice.random() < 0.5:
                path, text = self.dice.choice(there), f"theirs {self.witness.points} {number}\n"
                new = path.with_suffix(".new")
                new.write_text(text)
                new.replace(path)
                where = path.relative_to(self.life.place).as_posix()
                self.witness.note(foreign=where, made=digest(text.encode()))

    async def _finish(self, runs: int) -> None:
        """Do whatever a run waits for, until every one has ended."""
        for _ in range(_ROUNDS):
            await asyncio.sleep(10)
            still = self.journal.run_rows(state=OPEN_STATES)
            if not still and len(self.runs) == runs:
                return
            for row in still:
                if row["state"] == "PAUSED":
                    for verb in ("resolve", "resume"):
                        await self._ask(str(row["id"]), verb)
        for row in self.journal.run_rows(state=OPEN_STATES):
            self.witness.note(fault=f"run {row['id']} does not end: {row['state']} {row['phase']}")

    async def _look_for_defects(self) -> None:
        for run in self.runs.values():
            try:
                async with asyncio.timeout(0.001):
                    await self.engine.settled(run)
            except (TimeoutError, JournalUnwritableError):
                pass
            except AweError as error:
                self.witness.note(fault=f"run {run} was given up: {error.code} {error.summary}")

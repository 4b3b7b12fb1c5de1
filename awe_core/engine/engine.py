"""`RuntimeEngine`: the door to the runs of this process: submit, decide, control, recover."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import secrets
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.decider import open_run, recover
from awe_core.decider.table import Phase
from awe_core.engine.active import ActiveRun
from awe_core.engine.admission import Admission
from awe_core.engine.control import answer, asked
from awe_core.engine.outline import outline
from awe_core.engine.plans import Plans
from awe_core.engine.recovery import Reader, open_questions, started_at, sweep, unused_tickets
from awe_core.engine.retention import Retention
from awe_core.engine.turns import Turns
from awe_core.errors import (
    AccessError,
    AweError,
    EngineError,
    HandshakeError,
    JournalUnwritableError,
    RunError,
)
from awe_core.events import PackRef, RunCancelRequested, RunOpened, WorkflowRef
from awe_core.invoke.masking import masked
from awe_core.journal import Upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from awe_core.decider import Plan, Run
    from awe_core.engine.parts import Parts
    from awe_core.events import Actor, Decision
    from awe_core.journal import Journal, RunLog
    from awe_core.values import JsonObject
    from awe_core.workflow import WorkflowSpec

_OPEN_STATES = ("PENDING", "RUNNING", "PAUSED")
_ID_STEP = 1 << 60  #: at least, between the ids of two runs
_RETAIN_S = 3_600.0  #: how often the undo store is looked through
_GRACE_S = 1.0  #: for what is under way to end, where its process is told to end
_CANCEL_S = 0.5  #: for what was cancelled to end
_SPREAD_S, _SPREADS = 1.0, 20  #: over which, in so many goes, what is overdue is woken at opening
_AT_ONCE = 100  #: runs that are woken in one go, at least
_AGAIN_S, _LONGEST_S = 1.0, 30.0  #: after which a log that could not be written is tried again


@attrs.frozen(kw_only=True)
class Submission:
    """What a caller wants run."""

    spec: WorkflowSpec
    inputs: JsonObject
    actor: Actor
    document: JsonObject | None = None  #: of a workflow that stands in no pack
    is_call: bool = False
    facade: str | None = None
    idempotency_key: str | None = None
    expires_us: int | None = None
    is_dry: bool = False  #: on an overlay: `RuntimeEngine.plan`


class RuntimeEngine:
    """Drives the runs of one home on the running event loop."""

    def __init__(self, parts: Parts) -> None:
        """Wire the engine; `recover` takes up what an earlier process left."""
        self.parts = parts
        limits = parts.settings.limits
        self.plans = Plans(parts.invoker.registry, limits)
        self.reader = Reader(parts.logs, parts.invoker.registry, self.plans)
        self.unreadable: dict[str, AweError] = {}  #: open runs that this process cannot take up
        self._turns = Turns(self.plans)
        self._admission = parts.admission = Admission(limits, self._turns.turn)
        self._active: dict[str, ActiveRun] = {}
        self.retention = parts.retention = Retention(parts, self.reader.view, self._active)
        self._alarm: asyncio.TimerHandle | None = None  #: of all runs that are not in memory
        self._again: asyncio.TimerHandle | None = None  #: when a failed log is tried again
        self._again_s, self._written = _AGAIN_S, 0
        self._at_once = _AT_ONCE  #: how many of them are woken in one go
        self._sweeper: asyncio.Task[None] | None = None
        self._last_id = int.from_bytes(secrets.token_bytes(10), "big")
        self._dropper: asyncio.Task[None] | None = None
        self._keys: dict[str | None, tuple[bytes, str]] = {}  #: not durable yet: body and run
        self._is_closing = False
        parts.journal.on_drop = self._dropped
        parts.logs.is_at_work = self._is_at_work

    # ---- submissions ---------------------------------------------------------------------------
    async def submit(self, wanted: Submission) -> str:
        """Open a run and give its id once that is durable.

        :raises AweError: refused; no run exists then, unless the key named one already
        """
        if self._is_closing:
            raise EngineError("engine.closing")
        plan = self.plans.of(wanted.spec)
        inputs: JsonObject = self.plans.inputs(wanted.spec).apply(wanted.inputs, side="input")
        key = wanted.idempotency_key
        if key is not None and (known := self._known(key, _body(wanted, inputs))) is not None:
            await self._log(known).barrier()
            return known
        self._admission.check(self.parts.logs)
        active = self._opened(wanted, plan, inputs)
        try:
            await active.barrier()
        finally:
            self._keys.pop(active.opened.idem, None)
        self._admission.enter(active)
        self._turns.turn(active)
        return active.run_id

    async def plan(self, wanted: Submission) -> JsonObject:
        """Run *wanted* dry, on record, and say what a real run would do.

        :raises AccessError: ``access.refused``: dry runs are for people and services
        :raises AweError: refused; no run exists then
        """
        if wanted.actor.kind == "agent":  # diffs show files that its facades may not
            raise AccessError("access.refused", asked="a dry run", by=str(wanted.actor))
        run = await self.submit(attrs.evolve(wanted, is_dry=True, idempotency_key=None))
        active = self._active[run]
        with active.workspace:  # the overlay, which forgets its contents
            await self.settled(run)
            held = active.run.hold
            if active.run.closed is None:  # a stop, or a pack that may not go on: none resumes it
                self._end_dry(active)
                await self.settled(run)
            given = active.opened.inputs
            marks = self.plans.inputs(wanted.spec).marks(given)
            digest = canonical.digest_value(masked(given, marks, self.parts.journal.mac))
            found: JsonObject = active.dry.plan(active.run, inputs=digest)  # type: ignore[union-attr]  # it was opened dry
            return {**found, "held": held}

    async def outline(self, wanted: Submission) -> JsonObject:
        """Say what *wanted* would do as far as its inputs tell; no run, no handler, no record."""
        plan, parts = self.plans.of(wanted.spec), self.parts
        known = wanted.spec.inputs.get("properties", {}).items()
        defaults = {key: one["default"] for key, one in known if "default" in one}
        given = {**defaults, **wanted.inputs}
        return await outline(parts.invoker, plan, given, wanted.actor, now_us=parts.clock_us())

    def _end_dry(self, active: ActiveRun) -> None:
        active.record(RunCancelRequested(via="engine", mode="rollback"))
        self._turns.turn(active)

    def _opened(self, wanted: Submission, plan: Plan, inputs: JsonObject) -> ActiveRun:
        parts, now = self.parts, self.parts.clock_us()
        spec, settings = wanted.spec, parts.settings
        lifetime = spec.expires_us if wanted.expires_us is None else wanted.expires_us
        run_id = self._new_id()
        fact = RunOpened(
            workflow=WorkflowRef(spec.id, spec.version, self.plans.digest(spec, wanted.document)),
            via=wanted.actor.via,
            by=str(wanted.actor),
            for_=wanted.actor.on_behalf_of,
            trust=settings.trust,
            policies=parts.invoker.handshake.chain.digest,
            level=settings.level,
            durability=settings.durability,
            auto_rollback=spec.enable_auto_rollback,
            packs=self._packs(plan),
            facade=wanted.facade,
            manifest=settings.manifest,
            expires_us=None if lifetime is None else now + lifetime,
            idem=None if wanted.idempotency_key is None else self._mac(wanted.idempotency_key),
            call=True if wanted.is_call else None,
            dry=True if wanted.is_dry else None,
            inputs=inputs,
            document=wanted.document,
        )
        run = open_run(plan, run_id, fact, started_at=started_at(now))
        log = parts.logs.begin(run_id, f"{wanted.actor} {wanted.actor.via}")
        active = self._taken(run, wanted.actor, opened_us=now, log=log)
        upserts, named = [], (_body(wanted, inputs), run_id)
        if fact.idem is not None:
            upserts.append(Upsert("submission", (fact.idem, *named)))
        active.write_opened(fact, marks=self.plans.inputs(spec).marks(inputs), upserts=upserts)
        if fact.idem is not None:  # not before the log took it: a full disk refuses
            self._keys[fact.idem] = named
        self._active[run_id] = active
        return active

    def _new_id(self) -> str:
        """80 bits in base32, lower case; any unique prefix names the run.

        From a random start each is a random step ahead of the one before: a new run lies beside
        those that are at work in every index, so a commit touches half as many pages as with ids
        from anywhere, and the first four characters still differ for half a million runs.
        """
        step = _ID_STEP + int.from_bytes(secrets.token_bytes(8), "big") % _ID_STEP
        self._last_id = (self._last_id + step) % (1 << 80)
        return base64.b32encode(self._last_id.to_bytes(10, "big")).decode().lower()

    def _known(self, key: str, body: bytes) -> str | None:
        """Give the run that this idempotency key already names."""
        mac = self._mac(key)
        found = self._keys.get(mac) or self.parts.journal.submission(mac)
        if found is None:
            return None
        digest, run = found
        if digest != body:
            raise RunError("run.idempotency_conflict", run=run)
        return run

    def _mac(self, text: str) -> str:
        return self.parts.journal.mac(canonical.value(text))

    def _packs(self, plan: Plan) -> tuple[PackRef, ...]:
        """Ask the gate about all that a run can call, and give the packs it comes from."""
        gate, registry = self.parts.invoker.gate, self.parts.invoker.registry
        found = set()
        called = self.plans.called(plan)
        for name in called.strategies:
            self.parts.undo.capturing(name)
        for reference, purpose in called.capabilities:
            capability = registry.resolve(reference)
            gate.check(capability.spec.id, capability.contract, purpose)
            self.parts.invoker.check_executor(capability)
            found.add(capability.pack)
        for workflow, pack in self.plans.brought(plan):
            gate.check_workflow(workflow, pack.record, "new")
            found.add(pack)
        return tuple(sorted(found, key=lambda pack: pack.dist))

    # ---- waiting -------------------------------------------------------------------------------
    async def settled(self, run: str) -> None:
        """Return when *run* has closed or waits for somebody, durably.

        :raises AweError: when this process cannot drive it any further
        """
        now = self.parts.clock_us()
        row = None if run in self._active else self.parts.journal.run_row(run)
        if row and row["due_us"] and (row["state"] != "PAUSED" or row["due_us"] <= now):
            self._wake(run)  # one that waits for a person may have expired
        active = self._active.get(run)
        if active is not None and (active.failed or not active.is_settled):
            await active.settled()  # told only once it is durable
        else:
            await self._log(run).barrier()
        self._evict(run)

    def _log(self, run: str) -> Journal | RunLog:
        """What *run* writes to; what is not in memory has nothing queued but in the workspace."""
        return self._active[run].log if run in self._active else self.parts.journal

    def _is_at_work(self, run: str) -> bool:
        active = self._active.get(run)
        return active is not None and not (active.is_settled or active.failed)

    def _evict(self, run: str) -> None:
        active = self._active.get(run)
        if active is not None and (active.run.closed or active.failed):
            del self._active[run]

    async def sweep(self) -> None:
        """Let go of runs that recorded nothing since the last sweep; who wakes them replays them.

        A run that waits for a person or a timer then holds no memory: its row says when it is due.
        """
        await self.parts.logs.barrier()
        for run_id, active in tuple(self._active.items()):
            is_parked = active.is_idle and active.seen_rseq == active.run.next_rseq
            active.seen_rseq = active.run.next_rseq
            is_parked &= active.rests or active.run.closed is not None
            if is_parked and not self._admission.owes_turn(run_id):
                active.stop()
                self._admission.update(active)
                self.parts.ledger.forget(run_id)
                del self._active[run_id]
        self._look()

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(self.parts.settings.park_us / 1e6)
            with contextlib.suppress(AweError):  # what is not durable stays in memory
                await self.sweep()

    async def _retain(self) -> None:
        while True:
            with contextlib.suppress(AweError, OSError):  # the next time is as good
                await self.retention.sweep()
            await asyncio.sleep(_RETAIN_S)

    def _look(self) -> None:
        """Wake what is due of the runs that are not in memory, and come again for the next."""
        if self._alarm is not None:
            self._alarm.cancel()
        now, left, known = self.parts.clock_us(), self._at_once, self._active.keys()
        most = left + len(self._active) + len(self.unreadable) + 1
        sql = "SELECT id, due_us FROM run WHERE due_us NOT NULL ORDER BY due_us LIMIT ?"
        for run, due_us in self.parts.journal.rows(sql, (most,)):
            if run in known or run in self.unreadable:
                continue
            if due_us > now or not left:
                delay_s = max((due_us - now) / 1e6, _SPREAD_S / _SPREADS)
                self._alarm = asyncio.get_running_loop().call_later(delay_s, self._look)
                return
            left -= 1
            self._wake(run)

    def _wake(self, run: str) -> None:
        """Take up a run that is due; one that cannot be read is named by `unreadable`."""
        try:
            self._turns.turn(self._take(run))
        except JournalUnwritableError:  # its row stays as it is, and is looked at again
            return
        except AweError as error:
            self.unreadable[run] = error

    # ---- control -------------------------------------------------------------------------------
    async def decide(self, decision: Decision) -> None:
        """Take a person's answer; returns once it is recorded.

        :raises HandshakeError: it cannot be taken
        """
        for run, active in tuple(self._active.items()):
            if isinstance(active.failed, JournalUnwritableError):
                self._take(run)  # an answer that was dropped leaves its question open
        active = self._take(self._asker(decision.request))
        request = self.parts.ledger.find(decision.request)  # of a run read again, maybe no more
        answer(active, request, decision)
        active.show()
        await active.barrier()
        self._turns.turn(active)

    def _asker(self, request: str) -> str:
        """Name the run of an open request, also of one that is not in memory.

        :raises HandshakeError: ``handshake.unknown``
        """
        sql = (
            "SELECT log.run FROM run JOIN log ON log.run = run.id WHERE run.closed_us IS NULL"
            " AND kind = 'handshake.requested' AND instr(body, ?) LIMIT 1"
        )
        try:
            return self.parts.ledger.find(request).run
        except HandshakeError:
            if not request:
                raise
            found = self.parts.journal.rows(sql, (f'"req":"{request}'.encode(),))
            run = found[0][0] if found else next(self._in_own_logs(request), None)
            if run is None:
                raise
            return str(run)

    def _in_own_logs(self, request: str) -> Iterator[str]:
        """Look for an open request in runs with another log than the workspace's."""
        for (run,) in self.parts.journal.rows("SELECT id FROM run WHERE closed_us IS NULL"):
            if run not in self._active and self.parts.logs.is_apart(run):
                asked = open_questions(self.reader.log_of(run), run)
                yield from (run for one in asked if one.id.startswith(request))

    async def control(self, run: str, verb: str, *, actor: Actor, params: JsonObject) -> None:
        """Pause, resume, cancel, roll back, retry or resolve; returns once it is recorded.

        :raises RunError: ``run.illegal_state``, naming what is legal
        """
        active = self._take(run)
        active.run.require(verb)
        active.record(asked(active, verb, actor, params, now_us=self.parts.clock_us()))
        if verb in {"rollback", "retry", "resume"}:
            self.reader.supply(active.run)
        active.show()  # in the same transaction: `recover` goes by what the row says
        await active.barrier()
        self._turns.turn(active)

    def _take(self, run: str) -> ActiveRun:
        """Give the run in memory, read again from the journal if need be."""
        active = self._active.get(run)
        if active is not None and active.failed is None:
            return active
        self._log(run).commit()  # of a run that was given up, records may still be queued
        active = self._restored(run)
        self._admission.enter(active)
        return active

    def _restored(self, run: str) -> ActiveRun:
        """Read a run from the log; what it had in flight, here or elsewhere, was cut off."""
        self.unreadable.pop(run, None)
        log, ledger = self.parts.logs.of(run), self.parts.ledger
        found, journal = self.reader.view(run), self.parts.logs.reading(run)
        if not found.run.closed:  # first, for its key is of its inputs
            self.reader.supply(found.run)
        actor = self.reader.actor(found.run.opened)
        active = self._taken(found.run, actor, opened_us=found.opened_us, log=log)
        sizes = "SELECT coalesce(sum(size), 0) FROM payload WHERE run = ?"
        active.value_bytes = journal.rows(sizes, (run,))[0][0]
        for fact in found.facts:
            active.remember(fact)
        ledger.forget(run)
        for request in open_questions(journal, run, enumerate(found.facts)):
            ledger.ask(request)
        for ticket in unused_tickets(journal, found):
            ledger.restore(ticket)
        sweep(journal, self.parts.undo.workspace, found)
        recover(found.run)
        self._active[run] = active
        return active

    def _taken(self, run: Run, actor: Actor, *, opened_us: int, log: Journal | RunLog) -> ActiveRun:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().create_task(self._sweep_on())
        brought = tuple(self.plans.brought(run.plan))
        return ActiveRun(self.parts, run, actor, brought, opened_us=opened_us, log=log)

    # ---- life ----------------------------------------------------------------------------------
    async def recover(self) -> tuple[str, ...]:
        """Take up every run that an earlier process left open and at work; give their ids.

        One that only waits is read when it is due, asked for or answered: its row says when.  A run
        whose workflow or pack is not there stays as it is and is named by `unreadable`.
        """
        rows, now = self.parts.journal.rows, self.parts.clock_us()
        open_ = (  # a row that is behind the log says nothing, nor one of a log of its own
            "SELECT id FROM run WHERE state IN (?, ?, ?) AND (waiting IS NULL OR last_rseq <>"
            " (SELECT max(rseq) FROM log WHERE log.run = run.id)) ORDER BY opened_us"
        )
        taken = self._recovered([run for (run,) in rows(open_, _OPEN_STATES)])
        ((overdue,),) = rows("SELECT count(*) FROM run WHERE due_us <= ?", (now,))
        self._at_once = max(_AT_ONCE, -(-overdue // _SPREADS))
        self._look()
        self._dropper = asyncio.get_running_loop().create_task(self._retain())
        return taken

    def _dropped(self, runs: Sequence[str], failure: JournalUnwritableError) -> None:
        """Give up the runs whose records were dropped, and replay them once the log takes more."""
        if self._is_closing:
            return
        for run in runs:
            if run in self._active:
                self._active[run].give_up(failure)
        if (written := self.parts.journal.counters.records) > self._written:  # it worked meanwhile
            self._again_s, self._written = _AGAIN_S, written
        if self._again is None:
            self._replay_later(self._again_s)

    def _replay_later(self, delay_s: float) -> None:
        self._again = asyncio.get_running_loop().call_later(delay_s, self._replay)

    def _replay(self) -> None:
        """Take up what was given up, unless the log still fails: then look at it ever less often.

        A log that takes a write that says nothing and then fails is no reason to begin anew.
        """
        self._again = None
        if self._is_closing or not self.parts.journal.lock.is_in_place:
            return
        if self.parts.logs.is_suspended:  # asking resumes it as soon as there is room
            self._replay_later(_AGAIN_S)
            return
        self._again_s = min(2 * self._again_s, _LONGEST_S)
        if not self.parts.journal.try_again():
            self._replay_later(self._again_s)
            return
        failed = [
            run for run, a in self._active.items() if isinstance(a.failed, JournalUnwritableError)
        ]
        for run in failed:
            with contextlib.suppress(JournalUnwritableError):  # the other of its two logs took more
                self._log(run).commit()
            del self._active[run]
        rows = map(self.parts.journal.run_row, failed)
        self._recovered([str(row["id"]) for row in rows if row and row["state"] in _OPEN_STATES])

    def _recovered(self, runs: Iterable[str]) -> tuple[str, ...]:
        taken = []
        for run_id in runs:
            try:
                active = self._restored(run_id)
            except AweError as error:
                self.unreadable[run_id] = error
            else:
                active.is_recovered = True
                taken.append(active)
        for active in sorted(taken, key=lambda active: active.run.phase is Phase.OPEN):
            self._admission.enter(active)  # those first that hold a key already
        for active in taken:
            self._end_dry(active) if active.dry else self._turns.turn(active)
        return tuple(active.run_id for active in taken)

    async def close(self, *, is_hurried: bool = False) -> None:
        """Stop taking, give handlers a moment, and leave the rest to the next process.

        What still runs then stays STARTED in the log: no end of it is recorded but by recovery.

        :param is_hurried: nothing more begins, and what is under way has a second to end
        """
        self._is_closing = True
        self._admission.close()
        for timer in (self._sweeper, self._dropper, self._alarm, self._again):
            if timer is not None:
                timer.cancel()
        if is_hurried:
            self._turns.is_over = True
            await _ended({task for a in self._active.values() for task in a.tasks}, _GRACE_S)
        else:
            is_queued = self._admission.is_queued
            begun = [a for run_id, a in self._active.items() if not is_queued(run_id)]
            moving = [a for a in begun if not a.is_settled and a.failed is None]
            waits = {asyncio.ensure_future(a.settled()) for a in moving}
            for late in await _ended(waits, self.parts.settings.shutdown_us / 1e6):
                late.cancel()
        ending = {task for active in self._active.values() for task in active.stop()}
        ending |= {task for task in (self._sweeper, self._dropper) if task is not None}
        await _ended(ending, _CANCEL_S)  # a handler that will not be cancelled is left to its end
        for pool in (self.parts.pool, self.parts.handlers):
            pool.close()
        self.parts.logs.close()


async def _ended(tasks: set[asyncio.Task[None]], timeout_s: float) -> set[asyncio.Task[None]]:
    """Wait for *tasks*, at most so long; give those that go on."""
    return (await asyncio.wait(tasks, timeout=timeout_s))[1] if tasks else tasks


def _body(wanted: Submission, inputs: JsonObject) -> bytes:
    """What a submission's idempotency key is bound to."""
    body = {"workflow": wanted.spec.full_reference, "inputs": inputs, "document": wanted.document}
    return hashlib.sha256(canonical.value(body)).digest()

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
from awe_core.engine.turns import Turns
from awe_core.errors import AccessError, AweError, EngineError, JournalUnwritableError, RunError
from awe_core.events import PackRef, RunCancelRequested, RunOpened, WorkflowRef
from awe_core.invoke.masking import masked
from awe_core.journal import Upsert

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.decider import Plan, Run
    from awe_core.engine.parts import Parts
    from awe_core.events import Actor, Decision
    from awe_core.journal import Journal, RunLog
    from awe_core.values import JsonObject
    from awe_core.workflow import WorkflowSpec

_OPEN_STATES = ("PENDING", "RUNNING", "PAUSED")
_CANCEL_S = 1.0  #: for what was cancelled to end
_AGAIN_S = 1.0  #: after which a log that could not be written is tried again


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
        self._alarms: dict[str, asyncio.TimerHandle] = {}  #: of runs that are not in memory
        self._sweeper: asyncio.Task[None] | None = None
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
        run_id = _new_id()
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
        for reference in self.plans.called(plan):
            capability = registry.resolve(reference)
            gate.check(capability.spec.id, capability.contract, "new")
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
        if run in self._alarms:
            self._wake(run)
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

        A run that waits for a person or a timer then holds no memory but its alarm.
        """
        await self.parts.logs.barrier()
        for run_id, active in tuple(self._active.items()):
            is_parked = active.is_idle and active.seen_rseq == active.run.next_rseq
            active.seen_rseq = active.run.next_rseq
            if is_parked and not self._admission.owes_turn(run_id):
                due = None if active.run.closed else active.wakes_at
                active.stop()
                self._admission.update(active)
                del self._active[run_id]
                if due is not None:
                    loop = asyncio.get_running_loop()
                    self._alarms[run_id] = loop.call_at(due, self._wake, run_id)

    async def _sweep_on(self) -> None:
        while True:
            await asyncio.sleep(self.parts.settings.park_us / 1e6)
            with contextlib.suppress(AweError):  # what is not durable stays in memory
                await self.sweep()

    def _wake(self, run: str) -> None:
        """Take up a run that is due; one that cannot be read is named by `unreadable`."""
        try:
            self._turns.turn(self._take(run))
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
        active = self._take(self.parts.ledger.find(decision.request).run)
        request = self.parts.ledger.find(decision.request)  # of a run read again, maybe no more
        answer(active, request, decision)
        active.show()
        await active.barrier()
        self._turns.turn(active)

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
        if (alarm := self._alarms.pop(run, None)) is not None:
            alarm.cancel()
        log, ledger = self.parts.logs.of(run), self.parts.ledger
        found, journal = self.reader.view(run), self.parts.logs.reading(run)
        actor = self.reader.actor(found.run.opened)
        active = self._taken(found.run, actor, opened_us=found.opened_us, log=log)
        sizes = "SELECT coalesce(sum(size), 0) FROM payload WHERE run = ?"
        active.value_bytes = journal.rows(sizes, (run,))[0][0]
        for fact in found.facts:
            active.remember(fact)
        if not found.run.closed:
            self.reader.supply(found.run)
        ledger.forget(run)
        for request in open_questions(journal, found):
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
        """Take up every run that an earlier process left open; give their ids.

        A run whose workflow or pack is not there stays as it is and is named by `unreadable`.
        """
        rows = self.parts.journal.run_rows(state=_OPEN_STATES, limit=1_000_000)
        rows.sort(key=lambda row: int(row["opened_us"]))  # they begin in this order
        return self._recovered([str(row["id"]) for row in rows])

    def _dropped(self, runs: Sequence[str], failure: JournalUnwritableError) -> None:
        """Give up the runs whose records were dropped, and replay them once the log takes more."""
        if self._is_closing:
            return
        for run in runs:
            if run in self._active:
                self._active[run].give_up(failure)
        asyncio.get_running_loop().call_later(_AGAIN_S, self._replay)

    def _replay(self) -> None:
        if self._is_closing or not self.parts.journal.lock.is_in_place:
            return
        if self.parts.logs.is_suspended:  # asking resumes it as soon as there is room
            asyncio.get_running_loop().call_later(_AGAIN_S, self._replay)
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

    async def close(self) -> None:
        """Stop taking, give handlers a moment, and leave the rest to the next process."""
        self._is_closing = True
        self._admission.close()
        for timer in (self._sweeper, *self._alarms.values()):
            if timer is not None:
                timer.cancel()
        is_queued = self._admission.is_queued
        begun = [a for run_id, a in self._active.items() if not is_queued(run_id)]
        moving = [a for a in begun if not a.is_settled and a.failed is None]
        if moving:
            waits = [asyncio.ensure_future(a.settled()) for a in moving]
            _, late = await asyncio.wait(waits, timeout=self.parts.settings.shutdown_us / 1e6)
            for wait in late:
                wait.cancel()
        ending = {task for active in self._active.values() for task in active.stop()}
        if self._sweeper is not None:
            ending.add(self._sweeper)
        if ending:  # a handler that will not be cancelled is left to its end
            await asyncio.wait(ending, timeout=_CANCEL_S)
        self.parts.pool.close()
        self.parts.logs.close()


def _new_id() -> str:
    """80 random bits in base32, lower case; any unique prefix names the run."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def _body(wanted: Submission, inputs: JsonObject) -> bytes:
    """What a submission's idempotency key is bound to."""
    body = {"workflow": wanted.spec.full_reference, "inputs": inputs, "document": wanted.document}
    return hashlib.sha256(canonical.value(body)).digest()

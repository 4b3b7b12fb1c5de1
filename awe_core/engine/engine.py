"""`RuntimeEngine`: the door to the runs of this process: submit, decide, control, recover."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.decider import open_run, recover
from awe_core.engine.active import ActiveRun
from awe_core.engine.control import answer, asked
from awe_core.engine.plans import Plans
from awe_core.engine.recovery import Reader, open_questions, started_at, unused_tickets
from awe_core.engine.turns import Turns
from awe_core.errors import AweError, EngineError, RunError
from awe_core.events import PackRef, RunOpened, WorkflowRef
from awe_core.journal import Upsert

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.decider import Plan, Run
    from awe_core.engine.parts import Parts
    from awe_core.events import Actor, Decision, Fact
    from awe_core.values import JsonObject
    from awe_core.workflow import WorkflowSpec

_OPEN_STATES = ("PENDING", "RUNNING", "PAUSED")


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


class RuntimeEngine:
    """Drives the runs of one home on the running event loop."""

    def __init__(self, parts: Parts) -> None:
        """Wire the engine; `recover` takes up what an earlier process left."""
        self.parts = parts
        self.plans = Plans(parts.invoker.registry)
        self.reader = Reader(parts.journal, parts.invoker.registry, self.plans)
        self.unreadable: dict[str, AweError] = {}  #: open runs that this process cannot take up
        self._turns = Turns(self.plans)
        self._active: dict[str, ActiveRun] = {}
        self._keys: dict[str | None, tuple[bytes, str]] = {}  #: not durable yet: body and run
        self._is_closing = False

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
            await self.parts.journal.barrier()
            return known
        active = self._opened(wanted, plan, inputs)
        try:
            await active.barrier()
        finally:
            self._keys.pop(active.opened.idem, None)
        self._turns.turn(active)
        return active.run_id

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
            inputs=inputs,
            document=wanted.document,
        )
        run = open_run(plan, run_id, fact, started_at=started_at(now))
        active = self._taken(run, wanted.actor, opened_us=now)
        upserts = []
        if fact.idem is not None:
            named = _body(wanted, inputs), run_id
            self._keys[fact.idem] = named
            upserts.append(Upsert("submission", (fact.idem, *named)))
        active.write_opened(fact, marks=self.plans.inputs(spec).marks(inputs), upserts=upserts)
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
        active = self._active.get(run)
        if active is not None and not active.is_settled:
            await active.settled()  # told only once it is durable
        else:
            await self.parts.journal.barrier()
        self._evict(run)

    def _evict(self, run: str) -> None:
        active = self._active.get(run)
        if active is not None and (active.run.closed or active.failed):
            del self._active[run]

    # ---- control -------------------------------------------------------------------------------
    async def decide(self, decision: Decision) -> None:
        """Take a person's answer; returns once it is recorded.

        :raises HandshakeError: it cannot be taken
        """
        request = self.parts.ledger.find(decision.request)
        active = self._take(request.run)
        answer(active, request, decision)
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
        await active.barrier()
        self._turns.turn(active)

    def _take(self, run: str) -> ActiveRun:
        """Give the run in memory, read again from the journal if need be."""
        active = self._active.get(run)
        if active is not None and active.failed is None:
            return active
        found = self.reader.view(run)
        return self._restored(found.run, found.facts, opened_us=found.opened_us)

    def _restored(self, run: Run, facts: Iterable[Fact], *, opened_us: int) -> ActiveRun:
        active = self._taken(run, self.reader.actor(run.opened), opened_us=opened_us)
        for fact in facts:
            active.remember(fact)
        self._active[run.id] = active
        return active

    def _taken(self, run: Run, actor: Actor, *, opened_us: int) -> ActiveRun:
        brought = tuple(self.plans.brought(run.plan))
        return ActiveRun(self.parts, run, actor, brought, opened_us=opened_us)

    # ---- life ----------------------------------------------------------------------------------
    async def recover(self) -> tuple[str, ...]:
        """Take up every run that an earlier process left open; give their ids.

        A run whose workflow or pack is not there stays as it is and is named by `unreadable`.
        """
        taken = []
        for row in self.parts.journal.run_rows(state=_OPEN_STATES, limit=1_000_000):
            run_id = str(row["id"])
            try:
                found = self.reader.view(run_id)
                active = self._restored(found.run, found.facts, opened_us=found.opened_us)
                self.reader.supply(active.run)
                for request in open_questions(self.parts.journal, found):
                    self.parts.ledger.ask(request)
                for ticket in unused_tickets(self.parts.journal, found):
                    self.parts.ledger.restore(ticket)
            except AweError as error:
                self.unreadable[run_id] = error
                continue
            recover(active.run)
            taken.append(active)
        for active in taken:
            self._turns.turn(active)
        return tuple(active.run_id for active in taken)

    async def close(self) -> None:
        """Stop taking, give handlers a moment, and leave the rest to the next process."""
        self._is_closing = True
        moving = [a for a in self._active.values() if not a.is_settled and a.failed is None]
        if moving:
            waits = [asyncio.ensure_future(a.settled()) for a in moving]
            _, late = await asyncio.wait(waits, timeout=self.parts.settings.shutdown_us / 1e6)
            for wait in late:
                wait.cancel()
        for active in self._active.values():
            active.stop()
        self.parts.pool.close()


def _new_id() -> str:
    """80 random bits in base32, lower case; any unique prefix names the run."""
    return base64.b32encode(secrets.token_bytes(10)).decode().lower()


def _body(wanted: Submission, inputs: JsonObject) -> bytes:
    """What a submission's idempotency key is bound to."""
    body = {"workflow": wanted.spec.full_reference, "inputs": inputs, "document": wanted.document}
    return hashlib.sha256(canonical.value(body)).digest()

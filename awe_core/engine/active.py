"""One run in memory: its folded state, its open brokers and tasks, and its port to the journal.

The only place where a fact of a run is folded and queued.  Everything here can be built again from
the journal; nothing is kept that the records do not say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from awe_core import commands, events
from awe_core.decider import ACTIVE, ENDED, UNDO, Claims, evolve
from awe_core.effects import Prior
from awe_core.engine.admission import key_of
from awe_core.engine.compensating import COMPENSATE, look_up
from awe_core.engine.dry import DryRun
from awe_core.engine.recording import draft
from awe_core.errors import (
    AweError,
    EngineError,
    JournalUnwritableError,
    PackError,
    RunError,
    UndoError,
)
from awe_core.events import EffectApplied, EffectIntended, UndoRecord
from awe_core.journal import Upsert

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from awe_core.context import Attempt
    from awe_core.decider import Run
    from awe_core.effects import StepBroker
    from awe_core.engine.parts import Parts
    from awe_core.hookspecs import Seen
    from awe_core.invoke import Prepared
    from awe_core.journal import Journal, Reading, RunLog
    from awe_core.redaction import Mark
    from awe_core.values import Json
    from awe_core.workspace import Workspace

_LINGER_S = 0.05  #: how long a record waits for others before it is made durable for itself


@attrs.define(eq=False)
class OpenStep:
    """A step whose start is recorded and whose end is not."""

    command: commands.Admit
    prepared: Prepared
    broker: StepBroker
    attempt: Attempt
    timeout_us: int
    task: asyncio.Task[object] | None = None  #: in which its handler runs, as soon as it does
    is_interrupted: bool = False


class ActiveRun:
    """A run that this process drives; the broker's `Port`."""

    def __init__(  # noqa: PLR0913 - what a run is made of
        self,
        parts: Parts,
        run: Run,
        actor: events.Actor,
        brought: Sequence[tuple[str, events.PackRef]],
        *,
        opened_us: int,
        log: Journal | RunLog,
    ) -> None:
        """Take a run that was just opened or replayed.

        :param brought: the workflows of packs that it is made of, and those packs
        :param log: what its records go to
        """
        self.brought = brought
        self.parts, self.log = parts, log
        self.now_us = parts.clock_us
        self.run = run
        self.run_id = run.id
        self.opened = run.opened
        self.dry = DryRun.over(parts.invoker.workspace) if run.opened.dry else None
        self.pinned = {pack.dist: pack for pack in run.opened.packs}  #: what it may go on with
        self.actor = actor
        self.opened_us = opened_us
        self.key = key_of(run)
        self.open_steps: dict[str, OpenStep] = {}
        self.started: list[OpenStep] = []  #: those that no task runs yet
        self.prepared: dict[str, Prepared] = {}
        self.judging: set[str] = set()  #: steps whose impure policies are being asked
        self.inspecting: set[str] = set()  #: effects that a strategy looks at
        self.inspected: dict[str, str] = {}  #: effect → what its strategy saw
        self.failed: AweError | None = None  #: why this process drives the run no more
        self.is_stopped = False
        self.is_recovered = False  #: an earlier process left it open, and may have died of it
        self._waiters: list[asyncio.Future[None]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None
        self._prior: dict[str, Prior] = {}
        self._by_effect: dict[str, str] = {}
        self._touched: dict[tuple[str, int], set[tuple[str, str]]] = {}
        self._claims = Claims()
        self._claimants: dict[str, asyncio.Future[None]] = {}
        self.has_news = False  #: whether it has closed or paused and nobody was told
        self.value_bytes = 0  #: of all values in its records
        self.seen_rseq = 0  #: how far it had come when it was last looked at
        self.owes_barrier = False  #: whether a step's end must be durable before others begin
        self._shown: tuple[object, ...] = ()
        self.rests = False  #: whether it was shown to wait for a person or a time alone

    # ---- facts ---------------------------------------------------------------------------------
    def record(
        self,
        fact: events.Fact,
        *,
        marks: Sequence[Mark] = (),
        body: bytes | None = None,
        upserts: Sequence[Upsert] = (),
    ) -> None:
        """Fold *fact* and queue its record.

        :param marks: and *body*, of the value that it carries: as `draft` takes them

        :raises AweError: when this run was given up; ``decider.illegal_event`` gives it up
        """
        if self.failed is not None:
            raise self.failed
        rseq = self.run.next_rseq
        try:
            evolve(self.run, fact)
        except EngineError as error:
            if isinstance(error.__context__, RunError):  # of whoever asked; nothing was changed
                raise error.__context__ from None
            self.give_up(error)
            raise
        level = self.opened.level
        written = draft(fact, run=self.run_id, rseq=rseq, level=level, marks=marks, body=body)
        for payload in written.payloads:
            self.value_bytes += len(payload.body)
        self.remember(fact)
        if self.dry is not None:
            self.dry.note(self.run, fact)
        self.log.append([written], upserts)

    def write_opened(
        self, fact: events.RunOpened, *, marks: Sequence[Mark], upserts: Sequence[Upsert]
    ) -> None:
        """Queue the record of the fact that this run was made from."""
        written = draft(fact, run=self.run_id, rseq=0, level=fact.level, marks=marks)
        self.log.append([written], (*upserts, self._row(None, None)))

    def remember(self, fact: events.Fact) -> None:
        """Keep what the broker asks for later: effect keys, and claims that end."""
        remember = self._REMEMBERED.get(type(fact))
        if remember is not None:
            remember(self, fact)

    def _intended(self, fact: EffectIntended) -> None:
        unit = self.run.unit(fact.step)
        holder = fact.step if unit.state in ACTIVE else self.run.keeper(fact.step)
        if holder is not None and unit.epoch == (fact.epoch or 0):
            for resource in fact.claims:  # already held, but after a replay
                self._claims.acquire(holder, resource)
        if fact.key is not None:
            if UNDO in fact.effect:  # what a step's own calls may do is counted without it
                self._prior[fact.key] = Prior(fact, None, is_taken_back=False)
                self._by_effect[fact.effect] = fact.key
                return
            self._touch(fact, fact.type, fact.target)
            self._prior[fact.key] = Prior(fact, None, is_taken_back=False)
            self._by_effect[fact.effect] = fact.key

    def _applied(self, fact: EffectApplied) -> None:
        if fact.effect in self._by_effect:
            self._update(fact.effect, applied=fact)
        elif fact.type is not None and fact.target is not None:
            self._touch(fact, fact.type, fact.target)

    def _not_applied(self, fact: events.EffectFailed) -> None:
        if fact.applied == "no" and fact.effect in self._by_effect:
            self._update(fact.effect, is_nothing=True)

    def _resolved(self, fact: events.StepRetryScheduled) -> None:
        """Take a person's word that what is open of the step did not happen."""
        for key, prior in self._prior.items() if fact.resolved_by else ():
            if prior.intended.step == fact.step and prior.is_open:
                self._prior[key] = attrs.evolve(prior, is_nothing=True)

    def _taken_back(self, fact: events.UndoApplied) -> None:
        if fact.effect in self._by_effect:
            self._update(fact.effect, is_taken_back=True)

    def _step_ended(
        self, fact: events.StepCompleted | events.StepFailed | events.StepSkipped
    ) -> None:
        if self.run.unit(fact.step).state in ENDED:  # else it is cleared and tried again
            self._release(fact.step)

    def _resumed(self, fact: events.RunResumed) -> None:
        self.pinned |= {pack.dist: pack for pack in fact.packs or ()}

    def _closed(self, _: events.RunClosed) -> None:
        for kept in (self._by_effect, self._touched, self.prepared):
            kept.clear()
        of_undos = (key for key, one in self._prior.items() if UNDO in one.intended.effect)
        self._prior = {key: self._prior[key] for key in of_undos}  # a new rollback goes on there

    #: What is done with a fact, by its kind; of all others nothing is kept.
    _REMEMBERED: ClassVar[Mapping[type[events.Fact], Callable[[ActiveRun, Any], None]]] = {
        EffectIntended: _intended,
        EffectApplied: _applied,
        events.EffectFailed: _not_applied,
        events.UndoApplied: _taken_back,
        events.StepCompleted: _step_ended,
        events.StepFailed: _step_ended,
        events.StepSkipped: _step_ended,
        events.StepRetryScheduled: _resolved,
        events.RunResumed: _resumed,
        events.RunClosed: _closed,
    }

    def _touch(self, fact: EffectIntended | EffectApplied, kind: str, target: str) -> None:
        if kind.startswith("fs."):
            self._touched.setdefault((fact.step, fact.epoch or 0), set()).add((kind, target))

    def _update(self, effect: str, **changes: object) -> None:
        key = self._by_effect[effect]
        self._prior[key] = attrs.evolve(self._prior[key], **changes)  # type: ignore[arg-type]

    async def barrier(self) -> None:
        """Return when everything recorded so far is durable."""
        await self.log.barrier()

    def undo_record(self, effect: str) -> UndoRecord:
        """Give the undo record of an effect, from the log when memory does not hold it.

        :raises UndoError: ``undo.discarded`` when neither does
        """
        item = self.run.item(effect)
        if isinstance(item.record, UndoRecord):
            return item.record
        for part in ("undo", "rec"):
            if (found := self.record_at(item.record_rseq, part)) is not None:
                return found
        raise UndoError("undo.discarded", path=item.target, slot=effect)

    def record_at(self, rseq: int, part: str) -> UndoRecord | None:
        """Give the undo record that the log holds at *rseq*, if it still does."""
        found = loaded(self.parts.logs.reading(self.run_id), self.run_id, rseq, part)
        return None if found is None else UndoRecord(found["strategy"], found["payload"])

    def check_pinned(self, pack: events.PackRef) -> None:
        """Refuse other bytes than the run was opened with, unless a person has accepted them.

        :raises PackError: ``pack.changed``
        """
        pinned = self.pinned.get(pack.dist)
        if pinned is not None and pinned.record != pack.record:
            raise PackError(
                "pack.changed",
                run=self.run_id,
                distribution=pack.dist,
                before=f"{pinned.version} {pinned.record[:12]}",
                now=f"{pack.version} {pack.record[:12]}",
            )

    # ---- tasks ---------------------------------------------------------------------------------
    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run *work* beside the loop's turns; what it raises gives the run up."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    @property
    def tasks(self) -> tuple[asyncio.Task[None], ...]:
        """All that is under way for the run here."""
        return tuple(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AweError):
            why = f"{type(error).__name__}: {error}"
            error = EngineError("engine.defect", run=self.run_id, why=why)
        if error is not None:
            self.give_up(error)

    def is_under_way(self, command: commands.Command) -> bool:
        """Whether something that takes time already answers *command*."""
        match command:
            case commands.Admit(step=step):
                return step in self.judging
            case commands.Inspect(item=item):
                return item in self.inspecting
            case commands.Interrupt(step=step):
                found = self.open_steps.get(step)
                return found is None or found.is_interrupted
            case _:
                return False

    def interrupt(self, step: str) -> None:
        """Revoke a step's context and cancel its handler; its own end follows."""
        found = self.open_steps[step]
        found.is_interrupted = True
        found.broker.close("the run is ending")
        if found.task is not None:
            found.task.cancel()

    def wake_at(self, due_us: int | None, turn: Callable[[ActiveRun], None]) -> None:
        """Have the next turn when the earliest thing is due."""
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if due_us is not None:
            delay = max(0, due_us - self.parts.clock_us()) / 1e6
            self._wake = asyncio.get_running_loop().call_later(delay, turn, self)

    def give_up(self, error: AweError) -> None:
        """Drive the run no further; the journal has it, a later replay goes on with it."""
        if self.failed is None:
            self.failed = error
        self.stop()
        self.parts.admission.update(self)
        self._wake_waiters(error)

    def stop(self) -> tuple[asyncio.Task[None], ...]:
        """Cancel all that runs for this run, without recording an end; give what ends by it."""
        self.is_stopped = True
        for timer in filter(None, (self._wake, self._linger)):
            timer.cancel()
        for step in self.open_steps.values():
            step.broker.close("the engine is closing")
        ending = tuple(task for task in self.tasks if task is not asyncio.current_task())
        for task in ending:
            task.cancel()
        return ending

    # ---- who waits -----------------------------------------------------------------------------
    async def settled(self) -> None:
        """Return when the run has closed, or waits for somebody.

        :raises AweError: when this process cannot drive it any further
        """
        if self.failed is not None:
            raise self.failed
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def tell(self) -> None:
        """Wake who waits for the run's end or pause, as soon as that is durable."""
        self.has_news, told = False, self._shown
        await self.barrier()
        if self.is_settled and self._shown[:2] == told[:2]:  # else it has moved on
            self._wake_waiters(None)

    def _wake_waiters(self, error: AweError | None) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None) if error is None else waiter.set_exception(error)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs here for the run, nobody waits for it, and no trouble is kept."""
        is_awaited = any(not waiter.done() for waiter in self._waiters)
        return not (self._tasks or is_awaited or self.failed)

    @property
    def is_settled(self) -> bool:
        """Whether nothing goes on until somebody acts."""
        return self.run.closed is not None or self.run.state == "PAUSED"

    @property
    def workspace(self) -> Workspace:
        """Where the run acts: for a dry run its overlay."""
        return self.parts.invoker.workspace if self.dry is None else self.dry.overlay

    # ---- the broker's port ---------------------------------------------------------------------
    async def make_room(self, needed: int) -> bool:
        """Have what is kept of closed runs give way."""
        return await self.parts.retention.make_room(needed)

    async def forget(self, effect: str) -> None:
        """Drop what was kept of an effect that, as is on record, never came about."""
        await self.barrier()
        with contextlib.suppress(UndoError):
            self.parts.undo.forget(self.undo_record(effect))

    async def in_pool(self, work: Callable[[], None]) -> None:
        """Run a flush beside the loop."""
        await self.parts.pool.flush(work)

    @property
    def is_open(self) -> bool:
        """Whether records are still taken."""
        return self.failed is None and self.run.closed is None

    def touched(self, step: str, epoch: int) -> frozenset[tuple[str, str]]:
        """Give the file effects that a step's attempts have asked for."""
        return frozenset(self._touched.get((step, epoch), ()))

    def prior(self, key: str) -> Prior | None:
        """Give what is known of an effect key."""
        return self._prior.get(key)

    async def inspect(self, effect: str) -> tuple[Seen, UndoRecord | None]:
        """Have an effect's strategy look; what cannot be looked at is unknown."""
        try:
            record = self.undo_record(effect)
            if record.strategy == COMPENSATE:
                return await look_up(self, self.run.item(effect), record)
            return await self.parts.pool.run(partial(self.parts.undo.inspect, record)), None
        except JournalUnwritableError:
            raise
        except Exception:  # noqa: BLE001 - foreign code, or what it needs is gone
            return "unknown", None

    def check_gate(self, step: str) -> None:
        """Ask the gate whether this step may still act."""
        capability = self.prepared[step].capability
        self.parts.invoker.gate.check(capability.spec.id, capability.contract, "resume")

    async def claim(self, step: str, resource: str) -> None:
        """Hold *resource* until *step* has ended; wait for another open step that holds it."""
        while (holder := self._claims.acquire(step, resource)) is not None:
            if self.run.unit(holder).state in ENDED:
                self._release(holder)
            else:
                await self._released(holder)

    async def _released(self, holder: str) -> None:
        future = self._claimants.get(holder)
        if future is None:
            future = self._claimants[holder] = asyncio.get_running_loop().create_future()
        await asyncio.shield(future)

    def _release(self, step: str) -> None:
        self._claims.release(step, to=self.run.keeper(step))
        waiting = self._claimants.pop(step, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # ---- views ---------------------------------------------------------------------------------
    def show(self, *, rests: bool = False, due_us: int | None = None) -> None:
        """Keep projection and claims in step with the run; see that its records get durable.

        :param rests: it only waits, until *due_us* if that is known: then its row is all that an
            engine which opens has to read of it.  One that holds a key is read all the same.
        """
        for step in tuple(self._claimants):
            if self.run.unit(step).state in ENDED:
                self._release(step)
        if self._linger is None and self.log.queued:
            self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._flush)
        self.rests, before = rests, self._shown
        waiting = self.run.hold or "somebody" if self.is_settled else "a time"
        waits = waiting if rests and self.key is None else None
        self._shown = shown = (self.run.state, self.run.phase, waits, due_us)
        if shown != before:
            self.log.append((), (self._row(waits, due_us),))
        if shown[:2] != before[:2]:
            self.has_news = self.is_settled

    def _flush(self) -> None:
        self._linger = None
        if not self.is_stopped and self.log.queued:
            self.spawn(self.barrier())

    def _row(self, waits: str | None, due_us: int | None) -> Upsert:
        now, run = self.parts.clock_us(), self.run
        return Upsert(
            "run",
            (
                run.id,
                run.opened.workflow.id,
                run.opened.workflow.version,
                run.state,
                run.phase.value,
                run.opened.by,
                self.opened_us,
                now,
                now if run.closed else None,
                run.opened.expires_us,
                due_us,
                waits,
                len(run.residue()) if run.closed else 0,
                run.next_rseq - 1,
            ),
        )


def loaded(journal: Reading, run: str, rseq: int, part: str) -> Json:
    """Give the value of a payload, or None when it is gone."""
    found = journal.payload(run, rseq, part)
    return None if found is None else json.loads(found)

"""One run in memory: its folded state, its open brokers and tasks, and its port to the journal.

The only place where a fact of a run is folded and queued.  Everything here can be built again from
the journal; nothing is kept that the records do not say.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from awe_core.decider import Claims, Deadlock, Waits, evolve
from awe_core.effects import Prior
from awe_core.engine.recording import draft
from awe_core.errors import EffectError, EngineError
from awe_core.events import (
    EffectApplied,
    EffectIntended,
    RunClosed,
    StepCompleted,
    StepFailed,
    StepSkipped,
    UndoApplied,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from awe_core.decider import Run
    from awe_core.effects import StepBroker
    from awe_core.engine.parts import Parts
    from awe_core.events import Actor, Fact, RunOpened
    from awe_core.invoke import Prepared
    from awe_core.journal import Upsert
    from awe_core.redaction import Mark

_ENDS = (StepCompleted, StepFailed, StepSkipped)


@attrs.define(eq=False)
class OpenStep:
    """A step whose handler runs."""

    broker: StepBroker
    task: asyncio.Task[None] | None = None


class ActiveRun:
    """A run that this process drives; the broker's `Port`."""

    def __init__(self, parts: Parts, run: Run, opened: RunOpened, actor: Actor) -> None:
        """Take a run that was just opened or replayed."""
        self.parts = parts
        self.run = run
        self.opened = opened
        self.actor = actor
        self.rseq = 0
        self.open_steps: dict[str, OpenStep] = {}
        self.judging: set[str] = set()  #: steps whose impure policies are being asked
        self.undoing: asyncio.Task[None] | None = None
        self.prepared: dict[str, Prepared] = {}
        self.waiters: list[asyncio.Future[None]] = []
        self.wake: asyncio.TimerHandle | None = None
        self.frozen: EngineError | None = None
        self._prior: dict[str, Prior] = {}
        self._by_effect: dict[str, str] = {}
        self._claims = Claims()
        self._claimants: dict[str, asyncio.Future[None]] = {}
        self._shown = ""

    # ---- facts ---------------------------------------------------------------------------------
    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.run.run_id

    def record(
        self, fact: Fact, *, marks: Sequence[Mark] = (), upserts: Sequence[Upsert] = ()
    ) -> None:
        """Fold *fact* and queue its record.

        :raises EngineError: ``decider.illegal_event``; the run is frozen, others go on
        """
        if self.frozen is not None:
            raise self.frozen
        try:
            evolve(self.run, fact)
        except EngineError as error:
            self.frozen = error
            raise
        written = draft(
            fact, run=self.run_id, rseq=self.rseq, level=self.opened.level, marks=marks
        )
        self.rseq += 1
        self.remember(fact)
        self.parts.journal.append([written], upserts)

    def remember(self, fact: Fact) -> None:
        """Keep what the broker asks for later: effect keys, and claims that end."""
        match fact:
            case EffectIntended(key=str(key)):
                self._prior[key] = Prior(fact, None, is_taken_back=False)
                self._by_effect[fact.effect] = key
            case EffectApplied() if fact.effect in self._by_effect:
                key = self._by_effect[fact.effect]
                self._prior[key] = attrs.evolve(self._prior[key], applied=fact)
            case UndoApplied() if fact.effect in self._by_effect:
                key = self._by_effect[fact.effect]
                self._prior[key] = attrs.evolve(self._prior[key], is_taken_back=True)
            case RunClosed():
                self._prior.clear()
                self._by_effect.clear()
            case _ if isinstance(fact, _ENDS):
                self._release(fact.step)
            case _:
                pass

    async def barrier(self) -> None:
        """Return when everything recorded so far is durable."""
        await self.parts.journal.barrier()

    # ---- the broker's port ---------------------------------------------------------------------
    async def in_pool(self, work: Callable[[], None]) -> None:
        """Run a flush beside the loop."""
        await self.parts.pool.run(work)

    def prior(self, key: str) -> Prior | None:
        """Give what is known of an effect key."""
        return self._prior.get(key)

    def now_us(self) -> int:
        """Give the wall clock."""
        return self.parts.clock_us()

    def check_gate(self, step: str) -> None:
        """Ask the gate whether this step may still act."""
        prepared = self.prepared[step]
        capability = prepared.capability
        self.parts.invoker.gate.check(capability.spec.id, capability.contract, "resume")

    async def claim(self, step: str, resource: str) -> None:
        """Hold *resource* until *step* has ended; wait for another open step that holds it."""
        while True:
            match self._claims.acquire(step, resource):
                case Waits(holder=holder):
                    await self._released(holder)
                case Deadlock(cycle=cycle):
                    raise EffectError(
                        "effect.deadlock",
                        step=step,
                        target=resource,
                        cycle=" waits for ".join(cycle),
                    )
                case _:
                    return

    async def _released(self, holder: str) -> None:
        future = self._claimants.get(holder)
        if future is None:
            future = self._claimants[holder] = asyncio.get_running_loop().create_future()
        await asyncio.shield(future)

    def _release(self, step: str) -> None:
        self._claims.release(step)
        waiting = self._claimants.pop(step, None)
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # ---- views ---------------------------------------------------------------------------------
    def changed_state(self) -> str | None:
        """Give the shown state when it is another than last time."""
        state = f"{self.run.state}/{self.run.phase}"
        if state == self._shown:
            return None
        self._shown = state
        return state

    def settle(self) -> None:
        """Wake whoever waits for the run's end or for its next pause."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

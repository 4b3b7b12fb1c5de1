"""What the broker needs from the engine: to record, to wait for durability, to remember."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.events import EffectApplied, EffectIntended, Fact, UndoRecord
    from awe_core.hookspecs import Seen
    from awe_core.values import JsonObject


@attrs.frozen
class Prior:
    """What the log knows of an effect key: an earlier attempt, or the one before a crash."""

    intended: EffectIntended
    applied: EffectApplied | None
    is_taken_back: bool
    is_nothing: bool = False  #: it is known that it did not happen

    @property
    def is_open(self) -> bool:
        """Whether nobody knows what became of it: a crash came between the intent and its end."""
        return self.applied is None and not self.is_nothing and not self.is_taken_back


class Capture(Protocol):
    """How an attempt's effects are taken back, where not by what the broker itself keeps."""

    async def capture(self, intent: EffectIntended) -> UndoRecord | None:
        """Give the record of an effect before the act; None: another effect's covers it."""

    def complete(self, record: UndoRecord, result: JsonObject) -> UndoRecord:
        """Add what only the act could know."""


class Port(Protocol):
    """One run's connection to its engine."""

    @property
    def run_id(self) -> str:
        """The run."""

    @property
    def is_open(self) -> bool:
        """Whether the run still takes records: it has not closed, and was not given up."""

    def record(self, fact: Fact) -> None:
        """Fold *fact* into the run and queue its record."""

    async def barrier(self) -> None:
        """Return when everything recorded so far is durable.

        :raises JournalUnwritableError: then nothing may act
        """

    async def make_room(self, needed: int) -> bool:
        """Make room for *needed* bytes in the undo store, if it may be made."""

    async def forget(self, effect: str) -> None:
        """Drop, durably, what was kept of an effect that never came about."""

    async def in_pool(self, work: Callable[[], None]) -> None:
        """Run blocking *work* (a flush) beside the loop."""

    def touched(self, step: str, epoch: int) -> frozenset[tuple[str, str]]:
        """Give kind and path of each file effect that attempts of *step* have asked for so far."""

    def prior(self, key: str) -> Prior | None:
        """Give what is known of the effect with this idempotency key."""

    async def inspect(self, effect: str) -> tuple[Seen, UndoRecord | None]:
        """Have the strategy of *effect* look for it; it may complete the record meanwhile."""

    async def claim(self, step: str, resource: str) -> None:
        """Hold *resource* for the step until it has ended.

        :raises EffectError: ``effect.deadlock`` when waiting would close a cycle
        """

    def now_us(self) -> int:
        """Give the wall clock in microseconds."""

    def check_gate(self, step: str) -> None:
        """Refuse when the step's pack may not act any more, or a stop is in force."""

"""`UndoManager`: finds the strategy of a record and has it capture, look, or take back.

It blocks (files are touched), so the engine calls it in a pool.  Which record comes next, how often
one is tried and what is recorded of it is the decider's and the engine's affair.
"""

from __future__ import annotations

import asyncio
import inspect
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

from awe_core import canonical
from awe_core.errors import UndoError
from awe_core.events import UndoRecord
from awe_core.hookspecs import CapturingStrategy
from awe_core.undo.contents import Append, Create, Swap
from awe_core.undo.names import Delete, MakeDirectory, Move
from awe_core.undo.strategy import Applied, Conflict, UndoOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.events import EffectIntended
    from awe_core.hookspecs import Seen, UndoStrategy
    from awe_core.journal import Journal
    from awe_core.values import JsonObject
    from awe_core.workspace import Workspace

#: The core's strategies by name.
FILE_STRATEGIES: Mapping[str, UndoStrategy] = MappingProxyType(
    {s.name: s for s in (Swap(), Create(), Append(), Delete(), Move(), MakeDirectory())}
)


@attrs.frozen
class FileWorld:
    """The world of the file strategies: one workspace."""

    workspace: Workspace


@attrs.frozen
class BoundUndo:
    """An undo record with the callable that takes its effect back, rebuilt from the record."""

    strategy: str
    payload: JsonObject
    undo_function: Callable[[], UndoOutcome]


class UndoManager:
    """The undo strategies of one deployment, over one workspace."""

    def __init__(self, journal: Journal, workspace: Workspace) -> None:
        """Start with the core's strategies."""
        self.journal = journal
        self.workspace = workspace
        self._strategies = dict(FILE_STRATEGIES)
        self._owners: dict[str, str] = {}

    def add(self, strategies: Iterable[tuple[str, UndoStrategy]]) -> None:
        """Take strategies of plugins, each with its distribution.

        :raises UndoError: ``undo.name_taken``
        """
        for owner, strategy in strategies:
            if strategy.name in self._strategies:
                raise UndoError("undo.name_taken", strategy=strategy.name)
            self._strategies[strategy.name] = strategy
            self._owners[strategy.name] = owner

    def owner(self, name: str) -> str | None:
        """Name the distribution that offers the strategy *name*; None: the core.

        :raises UndoError: ``undo.strategy_missing``
        """
        self._find(name)
        return self._owners.get(name)

    def capturing(self, name: str) -> CapturingStrategy:
        """Give a strategy that a contract may name.

        :raises UndoError: ``undo.strategy_missing``
        """
        found = self._find(name)
        if not isinstance(found, CapturingStrategy):
            raise UndoError("undo.strategy_missing", strategy=name)
        return found

    def capture(self, name: str, intent: EffectIntended, args: JsonObject) -> UndoRecord:
        """Have a strategy say, before the act, how it will take it back.

        :raises UndoError: ``undo.capture``: nothing may act
        """
        strategy, world = self.capturing(name), FileWorld(self.workspace)
        try:
            payload = _awaited(strategy.capture(intent, args, world))
            return _checked(name, payload)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UndoError("undo.capture", strategy=name, reason=reason) from error

    def complete(self, record: UndoRecord, result: JsonObject) -> UndoRecord:
        """Have the strategy add what the effect's result knows; a failure leaves it as it is."""
        strategy = self.capturing(record.strategy)
        try:
            return _checked(record.strategy, strategy.complete(record.payload, result))
        except Exception:  # noqa: BLE001 - foreign code; the effect is in the world all the same
            return record

    def timeout_us(self, name: str) -> int:
        """How long an undo by this strategy may take."""
        return self._find(name).timeout_us

    def inspect(self, record: UndoRecord) -> Seen:
        """Look whether the effect is in the world; never guesses."""
        seen = self._find(record.strategy).inspect(record, FileWorld(self.workspace))
        return _awaited(seen)  # type: ignore[no-any-return]  # a strategy may be ``async def``

    def undo(self, record: UndoRecord, key: str) -> UndoOutcome:
        """Take the effect back; twice with one *key* is once.

        :raises UndoError: when it cannot be taken back
        """
        outcome = _awaited(self._find(record.strategy).undo(record, FileWorld(self.workspace), key))
        if not isinstance(outcome, (Applied, Conflict)):
            raise UndoError("undo.outcome", strategy=record.strategy, found=type(outcome).__name__)
        return outcome

    def forget(self, record: UndoRecord) -> None:
        """Drop what the core kept for an effect that never came about."""
        slot = record.payload.get("slot") if record.strategy in FILE_STRATEGIES else None
        if slot is not None:
            self.workspace.store.remove(slot)

    def bound(self, record: UndoRecord, *, key: str) -> BoundUndo:
        """Give *record* with its ``undo_function``."""
        return BoundUndo(record.strategy, record.payload, lambda: self.undo(record, key))

    def _find(self, name: str) -> UndoStrategy:
        found = self._strategies.get(name)
        if found is None:
            raise UndoError("undo.strategy_missing", strategy=name)
        return found


def _awaited(found: Any) -> Any:  # noqa: ANN401 - whatever a strategy answers
    """Give what a strategy's ``def`` returned or its ``async def`` returns, in this thread."""
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def _checked(name: str, payload: JsonObject) -> UndoRecord:
    canonical.value(payload)  # raises for what no journal can hold
    return UndoRecord(name, dict(payload))

"""`UndoManager`: finds the strategy of a record and has it look, or take back.

It blocks (files are touched), so the engine calls it in a pool.  Which record comes next, how often
one is tried and what is recorded of it is the decider's and the engine's affair.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import UndoError
from awe_core.undo.contents import Append, Create, Swap
from awe_core.undo.names import Delete, MakeDirectory, Move
from awe_core.undo.strategy import Applied, Conflict, UndoOutcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.events import UndoRecord
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

    def add(self, strategies: Iterable[UndoStrategy]) -> None:
        """Take strategies of a plugin.

        :raises UndoError: ``undo.name_taken``
        """
        for strategy in strategies:
            if strategy.name in self._strategies:
                raise UndoError("undo.name_taken", strategy=strategy.name)
            self._strategies[strategy.name] = strategy

    def timeout_us(self, name: str) -> int:
        """How long an undo by this strategy may take."""
        return self._find(name).timeout_us

    def inspect(self, record: UndoRecord) -> Seen:
        """Look whether the effect is in the world; never guesses."""
        return self._find(record.strategy).inspect(record, FileWorld(self.workspace))

    def undo(self, record: UndoRecord, key: str) -> UndoOutcome:
        """Take the effect back; twice with one *key* is once.

        :raises UndoError: when it cannot be taken back
        """
        outcome = self._find(record.strategy).undo(record, FileWorld(self.workspace), key)
        if not isinstance(outcome, (Applied, Conflict)):
            raise UndoError("undo.outcome", strategy=record.strategy, found=type(outcome).__name__)
        return outcome

    def bound(self, record: UndoRecord, *, key: str) -> BoundUndo:
        """Give *record* with its ``undo_function``."""
        return BoundUndo(record.strategy, record.payload, lambda: self.undo(record, key))

    def _find(self, name: str) -> UndoStrategy:
        found = self._strategies.get(name)
        if found is None:
            raise UndoError("undo.strategy_missing", strategy=name)
        return found

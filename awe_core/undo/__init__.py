"""Undo: the strategies of the core for file effects, and how an undo can end.

A strategy works from its record (JSON, captured before the act) and the world it is handed; a fresh
process can use it.  It never overwrites what somebody else changed since: that is a `Conflict`.
Which items are undone, in which order, and the retries between are the engine's matter.
"""

from collections.abc import Mapping
from types import MappingProxyType

from awe_core.hookspecs import UndoStrategy
from awe_core.undo.outcomes import Applied, Conflict, UndoOutcome
from awe_core.undo.taking_back import BoundUndo, UndoManager
from awe_core.undo.trees import Delete, MakeDirectory, Move
from awe_core.undo.writes import Append, Create, Swap

__all__ = [
    "FILE_STRATEGIES",
    "Applied",
    "BoundUndo",
    "Conflict",
    "UndoManager",
    "UndoOutcome",
]

#: By name: ``fs.swap``, ``fs.create``, ``fs.append``, ``fs.delete``, ``fs.move``, ``fs.mkdir``.
FILE_STRATEGIES: Mapping[str, UndoStrategy] = MappingProxyType(
    {s.name: s for s in (Swap(), Create(), Append(), Delete(), Move(), MakeDirectory())}
)

"""Undo: the strategies of the core for file effects, and how an undo can end.

A strategy works from its record (JSON, captured before the act) and the world it is handed; a fresh
process can use it.  It never overwrites what somebody else changed since: that is a `Conflict`.
Which items are undone, in which order, and the retries between are the engine's matter.
"""

from awe_core.undo.strategy import Applied, Conflict, UndoOutcome
from awe_core.undo.taking_back import FILE_STRATEGIES, UndoManager

__all__ = ["FILE_STRATEGIES", "Applied", "Conflict", "UndoManager", "UndoOutcome"]

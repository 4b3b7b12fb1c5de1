"""The core's strategies by name: ``fs.swap .create .append .delete .move .mkdir``."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from awe_core.undo.trees import Delete, MakeDirectory, Move
from awe_core.undo.writes import Append, Create, Swap

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.hookspecs import UndoStrategy

FILE_STRATEGIES: Mapping[str, UndoStrategy] = MappingProxyType(
    {s.name: s for s in (Swap(), Create(), Append(), Delete(), Move(), MakeDirectory())}
)

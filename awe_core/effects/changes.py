"""One effect that changes the world: how it is asked for, taken back, and what it left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.capability import UndoNone, UndoNotNeeded
from awe_core.events import Irreversible, UndoRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.capability import Undo
    from awe_core.values import JsonObject
    from awe_core.workspace import Staged


@attrs.frozen(kw_only=True)
class Change:
    """One effect that changes the world, as it is asked for."""

    kind: str
    target: str
    claims: tuple[str, ...]  #: resources it changes
    request: JsonObject  #: what is asked, so that the same key with another request is noticed
    stage: Callable[[], Staged]

    @property
    def digest(self) -> str:
        """Digest of what is asked."""
        return canonical.digest_value({"kind": self.kind, "target": self.target, **self.request})


@attrs.frozen
class Done:
    """What an effect left behind."""

    is_created: bool
    sha256: str | None  #: hex, of a file
    size: int | None  #: bytes, of a file


def undo_record(undo: Undo, staged: Staged) -> UndoRecord | Irreversible | None:
    """How the effect is taken back: as captured, not at all and why, or no need to."""
    match undo:
        case UndoNone(why=why):
            return Irreversible(why)
        case UndoNotNeeded():
            return None
        case _:
            return staged.undo


def undo_field(record: UndoRecord | Irreversible | None) -> JsonObject:
    """What the intent's line says of it; the record itself is a payload."""
    match record:
        case UndoRecord(strategy=strategy):
            return {"strategy": strategy}
        case Irreversible(none=why):
            return {"none": why}
        case None:
            return {}


def completed(undo: Undo, intended: UndoRecord, now: UndoRecord) -> UndoRecord | None:
    """The undo record again, where the act added what only it could know."""
    return now if now != intended and not isinstance(undo, (UndoNone, UndoNotNeeded)) else None

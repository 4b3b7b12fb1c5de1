"""An undo record of a file effect, read back: what was captured before the act.

A record comes from the journal, maybe written by an earlier process, so it is read with care:
whatever is not the shape that staging writes is ``undo.payload``.
"""

from __future__ import annotations

import base64
from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError, UndoError
from awe_core.undo.outcomes import Applied, Conflict, UndoOutcome
from awe_core.workspace.images import Image
from awe_core.workspace.store import split

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.events import UndoRecord
    from awe_core.hookspecs import Seen, World
    from awe_core.workspace.moves import Moves

_MINUTE_US = 60_000_000


@attrs.frozen
class Captured:
    """What one record says."""

    strategy: str
    path: str
    pre: Image
    post: Image
    slot: str  #: empty where the strategy keeps nothing
    to: str  #: the new name, of a move
    data: bytes | None  #: of an append, when they are short

    @classmethod
    def of(cls, record: UndoRecord) -> Captured:
        """Read *record*.

        :raises UndoError: ``undo.payload``
        """
        payload = record.payload
        try:
            path, to, slot = payload["path"], payload.get("to", ""), payload.get("slot", "")
            if slot:
                split(slot)
            return cls(
                record.strategy,
                path,
                Image.from_json(path, payload["pre"]),
                Image.from_json(path, payload["post"]),
                slot,
                to,
                base64.b64decode(payload["data"], validate=True) if "data" in payload else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UndoError("undo.payload", strategy=record.strategy, reason=reason) from None

    def conflict(self, found: Image, *, kept: str | None = None) -> Conflict:
        """Say that *found* is somebody else's."""
        return Conflict(found.path, found.sha256 or None, kept)

    def damaged(self, found: Image) -> UndoError:
        """Say that the pre-image is not what was captured."""
        details = (f"captured sha256 {self.pre.sha256}", f"found sha256 {found.sha256}")
        return UndoError("undo.preimage_damaged", path=self.path, slot=self.slot, details=details)

    def discarded(self) -> UndoError:
        """Say that the pre-image is gone."""
        return UndoError("undo.discarded", path=self.path, slot=self.slot)


class FileStrategy(ABC):
    """What the file strategies share: reading the record, and turning errors into undo's.

    They work from the record and the world alone, so a fresh process can; looking first and acting
    only on what is recognised makes twice the same as once, whatever the key.
    """

    name: str
    timeout_us: int = _MINUTE_US

    def inspect(self, record: UndoRecord, world: World) -> Seen:
        """Say whether the effect is in the world; what cannot be looked at is unknown."""
        captured = Captured.of(record)
        try:
            return self._inspect(captured, _settled(captured, world))
        except (EffectError, OSError):
            return "unknown"

    def undo(self, record: UndoRecord, world: World, key: str) -> UndoOutcome:
        """Take it back, durably.

        :raises UndoError: ``undo.discarded``, ``undo.preimage_damaged``, ``undo.failed``
        """
        del key
        captured = Captured.of(record)
        with _as_undo_error(captured.path):
            return self._undo(captured, _settled(captured, world))

    @abstractmethod
    def _inspect(self, captured: Captured, moves: Moves) -> Seen: ...

    @abstractmethod
    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome: ...


def _settled(captured: Captured, world: World) -> Moves:
    moves: Moves = world.workspace.moves
    moves.settle(captured.path, slot=captured.slot, to=captured.to)
    return moves


@contextmanager
def _as_undo_error(path: str) -> Iterator[None]:
    try:
        yield
    except EffectError as error:
        raise UndoError("undo.failed", path=path, reason=str(error)) from error
    except OSError as error:
        raise UndoError("undo.failed", path=path, reason=error.strerror or str(error)) from error


def finish(moves: Moves, captured: Captured, *places: str) -> Applied:
    """Make the names durable, then drop *places* of the store, which hold only what was ours."""
    moves.sync((captured.path,), slots=(captured.slot,) if captured.slot else ())
    for place in places:
        moves.store.remove(place)
    return Applied()

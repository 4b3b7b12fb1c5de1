"""How an undo can end, and what the file strategies share: reading a record back, errors.

A record comes from the journal, maybe written by an earlier process, so it is read with care:
whatever is not the shape that staging writes is ``undo.payload``.
"""

from __future__ import annotations

import base64
import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import EffectError, UndoError
from awe_core.workspace.images import Image
from awe_core.workspace.store import split

if TYPE_CHECKING:
    from awe_core.events import UndoRecord
    from awe_core.hookspecs import Seen, World
    from awe_core.values import Json
    from awe_core.workspace.moves import Moves, Place


@attrs.frozen
class Applied:
    """The world is again as it was when the record was captured."""

    is_noop: bool = False  #: nothing had to be done


@attrs.frozen
class Conflict:
    """Somebody else changed *path* after us, so it was left alone."""

    path: str  #: relative to the workspace
    found_sha256: str | None  #: what is there now, lower-case hex; None when nothing is
    kept: str | None = None  #: the slot in which our earlier version lies


UndoOutcome: TypeAlias = Applied | Conflict


@attrs.frozen
class Captured:
    """What one record says, and the places it speaks of."""

    path: str
    pre: Image
    post: Image
    kept: str  #: the slot; empty where the strategy keeps nothing
    to: str  #: the new name, of a move
    data: bytes | None  #: of an append, when they are short
    world: World

    @classmethod
    def of(cls, record: UndoRecord, world: World) -> Captured:
        """Read *record*.

        :raises UndoError: ``undo.payload``
        """
        payload = record.payload
        try:
            path, to = _text(payload["path"]), _text(payload.get("to", ""))
            kept = _text(payload.get("slot", ""))
            if kept:
                split(kept)
            return cls(
                path,
                Image.from_json(path, payload["pre"]),
                Image.from_json(path, payload["post"]),
                kept,
                to,
                base64.b64decode(payload["data"], validate=True) if "data" in payload else None,
                world,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UndoError("undo.payload", strategy=record.strategy, reason=reason) from None

    @property
    def moves(self) -> Moves:
        """Where names move.

        :raises EffectRefusedError: ``undo.store`` when the workspace is read-only
        """
        found: Moves = self.world.workspace.moves
        return found

    @property
    def target(self) -> Place:
        """Where the effect was."""
        return self.moves.at(self.path)

    @property
    def slot(self) -> Place:
        """What was kept."""
        return self.moves.slot(self.kept)

    def damaged(self, found: Image) -> UndoError:
        """Say that the pre-image is not what was captured."""
        details = (f"captured sha256 {self.pre.sha256}", f"found sha256 {found.sha256}")
        return UndoError("undo.preimage_damaged", path=self.path, slot=self.kept, details=details)

    def discarded(self) -> UndoError:
        """Say that the pre-image is gone."""
        return UndoError("undo.discarded", path=self.path, slot=self.kept)

    def sync(self) -> None:
        """Make durable what is found done: whoever did it may have died before it was."""
        if self.target.look().kind == "file":
            held = self.target.open()
            try:
                os.fsync(held)
            finally:
                os.close(held)
        others = ([self.slot] if self.kept else []) + ([self.moves.at(self.to)] if self.to else [])
        self.moves.sync(self.target, *others)

    def finish(self, *drop: str) -> Applied:
        """Make the names durable, then drop slots, which hold only what was ours."""
        self.sync()
        for slot in drop:
            self.moves.store.remove(slot)
        return Applied()


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


class FileStrategy(ABC):
    """They work from the record and the world alone, so a fresh process can.

    Looking first and acting only on what is recognised makes twice the same as once, whatever the
    key.  A crash between two steps leaves a state that the next call recognises.
    """

    name: str
    timeout_us: int = 60_000_000

    def inspect(self, record: UndoRecord, world: World) -> Seen:
        """Say whether the effect is in the world; what cannot be looked at is unknown."""
        captured = Captured.of(record, world)
        try:
            captured.moves.settle(captured.path, slot=captured.kept, to=captured.to)
            if (seen := self._inspect(captured)) == "applied":
                captured.sync()
        except (EffectError, OSError):
            return "unknown"
        return seen

    def undo(self, record: UndoRecord, world: World, key: str) -> UndoOutcome:
        """Take it back, durably.

        :raises UndoError: ``undo.discarded``, ``undo.preimage_damaged``, ``undo.failed``
        """
        del key
        captured = Captured.of(record, world)
        try:
            captured.moves.settle(captured.path, slot=captured.kept, to=captured.to)
            return self._undo(captured)
        except (EffectError, OSError) as error:
            reason = str(error) if isinstance(error, EffectError) else error.strerror or str(error)
            raise UndoError("undo.failed", path=captured.path, reason=reason) from error

    @abstractmethod
    def _inspect(self, captured: Captured) -> Seen: ...

    @abstractmethod
    def _undo(self, captured: Captured) -> UndoOutcome: ...


def conflict(found: Image, *, kept: str | None = None) -> Conflict:
    """Say that *found* is somebody else's."""
    return Conflict(found.path, found.sha256 or None, kept)

"""Effects in stages: what is prepared, what is known before the act, the act, its durability.

``stage`` does everything that can fail without being seen.  A `Staged` then holds, as JSON, the
image before (`pre`), the image after (`post`) and the undo record, so that the intent can be made
durable *before* `act`, which is one system call and a look at what came out.  Used as a context
manager, a `Staged` that never acted is discarded at the end.

An `act` that raises ``fs.exists``, ``fs.missing`` or ``fs.changed`` left the world as it was; after
any other exception the strategy's ``inspect`` tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Self

import attrs

from awe_core.errors import EffectError
from awe_core.events import UndoRecord
from awe_core.workspace.paths import shown

if TYPE_CHECKING:
    from awe_core.values import JsonObject
    from awe_core.workspace.images import Image
    from awe_core.workspace.moves import Moves


@attrs.define(eq=False)
class Staged:
    """One prepared effect on *path*."""

    kind: ClassVar[str]
    strategy: ClassVar[str]
    path: str
    moves: Moves = attrs.field(repr=False)
    before: Image
    after: Image
    slot: str | None  #: ``run/name`` in the undo store
    has_acted: bool = attrs.field(default=False, init=False)

    @property
    def pre(self) -> JsonObject:
        """What is there now."""
        return self.before.as_json()

    @property
    def post(self) -> JsonObject:
        """What will be there."""
        return self.after.as_json()

    @property
    def undo(self) -> UndoRecord:
        """How to take it back; after `act` completed with what only the act could know."""
        payload = {"path": self.path, "pre": self.pre, "post": self.post}
        if self.slot is not None:
            payload["slot"] = self.slot
        return UndoRecord(self.strategy, payload | self._more())

    def sync_stage(self) -> None:
        """Make the staged bytes durable; may run in any thread."""
        if self.slot is not None:
            self.moves.sync_slot_file(self.slot)

    def act(self) -> JsonObject:
        """Do it, and return the image that is there now.

        :raises EffectError: ``fs.exists``, ``fs.missing``, ``fs.changed``: nothing was changed
        """
        self.has_acted = True
        self._act()
        return self.post

    def sync_act(self) -> None:
        """Make the act durable; may run in any thread."""
        self.moves.sync((self.path,), slots=(self.slot,) if self.slot else ())

    def discard(self) -> None:
        """Forget what was staged; only before `act`."""
        if self.slot is not None:
            self.moves.store.remove(self.slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_acted:
            self.discard()

    def _more(self) -> JsonObject:
        return {}

    def _act(self) -> None:
        raise NotImplementedError

    def _changed(self) -> EffectError:
        return EffectError("fs.changed", path=shown(self.path))

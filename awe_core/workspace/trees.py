"""Effects on whole entries: delete, move, make a directory.  One rename or one mkdir each.

What is deleted moves into its slot as it is, a directory with everything in it.  A tree is summed
up when it is staged, and looked at again (inodes, sizes, times) when it has come out: a change in
between puts it back.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError
from awe_core.workspace.images import tree_of
from awe_core.workspace.paths import shown
from awe_core.workspace.staged import Staged

if TYPE_CHECKING:
    from awe_core.values import JsonObject


@attrs.define(eq=False)
class Delete(Staged):
    """The entry goes into the slot."""

    kind = "delete"
    strategy = "fs.delete"
    slot: str
    fingerprint: str

    def sync_stage(self) -> None:
        """Nothing is staged."""

    def _act(self) -> None:
        self.moves.take(self.path, self.slot)
        with self.moves.store.slot(self.slot) as (directory, name):
            now = tree_of(self.moves.store.confined(directory), (name,), hashing=False)
        if now.fingerprint != self.fingerprint:
            self._put_back()
            raise self._changed()

    def _put_back(self) -> None:
        """Give it its name again; when that is taken by now, say where the thing lies."""
        try:
            self.moves.put(self.slot, self.path)
        except EffectError as error:
            reason = f"it changed while it was deleted, and is now in the undo store as {self.slot}"
            raise EffectError("fs.failed", path=shown(self.path), reason=reason) from error


@attrs.define(eq=False)
class Move(Staged):
    """The entry gets another name; nothing is replaced."""

    kind = "move"
    strategy = "fs.move"
    target: str
    fingerprint: str

    def sync_act(self) -> None:
        """Sync both directories."""
        self.moves.sync((self.path, self.target))

    def _more(self) -> JsonObject:
        return {"to": self.target}

    def _act(self) -> None:
        self.moves.shift(self.path, self.target)
        parts = self.moves.parse(self.target)
        now = tree_of(self.moves.confined, parts, hashing=False)
        if now.fingerprint != self.fingerprint:
            self.moves.shift(self.target, self.path)
            raise self._changed()


@attrs.define(eq=False)
class MakeDirectory(Staged):
    """A new, empty directory."""

    kind = "mkdir"
    strategy = "fs.mkdir"

    def _act(self) -> None:
        parts = self.moves.parse(self.path)
        with (
            self.moves.confined.parent(parts) as (directory, name),
            self.moves.confined.translated(parts),
        ):
            os.mkdir(name, dir_fd=directory)
        self.after = self.moves.look(self.path)

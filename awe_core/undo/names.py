"""Taking back what was done to names: ``fs.delete``, ``fs.move``, ``fs.mkdir``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.errors import EffectError
from awe_core.undo.strategy import Captured, FileStrategy, UndoOutcome, conflict

if TYPE_CHECKING:
    from awe_core.hookspecs import Seen
    from awe_core.workspace.images import Image

_THEIRS = {"fs.exists", "fs.missing"}  #: the name was taken, or a directory on its way


class Delete(FileStrategy):
    """A deleted entry: move it back, whole, when its name is still free."""

    name = "fs.delete"

    def _inspect(self, captured: Captured) -> Seen:
        slot, target = captured.slot.look(), captured.target.look()
        if slot.kind != "absent":
            is_same = captured.slot.image().same_content(captured.pre)
            return "applied" if is_same or slot.ino == captured.pre.ino else "unknown"
        is_same = captured.target.image().same_content(captured.pre)
        is_known = target.kind != "absent" and (is_same or target.ino == captured.pre.ino)
        return "not_applied" if is_known else "unknown"

    def _undo(self, captured: Captured) -> UndoOutcome:
        slot = captured.slot.image()
        if slot.kind == "absent":
            if self._inspect(captured) == "not_applied":
                return captured.finish()
            raise captured.discarded()
        if not slot.same_content(captured.pre):
            raise captured.damaged(slot)
        try:
            captured.moves.move(captured.slot, captured.target)
        except EffectError as error:
            if error.code not in _THEIRS:
                raise
            return conflict(captured.target.image(), kept=captured.kept)
        return captured.finish()


class Move(FileStrategy):
    """A moved entry: give it its earlier name, when that is still free."""

    name = "fs.move"

    def _inspect(self, captured: Captured) -> Seen:
        pre, here, there = captured.pre, captured.target, captured.moves.at(captured.to)
        if here.look().same_file(pre):
            return "not_applied"
        if there.look().same_file(pre):
            return "applied"
        source, target = here.image(), there.image()
        if source.kind == "absent" and target.same_content(pre):
            return "applied"
        is_back = target.kind == "absent" and source.same_content(pre)
        return "not_applied" if is_back else "unknown"

    def _undo(self, captured: Captured) -> UndoOutcome:
        if self._inspect(captured) == "not_applied":
            return captured.finish()
        here, there = captured.target, captured.moves.at(captured.to)
        moved, source = there.image(), here.image()
        if not moved.same_content(captured.pre):
            return conflict(moved)
        if source.kind != "absent":
            return conflict(source)
        try:
            captured.moves.move(there, here)
        except EffectError as error:
            if error.code not in _THEIRS:
                raise
            return conflict(here.image())
        if not here.image().same_content(moved):
            captured.moves.move(here, there)
            return conflict(there.image())
        return captured.finish()


class MakeDirectory(FileStrategy):
    """A new directory: remove it, when it is ours and empty."""

    name = "fs.mkdir"

    def _inspect(self, captured: Captured) -> Seen:
        found = captured.target.look()
        if found.kind == "absent":
            return "not_applied"
        return "applied" if _is_ours(captured, found) else "unknown"

    def _undo(self, captured: Captured) -> UndoOutcome:
        found = captured.target.look()
        if found.kind == "absent":
            return captured.finish()
        if not _is_ours(captured, found):
            return conflict(captured.target.image())
        try:
            captured.moves.remove_directory(captured.target)
        except EffectError as error:
            if error.code not in {*_THEIRS, "fs.not_empty"}:
                raise
            return conflict(captured.target.image())
        return captured.finish()


def _is_ours(captured: Captured, found: Image) -> bool:
    """Recognise the directory by its inode, which is known once the act was recorded."""
    return found.kind == "directory" and captured.post.ino in {0, found.ino}

"""Taking back what was done to names: ``fs.delete``, ``fs.move``, ``fs.mkdir``."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from awe_core.errors import EffectError
from awe_core.undo.captured import Captured, FileStrategy, finish
from awe_core.undo.outcomes import Applied, UndoOutcome

if TYPE_CHECKING:
    from awe_core.hookspecs import Seen
    from awe_core.workspace.images import Image
    from awe_core.workspace.moves import Moves


class Delete(FileStrategy):
    """A deleted entry: move it back, whole, when its name is still free."""

    name = "fs.delete"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        slot, target = moves.slot_look(captured.slot), moves.look(captured.path)
        if slot.kind != "absent":
            is_same = moves.slot_image(captured.slot).same_content(captured.pre)
            return "applied" if slot.ino == captured.pre.ino or is_same else "unknown"
        if target.kind == "absent":
            return "unknown"
        is_same = moves.image(captured.path).same_content(captured.pre)
        return "not_applied" if target.ino == captured.pre.ino or is_same else "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        slot = moves.slot_image(captured.slot)
        if slot.kind == "absent":
            if self._inspect(captured, moves) == "not_applied":
                return Applied()
            raise captured.discarded()
        if not slot.same_content(captured.pre):
            raise captured.damaged(slot)
        try:
            moves.put(captured.slot, captured.path)
        except EffectError as error:
            if error.code not in {"fs.exists", "fs.missing"}:
                raise
            return captured.conflict(moves.image(captured.path), kept=captured.slot)
        return finish(moves, captured)


class Move(FileStrategy):
    """A moved entry: give it its earlier name, when that is still free."""

    name = "fs.move"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        pre = captured.pre
        if moves.look(captured.path).same_file(pre):
            return "not_applied"
        if moves.look(captured.to).same_file(pre):
            return "applied"
        source, target = moves.image(captured.path), moves.image(captured.to)
        if source.kind == "absent" and target.same_content(pre):
            return "applied"
        is_back = target.kind == "absent" and source.same_content(pre)
        return "not_applied" if is_back else "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        if self._inspect(captured, moves) == "not_applied":
            return Applied()
        moved, source = moves.image(captured.to), moves.image(captured.path)
        if not moved.same_content(captured.pre):
            return captured.conflict(moved)
        if source.kind != "absent":
            return captured.conflict(source, kept=None)
        try:
            moves.shift(captured.to, captured.path)
        except EffectError as error:
            if error.code not in {"fs.exists", "fs.missing"}:
                raise
            return captured.conflict(moves.image(captured.path))
        if not moves.image(captured.path).same_content(moved):
            moves.shift(captured.path, captured.to)
            return captured.conflict(moves.image(captured.to))
        moves.sync((captured.path, captured.to))
        return Applied()


class MakeDirectory(FileStrategy):
    """A new directory: remove it, when it is ours and empty."""

    name = "fs.mkdir"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        found = moves.look(captured.path)
        if found.kind == "absent":
            return "not_applied"
        return "applied" if _is_ours(captured, found) else "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        found = moves.look(captured.path)
        if found.kind == "absent":
            return Applied()
        if not _is_ours(captured, found):
            return captured.conflict(moves.image(captured.path))
        try:
            moves.remove_directory(captured.path)
        except OSError as error:
            if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.ENOENT}:
                raise
            return captured.conflict(moves.image(captured.path))
        return finish(moves, captured)


def _is_ours(captured: Captured, found: Image) -> bool:
    """Recognise the directory by its inode, which is known once the act was recorded."""
    return found.kind == "directory" and captured.post.ino in {0, found.ino}

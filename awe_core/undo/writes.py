"""Taking back what was written: ``fs.swap``, ``fs.create``, ``fs.append``.

The rule of each: look; act only on content that is recognised as ours; look at what came out; give
back what was not ours.  A crash between two of these leaves a state that the next call recognises.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.errors import EffectError
from awe_core.undo.captured import Captured, FileStrategy, finish
from awe_core.undo.outcomes import Applied, UndoOutcome
from awe_core.workspace.images import PIECE, Image, feed
from awe_core.workspace.store import back
from awe_core.workspace.writes import copy_metadata, write_all

if TYPE_CHECKING:
    from awe_core.hookspecs import Seen
    from awe_core.workspace.moves import Moves


class Swap(FileStrategy):
    """A replaced file: trade it for the one in the slot again."""

    name = "fs.swap"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        pre, post = captured.pre, captured.post
        slot = moves.slot_image(captured.slot)
        match self._holds(captured, slot):
            case "pre":
                return "applied"
            case "post":
                return "not_applied"
            case "either" | "other":
                return "unknown"
            case "nothing":
                target = moves.image(captured.path)
                is_told = target.ino == pre.ino or not pre.same_content(post)
                seen: Seen = "not_applied" if target.same_content(pre) else "applied"
                return seen if is_told and target.same_content(pre, post) else "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        slot, target = moves.slot_image(captured.slot), moves.image(captured.path)
        match self._holds(captured, slot):
            case "nothing":
                return self._without_slot(captured, target)
            case "post" if slot.same_content(captured.post):
                return finish(moves, captured, captured.slot)
            case "other" if target.ino == captured.pre.ino:  # a crash came before giving this back
                moves.swap(captured.slot, captured.path)
                return captured.conflict(moves.image(captured.path), kept=captured.slot)
        if not slot.same_content(captured.pre):
            raise captured.damaged(slot)
        if not target.same_content(captured.post):
            return captured.conflict(target, kept=captured.slot)
        return self._trade(captured, moves)

    def _holds(
        self, captured: Captured, slot: Image
    ) -> Literal["pre", "post", "either", "other", "nothing"]:
        """Recognise what is in the slot: by content where that tells, else by inode."""
        pre, post = captured.pre, captured.post
        if slot.kind == "absent":
            return "nothing"
        if not pre.same_content(post) and slot.same_content(pre, post):
            return "pre" if slot.same_content(pre) else "post"
        if slot.ino in {pre.ino, post.ino}:
            return "pre" if slot.ino == pre.ino else "post"
        return "either" if slot.same_content(pre) else "other"

    def _trade(self, captured: Captured, moves: Moves) -> UndoOutcome:
        try:
            moves.swap(captured.slot, captured.path)
        except EffectError as error:
            if error.code != "fs.missing":
                raise
            return captured.conflict(Image(captured.path, "absent"), kept=captured.slot)
        came_out = moves.slot_image(captured.slot)
        if came_out.same_content(captured.post):
            return finish(moves, captured, captured.slot)
        moves.swap(captured.slot, captured.path)
        return captured.conflict(moves.image(captured.path), kept=captured.slot)

    def _without_slot(self, captured: Captured, target: Image) -> UndoOutcome:
        if target.same_content(captured.pre):
            return Applied()
        if target.same_content(captured.post):
            raise captured.discarded()
        return captured.conflict(target)


class Create(FileStrategy):
    """A new file: take it away, unless it is not the one we made."""

    name = "fs.create"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        target = moves.image(captured.path)
        if target.kind == "absent" or moves.slot_look(captured.slot).ino == captured.post.ino:
            return "not_applied"
        is_ours = target.ino == captured.post.ino and target.same_content(captured.post)
        return "applied" if is_ours else "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        slot = moves.slot_image(captured.slot)
        if slot.kind == "absent":
            target = moves.image(captured.path)
            if target.kind == "absent":
                return Applied()
            if not target.same_content(captured.post):
                return captured.conflict(target)
            moves.take(captured.path, captured.slot)
            slot = moves.slot_image(captured.slot)
        if slot.same_content(captured.post):
            return finish(moves, captured, captured.slot)
        return self._give_back(captured, moves, slot)

    def _give_back(self, captured: Captured, moves: Moves, slot: Image) -> UndoOutcome:
        try:
            moves.put(captured.slot, captured.path)
        except EffectError as error:
            if error.code != "fs.exists":
                raise
            return captured.conflict(moves.image(captured.path), kept=captured.slot)
        return captured.conflict(attrs.evolve(slot, path=captured.path))


class Append(FileStrategy):
    """A longer file: trade it for a copy of its first part."""

    name = "fs.append"

    def _inspect(self, captured: Captured, moves: Moves) -> Seen:
        match _ending(captured, moves, captured.path):
            case "none":
                return "not_applied"
            case "whole":
                return "applied"
            case "part":
                return "partial"
            case "other":
                return "unknown"

    def _undo(self, captured: Captured, moves: Moves) -> UndoOutcome:
        copy, target = back(captured.slot), moves.image(captured.path)
        came_out = moves.slot_image(copy)
        if came_out.kind != "absent" and not came_out.same_content(captured.pre):
            return self._after_trade(captured, moves)
        if target.same_content(captured.pre):
            return finish(moves, captured, copy, captured.slot)
        if _ending(captured, moves, captured.path) == "other":
            return captured.conflict(target)
        _copy_first_part(captured, moves)
        moves.swap(copy, captured.path)
        return self._after_trade(captured, moves)

    def _after_trade(self, captured: Captured, moves: Moves) -> UndoOutcome:
        """Drop what came out when it is ours alone, else give it back."""
        copy = back(captured.slot)
        if _ending(captured, moves, copy, in_store=True) in {"whole", "part"}:
            return finish(moves, captured, copy, captured.slot)
        target = moves.image(captured.path)
        if target.same_content(captured.pre):
            moves.swap(copy, captured.path)
            target = moves.image(captured.path)
        return captured.conflict(target, kept=copy)


def _ending(
    captured: Captured, moves: Moves, place: str, *, in_store: bool = False
) -> Literal["none", "whole", "part", "other"]:
    """Say how much of the appended bytes *place* ends with, after the file of before."""
    pre, post, hashed = captured.pre, captured.post, hashlib.sha256()
    if (moves.slot_look(place) if in_store else moves.look(place)).kind != "file":
        return "other"
    held = moves.open_slot(place) if in_store else moves.open_file(place)
    try:
        size = os.fstat(held).st_size
        if not pre.size <= size <= post.size or feed(hashed, held, size_bytes=pre.size) != pre.size:
            return "other"
        if hashed.hexdigest() != pre.sha256:
            return "other"
        rest = os.pread(held, post.size - pre.size + 1, pre.size)
    finally:
        os.close(held)
    if not rest:
        return "none"
    hashed.update(rest)
    if hashed.hexdigest() == post.sha256:
        return "whole"
    return "part" if _data(captured, moves).startswith(rest) else "other"


def _data(captured: Captured, moves: Moves) -> bytes:
    """Give the bytes that were to be appended; nothing when they were discarded."""
    if captured.data is not None:
        return captured.data
    if moves.slot_look(captured.slot).kind != "file":
        return b""
    held = moves.open_slot(captured.slot)
    try:
        return os.pread(held, captured.post.size - captured.pre.size, 0)
    finally:
        os.close(held)


def _copy_first_part(captured: Captured, moves: Moves) -> None:
    """Put a durable copy of the file of before beside the slot, whole or not at all."""
    source = moves.open_file(captured.path)
    try:
        with moves.new_in_store(back(captured.slot)) as target:
            at = 0
            while piece := os.pread(source, min(PIECE, captured.pre.size - at), at):
                write_all(target, piece)
                at += len(piece)
            copy_metadata(source, target, bits=0o7777)
            os.utime(target, ns=(captured.pre.mtime_ns, captured.pre.mtime_ns))
    finally:
        os.close(source)

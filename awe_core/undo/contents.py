"""Taking back what was written: ``fs.swap``, ``fs.create``, ``fs.append``.

The rule of each: look; act only on content that is recognised as ours; look at what came out; give
back what was not ours.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.errors import EffectError
from awe_core.undo.strategy import Captured, FileStrategy, UndoOutcome, conflict
from awe_core.workspace.images import PIECE, Image, feed
from awe_core.workspace.staged import copy_metadata, write_all
from awe_core.workspace.store import back

if TYPE_CHECKING:
    from awe_core.hookspecs import Seen
    from awe_core.workspace.moves import Place


class Swap(FileStrategy):
    """A replaced file: trade it for the one in the slot again."""

    name = "fs.swap"

    def _inspect(self, captured: Captured) -> Seen:
        pre, post = captured.pre, captured.post
        match self._holds(captured, captured.slot.image()):
            case "pre":
                return "applied"
            case "post":
                return "not_applied"
            case "either" | "other":
                return "unknown"
            case "nothing":
                target = captured.target.image()
                is_told = target.ino == pre.ino or not pre.same_content(post)
                seen: Seen = "not_applied" if target.same_content(pre) else "applied"
                return seen if is_told and target.same_content(pre, post) else "unknown"

    def _undo(self, captured: Captured) -> UndoOutcome:
        slot, target = captured.slot.image(), captured.target.image()
        match self._holds(captured, slot):
            case "nothing" if target.same_content(captured.pre):
                return captured.finish()
            case "nothing" if target.same_content(captured.post):
                raise captured.discarded()
            case "nothing":
                return conflict(target)
            case "post" if slot.same_content(captured.post):
                return captured.finish(captured.kept)
            case "other" if target.ino == captured.pre.ino:  # a crash came before giving this back
                return self._trade_back(captured)
        return self._trade(captured, slot, target)

    def _trade(self, captured: Captured, slot: Image, target: Image) -> UndoOutcome:
        if not slot.same_content(captured.pre):
            raise captured.damaged(slot)
        if not target.same_content(captured.post):
            return conflict(target, kept=captured.kept)
        try:
            captured.moves.swap(captured.slot, captured.target)
        except EffectError as error:
            if error.code != "fs.missing":
                raise
            return conflict(Image(captured.path, "absent"), kept=captured.kept)
        if captured.slot.image().same_content(captured.post):
            return captured.finish(captured.kept)
        return self._trade_back(captured)

    @staticmethod
    def _holds(
        captured: Captured, slot: Image
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

    @staticmethod
    def _trade_back(captured: Captured) -> UndoOutcome:
        captured.moves.swap(captured.slot, captured.target)
        return conflict(captured.target.image(), kept=captured.kept)


class Create(FileStrategy):
    """A new file: take it away, unless it is not the one we made."""

    name = "fs.create"

    def _inspect(self, captured: Captured) -> Seen:
        target, post = captured.target.image(), captured.post
        if target.kind == "absent" or captured.slot.look().ino == post.ino:
            return "not_applied"
        return "applied" if target.ino == post.ino and target.same_content(post) else "unknown"

    def _undo(self, captured: Captured) -> UndoOutcome:
        slot = captured.slot.image()
        if slot.kind == "absent":
            target = captured.target.image()
            if target.kind == "absent":
                return captured.finish()
            if not target.same_content(captured.post):
                return conflict(target)
            captured.moves.move(captured.target, captured.slot)
            slot = captured.slot.image()
        if slot.same_content(captured.post):
            return captured.finish(captured.kept)
        try:
            captured.moves.move(captured.slot, captured.target)  # what came out is not ours
        except EffectError as error:
            if error.code != "fs.exists":
                raise
            return conflict(captured.target.image(), kept=captured.kept)
        return conflict(attrs.evolve(slot, path=captured.path))


class Append(FileStrategy):
    """A longer file: trade it for a copy of its first part."""

    name = "fs.append"

    def _inspect(self, captured: Captured) -> Seen:
        return _ending(captured, captured.target)

    def _undo(self, captured: Captured) -> UndoOutcome:
        copy, target = back(captured.kept), captured.target.image()
        came_out = captured.moves.slot(copy).image()
        if came_out.kind != "absent" and not came_out.same_content(captured.pre):
            return self._after_trade(captured, copy)
        if target.same_content(captured.pre):
            return captured.finish(copy, captured.kept)
        if _ending(captured, captured.target) == "unknown":
            return conflict(target)
        _copy_first_part(captured, copy)
        captured.moves.swap(captured.moves.slot(copy), captured.target)
        return self._after_trade(captured, copy)

    @staticmethod
    def _after_trade(captured: Captured, copy: str) -> UndoOutcome:
        """Drop what came out when it is ours alone, else give it back."""
        if _ending(captured, captured.moves.slot(copy)) in {"applied", "partial"}:
            return captured.finish(copy, captured.kept)
        target = captured.target.image()
        if target.same_content(captured.pre):
            captured.moves.swap(captured.moves.slot(copy), captured.target)
            target = captured.target.image()
        return conflict(target, kept=copy)


def _ending(captured: Captured, place: Place) -> Seen:
    """Say how much of the appended bytes *place* ends with, after the file of before."""
    pre, post, hashed = captured.pre, captured.post, hashlib.sha256()
    if place.look().kind != "file":
        return "unknown"
    held = place.open()
    try:
        size = os.fstat(held).st_size
        if not pre.size <= size <= post.size or feed(hashed, held, size_bytes=pre.size) != pre.size:
            return "unknown"
        if hashed.hexdigest() != pre.sha256:
            return "unknown"
        rest = os.pread(held, post.size - pre.size + 1, pre.size)
    finally:
        os.close(held)
    if not rest:
        return "not_applied"
    hashed.update(rest)
    if hashed.hexdigest() == post.sha256:
        return "applied"
    return "partial" if _data(captured).startswith(rest) else "unknown"


def _data(captured: Captured) -> bytes:
    """Give the bytes that were to be appended; nothing when they were discarded."""
    if captured.data is not None:
        return captured.data
    if captured.slot.look().kind != "file":
        return b""
    held = captured.slot.open()
    try:
        return os.pread(held, captured.post.size - captured.pre.size, 0)
    finally:
        os.close(held)


def _copy_first_part(captured: Captured, copy: str) -> None:
    """Put a durable copy of the file of before beside the slot, whole or not at all."""
    source = captured.target.open()
    try:
        with captured.moves.new_in_store(copy) as target:
            at = 0
            while piece := os.pread(source, min(PIECE, captured.pre.size - at), at):
                write_all(target, piece)
                at += len(piece)
            copy_metadata(source, target, bits=0o7777)
            os.utime(target, ns=(captured.pre.mtime_ns, captured.pre.mtime_ns))
    finally:
        os.close(source)

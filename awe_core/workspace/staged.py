"""Effects in stages: what is prepared, what is known before the act, the act, its durability.

Staging does everything that can fail without being seen.  A `Staged` then holds
the image before, the image after and the undo record, so that the intent can be made
durable *before* `act`, which is one system call and a look at what came out.  It is a context
manager: at its end what never acted is forgotten.

An `act` that raises ``fs.exists``, ``fs.missing`` or ``fs.changed`` left the world as it was; after
any other exception the strategy's ``inspect`` tells.

A file that replaces another is staged in its slot with the other's mode, owner and attributes; a
new one is staged without a name in the target's directory, where it inherits what that directory
gives.  What is deleted moves into its slot as it is, a directory with everything in it; a tree is
summed up when it is staged, and looked at again (inodes, sizes, times) when it has come out.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from awe_core.errors import EffectError
from awe_core.events import UndoRecord
from awe_core.workspace.images import Image, feed
from awe_core.workspace.paths import shown
from awe_core.workspace.syscalls import O_CLOEXEC

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.values import JsonObject
    from awe_core.workspace.moves import Moves, Place

INLINE_BYTES = 4096  #: longer appends keep their bytes in a slot, not in the record
_TRIES = 3

#: Attributes that speak of the very bytes; the kernel drops the first when a file is written, too.
_OF_THE_CONTENT = {"security.capability", "security.ima", "security.evm"}
_HAS_TMPFILE = hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").exists()  # both are needed
#: How file systems say that they have no nameless files; EISDIR from before Linux 3.11.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


@attrs.define(eq=False)
class Staged:
    """One prepared effect: replace, create, append, delete, move or mkdir."""

    kind: str
    moves: Moves = attrs.field(repr=False)
    before: Image
    after: Image
    slot: str | None = None  #: ``run/name`` in the undo store
    is_in_slot: bool = True  #: whether something lies there before an undo
    held: int | None = None  #: the file whose bytes are to be synced: staged, then acted on
    is_bound: bool = False  #: the caller named the content it expects; no other is ever replaced
    added: bytes = attrs.field(default=b"", repr=False)  #: in the slot too, when they are long
    fingerprint: str = ""  #: of the tree that is moved away
    has_acted: bool = attrs.field(default=False, init=False)

    @property
    def path(self) -> str:
        """What is changed."""
        return self.before.path

    @property
    def undo(self) -> UndoRecord:
        """How to take it back; after `act` completed with what only the act could know."""
        payload: JsonObject = {"path": self.path}
        payload |= {"pre": self.before.as_json(), "post": self.after.as_json()}
        if self.slot is not None:
            payload["slot"] = self.slot
        if self.kind == "move":
            payload["to"] = self.after.path
        if self.kind == "append" and not self.is_in_slot:
            payload["data"] = base64.b64encode(self.added).decode()
        return UndoRecord("fs.swap" if self.kind == "replace" else f"fs.{self.kind}", payload)

    def sync_stage(self) -> None:
        """Make the staged bytes durable; may run in any thread."""
        if self.held is not None:
            os.fsync(self.held)

    def act(self) -> None:
        """Do it; `after` then tells what is there now.

        :raises EffectError: ``fs.exists``, ``fs.missing``, ``fs.changed``: nothing was changed
        """
        self.has_acted = True
        _ACTS[self.kind](self, self.moves.at(self.path))

    def sync_act(self) -> None:
        """Make the act durable; may run in any thread."""
        self.sync_stage()
        places = [] if self.kind == "append" else [self.moves.at(self.path)]
        if self.kind == "move":
            places.append(self.moves.at(self.after.path))
        if self.slot is not None and self.is_in_slot:
            places.append(self.kept)
        self.moves.sync(*places)

    def forget(self) -> None:
        """Drop what still is as it was staged, after an act that changed nothing."""
        if self.slot is not None and self.is_in_slot and self.kept.look().ino == self.after.ino:
            self.moves.store.remove(self.slot)

    def discard(self) -> None:
        """Forget what was staged; only before `act`."""
        self.let_go()
        if self.slot is not None and self.is_in_slot:
            self.moves.store.remove(self.slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self.has_acted:
            self.discard()
        self.let_go()

    @property
    def kept(self) -> Place:
        """The slot."""
        return self.moves.slot(self.slot or "")

    def let_go(self) -> None:
        """Close the file."""
        if self.held is not None:
            os.close(self.held)
            self.held = None

    def changed(self) -> EffectError:
        """Say that somebody else was faster."""
        return EffectError("fs.changed", path=shown(self.path))


def _replace(staged: Staged, target: Place) -> None:
    """Trade the slot's file and the target: the slot then *is* the pre-image."""
    slot, swap = staged.kept, staged.moves.swap
    staged.let_go()
    for _ in range(_TRIES):
        swap(slot, target)
        if slot.look().same_file(staged.before):
            return
        swap(slot, target)  # give the name back to what came out …
        if slot.look().ino != staged.after.ino:
            swap(slot, target)  # … unless a third one took it from us meanwhile
            break
        staged.before = target.image()
        if staged.is_bound or staged.before.kind != "file":
            break
    raise staged.changed()


def _create(staged: Staged, target: Place) -> None:
    """Give a name to a file without one; nothing can be replaced by that."""
    if staged.is_in_slot or staged.held is None:
        staged.moves.move(staged.kept, target)
    else:
        staged.moves.name_it(staged.held, target)
    staged.let_go()


def _append(staged: Staged, target: Place) -> None:
    """Put bytes to the end of the very file, since others may hold it open."""
    staged.let_go()
    staged.held = held = target.open(os.O_WRONLY | os.O_APPEND)
    if not Image.of(staged.path, os.fstat(held)).same_file(staged.before):
        raise staged.changed()
    try:
        write_all(held, staged.added)
    except OSError as error:
        raise target.error(error) from None
    now = Image.of(staged.path, os.fstat(held), sha256=staged.after.sha256)
    if now.size != staged.after.size:
        reason = "someone else wrote to its end in the same moment"
        raise EffectError("fs.failed", path=shown(staged.path), reason=reason)
    staged.after = now


def _delete(staged: Staged, target: Place) -> None:
    """Move the entry into the slot."""
    staged.moves.move(target, staged.kept)
    if staged.kept.fingerprint() == staged.fingerprint:
        return
    try:
        staged.moves.move(staged.kept, target)
    except EffectError as error:  # its name is taken by now: say where the thing lies
        reason = f"it changed while it was deleted, and is now in the undo store as {staged.slot}"
        raise EffectError("fs.failed", path=shown(staged.path), reason=reason) from error
    raise staged.changed()


def _move(staged: Staged, target: Place) -> None:
    moved = staged.moves.at(staged.after.path)
    staged.moves.move(target, moved)
    if moved.fingerprint() != staged.fingerprint:
        staged.moves.move(moved, target)
        raise staged.changed()


def _mkdir(staged: Staged, target: Place) -> None:
    with target.parent() as (directory, name):
        os.mkdir(name, dir_fd=directory)
    staged.after = target.look()


_ACTS: Mapping[str, Callable[[Staged, Place], None]] = {
    "replace": _replace,
    "create": _create,
    "append": _append,
    "delete": _delete,
    "move": _move,
    "mkdir": _mkdir,
}


def stage_file(moves: Moves, before: Image, data: bytes, *, run: str, is_bound: bool) -> Staged:
    """Stage the bytes of a file that nobody sees before the effect.

    :raises EffectRefusedError: ``undo.full``
    :raises EffectError: ``fs.failed``, for example a full disk; ``fs.changed``
    """
    target, is_new = moves.at(before.path), before.kind == "absent"
    slot = moves.store.new_slot(run, size_bytes=0 if is_new else max(before.size, len(data)))
    held = _nameless(target) if is_new else None
    is_in_slot = held is None
    if held is None:
        held = moves.open_new(slot, mode=0o666 if is_new else 0o600)
    kind = "create" if is_new else "replace"
    staged = Staged(kind, moves, before, before, slot, is_in_slot, held, is_bound)
    try:
        write_all(held, data)
        if not is_new:
            _keep_metadata(target, before, held)
        digest = hashlib.sha256(data).hexdigest()
        staged.after = Image.of(before.path, os.fstat(held), sha256=digest)
    except BaseException as error:
        staged.discard()
        if isinstance(error, OSError):
            raise target.error(error) from None
        raise
    return staged


def stage_append(moves: Moves, path: str, data: bytes, *, run: str) -> Staged:
    """Work out what the file will be, and keep the bytes where undo finds them."""
    target, hashed = moves.at(path), hashlib.sha256()
    held, status = moves.confined.open_file(target.parts, links="refuse")
    try:
        size = feed(hashed, held)
        before = Image.of(path, status, sha256=hashed.hexdigest())
        if size != before.size or not Image.of(path, os.fstat(held)).same_file(before):
            raise EffectError("fs.changed", path=shown(path))
    finally:
        os.close(held)
    hashed.update(data)
    after = attrs.evolve(before, sha256=hashed.hexdigest(), size=before.size + len(data))
    is_long = len(data) > INLINE_BYTES
    slot = moves.store.new_slot(run, size_bytes=len(data) if is_long else 0)
    staged = Staged("append", moves, before, after, slot, is_long, added=data)
    if is_long:
        staged.held = moves.open_new(slot)
        try:
            write_all(staged.held, data)
        except OSError as error:
            staged.discard()
            raise target.error(error) from None
    return staged


def copy_metadata(source: int, target: int, *, bits: int = 0o1777) -> None:
    """Make *target* look like *source* but for its content.

    :param bits: of the mode that are taken over; set-id bits do not go with new content
    """
    status, own = os.fstat(source), os.fstat(target)
    if (status.st_uid, status.st_gid) != (own.st_uid, own.st_gid):
        with contextlib.suppress(PermissionError):
            os.fchown(target, status.st_uid, status.st_gid)
    for name in os.listxattr(source) if hasattr(os, "listxattr") else ():
        if name not in _OF_THE_CONTENT:
            with contextlib.suppress(OSError):  # not permitted, or not on this file system
                os.setxattr(target, name, os.getxattr(source, name))
    os.fchmod(target, status.st_mode & bits)


def write_all(held: int, data: bytes) -> None:
    """Write every byte; usually one call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(held, rest) :]


def _keep_metadata(target: Place, before: Image, held: int) -> None:
    """Copy mode, owner where permitted, and attributes from the file to be replaced."""
    source, status = target.confined.open_file(target.parts)
    try:
        if status.st_ino != before.ino:
            raise EffectError("fs.changed", path=shown(before.path))
        copy_metadata(source, held)
    finally:
        os.close(source)


def _nameless(target: Place) -> int | None:
    """Open a file without a name beside *target*; None where the file system has none."""
    with target.parent() as (directory, _):
        if not _HAS_TMPFILE:
            return None
        try:
            return os.open(".", os.O_TMPFILE | os.O_RDWR | O_CLOEXEC, 0o666, dir_fd=directory)
        except OSError as error:
            if error.errno in _NO_TMPFILE:
                return None
            raise

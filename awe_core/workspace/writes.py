"""Effects that write a file: replace, create, append.

Bytes are staged by a `Writer`, piece by piece, with the digest on the way.  A file that replaces
another is staged in its slot with the other's mode, owner and attributes; a new one is staged
without a name in the target's directory, where it inherits what that directory gives.
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

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.confined import not_regular
from awe_core.workspace.images import Image, feed
from awe_core.workspace.paths import shown
from awe_core.workspace.staged import Staged
from awe_core.workspace.store import NEW_FILE
from awe_core.workspace.syscalls import O_CLOEXEC

if TYPE_CHECKING:
    from hashlib import _Hash

    from awe_core.values import JsonObject
    from awe_core.workspace.moves import Moves

INLINE_BYTES = 4096  #: longer appends keep their bytes in a slot, not in the record
_TRIES = 3

#: Attributes that speak of the very bytes; the kernel drops the first when a file is written, too.
_OF_THE_CONTENT = {"security.capability", "security.ima", "security.evm"}
_HAS_TMPFILE = hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").exists()  # both are needed
#: How file systems say that they have no nameless files; EISDIR from before Linux 3.11.
_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}


@attrs.define(eq=False)
class Replace(Staged):
    """The slot's file and the target trade places: the slot then *is* the pre-image."""

    kind = "replace"
    strategy = "fs.swap"
    slot: str
    is_bound: bool = False  #: the caller named the content it expects; no other is ever replaced

    def _act(self) -> None:
        for _ in range(_TRIES):
            self.moves.swap(self.slot, self.path)
            if self.moves.slot_look(self.slot).same_file(self.before):
                return
            self._trade_back()
            self.before = self.moves.image(self.path)
            if self.is_bound or self.before.kind != "file":
                break
        raise self._changed()

    def _trade_back(self) -> None:
        """Give the name back to what came out, unless a third one took it from us meanwhile."""
        self.moves.swap(self.slot, self.path)
        if self.moves.slot_look(self.slot).ino != self.after.ino:
            self.moves.swap(self.slot, self.path)
            raise self._changed()


@attrs.define(eq=False)
class Create(Staged):
    """A file without a name gets one; nothing can be replaced by that."""

    kind = "create"
    strategy = "fs.create"
    slot: str  #: where undo will take it to; holds the file already when *is_nameless* is false
    held: int | None = attrs.field(repr=False)
    is_nameless: bool

    def sync_stage(self) -> None:
        """Sync the bytes."""
        if self.held is not None:
            os.fsync(self.held)

    def sync_act(self) -> None:
        """Sync the directory; the slot is not part of it before an undo."""
        self.moves.sync((self.path,), slots=() if self.is_nameless else (self.slot,))

    def discard(self) -> None:
        """Close it; without a name it is gone."""
        self._let_go()
        if not self.is_nameless:
            super().discard()

    def _act(self) -> None:
        try:
            if self.held is not None and self.is_nameless:
                self.moves.name_it(self.held, self.path)
            else:
                self.moves.put(self.slot, self.path)
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self.held is not None:
            os.close(self.held)
            self.held = None


@attrs.define(eq=False)
class Append(Staged):
    """Bytes go to the end of the very file, since others may hold it open."""

    kind = "append"
    strategy = "fs.append"
    slot: str  #: holds the bytes when they are long; undo works beside it
    added: bytes = attrs.field(repr=False)

    @classmethod
    def stage(cls, moves: Moves, before: Image, data: bytes, *, run: str) -> Append:
        """Work out what the file will be, and keep the bytes where undo finds them."""
        if before.kind != "file":
            raise not_regular(before.path, before.kind)
        parts, hashed = moves.parse(before.path), hashlib.sha256()
        held = moves.confined.open_file(parts, links="refuse")
        try:
            feed(hashed, held, size_bytes=before.size)
            if hashed.hexdigest() != before.sha256:
                raise EffectError("fs.changed", path=shown(before.path))
        finally:
            os.close(held)
        hashed.update(data)
        after = attrs.evolve(before, sha256=hashed.hexdigest(), size=before.size + len(data))
        is_long = len(data) > INLINE_BYTES
        slot = moves.store.new_slot(run, size_bytes=len(data) if is_long else 0)
        if is_long:
            written = _in_slot(moves, slot, mode=0o600)
            try:
                with moves.confined.translated(parts):
                    write_all(written, data)
            finally:
                os.close(written)
        return cls(before.path, moves, before, after, slot, data)

    def _more(self) -> JsonObject:
        if len(self.added) > INLINE_BYTES:
            return {}
        return {"data": base64.b64encode(self.added).decode()}

    def _act(self) -> None:
        parts = self.moves.parse(self.path)
        held = self.moves.confined.open_file(parts, os.O_WRONLY | os.O_APPEND, links="refuse")
        try:
            if not Image.of(self.path, os.fstat(held)).same_file(self.before):
                raise self._changed()
            with self.moves.confined.translated(parts):
                write_all(held, self.added)
            now = Image.of(self.path, os.fstat(held), sha256=self.after.sha256)
        finally:
            os.close(held)
        if now.size != self.after.size:
            reason = "someone else wrote to its end in the same moment"
            raise EffectError("fs.failed", path=shown(self.path), reason=reason)
        self.after = now

    def sync_act(self) -> None:
        """Sync the file itself, and the folder of the slot."""
        held = self.moves.confined.open_file(self.moves.parse(self.path))
        try:
            os.fsync(held)
        finally:
            os.close(held)
        if len(self.added) > INLINE_BYTES:
            self.moves.sync((), slots=(self.slot,))


@attrs.define(eq=False)
class Writer:
    """Bytes on their way into a file that nobody sees before the effect."""

    path: str
    moves: Moves = attrs.field(repr=False)
    before: Image
    slot: str
    held: int | None = attrs.field(repr=False)
    is_nameless: bool
    is_bound: bool
    max_bytes: int | None
    size_bytes: int = attrs.field(default=0, init=False)
    _digest: _Hash = attrs.field(factory=hashlib.sha256, init=False, repr=False)

    @classmethod
    def open(
        cls, moves: Moves, before: Image, *, run: str, is_bound: bool, max_bytes: int | None
    ) -> Writer:
        """Stage a file that will stand at ``before.path``."""
        if before.kind == "absent":
            slot = moves.store.new_slot(run)
            held, is_nameless = _nameless(moves, before.path, slot)
        else:
            slot = moves.store.new_slot(run, size_bytes=before.size)
            held, is_nameless = _in_slot(moves, slot, mode=0o600), False
        return cls(before.path, moves, before, slot, held, is_nameless, is_bound, max_bytes)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take the next piece.

        :raises EffectRefusedError: ``effect.limit``, ``undo.full``
        :raises EffectError: ``fs.failed``, for example a full disk
        """
        size, held = len(data), self._open()
        if self.max_bytes is not None and self.size_bytes + size > self.max_bytes:
            raise EffectRefusedError(
                "effect.limit", target=shown(self.path), which="max_bytes", limit=self.max_bytes
            )
        if self.before.kind == "file":
            over = self.size_bytes + size - self.before.size
            self.moves.store.charge(self.slot, max(0, min(size, over)))
        with self.moves.confined.translated(self.moves.parse(self.path)):
            write_all(held, data)
        self._digest.update(data)
        self.size_bytes += size
        return size

    def finish(self) -> Replace | Create:
        """End the bytes; the result takes over what is staged."""
        held = self._open()
        if self.before.kind == "file":
            self._keep_metadata(held)
        status = os.fstat(held)
        after = Image.of(self.path, status, sha256=self._digest.hexdigest())
        if self.before.kind == "absent":
            self.held = None
            return Create(
                self.path, self.moves, self.before, after, self.slot, held, self.is_nameless
            )
        os.close(held)
        self.held = None
        return Replace(self.path, self.moves, self.before, after, self.slot, self.is_bound)

    def discard(self) -> None:
        """Forget the bytes; fine after `finish`."""
        if self.held is not None:
            os.close(self.held)
            self.held = None
            if not self.is_nameless:
                self.moves.store.remove(self.slot)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def _open(self) -> int:
        if self.held is None:
            raise ValueError(self.path)
        return self.held

    def _keep_metadata(self, held: int) -> None:
        """Copy mode, owner where permitted, and attributes from the file to be replaced."""
        source = self.moves.confined.open_file(self.moves.parse(self.path))
        try:
            if os.fstat(source).st_ino != self.before.ino:
                raise EffectError("fs.changed", path=shown(self.path))
            copy_metadata(source, held)
        finally:
            os.close(source)


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


def write_all(held: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte; usually one call."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(held, rest) :]


def _nameless(moves: Moves, path: str, slot: str) -> tuple[int, bool]:
    """Open a file without a name beside *path*; in the slot where the file system has none."""
    parts = moves.parse(path)
    with moves.confined.parent(parts) as (directory, _), moves.confined.translated(parts):
        if _HAS_TMPFILE:
            try:
                flags = os.O_TMPFILE | os.O_RDWR | O_CLOEXEC
                return os.open(".", flags, 0o666, dir_fd=directory), True
            except OSError as error:
                if error.errno not in _NO_TMPFILE:
                    raise
    return _in_slot(moves, slot, mode=0o666), False


def _in_slot(moves: Moves, slot: str, *, mode: int) -> int:
    with moves.store.slot(slot) as (directory, name):
        return os.open(name, NEW_FILE, mode, dir_fd=directory)

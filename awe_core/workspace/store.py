"""The undo store: slots that hold what an effect staged, and after it what was there before.

A slot is ``<store>/<run>/<name>``, in folders of mode 0700.  The store lies on the mount of the
workspace, because a slot and a target trade places in one rename.  What is in a slot keeps its
inode, and with it owner, mode, attributes and times.

The store knows nothing of effects: who may drop what is decided above.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import shutil
import stat
import threading
import time
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.confined import Confined, Opener
from awe_core.workspace.syscalls import (
    NEW_FILE,
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    AtomicRenames,
    PlainRenames,
    lstat,
)

if TYPE_CHECKING:
    from collections.abc import Container, Iterator
    from pathlib import Path

    from awe_core.workspace.paths import Parts

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SLOT = re.compile(rf"({_RUN.pattern}/[0-9a-f]{{8}}-[0-9]{{6,}})(\.back)?(\.new|\.old)?")
_PROBE, _STALE_SECONDS = ".awe-probe-", 60
_QUOTA, _SHARE = 2 * 1024**3, 10


@attrs.define(eq=False)
class Store:
    """An open undo store."""

    path: Path
    confined: Confined
    quota: int  #: bytes
    _session: str = attrs.field(factory=lambda: secrets.token_hex(4))
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)
    _used: int | None = None
    _charged: dict[str, int] = attrs.field(factory=dict)
    _counting: threading.RLock = attrs.field(factory=threading.RLock)

    @classmethod
    def open(cls, path: Path, *, opener: Opener, quota: int | None) -> Store:
        """Open or create the folder.

        :raises OSError: it cannot be had, or belongs to somebody else
        """
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(path, os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        try:
            if os.fstat(held).st_uid != os.geteuid():
                raise PermissionError(13, "belongs to another user")
            os.fchmod(held, 0o700)
            free = os.fstatvfs(held)
        except OSError:
            os.close(held)
            raise
        room = free.f_bavail * free.f_frsize // _SHARE
        most = min(_QUOTA, room) if quota is None else quota
        return cls(path, Confined(held, opener, "read"), most)

    @property
    def fd(self) -> int:
        """The open folder."""
        return self.confined.base

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def identity(self, ino: int) -> str:
        """Give the lasting name of the workspace whose root has inode *ino*."""
        name, flags = f".root-{ino}", os.O_RDWR | os.O_CREAT | O_NOFOLLOW | O_CLOEXEC
        held = os.open(name, flags, 0o600, dir_fd=self.fd)
        try:
            if not os.fstat(held).st_size:  # new, or a crash came before its only write
                os.write(held, secrets.token_hex(16).encode())
                os.fsync(held)
                for folder in (".", "..", "../.."):  # two of the way here may be new
                    way = os.open(folder, os.O_RDONLY | O_DIRECTORY | O_CLOEXEC, dir_fd=self.fd)
                    os.fsync(way)
                    os.close(way)
        finally:
            os.close(held)
        return (self.path / name).read_text()

    def new_slot(self, run: str, *, size_bytes: int = 0) -> str:
        """Name a slot that was never used before, in any process, and count *size_bytes* for it.

        :raises EffectRefusedError: ``undo.full``
        """
        if not _RUN.fullmatch(run):
            raise ValueError(run)
        slot = f"{run}/{self._session}-{next(self._numbers):06d}"
        if size_bytes:
            self._charge(slot, size_bytes)
        return slot

    def make_folder(self, slot: str) -> None:
        """Make the folder that *slot* lies in, when something shall lie in it; fine when there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(split(slot)[0], 0o700, dir_fd=self.fd)

    def used_bytes(self) -> int:
        """Give the bytes of all slots, as far as this process knows; counted at the first call."""
        if self._used is None:
            runs = (entry for entry in os.scandir(self.path) if _RUN.fullmatch(entry.name))
            self._used = sum(_size(run.path) for run in runs)
        return self._used

    def remove(self, slot: str) -> None:
        """Drop the file in one slot; fine when it is gone."""
        try:
            with self.confined.parent(split(slot)) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except EffectError as error:
            if error.code != "fs.missing":
                raise
        with self._counting:
            freed = self._charged.pop(slot, 0)
            self._used = None if self._used is None else self._used - freed

    def runs(self) -> list[tuple[int, str]]:
        """Give the runs that have a folder, each after the µs it last changed; the oldest first."""
        found = []
        for one in os.scandir(self.path):
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                if _RUN.fullmatch(one.name):
                    found.append((one.stat().st_mtime_ns // 1_000, one.name))
        return sorted(found)

    def size(self, run: str) -> int:
        """Give the bytes of all slots of *run*."""
        return _size(os.fspath(self.path / run))

    def drop(self, run: str) -> None:
        """Drop all slots of *run*; fine when they are gone."""
        freed = self.size(run)
        for at, names, _ in os.walk(self.path / run):  # what was deleted keeps its mode
            for name in names:
                if not os.path.islink(folder := os.path.join(at, name)):  # noqa: PTH114, PTH118 - fast
                    os.chmod(folder, 0o700)  # noqa: PTH101 - as above
        shutil.rmtree(self.path / run, ignore_errors=True)
        with self._counting:
            self._charged = {s: n for s, n in self._charged.items() if split(s)[0] != run}
            self._used = None if self._used is None else max(0, self._used - freed)

    def sweep(self, run: str, kept: Container[str]) -> None:
        """Drop every staged file of *run* whose slot is not *kept*."""
        folder = self.path / run
        for entry in os.scandir(folder) if folder.is_dir() else ():
            found = _SLOT.fullmatch(slot := f"{run}/{entry.name}")
            if found and found[1] not in kept and entry.is_file(follow_symlinks=False):
                self.remove(slot)

    def _charge(self, slot: str, size_bytes: int) -> None:
        with self._counting:
            used = self.used_bytes()
            if used + size_bytes > self.quota:
                raise EffectRefusedError(
                    "undo.full", needed=size_bytes, used=used, quota=self.quota
                )
            self._used = used + size_bytes
            self._charged[slot] = size_bytes


def back(slot: str) -> str:
    """Name the place beside *slot* where an undo prepares what it puts in the target's place."""
    return f"{slot}.back"


def split(slot: str) -> Parts:
    """Take a slot's name apart: the run, and the name in its folder.

    :raises ValueError: for anything that `Store.new_slot` and `back` do not make
    """
    if not _SLOT.fullmatch(slot):
        raise ValueError(slot)
    return tuple(slot.split("/"))


def probe(store: Store, root: int) -> AtomicRenames:
    """Trade two files between store and workspace, as effects will.

    :raises OSError: EXDEV when they are not on one mount; EROFS, EACCES …
    """
    name = f"{_PROBE}{secrets.token_hex(8)}"
    for directory in (store.fd, root):
        _drop_old_probes(directory)
        os.close(os.open(name, NEW_FILE, 0o600, dir_fd=directory))
    try:
        try:
            AtomicRenames().exchange(store.fd, name, root, name)
        except OSError as error:
            if error.errno == errno.EXDEV:
                raise
            PlainRenames().exchange(store.fd, name, root, name)
            return PlainRenames()
        return AtomicRenames()
    finally:
        for directory in (store.fd, root):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)


def _drop_old_probes(directory: int) -> None:
    """Clean up after a process that died while it probed; others may be probing now."""
    for name in os.listdir(directory):
        status = lstat(directory, name) if name.startswith(_PROBE) else None
        if status is not None and stat.S_ISREG(status.st_mode):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - status.st_mtime > _STALE_SECONDS:
                    os.unlink(name, dir_fd=directory)


def _size(folder: str) -> int:
    found = 0
    for at, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # dropped meanwhile
                found += os.lstat(os.path.join(at, name)).st_size  # noqa: PTH118 - fast
    return found

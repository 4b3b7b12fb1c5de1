"""The undo store: slots that hold what an effect staged, and after it what was there before.

A slot is ``<store>/<run>/<name>``, in folders of mode 0700.  The store lies on the mount of the
workspace, because a slot and a target trade places in one rename.  What is in a slot keeps its
inode, and with it owner, mode, attributes and times.

Slots of intended effects are dropped by `discard` only; `sweep` takes what was staged and never
intended.  The store knows nothing of effects: who may drop what is decided above.
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
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectRefusedError
from awe_core.workspace.confined import Backend, Confined
from awe_core.workspace.syscalls import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOFOLLOW,
    AtomicRenames,
    PlainRenames,
    Renames,
    settle,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_SLOT = re.compile(rf"({_RUN.pattern}/[0-9a-f]{{8}}-[0-9]{{6,}})(\.back)?(\.new|\.old)?")
_PROBE, _STALE_SECONDS = ".awe-probe-", 60
_QUOTA, _SHARE = 2 * 1024**3, 10


@attrs.define(eq=False)
class Store:
    """An open undo store."""

    path: Path
    fd: int
    quota: int  #: bytes
    backend: Backend
    _session: str = attrs.field(factory=lambda: secrets.token_hex(4))
    _numbers: Iterator[int] = attrs.field(factory=itertools.count)
    _runs: set[str] = attrs.field(factory=set)
    _used: int | None = None
    _charged: dict[str, int] = attrs.field(factory=dict)
    _counting: threading.RLock = attrs.field(factory=threading.RLock)

    @classmethod
    def open(cls, path: Path, *, backend: Backend, quota: int | None) -> Store:
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
        return cls(path, held, min(_QUOTA, room) if quota is None else quota, backend)

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self.fd)

    def identity(self, ino: int) -> str:
        """Give the lasting name of the workspace whose root has inode *ino*."""
        name = f".root-{ino}"
        with contextlib.suppress(FileExistsError):
            held = os.open(name, NEW_FILE, 0o600, dir_fd=self.fd)
            try:
                os.write(held, secrets.token_hex(16).encode())
                os.fsync(held)
            finally:
                os.close(held)
            os.fsync(self.fd)
        return (self.path / name).read_text()

    def new_slot(self, run: str, *, size_bytes: int = 0) -> str:
        """Name a slot that was never used before, in any process, and count *size_bytes* for it.

        :raises EffectRefusedError: ``undo.full``
        """
        if not _RUN.fullmatch(run):
            raise ValueError(run)
        slot = f"{run}/{self._session}-{next(self._numbers):06d}"
        self.charge(slot, size_bytes)
        if run not in self._runs:
            self.make_folder(slot)
            self._runs.add(run)
        return slot

    def make_folder(self, slot: str) -> None:
        """Make the folder that *slot* lies in; fine when it is there."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(split(slot)[0], 0o700, dir_fd=self.fd)

    def charge(self, slot: str, size_bytes: int) -> None:
        """Count bytes that are about to be kept in *slot*.

        :raises EffectRefusedError: ``undo.full``
        """
        with self._counting:
            used = self.used_bytes()
            if size_bytes and used + size_bytes > self.quota:
                raise EffectRefusedError(
                    "undo.full", needed=size_bytes, used=used, quota=self.quota
                )
            self._used = used + size_bytes
            self._charged[slot] = self._charged.get(slot, 0) + size_bytes

    def used_bytes(self) -> int:
        """Give the bytes of all slots, as far as this process knows; counted at the first call."""
        if self._used is None:
            self._used = sum(_size(self.path / run) for run in self.runs())
        return self._used

    @contextmanager
    def slot(self, slot: str) -> Iterator[tuple[int, str]]:
        """Hold the folder of *slot* open; gives it with the slot's name in it.

        :raises FileNotFoundError: the run's folder was discarded
        """
        run, name = split(slot)
        directory = os.open(run, _FOLDER, dir_fd=self.fd)
        try:
            yield directory, name
        finally:
            os.close(directory)

    def confined(self, directory: int) -> Confined:
        """Look at what lies in the folder of a run, with the care due to foreign files."""
        return Confined(directory, self.backend, "read")

    def settle(self, slot: str) -> None:
        """Finish a swap that a crash cut in two, where the platform has no atomic one."""
        with contextlib.suppress(FileNotFoundError), self.slot(slot) as (directory, name):
            settle(directory, name)

    def remove(self, slot: str) -> None:
        """Drop one slot, whatever it holds; fine when it is gone."""
        with contextlib.suppress(FileNotFoundError), self.slot(slot) as (directory, name):
            _remove(directory, name)
        with self._counting:
            freed = self._charged.pop(slot, 0)
            self._used = None if self._used is None else self._used - freed

    def discard(self, run: str) -> None:
        """Drop all slots of *run*.  The caller has recorded that before."""
        if not _RUN.fullmatch(run):
            raise ValueError(run)
        _remove(self.fd, run)
        os.fsync(self.fd)
        self._runs.discard(run)
        self._count_anew()

    def runs(self) -> tuple[str, ...]:
        """Name the runs that have slots."""
        names = (entry.name for entry in self.path.iterdir())
        return tuple(sorted(name for name in names if _RUN.fullmatch(name)))

    def slots(self) -> tuple[str, ...]:
        """Name every slot there is."""
        return tuple(sorted({slot for slot, _ in self._places()}))

    def sweep(self, known: Collection[str]) -> tuple[str, ...]:
        """Drop slots that no recorded intent names; returns them."""
        garbage = sorted(found for found in self._places() if found[0] not in known)
        for _, place in garbage:
            self.remove(place)
        self._count_anew()
        return tuple(sorted({slot for slot, _ in garbage}))

    def _count_anew(self) -> None:
        with self._counting:
            self._used = None
            self._charged.clear()

    def _places(self) -> Iterator[tuple[str, str]]:
        """Give every file of the store with the slot it belongs to."""
        for run in self.runs():
            for entry in (self.path / run).iterdir():
                if found := _SLOT.fullmatch(f"{run}/{entry.name}"):
                    yield found[1], found[0]


#: How a file that must be new is opened.
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | O_NOFOLLOW | O_CLOEXEC
_FOLDER = os.O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC


def back(slot: str) -> str:
    """Name the place beside *slot* where an undo prepares what it puts in the target's place."""
    return f"{slot}.back"


def split(slot: str) -> tuple[str, str]:
    """Take a slot's name apart.

    :raises ValueError: for anything that `Store.new_slot` and `back` do not make
    """
    if not _SLOT.fullmatch(slot):
        raise ValueError(slot)
    run, _, name = slot.partition("/")
    return run, name


def probe(store: Store, root: int) -> Renames:
    """Trade two files between store and workspace, as effects will.

    :raises OSError: EXDEV when they are not on one mount; EROFS, EACCES …
    """
    _drop_old_probes(root)
    _drop_old_probes(store.fd)
    name = f"{_PROBE}{secrets.token_hex(8)}"
    for directory in (store.fd, root):
        os.close(os.open(name, NEW_FILE, 0o600, dir_fd=directory))
    try:
        for renames in (AtomicRenames(), PlainRenames()):
            try:
                renames.exchange(store.fd, name, root, name)
            except OSError as error:
                if isinstance(renames, PlainRenames) or error.errno == errno.EXDEV:
                    raise
            else:
                return renames
    finally:
        for directory in (store.fd, root):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)
    raise AssertionError


def _drop_old_probes(directory: int) -> None:
    """Clean up after a process that died while it probed; others may be probing now."""
    for name in os.listdir(directory):
        if name.startswith(_PROBE):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > _STALE_SECONDS:
                    os.unlink(name, dir_fd=directory)


def _remove(directory: int, name: str) -> None:
    try:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=directory)
        return
    _make_removable(directory, name)
    shutil.rmtree(name, dir_fd=directory)


def _make_removable(directory: int, name: str) -> None:
    """Open up directories whose owner had closed them against himself; links are not followed."""
    os.chmod(name, 0o700, dir_fd=directory)
    for _, folders, _, held in os.fwalk(name, dir_fd=directory):
        for folder in folders:
            if stat.S_ISDIR(os.stat(folder, dir_fd=held, follow_symlinks=False).st_mode):
                os.chmod(folder, 0o700, dir_fd=held)


def _size(folder: Path) -> int:
    sizes = (os.lstat(os.path.join(at, n)).st_size for at, _, ns in os.walk(folder) for n in ns)  # noqa: PTH118 - fast
    return sum(sizes)

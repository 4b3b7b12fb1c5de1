"""The two Linux calls Python has no name for, and what stands in where they are missing.

``openat2`` opens below a directory and refuses links and mounts on the way (Linux 5.6).
``renameat2`` swaps two names, or renames without replacing (Linux 3.15).  Whether a call exists is
found out by calling it: seccomp profiles answer EPERM or ENOSYS whatever the kernel's version is.

Everything here speaks file descriptors and raises plain `OSError`; it decides nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import stat
import sys
from typing import Literal

_RESOLVE = 1 | 2 | 4 | 8  # NO_XDEV, NO_MAGICLINKS, NO_SYMLINKS, BENEATH
_OPENAT2 = ctypes.c_long(437)  # the same number on every architecture: it is newer than their union
_NOREPLACE, _EXCHANGE = 1, 2
_TRIES = 128

#: Flags that some platforms lack; zero there, so that importing works everywhere.
O_PATH: int = getattr(os, "O_PATH", 0)
O_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
O_DIRECTORY: int = getattr(os, "O_DIRECTORY", 0)
O_NOCTTY: int = getattr(os, "O_NOCTTY", 0)
O_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
O_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)

#: How a file that must be new is opened.
NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_RDWR | O_NOFOLLOW | O_CLOEXEC

_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _OpenHow(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("flags", "mode", "resolve"))


@functools.cache
def _how(flags: int) -> object:
    return ctypes.byref(_OpenHow(flags, 0, _RESOLVE))


def openat2(directory: int, path: str, flags: int) -> int:
    """Open *path* strictly below *directory*, without following any link or entering a mount.

    :raises BlockingIOError: EAGAIN, 128 times: somebody keeps renaming directories on the way
    """
    if _LIBC is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), path)
    code, words = 0, (directory, _encoded(path), _how(flags), _HOW_BYTES)
    for _ in range(_TRIES):
        found: int = _LIBC.syscall(_OPENAT2, *words)
        if found >= 0:
            return found
        if (code := ctypes.get_errno()) not in {errno.EAGAIN, errno.EINTR}:
            break
    raise OSError(code, os.strerror(code), path)


def has_openat2(directory: int) -> bool:
    """Say whether ``openat2`` works here, by opening *directory* once more."""
    try:
        os.close(openat2(directory, ".", os.O_RDONLY | O_DIRECTORY | O_CLOEXEC))
    except OSError:
        return False
    return True


def mount_id(descriptor: int) -> str:
    """Name the mount a descriptor lies on.

    ``st_dev`` cannot see a bind mount inside one file system, so it is only the stand-in where
    ``/proc`` is missing.
    """
    with contextlib.suppress(OSError):
        held = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | O_CLOEXEC)
        try:
            for line in os.read(held, 4096).splitlines():
                if line.startswith(b"mnt_id:"):
                    return line.split()[1].decode()
        finally:
            os.close(held)
    return f"device {os.fstat(descriptor).st_dev}"


class AtomicRenames:
    """How names change: swapping two, and three ways of never replacing one; by ``renameat2``."""

    #: ``swap``: one atomic call.  ``racy``: several; a foreign change between them can be lost
    capture: Literal["swap", "racy"] = "swap"

    def exchange(self, slot_dir: int, slot: str, directory: int, name: str) -> None:
        """Swap the two names; both exist."""
        _renameat2(slot_dir, slot, directory, name, flags=_EXCHANGE)

    def exclusive(self, from_dir: int, source: str, to_dir: int, target: str) -> None:
        """Rename; FileExistsError when *target* is taken."""
        _renameat2(from_dir, source, to_dir, target, flags=_NOREPLACE)

    def link(self, held: int, directory: int, name: str) -> None:
        """Name a nameless file, through ``/proc``, which needs no capability."""
        os.link(f"/proc/self/fd/{held}", name, dst_dir_fd=directory, follow_symlinks=True)

    def rmdir(self, directory: int, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(name, dir_fd=directory)


class PlainRenames(AtomicRenames):
    """POSIX only: links and renames, with the moments between them that the name `racy` admits.

    A swap keeps the old file under ``slot + ASIDE`` until the new one has its name;
    `settle` finishes or drops what a crash left of that.
    """

    capture: Literal["swap", "racy"] = "racy"
    ASIDE = ".old"

    def exchange(self, slot_dir: int, slot: str, directory: int, name: str) -> None:
        """Keep the old file aside, rename over it, give it the slot's name."""
        aside = slot + self.ASIDE
        os.link(name, aside, src_dir_fd=directory, dst_dir_fd=slot_dir, follow_symlinks=False)
        os.rename(slot, name, src_dir_fd=slot_dir, dst_dir_fd=directory)
        os.rename(aside, slot, src_dir_fd=slot_dir, dst_dir_fd=slot_dir)

    def exclusive(self, from_dir: int, source: str, to_dir: int, target: str) -> None:
        """Link, then unlink; a directory is looked for and then renamed."""
        status, taken = lstat(from_dir, source), lstat(to_dir, target)
        if status is not None and stat.S_ISREG(status.st_mode):
            if taken is None or not os.path.samestat(status, taken):  # else a crash came between
                os.link(source, target, src_dir_fd=from_dir, dst_dir_fd=to_dir)
            os.unlink(source, dir_fd=from_dir)
        elif taken is not None:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
        else:
            os.rename(source, target, src_dir_fd=from_dir, dst_dir_fd=to_dir)


def settle(slot_dir: int, slot: str) -> None:
    """Finish what a crash left of a `PlainRenames` swap of *slot*."""
    aside = slot + PlainRenames.ASIDE
    if lstat(slot_dir, aside) is None:
        return
    if lstat(slot_dir, slot) is None:
        os.rename(aside, slot, src_dir_fd=slot_dir, dst_dir_fd=slot_dir)
    else:
        os.unlink(aside, dir_fd=slot_dir)


def lstat(directory: int, name: str) -> os.stat_result | None:
    """Look at one name of a directory; None when there is none."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _renameat2(from_dir: int, source: str, to_dir: int, target: str, *, flags: int) -> None:
    words = (from_dir, _encoded(source), to_dir, _encoded(target), flags)
    call = getattr(_LIBC, "renameat2", None)
    if call is None or call(*words):
        code = errno.ENOSYS if call is None else ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


def _encoded(name: str) -> bytes:
    if "\0" in name:  # ctypes would cut it there
        raise ValueError(name)
    return os.fsencode(name)


_HOW_BYTES = ctypes.c_size_t(ctypes.sizeof(_OpenHow))

"""Opening files strictly below a directory: the only place of AWE that opens them for an effect.

Rules: no link is followed, also none that stays inside; no mount is entered; nothing is truncated
by opening; a FIFO or a device cannot hang the opener; a file is regular and has one name, or it is
refused.  The root is a descriptor; its path is never used again, so moving or replacing the folder
changes nothing for an open workspace.

There are two ways in, equal in what they refuse: ``openat2`` (one call) and a walk, component by
component, with ``O_NOFOLLOW`` and a comparison of mounts at its end (a mount can only lie on top of
the workspace's own, so the last descriptor tells for the whole path).
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.paths import ROOT, Parts, escape, shown
from awe_core.workspace.syscalls import (
    O_CLOEXEC,
    O_DIRECTORY,
    O_NOCTTY,
    O_NOFOLLOW,
    O_NONBLOCK,
    O_PATH,
    has_openat2,
    mount_id,
    openat2,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HardLinks = Literal["refuse", "read"]
BackendName = Literal["auto", "openat2", "walk"]
EntryKind = Literal["file", "directory", "symlink", "other"]

_CODES = {
    errno.ENOENT: "fs.missing",
    errno.ENOTDIR: "fs.missing",
    errno.EEXIST: "fs.exists",
    errno.ENOTEMPTY: "fs.not_empty",
    errno.EAGAIN: "workspace.busy",
}
_DIRECTORY = O_PATH | O_DIRECTORY
_SAFE = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY


#: Opens *parts* (may be empty) below a directory; raises plain `OSError`.
Opener: TypeAlias = "Callable[[int, Parts, int], int]"


def by_openat2(base: int, parts: Parts, flags: int) -> int:
    """Have the kernel resolve the whole path."""
    return openat2(base, "/".join(parts) or ROOT, _safe(flags))


def by_walking(base: int, parts: Parts, flags: int) -> int:
    """Go component by component, holding each directory while its entry is opened."""
    directory, mount = base, mount_id(base)
    try:
        for part in parts[:-1]:
            inner = os.open(part, _safe(_DIRECTORY), dir_fd=directory)
            if directory != base:
                os.close(directory)
            directory = inner
        found = os.open(parts[-1] if parts else ROOT, _safe(flags), dir_fd=directory)
    except OSError:
        _same_mount(directory, mount)  # what a mount holds, or lacks, is not told either
        raise
    finally:
        if directory != base:
            os.close(directory)
    try:
        _same_mount(found, mount)
    except OSError:
        os.close(found)
        raise
    return found


def choose_opener(name: BackendName, *, directory: int) -> Opener:
    """Choose: what is asked for, or ``openat2`` where a trial call on *directory* works."""
    is_walk = name == "walk" or (name == "auto" and not has_openat2(directory))
    return by_walking if is_walk else by_openat2


@attrs.frozen
class Confined:
    """Opens below one directory, and turns what the system says into AWE's errors."""

    base: int  #: an open directory
    opener: Opener
    hardlinks: HardLinks = "refuse"

    def open(self, parts: Parts, flags: int) -> int:
        """Open anything; the caller judges its type.

        :raises EffectError: ``fs.missing``, ``fs.failed``, ``workspace.busy``
        :raises EffectRefusedError: ``workspace.escape``
        """
        try:
            return self.opener(self.base, parts, flags)
        except OSError as error:
            raise self.error(error, parts) from None

    def open_file(
        self, parts: Parts, flags: int = os.O_RDONLY, *, links: HardLinks | None = None
    ) -> tuple[int, os.stat_result]:
        """Open a regular file that has one name.

        :param links: overrides the workspace's setting
        """
        held = self.open(parts, flags)
        try:
            status = os.fstat(held)
            check_file(status, "/".join(parts), links=links or self.hardlinks)
        except BaseException:
            os.close(held)
            raise
        return held, status

    @contextmanager
    def parent(self, parts: Parts) -> Iterator[tuple[int, str]]:
        """Hold the directory of *parts* open; gives it with the last component."""
        directory = self.open(parts[:-1], _DIRECTORY) if len(parts) > 1 else self.base
        try:
            yield directory, parts[-1]
        except OSError as error:
            raise self.error(error, parts) from None
        finally:
            if directory != self.base:
                os.close(directory)

    @contextmanager
    def directory(self, parts: Parts) -> Iterator[int]:
        """Hold a directory open for listing and syncing."""
        directory = self.open(parts, os.O_RDONLY | O_DIRECTORY)
        try:
            yield directory
        except OSError as error:
            raise self.error(error, parts) from None
        finally:
            os.close(directory)

    def lstat(self, parts: Parts) -> os.stat_result | None:
        """Look at an entry itself; None when it, or a directory on its way, is missing."""
        try:
            held = self.opener(self.base, parts, O_PATH)
        except FileNotFoundError:
            return None
        except OSError as error:
            found = self.error(error, parts)
            if found.code == "fs.missing":
                return None
            raise found from None
        try:
            return os.fstat(held)
        finally:
            os.close(held)

    def error(self, error: OSError, parts: Parts) -> EffectError:
        """Turn what the system said about *parts* into the error people can act on."""
        if isinstance(error, EffectError):
            return error
        path = "/".join(parts) or ROOT
        code = error.errno
        if code == errno.ELOOP or (code == errno.ENOTDIR and self._has_link(parts)):
            return escape(path, "no link on the way")
        if code == errno.EXDEV:
            return escape(path, "no other file system and no mount")
        if code in {errno.ENXIO, errno.EISDIR}:
            return not_regular(path, "directory" if code == errno.EISDIR else "other")
        if code in _CODES:
            return EffectError(_CODES[code], path=shown(path))
        return EffectError("fs.failed", path=shown(path), reason=error.strerror or str(error))

    def _has_link(self, parts: Parts) -> bool:
        """Say whether the first component that is no directory is a link."""
        for depth in range(1, len(parts) + 1):
            try:
                found = self.opener(self.base, parts[:depth], O_PATH)
            except OSError as error:
                return error.errno == errno.ELOOP
            kind = os.fstat(found).st_mode
            os.close(found)
            if not stat.S_ISDIR(kind):
                return stat.S_ISLNK(kind)
        return False


def check_file(status: os.stat_result, path: str, *, links: HardLinks) -> None:
    """Refuse what is not a regular file with one name.

    :raises EffectRefusedError: ``workspace.not_regular``, ``workspace.hard_link``
    """
    if not stat.S_ISREG(status.st_mode):
        raise not_regular(path, kind_of(status.st_mode))
    if status.st_nlink > 1 and links == "refuse":
        raise EffectRefusedError("workspace.hard_link", path=shown(path), links=status.st_nlink)


def not_regular(path: str, kind: str) -> EffectRefusedError:
    """Build the refusal of a path that is no regular file."""
    return EffectRefusedError("workspace.not_regular", path=shown(path), kind=kind)


def kind_of(mode: int) -> EntryKind:
    """Name the type of an entry."""
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def _same_mount(descriptor: int, mount: str) -> None:
    if mount_id(descriptor) != mount:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))


def _safe(flags: int) -> int:
    """Add what keeps an open from following, hanging or leaking; O_PATH takes less of it."""
    return flags | (O_CLOEXEC | O_NOFOLLOW if flags & O_PATH else _SAFE)

"""Who owns a home: one process at a time, by a lock the operating system takes back when it dies.

The file says who holds it (pid, host, since, generation) for the message that others get.  It is
never removed: a lock on a file that somebody else has already replaced locks nothing.  The lock is
given up by closing the descriptor and never by unlocking it, because a forked child shares it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path

import attrs

from awe_core.errors import EngineError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

#: File systems whose locks or shared memory SQLite's WAL cannot rely on.
NETWORK_FILE_SYSTEMS = frozenset(
    {"9p", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "fuse.glusterfs", "fuse.rclone"}
    | {"fuse.s3fs", "fuse.sshfs", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"orangefs", "prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"}
)

_MOUNTS = Path("/proc/self/mountinfo")
_FILE = "owner.lock"


@attrs.frozen
class Owner:
    """Who holds a home, or held it last."""

    pid: int
    host: str
    since: str  #: RFC 3339, UTC, to the second
    generation: int  #: counts the owners of this home


@attrs.define
class OwnerLock:
    """A held lock.  `take` is the only way to one."""

    home: Path
    owner: Owner
    _descriptor: int | None

    @classmethod
    def take(cls, home: Path, *, mounts: Path = _MOUNTS) -> OwnerLock:
        """Own *home*, or say who does.

        :raises EngineError: ``engine.locked``; ``engine.network_fs`` where no lock can be trusted
        """
        kind = network_kind(home, mounts=mounts)
        if kind is not None:
            raise EngineError("engine.network_fs", home=str(home), kind=kind)
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        descriptor = os.open(home / _FILE, flags, 0o600)
        last = _parse(os.read(descriptor, 4096))
        try:
            _lock(descriptor)
        except OSError as error:
            os.close(descriptor)
            shown = {"pid": "unknown", "host": "unknown", "since": "an unknown time"}
            shown |= {name: getattr(last, name) for name in shown if last is not None}
            raise EngineError("engine.locked", home=str(home), **shown) from error
        since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        generation = last.generation + 1 if last else 1
        owner = Owner(os.getpid(), socket.gethostname(), since, generation)
        text = json.dumps(attrs.asdict(owner)).encode() + b"\n"
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, text)
        os.ftruncate(descriptor, len(text))
        return cls(home, owner, descriptor)

    @property
    def is_mine(self) -> bool:
        """Tell whether this very process holds it; a forked child does not."""
        return self._descriptor is not None and self.owner.pid == os.getpid()

    @property
    def is_in_place(self) -> bool:
        """Tell whether others still meet this lock: its file may have been removed or replaced."""
        try:
            held, found = os.fstat(self._descriptor or -1), (self.home / _FILE).stat()
        except OSError:
            return False
        return os.path.samestat(held, found)

    def release(self) -> None:
        """Give the home free; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def owner_of(home: Path) -> Owner | None:
    """Read who owns *home* or owned it last; None where nobody ever did."""
    try:
        return _parse((home / _FILE).read_bytes())
    except OSError:
        return None


def network_kind(folder: Path, *, mounts: Path = _MOUNTS) -> str | None:
    """Give the type of the network file system that *folder* lies on, None where it is local."""
    try:
        device = folder.stat().st_dev
        lines = mounts.read_text().splitlines()
    except OSError:  # no procfs: nothing can be said, as on macOS
        return None
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        before, _, after = line.partition(" - ")
        if before.split()[2:3] == [wanted] and after.split()[:1]:
            kind = after.split()[0]
            return kind if kind in NETWORK_FILE_SYSTEMS else None
    return None


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _parse(text: bytes) -> Owner | None:
    """Read the file's text; another owner may be writing it just now."""
    try:
        found = json.loads(text)
        number, generation = int(found["pid"]), int(found["generation"])
        return Owner(number, str(found["host"]), str(found["since"]), generation)
    except (ValueError, TypeError, KeyError):
        return None

"""The governance store on disk: a folder, meant to be a git repository.

Rules: what `trust` judges is read whole into memory first, regular files only, without following
links, within limits.  Files that are named by their content never conflict; two people who make the
next manifest meet on one file name, and the second is refused.  Every file is durable before it has
its name.  ``views/`` is written for people and never read.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.trust import StoreBytes

MOST_FILES = 50_000
MOST_BYTES = 64 * 1024 * 1024  #: of all files together
MOST_FILE_BYTES = 6 * 1024 * 1024

#: What is judged; ``proposal.yaml``, reports, evidence, views and git's own files are not.
_JUDGED = ("root", "packs", "facades", "statements", "stops", "manifests")
PENDING = "pending"  #: documents that still lack signatures
_DEPTH = 3  #: packs/<distribution>/<version>/record-….json
_ATTRIBUTES = b"* -text\n"  # a changed line end is a changed byte
_READ = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_NO_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


@attrs.frozen
class StoreFolder:
    """A store and how it is read and written."""

    folder: Path

    def read(self) -> StoreBytes:
        """Read all that `trust.judge` looks at.

        :raises TrustError: ``store.missing``, ``store.not_regular``, ``store.too_large``
        """
        return dict(self._files(_JUDGED))

    def read_pending(self) -> StoreBytes:
        """Read the documents that still lack signatures, under the names they shall have."""
        return {name.partition("/")[2]: data for name, data in self._files((PENDING,))}

    def names(self) -> Iterator[str]:
        """Name every file that lies in the store, git's own left out; links are not followed."""
        for at, folders, files in os.walk(self.folder):
            folders[:] = [name for name in folders if name != ".git"]
            links = [name for name in folders if (Path(at) / name).is_symlink()]
            for name in (*files, *links):
                yield (Path(at) / name).relative_to(self.folder).as_posix()

    def read_one(self, name: str) -> bytes | None:
        """Read one file of the store; None: it is not there."""
        file = self.folder / name
        return _read(file, name) if file.is_file() and not file.is_symlink() else None

    def add(self, files: Mapping[str, bytes]) -> None:
        """Write new files; one that is there already must hold these very bytes.

        :raises TrustError: ``store.taken``
        """
        attributes = self.folder / ".gitattributes"
        if not attributes.exists():
            _place(attributes, _ATTRIBUTES)
        for name, data in files.items():
            _place(self.folder / name, data)

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write files that are allowed to change: views, and documents not yet signed by all."""
        for name, data in files.items():
            file = self.folder / name
            _temporary(file, data).replace(file)
            _sync(file.parent)

    def remove_pending(self, name: str) -> None:
        """Drop a document that has all its signatures and stands in its place."""
        (self.folder / PENDING / name).unlink(missing_ok=True)

    def _files(self, parts: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
        if not self.folder.is_dir():
            raise TrustError("store.missing", file=str(self.folder))
        count = size = 0
        for part in parts:
            for name in _names(self.folder, part, _DEPTH):
                data = _read(self.folder / name, name)
                count, size = count + 1, size + len(data)
                if count > MOST_FILES or size > MOST_BYTES:
                    what = f"the store in {self.folder}"
                    raise _too_large(what, size, MOST_BYTES)
                yield name, data


def _names(folder: Path, part: str, depth: int) -> Iterator[str]:
    """Name the files below *part*, without following links, in a stable order."""
    if not (folder / part).is_dir():
        return
    if (folder / part).is_symlink():
        raise TrustError("store.not_regular", file=part)
    for entry in sorted(os.scandir(folder / part), key=lambda each: each.name):
        name = f"{part}/{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            if depth > 0:
                yield from _names(folder, name, depth - 1)
        elif name.endswith(".dsse") or (entry.name.startswith("record-") and name[-5:] == ".json"):
            yield name


def _read(file: Path, name: str) -> bytes:
    try:
        descriptor = os.open(file, _READ)
    except OSError:
        raise TrustError("store.not_regular", file=name) from None
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(opened.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise TrustError("store.not_regular", file=name)
        if found.st_size > MOST_FILE_BYTES:
            raise _too_large(name, found.st_size, MOST_FILE_BYTES)
        return opened.read(MOST_FILE_BYTES)


def _too_large(file: str, size: int, limit: int) -> TrustError:
    return TrustError("store.too_large", file=file, size_bytes=size, limit_bytes=limit)


def _place(file: Path, data: bytes) -> None:
    """Give *data* its name, unless something else has it."""
    temporary = _temporary(file, data)
    try:
        os.link(temporary, file)
    except FileExistsError:
        if file.is_symlink() or file.read_bytes() != data:
            raise TrustError("store.taken", file=str(file)) from None
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _write(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644), data)
    finally:
        temporary.unlink()
    _sync(file.parent)


def _temporary(file: Path, data: bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    _write(descriptor, data)
    temporary = Path(name)
    temporary.chmod(0o644)  # mkstemp makes it private; a store is for reading
    return temporary


def _write(descriptor: int, data: bytes) -> None:
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

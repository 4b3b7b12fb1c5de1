"""`World`: a workspace with neighbours around it, and snapshots that show every difference.

The neighbours are canaries: files beside the workspace, one of them in a folder whose name begins
like the workspace's.  Nothing that runs in the workspace may change them.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.capability import FileContent

WORKSPACE = "workspace"
_CANARIES = {
    "outside.txt": "nobody writes here\n",
    "neighbour/keep.txt": "nor here\n",
    f"{WORKSPACE}-2/keep.txt": "a name that begins alike\n",
}
_SHOWN = 60  #: bytes of a content that a difference shows


@attrs.frozen
class Entry:
    """One name of a snapshot; two that are equal cannot be told apart by looking."""

    type: str  #: file, directory, symlink, other
    mode: int
    content: bytes = b""  #: of a file
    target: str = ""  #: of a symlink
    mtime_ns: int = 0  #: of a file
    xattrs: tuple[tuple[str, bytes], ...] = ()

    def __str__(self) -> str:
        match self.type:
            case "file":
                more = "…" if len(self.content) > _SHOWN else ""
                return f"file, {len(self.content)} bytes {self.content[:_SHOWN]!r}{more}"
            case "symlink":
                return f"symlink to {self.target}"
            case other:
                return other


@attrs.frozen
class Snapshot:
    """Everything there is at one moment, by path below the area."""

    entries: Mapping[str, Entry]

    def diff(self, later: Snapshot) -> tuple[str, ...]:
        """Say in words what is otherwise in *later*; empty: nothing."""
        return tuple(self._differences(later))

    @property
    def files(self) -> dict[str, bytes]:
        """The content of every file."""
        return {path: one.content for path, one in self.entries.items() if one.type == "file"}

    def _differences(self, later: Snapshot) -> Iterator[str]:
        for path in sorted({*self.entries, *later.entries}):
            match self.entries.get(path), later.entries.get(path):
                case None, new:
                    yield f"{path}: is new: {new}"
                case old, None:
                    yield f"{path}: is gone; it was: {old}"
                case Entry() as old, Entry() as new:
                    for field in attrs.fields(Entry):
                        was, now = getattr(old, field.name), getattr(new, field.name)
                        if was != now:
                            yield f"{path}: {field.name} was {_short(was)}, now {_short(now)}"


@attrs.frozen
class World:
    """A folder with a workspace and canaries in it."""

    area: Path

    @classmethod
    def create(cls, area: Path) -> World:
        """Make *area* with an empty workspace and the canaries."""
        made = cls(area)
        made.workspace.mkdir(parents=True)
        _lay(area, _CANARIES)
        return made

    @property
    def workspace(self) -> Path:
        """The folder that runs may work in."""
        return self.area / WORKSPACE

    def lay(self, files: Mapping[str, FileContent]) -> None:
        """Put files into the workspace; None removes one."""
        _lay(self.workspace, files)

    def clear(self) -> None:
        """Empty the workspace; the folder itself stays."""
        for entry in self.workspace.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def snapshot(self) -> Snapshot:
        """Look at everything, canaries too; links are not followed."""
        return Snapshot(
            {
                os.path.relpath(path, self.area): _look(path)
                for folder, folders, files in os.walk(self.area)
                for path in (Path(folder, name) for name in (*folders, *files))
            }
        )


def _lay(root: Path, files: Mapping[str, FileContent]) -> None:
    for name, content in files.items():
        path = root / name
        match content:
            case None:
                path.unlink(missing_ok=True)
            case _:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.encode() if isinstance(content, str) else content)


def _look(path: Path) -> Entry:
    found = path.lstat()
    mode, seen = stat.S_IMODE(found.st_mode), _xattrs(path)
    match stat.S_IFMT(found.st_mode):
        case stat.S_IFREG:
            return Entry("file", mode, path.read_bytes(), "", found.st_mtime_ns, seen)
        case stat.S_IFDIR:
            return Entry("directory", mode, xattrs=seen)
        case stat.S_IFLNK:
            return Entry("symlink", mode, target=str(path.readlink()), xattrs=seen)
        case _:
            return Entry("other", mode, xattrs=seen)


def _xattrs(path: Path) -> tuple[tuple[str, bytes], ...]:
    """Extended attributes, where the platform and the file system have them."""
    if not hasattr(os, "listxattr"):
        return ()
    try:
        names = sorted(os.listxattr(path, follow_symlinks=False))
    except OSError:
        return ()
    return tuple((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)


def _short(value: object) -> str:
    text = oct(value) if isinstance(value, int) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"

"""What is there: entries for people, pre-images for undo, digests of files and whole trees.

An `Image` says what a path held at one moment, complete enough to recognise it again: type, mode,
size, inode, time, and the SHA-256 of its content.  A directory's digest covers, in the order of
names as bytes, every entry below it with type, mode, ``user.*`` attributes and content (a link's
content is its text), but no times; a name of AWE itself (``.awe``) is not part of it.

Trees are walked without recursion, each directory opened anew from the base by `confined`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.files import FileEntry
from awe_core.workspace.confined import Confined, check_file, kind_of
from awe_core.workspace.paths import MAX_COMPONENTS, ROOT, Parts, escape, is_reserved, shown
from awe_core.workspace.syscalls import lstat

if TYPE_CHECKING:
    from collections.abc import Callable
    from hashlib import _Hash

    from awe_core.values import JsonObject

Kind = Literal["absent", "file", "directory", "symlink", "other"]
PIECE = 256 * 1024  #: bytes held in memory while streaming


@attrs.frozen
class Image:
    """What a path held at one moment."""

    path: str
    kind: Kind
    sha256: str = ""  #: lower-case hex; of a directory its tree digest; empty for absent and other
    mode: int = 0  #: permission bits
    size: int = 0  #: bytes of a file
    ino: int = 0
    mtime_ns: int = 0
    links: int = attrs.field(default=1, eq=False)

    @classmethod
    def of(cls, path: str, status: os.stat_result, *, sha256: str = "") -> Image:
        """Describe what ``lstat`` found."""
        kind, mode = kind_of(status.st_mode), status.st_mode & 0o7777
        size = 0 if kind == "directory" else status.st_size
        moment = (status.st_ino, status.st_mtime_ns, status.st_nlink)
        return cls(path, kind, sha256, mode, size, *moment)

    def as_json(self) -> JsonObject:
        """Give the form that is recorded; 64-bit numbers are strings there."""
        if self.kind == "absent":
            return {"kind": "absent"}
        return ({"sha256": self.sha256} if self.sha256 else {}) | {
            "kind": self.kind,
            "mode": self.mode,
            "size": self.size,
            "ino": str(self.ino),
            "mtime_ns": str(self.mtime_ns),
        }

    @classmethod
    def from_json(cls, path: str, recorded: JsonObject) -> Image:
        """Read what `as_json` gave.

        :raises KeyError: or TypeError, ValueError for anything else
        """
        if recorded["kind"] == "absent":
            return cls(path, "absent")
        moment = (int(recorded["ino"]), int(recorded["mtime_ns"]))
        what = (recorded["kind"], recorded.get("sha256", ""), recorded["mode"], recorded["size"])
        return cls(path, *what, *moment)

    def same_content(self, *others: Image) -> bool:
        """Say whether type and bytes equal those of one of *others*, whatever modes and times."""
        return (self.kind, self.sha256) in {(other.kind, other.sha256) for other in others}

    def same_file(self, other: Image) -> bool:
        """Say whether this is the very inode, unchanged as far as a look without reading tells."""
        mine = (self.kind, self.ino, self.size, self.mtime_ns)
        return mine == (other.kind, other.ino, other.size, other.mtime_ns)


@attrs.frozen
class Found:
    """One entry, opened."""

    status: os.stat_result
    sha256: str = ""
    attributes: bytes = b""  #: ``user.*``
    inside: tuple[tuple[str, os.stat_result], ...] = ()  #: of a directory


@attrs.frozen
class Tree:
    """A whole tree, summed up."""

    top: Image  #: of a directory with the digest of the tree
    fingerprint: str  #: over inodes, sizes and times instead of content: cheap to compare again
    size_bytes: int  #: of all files
    names: tuple[Parts, ...]  #: of all entries, the top itself (empty) first; empty when absent


def look(confined: Confined, parts: Parts) -> Image:
    """Describe what lies at *parts* without reading its content."""
    status = confined.lstat(parts)
    path = "/".join(parts) or ROOT
    return Image(path, "absent") if status is None else Image.of(path, status)


def image(confined: Confined, parts: Parts, *, max_files: int | None = None) -> Image:
    """Describe what lies at *parts* below the confined directory."""
    path, status = "/".join(parts) or ROOT, confined.lstat(parts)
    if status is None:
        return Image(path, "absent")
    if kind_of(status.st_mode) == "directory":
        return tree_of(confined, parts, max_files=max_files).top
    found = opened(confined, parts, status, most=None)
    return Image.of(path, found.status, sha256=found.sha256)


def tree_of(
    confined: Confined,
    parts: Parts,
    *,
    max_files: int | None = None,
    is_strict: bool = False,
    hashing: bool = True,
) -> Tree:
    """Walk the tree at *parts* (its top may be anything) and sum it up.

    :param max_files: entries that may be met
    :param is_strict: refuse hard links, other types and reserved names in the tree
    :raises EffectRefusedError: ``effect.limit``; ``workspace.escape`` for a mount
    """
    how = {"most": max_files, "is_whole": is_strict, "hashing": hashing}
    look_into = partial(opened, confined, **how)  # type: ignore[arg-type]  # each by its name
    status = confined.lstat(parts)
    return sum_up(confined, parts, status, look_into, max_files=max_files, is_strict=is_strict)


def sum_up(  # noqa: PLR0913 - a walk, and what it looks with
    confined: Confined,
    parts: Parts,
    status: os.stat_result | None,
    look_into: Callable[[Parts, os.stat_result], Found],
    *,
    max_files: int | None,
    is_strict: bool,
) -> Tree:
    """Sum up the tree at *parts* as *look_into* finds it; *status* is its top's, if it is there."""
    content, fingerprint, size, names = hashlib.sha256(), hashlib.sha256(), 0, list[Parts]()
    path = "/".join(parts) or ROOT
    top = Image(path, "absent")
    pending: list[tuple[Parts, os.stat_result]] = [] if status is None else [((), status)]
    while pending:
        below, status = pending.pop()
        here = (*parts, *below)
        names.append(below)
        if len(here) > MAX_COMPONENTS:
            raise limit(path, "components", MAX_COMPONENTS)
        if is_strict:
            _refuse_odd(confined, here, status)
        try:
            found = look_into(here, status)
        except EffectError as error:
            # Gone, or a mount or link by now: for a mere look that is all there is to say of it.
            if is_strict or error.code not in {"fs.missing", "workspace.escape"}:
                raise
            found = Found(status)
        pending += reversed([((*below, name), inner) for name, inner in found.inside])
        if max_files is not None and len(names) + len(pending) > max_files:
            raise limit(path, "max_files", max_files)
        seen = Image.of(path, found.status, sha256=found.sha256)
        top = seen if not below else top
        _feed_entry(content, fingerprint, below, seen, found.attributes)
        size += seen.size if seen.kind == "file" else 0
    if top.kind == "directory":
        top = attrs.evolve(top, sha256=content.hexdigest())
    return Tree(top, fingerprint.hexdigest(), size, tuple(names))


def list_directory(confined: Confined, parts: Parts, *, max_entries: int) -> tuple[FileEntry, ...]:
    """List one directory in the order of names as bytes; names that are not UTF-8 are left out."""
    with confined.directory(parts) as directory:
        names = _names(directory, most=max_entries)
        if len(names) > max_entries:
            raise limit("/".join(parts) or ROOT, "max_entries", max_entries)
        seen = ((n, lstat(directory, n)) for n in names if is_text(n))
        return tuple(entry("/".join((*parts, n)), s) for n, s in seen if s is not None)


def entry(path: str, status: os.stat_result) -> FileEntry:
    """Describe what ``lstat`` found, as handlers see it."""
    kind, mode = kind_of(status.st_mode), status.st_mode & 0o7777
    return FileEntry(path, kind, status.st_size, mode, status.st_mtime_ns // 1000)


def feed(hashed: _Hash, descriptor: int, *, size_bytes: int | None = None) -> int:
    """Hash an open file from its beginning, at most *size_bytes* of it; gives what was there."""
    at, most = 0, min(PIECE, os.fstat(descriptor).st_size + 1)
    while size_bytes is None or at < size_bytes:
        wanted = most if size_bytes is None else min(most, size_bytes - at)
        if not (piece := os.pread(descriptor, wanted, at)):
            break
        hashed.update(piece)
        at += len(piece)
    return at


def limit(path: str, which: str, most: int) -> EffectRefusedError:
    """Build the refusal of what goes beyond a declared limit."""
    return EffectRefusedError("effect.limit", target=shown(path), which=which, limit=most)


def opened(  # noqa: PLR0913 - where, and how much of it
    confined: Confined,
    here: Parts,
    status: os.stat_result,
    *,
    most: int | None,
    is_whole: bool = False,
    hashing: bool = True,
) -> Found:
    """Look into what *status* says lies at *here*, a link as itself."""
    match kind_of(status.st_mode):
        case "directory":
            with confined.directory(here) as held:
                names = _names(held, most=most, is_whole=is_whole)
                seen = ((name, lstat(held, name)) for name in names)
                inside = tuple((name, inner) for name, inner in seen if inner is not None)
                return Found(os.fstat(held), "", _user_attributes(held), inside)
        case "symlink" if hashing:
            with confined.parent(here) as (directory, name):
                text = os.fsencode(os.readlink(name, dir_fd=directory))
            return Found(status, hashlib.sha256(text).hexdigest())
        case "file" if hashing:
            held, _ = confined.open_file(here, links="read")
            try:
                feed(hashed := hashlib.sha256(), held)
                return Found(os.fstat(held), hashed.hexdigest(), _user_attributes(held))
            finally:
                os.close(held)
        case _:
            return Found(status)


def _feed_entry(
    content: _Hash, fingerprint: _Hash, below: Parts, seen: Image, attributes: bytes
) -> None:
    name = os.fsencode("/".join(below)) + b"\0"
    content.update(f"{seen.kind} {seen.mode} {seen.sha256}\0".encode() + name + attributes)
    moment = seen.mtime_ns if below or seen.kind != "directory" else ""
    look = f"{seen.kind} {seen.mode} {seen.ino} {seen.size} {moment}\0"
    fingerprint.update(look.encode() + name)


def _user_attributes(held: int) -> bytes:
    """Read the ``user.*`` attributes, sorted; none where they are not supported."""
    if not hasattr(os, "listxattr"):
        return b""
    try:
        found = [(n, os.getxattr(held, n)) for n in sorted(os.listxattr(held)) if n[:5] == "user."]
    except OSError:
        return b""
    return b"".join(os.fsencode(name) + f"={value.hex()}\0".encode() for name, value in found)


def _names(directory: int, *, most: int | None, is_whole: bool = False) -> list[str]:
    """Give the names in the order of their bytes, of more than *most* only so many as tell that."""
    with os.scandir(directory) as entries:  # AWE's own may be among them, and is not counted
        names = [e.name for e in itertools.islice(entries, None if most is None else most + 2)]
    names = names if is_whole else [name for name in names if not is_reserved(name)]
    return sorted(names, key=os.fsencode)


def is_text(name: str) -> bool:
    """Say whether a name is UTF-8, so that a path can hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse_odd(confined: Confined, here: Parts, status: os.stat_result) -> None:
    path = "/".join(here)
    if here and is_reserved(here[-1]):
        raise escape(path, "the name .awe is reserved")
    if kind_of(status.st_mode) in {"file", "other"}:
        check_file(status, path, links=confined.hardlinks)

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
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.confined import Confined, check_file, kind_of
from awe_core.workspace.paths import MAX_COMPONENTS, ROOT, Parts, escape, is_reserved, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from hashlib import _Hash

    from awe_core.values import JsonObject

Kind = Literal["absent", "file", "directory", "symlink", "other"]
PIECE = 256 * 1024  #: bytes held in memory while streaming


@attrs.frozen
class Entry:
    """One entry of a directory, as handlers see it."""

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int  #: bytes
    mode: int  #: permission bits
    mtime_us: int

    @classmethod
    def of(cls, path: str, status: os.stat_result) -> Entry:
        """Describe what ``lstat`` found."""
        return cls(
            path,
            kind_of(status.st_mode),
            status.st_size,
            status.st_mode & 0o7777,
            status.st_mtime_ns // 1000,
        )


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
        kind = kind_of(status.st_mode)
        return cls(
            path,
            kind,
            sha256,
            status.st_mode & 0o7777,
            0 if kind == "directory" else status.st_size,
            status.st_ino,
            status.st_mtime_ns,
            status.st_nlink,
        )

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
        return cls(
            path,
            recorded["kind"],
            recorded.get("sha256", ""),
            recorded["mode"],
            recorded["size"],
            int(recorded["ino"]),
            int(recorded["mtime_ns"]),
        )

    def same_content(self, *others: Image) -> bool:
        """Say whether type and bytes equal those of one of *others*, whatever modes and times."""
        return (self.kind, self.sha256) in {(other.kind, other.sha256) for other in others}

    def same_file(self, other: Image) -> bool:
        """Say whether this is the very inode, unchanged as far as a look without reading tells."""
        mine = (self.kind, self.ino, self.size, self.mtime_ns)
        return mine == (other.kind, other.ino, other.size, other.mtime_ns)


@attrs.frozen
class Found:
    """One entry met while walking a tree."""

    parts: Parts  #: below the walked directory; empty for itself
    status: os.stat_result
    sha256: str = ""
    attributes: tuple[tuple[str, bytes], ...] = ()


@attrs.frozen
class Tree:
    """A whole tree, summed up."""

    top: Image  #: of a directory with the digest of the tree
    fingerprint: str  #: over inodes, sizes and times instead of content: cheap to compare again
    size_bytes: int  #: of all files
    names: tuple[Parts, ...]  #: of all entries, the top itself (empty) first; empty when absent


@attrs.frozen
class Bounds:
    """How much of a tree may be walked, and what is refused in it."""

    max_files: int | None = None  #: entries
    max_bytes: int | None = None
    refuse_odd: bool = False  #: refuse hard links, other types and reserved names in the tree


def image(
    confined: Confined, parts: Parts, *, bounds: Bounds = Bounds(), hashing: bool = True
) -> Image:
    """Describe what lies at *parts* below the confined directory."""
    path = "/".join(parts) or ROOT
    status = confined.lstat(parts)
    if status is None:
        return Image(path, "absent")
    if not hashing:
        return Image.of(path, status)
    match kind_of(status.st_mode):
        case "file":
            held = confined.open_file(parts, links="read")
            try:
                status = os.fstat(held)
                return Image.of(path, status, sha256=_digest(held, path, bounds.max_bytes))
            finally:
                os.close(held)
        case "symlink":
            with confined.parent(parts) as (directory, name), confined.translated(parts):
                text = os.fsencode(os.readlink(name, dir_fd=directory))
            return Image.of(path, status, sha256=hashlib.sha256(text).hexdigest())
        case "directory":
            return tree_of(confined, parts, bounds=bounds).top
        case "other":
            return Image.of(path, status)


def tree_of(
    confined: Confined, parts: Parts, *, bounds: Bounds = Bounds(), hashing: bool = True
) -> Tree:
    """Walk the tree at *parts* (its top may be anything) and sum it up."""
    content, fingerprint, size, names = hashlib.sha256(), hashlib.sha256(), 0, []
    top = Image("/".join(parts) or ROOT, "absent")
    for found in walk(confined, parts, bounds=bounds, hashing=hashing):
        seen = Image.of(top.path, found.status, sha256=found.sha256)
        top = top if found.parts else seen
        name = os.fsencode("/".join(found.parts))
        content.update(f"{seen.kind} {seen.mode} {seen.sha256}\0".encode() + name + b"\0")
        for attribute, value in found.attributes:
            content.update(os.fsencode(attribute) + f"={value.hex()}\0".encode())
        moment = seen.mtime_ns if found.parts or seen.kind != "directory" else ""
        look = f"{seen.kind} {seen.mode} {seen.ino} {seen.size} {moment}\0"
        fingerprint.update(look.encode() + name + b"\0")
        size += seen.size if seen.kind == "file" else 0
        names.append(found.parts)
    if top.kind == "directory":
        top = attrs.evolve(top, sha256=content.hexdigest())
    return Tree(top, fingerprint.hexdigest(), size, tuple(names))


def walk(
    confined: Confined,
    parts: Parts,
    *,
    bounds: Bounds = Bounds(),
    hashing: bool = False,
) -> Iterator[Found]:
    """Meet every entry at and below *parts*, parents first, names in the order of their bytes.

    :raises EffectRefusedError: ``effect.limit`` beyond *bounds*; ``workspace.escape`` for a mount
    """
    status = confined.lstat(parts)
    if status is None:
        return
    budget = _Budget(bounds, "/".join(parts) or ROOT)
    pending: list[tuple[Parts, os.stat_result]] = [((), status)]
    while pending:
        below, status = pending.pop()
        here = (*parts, *below)
        budget.spend(status, depth=len(here))
        if bounds.refuse_odd:
            _refuse_odd(confined, here, status)
        found = Found(below, status)
        inside: list[tuple[Parts, os.stat_result]] = []
        try:
            if kind_of(status.st_mode) == "directory":
                found, inside = _open_directory(confined, parts, found, bounds=bounds)
            elif hashing:
                found = _hashed(confined, here, found, max_bytes=bounds.max_bytes)
        except EffectError as error:
            # Gone, or a mount or link by now: for a mere look that is all there is to say of it.
            if bounds.refuse_odd or error.code not in {"fs.missing", "workspace.escape"}:
                raise
        pending += reversed(inside)
        yield found


def _open_directory(
    confined: Confined, top: Parts, found: Found, *, bounds: Bounds
) -> tuple[Found, list[tuple[Parts, os.stat_result]]]:
    with confined.directory((*top, *found.parts)) as directory:
        names = _names(directory, most=bounds.max_files, whole=bounds.refuse_odd)
        if names is None:
            raise _limit("/".join(top) or ROOT, "max_files", bounds.max_files)
        named = [(n, _lstat_at(directory, n)) for n in names]
        inside = [((*found.parts, n), s) for n, s in named if s is not None]
        return attrs.evolve(found, attributes=user_attributes(directory)), inside


def _hashed(confined: Confined, here: Parts, found: Found, *, max_bytes: int | None) -> Found:
    match kind_of(found.status.st_mode):
        case "file":
            held = confined.open_file(here, links="read")
            try:
                sha256 = _digest(held, "/".join(here), max_bytes)
                return Found(found.parts, os.fstat(held), sha256, user_attributes(held))
            finally:
                os.close(held)
        case "symlink":
            return attrs.evolve(found, sha256=image(confined, here).sha256)
        case _:
            return found


def list_directory(confined: Confined, parts: Parts, *, max_entries: int) -> tuple[Entry, ...]:
    """List one directory in the order of names as bytes; names that are not UTF-8 are left out."""
    with confined.directory(parts) as directory:
        names = _names(directory, most=max_entries)
        if names is None:
            raise _limit("/".join(parts) or ROOT, "max_entries", max_entries)
        seen = ((n, _lstat_at(directory, n)) for n in names if _is_text(n))
        return tuple(Entry.of("/".join((*parts, n)), s) for n, s in seen if s is not None)


def feed(hashed: _Hash, descriptor: int, *, size_bytes: int | None = None) -> int:
    """Hash an open file from its beginning, at most *size_bytes* of it; gives what was there."""
    at = 0
    while size_bytes is None or at < size_bytes:
        wanted = PIECE if size_bytes is None else min(PIECE, size_bytes - at)
        if not (piece := os.pread(descriptor, wanted, at)):
            break
        hashed.update(piece)
        at += len(piece)
    return at


def user_attributes(descriptor: int) -> tuple[tuple[str, bytes], ...]:
    """Read the ``user.*`` attributes, sorted; none where they are not supported."""
    if not hasattr(os, "listxattr"):
        return ()
    try:
        names = sorted(n for n in os.listxattr(descriptor) if n.startswith("user."))
        return tuple((name, os.getxattr(descriptor, name)) for name in names)
    except OSError:
        return ()


def _digest(descriptor: int, path: str, max_bytes: int | None) -> str:
    hashed = hashlib.sha256()
    if max_bytes is not None and feed(hashed, descriptor, size_bytes=max_bytes + 1) > max_bytes:
        raise _limit(path, "max_bytes", max_bytes)
    if max_bytes is None:
        feed(hashed, descriptor)
    return hashed.hexdigest()


def _limit(path: str, which: str, limit: int | None) -> EffectRefusedError:
    return EffectRefusedError("effect.limit", target=shown(path), which=which, limit=limit)


def _names(directory: int, *, most: int | None, whole: bool = False) -> list[str] | None:
    """Give the names in the order of their bytes; None when there are more than *most*."""
    limit = None if most is None else most + 2  # AWE's own folder is not counted
    with os.scandir(directory) as entries:
        names = [entry.name for entry in itertools.islice(entries, limit)]
    names = names if whole else [name for name in names if not is_reserved(name)]
    return None if most is not None and len(names) > most else sorted(names, key=os.fsencode)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lstat_at(directory: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _refuse_odd(confined: Confined, here: Parts, status: os.stat_result) -> None:
    path = "/".join(here)
    if here and is_reserved(here[-1]):
        raise escape(path, "the name .awe is reserved")
    if kind_of(status.st_mode) in {"file", "other"}:
        check_file(status, path, links=confined.hardlinks)


@attrs.define
class _Budget:
    bounds: Bounds
    path: str
    entries: int = 0
    size_bytes: int = 0

    def spend(self, status: os.stat_result, *, depth: int) -> None:
        if depth > MAX_COMPONENTS:
            raise _limit(self.path, "components", MAX_COMPONENTS)
        self.entries += 1
        self.size_bytes += status.st_size if kind_of(status.st_mode) == "file" else 0
        for which in ("max_files", "max_bytes"):
            limit = getattr(self.bounds, which)
            spent = self.entries if which == "max_files" else self.size_bytes
            if limit is not None and spent > limit:
                raise _limit(self.path, which, limit)

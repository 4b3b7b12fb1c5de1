"""A workspace as a dry run would leave it: changes are remembered, the files stay as they are.

A tree of names lies over the workspace.  A folder knows the names that differ in it (None: gone)
and where it really lies; what a run did not touch is looked up there, through the same confined
opens.  So a moved folder costs one name.  All checks are the workspace's own.

Contents are kept in memory; beyond 8 MiB they go to a file without a name in the undo store.  No
slot is made.  What the system itself would refuse (permissions, a full disk) is not foreseen.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.confined import kind_of, not_regular
from awe_core.workspace.images import Found, Image, Tree, entry, is_text, limit, opened, sum_up
from awe_core.workspace.paths import ROOT, Parts, escape, shown
from awe_core.workspace.staged import Staged
from awe_core.workspace.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.files import FileEntry

_IN_MEMORY = 8 * 1024**2
_LONGEST = 64 * 1024**2  #: bytes of a file that a dry run appends to


@attrs.define(eq=False)
class _Node:
    """One name as the run would have it."""

    status: os.stat_result
    source: Parts | None = None  #: where it lies in the workspace; None: it does not
    at: int | None = None  #: where its new content is kept
    sha256: str = ""  #: of that
    inside: dict[str, _Node | None] = attrs.field(factory=dict)  #: names that differ; None: gone


@attrs.frozen
class _Put:
    """A name that was changed, and what it was before."""

    step: str
    parts: Parts
    folder: _Node
    was: dict[str, _Node | None]  #: empty when the name was as in the workspace


def _umask() -> int:
    """Give this process's mask of new files without setting it, as other threads make files too."""
    try:
        found = re.search(r"^Umask:\s*(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1], 8) if found else 0o022


@attrs.define(eq=False)
class Overlay(Workspace):
    """A `Workspace` that only seems to change; for one run, on one thread."""

    _top: _Node = attrs.field(init=False, repr=False)
    _heap: IO[bytes] | None = attrs.field(default=None, init=False)
    _used: int = attrs.field(default=0, init=False)
    _puts: list[_Put] = attrs.field(factory=list, init=False, repr=False)
    _mask: int = attrs.field(factory=_umask, init=False)

    @classmethod
    def over(cls, real: Workspace) -> Self:
        """Lie over *real*, which stays open as long as this is used."""
        return cls(*(getattr(real, field.name) for field in attrs.fields(Workspace)))

    def __attrs_post_init__(self) -> None:
        """Begin with the root as it is."""
        self._top = _Node(os.fstat(self.confined.base), ())

    def close(self) -> None:
        """Forget the contents; the folder is the real workspace's to close."""
        if self._heap is not None:
            self._heap.close()

    def act(self, staged: Staged, *, step: str) -> None:
        """Let what *step* staged here seem to have happened."""
        parts, found = self._parse(staged.path), self._find(self._parse(staged.path))
        mode, size = staged.after.mode, len(staged.added)
        match staged.kind:
            case "delete":
                self._put(step, parts, None)
            case "move":
                self._put(step, parts, None)
                self._put(step, self._parse(staged.after.path), found)
            case "mkdir":
                inherited = self._folder(parts[:-1]).status.st_mode & stat.S_ISGID
                mode = stat.S_IFDIR | inherited | (0o777 & ~self._mask)
                self._put(step, parts, _Node(_status(mode)))
            case _:
                kept = _Node(_status(stat.S_IFREG | mode, size), found.source if found else None)
                kept.at, kept.sha256 = self._keep(staged.added), staged.after.sha256
                self._put(step, parts, kept)

    def take_back(self, step: str) -> None:
        """Undo what *step*, or a step inside it, did here: newest first."""
        inside = (f"{step}.", f"{step}[")
        for put in reversed(self._puts.copy()):
            if put.step == step or put.step.startswith(inside):
                put.folder.inside.pop(put.parts[-1], None)
                put.folder.inside.update(put.was)
                self._puts.remove(put)

    def changes(self) -> Iterator[tuple[Image, Image]]:
        """Give what was touched and differs now: as it is in the workspace, as it would be."""
        for parts in sorted({put.parts for put in self._puts}):
            after = self._image(parts, None)
            try:
                before = super()._image(parts, None)
            except EffectRefusedError:  # a link of the workspace, which the run replaced, leads on
                before = Image(after.path, "absent")
            if not after.same_content(before) or after.mode != before.mode:
                yield before, after

    # ---- what there is --------------------------------------------------------------------------
    def _lstat(self, parts: Parts) -> os.stat_result | None:
        found = self._find(parts)
        return None if found is None else found.status

    def _look(self, parts: Parts) -> Image:
        status, path = self._lstat(parts), "/".join(parts) or ROOT
        return Image(path, "absent") if status is None else Image.of(path, status)

    def _image(self, parts: Parts, max_files: int | None) -> Image:
        return self._tree(parts, max_files).top

    def _tree(self, parts: Parts, max_files: int | None, *, is_strict: bool = False) -> Tree:
        def look_into(here: Parts, status: os.stat_result) -> Found:
            node = self._find(here)
            if node is None:  # it went while it was looked at
                return Found(status)
            found = self._opened(node, max_files, is_whole=is_strict)
            return attrs.evolve(found, sha256=node.sha256 or found.sha256, status=node.status)

        status = self._lstat(parts)
        how = {"max_files": max_files, "is_strict": is_strict}
        return sum_up(self.confined, parts, status, look_into, **how)  # type: ignore[arg-type]  # each by its name

    def _listed(self, parts: Parts, max_entries: int) -> tuple[FileEntry, ...]:
        found = self._opened(self._folder(parts), max_entries, is_whole=False).inside
        if len(found) > max_entries:
            raise limit("/".join(parts) or ROOT, "max_entries", max_entries)
        return tuple(entry("/".join((*parts, n)), status) for n, status in found if is_text(n))

    def _content(self, parts: Parts, max_bytes: int) -> bytes:
        node, path = self._find(parts), "/".join(parts)
        if node is None:
            raise EffectError("fs.missing", path=shown(path))
        if node.at is not None and self._heap is not None:
            self._heap.seek(node.at)
            return self._heap.read(node.status.st_size)
        if node.source is None:
            raise not_regular(path, "directory")
        try:
            return super()._content(node.source, max_bytes)
        except EffectError as error:  # it names the place where the run found the file
            said: dict[str, Any] = {**error.attributes, "path": shown(path)}
            raise type(error)(error.code, **said) from None

    def _opened(self, node: _Node, most: int | None, *, is_whole: bool) -> Found:
        """Look into *node*; names that the run changed replace those of the workspace."""
        found = Found(node.status)
        if node.source is not None:
            enough = None if most is None else most + len(node.inside)
            found = opened(self.confined, node.source, node.status, most=enough, is_whole=is_whole)
        if not node.inside:
            return found
        inside = {name: one for name, one in found.inside if name not in node.inside}
        inside |= {name: one.status for name, one in node.inside.items() if one is not None}
        ordered = sorted(inside.items(), key=lambda of: os.fsencode(of[0]))
        return attrs.evolve(found, inside=tuple(ordered))

    def _find(self, parts: Parts) -> _Node | None:
        try:
            return self._child(self._folder(parts[:-1]), parts[-1]) if parts else self._top
        except EffectError as error:
            if error.code != "fs.missing":
                raise
            return None

    def _folder(self, parts: Parts) -> _Node:
        """Give the folder at *parts*; it and those above stand in the tree from now on."""
        node = self._top
        for name in parts:
            found = self._child(node, name)
            kind = "absent" if found is None else kind_of(found.status.st_mode)
            if kind == "symlink":
                raise escape("/".join(parts), "no link on the way")
            if found is None or kind != "directory":
                raise EffectError("fs.missing", path=shown("/".join(parts)))
            node.inside[name] = found
            node = found
        return node

    def _child(self, folder: _Node, name: str) -> _Node | None:
        if name in folder.inside or folder.source is None:
            return folder.inside.get(name)
        here = (*folder.source, name)
        status = self.confined.lstat(here)
        return None if status is None else _Node(status, here)

    # ---- what would be there --------------------------------------------------------------------
    def _check_parent(self, path: str) -> None:
        self._folder(self._parse(path)[:-1])

    def _stage_file(self, before: Image, data: bytes, *, run: str, is_bound: bool) -> Staged:  # noqa: ARG002 - the workspace's signature
        self._check_parent(before.path)
        is_new, sha256 = before.kind == "absent", hashlib.sha256(data).hexdigest()
        mode = 0o666 & ~self._mask if is_new else before.mode & 0o1777
        after = Image(before.path, "file", sha256, mode, len(data))
        return Staged("create" if is_new else "replace", self.moves, before, after, added=data)

    def _stage_append(self, path: str, data: bytes, *, run: str) -> Staged:  # noqa: ARG002 - as above
        before = self._image(self._parse(path), None)
        if before.size > _LONGEST:
            raise limit(path, "bytes of a file that a dry run appends to", _LONGEST)
        whole = self._content(self._parse(path), _LONGEST) + data
        digest = hashlib.sha256(whole).hexdigest()
        after = attrs.evolve(before, sha256=digest, size=len(whole))
        return Staged("append", self.moves, before, after, added=whole)

    def _new_slot(self, run: str, *, size_bytes: int) -> str | None:  # noqa: ARG002 - as above
        return None

    def _put(self, step: str, parts: Parts, node: _Node | None) -> None:
        folder, name = self._folder(parts[:-1]), parts[-1]
        was = {name: folder.inside[name]} if name in folder.inside else {}
        self._puts.append(_Put(step, parts, folder, was))
        folder.inside[name] = node

    def _keep(self, data: bytes) -> int:
        at, quota = self._used, self.store.quota
        if at + len(data) > quota:
            raise EffectRefusedError("undo.full", needed=len(data), used=at, quota=quota)
        if self._heap is None:
            self._heap = tempfile.SpooledTemporaryFile(_IN_MEMORY, dir=str(self.store.path))  # noqa: SIM115 - `close`
        self._heap.seek(at)
        self._heap.write(data)
        self._used += len(data)
        return at


def _status(mode: int, size: int = 0) -> os.stat_result:
    """Make what ``lstat`` would find: one name, this moment, this user."""
    now = time.time_ns()
    plain = (mode, 0, 0, 1, os.geteuid(), os.getegid(), size, *[now // 1_000_000_000] * 3)
    return os.stat_result(plain, {"st_mtime_ns": now})

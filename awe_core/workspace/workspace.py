"""`Workspace`: the one folder that effects reach, and the only door to it.

Reads come back checked; changes come in stages (`staged`), so that undo is captured and recorded
before anything happens.  Which of it a handler may ask for is decided above, by its grant; what is
refused here is refused to everybody.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Self

import attrs

from awe_core.errors import EffectError, EffectRefusedError
from awe_core.workspace.confined import (
    BackendName,
    Confined,
    HardLinks,
    by_walking,
    choose_opener,
    kind_of,
    not_regular,
)
from awe_core.workspace.images import (
    Image,
    Tree,
    entry,
    image,
    limit,
    list_directory,
    look,
    tree_of,
)
from awe_core.workspace.moves import Moves
from awe_core.workspace.paths import ROOT, Parts, parse, shown
from awe_core.workspace.patterns import Pattern
from awe_core.workspace.protection import Protection
from awe_core.workspace.staged import Staged, stage_append, stage_file
from awe_core.workspace.store import Store, probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from awe_core.files import FileEntry
    from awe_core.workspace.syscalls import AtomicRenames

WriteMode = Literal["create", "replace", "upsert"]

_HAS_DESCRIPTORS = os.open in os.supports_dir_fd


@attrs.define(eq=False)
class Workspace:
    """An open workspace.  Everything may be called from any thread."""

    root: Path  #: for messages; files are reached through the descriptor alone
    id: str  #: stays the same while the folder is the same; part of call digests
    confined: Confined = attrs.field(repr=False)
    protection: Protection = attrs.field(repr=False)
    private: Protection = attrs.field(repr=False)
    portable_names: bool
    _moves: Moves | None = attrs.field(repr=False)

    @classmethod
    def open(  # noqa: PLR0913 - each is a setting of awe.yaml
        cls,
        root: Path,
        *,
        store: Path,
        protected: Sequence[str] = (),
        private: Sequence[str] = (),
        portable_names: bool = True,
        hardlinks: HardLinks = "refuse",
        backend: BackendName = "auto",
        quota: int | None = None,
    ) -> Workspace:
        """Open *root*; the undo store is *store*, or ``.awe/undo`` in the root, where a swap works.

        :param protected: patterns, or absolute paths, that no effect changes
        :param private: the same, that no effect reads
        :param quota: bytes the undo store may hold; default 2 GiB or a tenth of the free space
        :raises EffectRefusedError: ``workspace.root``; ``undo.store`` when neither place will do
        """
        resolved, held = _open_root(root)
        try:
            confined = Confined(held, choose_opener(backend, directory=held), hardlinks)
            protection = Protection.of(resolved, protected)
            hidden = Protection.of(resolved, private, always=())
            status = os.fstat(held)
            if not os.access(resolved, os.W_OK):
                identity, moves = f"{status.st_dev}-{status.st_ino}", None
            else:
                own = confined.lstat((".awe",))  # a link there would lead the store elsewhere
                is_plain = own is None or kind_of(own.st_mode) == "directory"
                places = (store, resolved / ".awe" / "undo") if is_plain else (store,)
                opened, renames = _open_store(places, confined=confined, quota=quota)
                identity = opened.identity(status.st_ino)
                moves = Moves(confined, opened, renames, portable_names)
        except BaseException:
            os.close(held)
            raise
        return cls(resolved, identity, confined, protection, hidden, portable_names, moves)

    def close(self) -> None:
        """Let go of the folder and its store."""
        if self._moves is not None:
            self._moves.store.close()
        os.close(self.confined.base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def capture(self) -> Literal["swap", "racy", "none"]:
        """How pre-images are taken: in one call, in several, or (read-only root) not at all."""
        return "none" if self._moves is None else self._moves.renames.capture

    @property
    def backend(self) -> str:
        """How files are opened: ``openat2`` or ``walk``."""
        return "walk" if self.confined.opener is by_walking else "openat2"

    @property
    def moves(self) -> Moves:
        """Where names move; for the undo strategies.

        :raises EffectRefusedError: ``undo.store`` when the workspace is read-only
        """
        if self._moves is None:
            raise EffectRefusedError(
                "undo.store", store=self.root, reason="the workspace is read-only here"
            )
        return self._moves

    @property
    def store(self) -> Store:
        """The undo store."""
        return self.moves.store

    # ---- reads ----------------------------------------------------------------------------------
    def read(self, path: str, *, max_bytes: int) -> bytes:
        """Read a whole file.

        :raises EffectRefusedError: ``effect.limit``, also for a file that grows meanwhile;
            ``workspace.private``
        """
        parts = self._parse(path)
        if rule := self.private.rule_for(path):
            raise EffectRefusedError("workspace.private", path=shown(path), rule=rule)
        data = self._content(parts, max_bytes)
        if len(data) > max_bytes:
            raise limit(path, "max_bytes", max_bytes)
        return data

    def _content(self, parts: Parts, max_bytes: int) -> bytes:
        """Give what the file holds, of more than *max_bytes* only so much as tells that."""
        held, status = self.confined.open_file(parts)
        try:
            data = more = os.read(held, min(status.st_size, max_bytes) + 1)
            while more and len(data) != status.st_size and len(data) <= max_bytes:  # it grows
                data += (more := os.read(held, max_bytes + 1 - len(data)))
        except OSError as error:
            raise self.confined.error(error, parts) from None
        finally:
            os.close(held)
        return data

    def stat(self, path: str) -> FileEntry | None:
        """Look at one entry, a link as itself; None when it is missing."""
        status = self._lstat(self._parse(path, root=True))
        return None if status is None else entry(path, status)

    def list(self, path: str = ROOT, *, max_entries: int = 10_000) -> tuple[FileEntry, ...]:
        """List a directory, in the order of names as bytes."""
        return self._listed(self._parse(path, root=True), max_entries)

    def glob(
        self, pattern: str, *, max_entries: int = 10_000, depth: int = 32
    ) -> tuple[FileEntry, ...]:
        """Find what matches, in the order of paths as bytes; links are found, not followed.

        :raises EffectRefusedError: ``effect.limit`` after looking at *max_entries*, or when
            directories that could hold matches lie deeper than *depth*
        """
        wanted = Pattern.compile(pattern)
        pending: list[Parts] = [()]
        found, seen = [], 0
        while pending:
            parts = pending.pop()
            if len(parts) >= depth:
                raise limit(pattern, "depth", depth)
            for one in self._entries(parts, max_entries=max_entries):
                seen += 1
                if wanted.matches(one.path):
                    found.append(one)
                below = tuple(one.path.split("/"))
                if one.type == "directory" and wanted.may_match_below(below):
                    pending.append(below)
            if seen > max_entries:
                raise limit(pattern, "max_entries", max_entries)
        return tuple(sorted(found, key=lambda one: one.path.encode()))

    def digest(self, path: str, *, max_files: int = 10_000) -> Image:
        """Describe what is there, with its digest: what approvals bind and undo compares."""
        return self._image(self._parse(path, root=True), max_files)

    def tree_digest(self, path: str = ROOT) -> str:
        """Sum up names, types, modes, attributes and contents of everything below *path*."""
        return self._tree(self._parse(path, root=True), None).top.sha256

    def missing_parents(self, path: str) -> tuple[str, ...]:
        """Name the directories that `stage_mkdir` has to make first, outermost first."""
        parts = self._parse(path)
        above = (parts[:depth] for depth in range(1, len(parts)))
        return tuple("/".join(a) for a in above if self._lstat(a) is None)

    # ---- effects, staged ------------------------------------------------------------------------
    def stage_write(
        self, path: str, data: bytes, *, mode: WriteMode, run: str, expect: str | None = None
    ) -> Staged:
        """Stage a whole file; directories that are missing are made before (`missing_parents`).

        :param expect: SHA-256 that the file must have now, and still at the act
        :raises EffectError: ``fs.exists``, ``fs.missing``, ``fs.changed``
        """
        before = self._changeable(path, is_hashed=True)
        if before.kind == "absent" and (mode == "replace" or expect is not None):
            raise EffectError("fs.missing", path=shown(path))
        if before.kind != "absent" and mode == "create":
            raise EffectError("fs.exists", path=shown(path))
        if before.kind not in {"absent", "file"}:
            raise not_regular(path, before.kind)
        if expect is not None and before.sha256 != expect.removeprefix("sha256:"):
            raise EffectError("fs.changed", path=shown(path))
        return self._stage_file(before, data, run=run, is_bound=expect is not None)

    def stage_append(self, path: str, data: bytes, *, run: str) -> Staged:
        """Stage bytes for the end of a file that exists."""
        before = self._changeable(path)
        if before.kind == "absent":
            raise EffectError("fs.missing", path=shown(path))
        if before.kind != "file":
            raise not_regular(path, before.kind)
        return self._stage_append(path, data, run=run)

    def stage_delete(
        self, path: str, *, run: str, recursive: bool = False, max_files: int = 1000
    ) -> Staged:
        """Stage the removal of a file, a link, an empty directory, or with *recursive* a tree."""
        tree = self._movable(path, max_files=max_files)
        if len(tree.names) > 1 and not recursive:
            raise EffectError("fs.not_empty", path=shown(path))
        slot = self._new_slot(run, size_bytes=tree.size_bytes)
        made = ("delete", self.moves, tree.top, Image(path, "absent"), slot)
        return Staged(*made, fingerprint=tree.fingerprint)

    def stage_move(self, source: str, target: str, *, max_files: int = 10_000) -> Staged:
        """Stage a new name for an entry; the name must be free."""
        tree = self._movable(source, max_files=max_files)
        for names in tree.names:
            self.protection.check("/".join((target, *names)))
        if self._lstat(self._parse(target)) is not None:
            raise EffectError("fs.exists", path=shown(target))
        if f"{target}/".startswith(f"{source}/"):
            raise EffectError("fs.failed", path=shown(target), reason="lies in what is moved")
        self._check_parent(target)
        after = attrs.evolve(tree.top, path=target)
        return Staged("move", self.moves, tree.top, after, fingerprint=tree.fingerprint)

    def stage_mkdir(self, path: str) -> Staged:
        """Stage a new directory; its parent exists."""
        before = self._changeable(path)
        if before.kind != "absent":
            raise EffectError("fs.exists", path=shown(path))
        self._check_parent(path)
        return Staged("mkdir", self.moves, before, Image(path, "directory"))

    # ---- inside ---------------------------------------------------------------------------------
    def _parse(self, path: str, *, root: bool = False) -> Parts:
        return parse(path, portable_names=self.portable_names, root=root)

    def _changeable(self, path: str, *, is_hashed: bool = False) -> Image:
        """Check that *path* may be written, and describe what is there."""
        parts = self._parse(path)
        self.protection.check(path)
        found = self._image(parts, None) if is_hashed else self._look(parts)
        if found.kind == "file" and found.links > 1:
            raise EffectRefusedError("workspace.hard_link", path=shown(path), links=found.links)
        return found

    def _movable(self, path: str, *, max_files: int) -> Tree:
        """Check that the whole tree at *path* may be moved away, and sum it up."""
        tree = self._tree(self._parse(path), max_files, is_strict=True)
        if tree.top.kind == "absent":
            raise EffectError("fs.missing", path=shown(path))
        for names in tree.names:
            self.protection.check("/".join((path, *names)))
        return tree

    def _entries(self, parts: Parts, *, max_entries: int) -> tuple[FileEntry, ...]:
        try:
            return self._listed(parts, max_entries)
        except EffectError as error:
            if parts and error.code in {"fs.missing", "workspace.escape"}:
                return ()  # gone, or a mount: nothing of it can match
            raise

    # ---- what there is, and how it is staged: an overlay sees and does this differently ---------
    def _lstat(self, parts: Parts) -> os.stat_result | None:
        return self.confined.lstat(parts)

    def _look(self, parts: Parts) -> Image:
        return look(self.confined, parts)

    def _image(self, parts: Parts, max_files: int | None) -> Image:
        return image(self.confined, parts, max_files=max_files)

    def _tree(self, parts: Parts, max_files: int | None, *, is_strict: bool = False) -> Tree:
        return tree_of(self.confined, parts, max_files=max_files, is_strict=is_strict)

    def _listed(self, parts: Parts, max_entries: int) -> tuple[FileEntry, ...]:
        return list_directory(self.confined, parts, max_entries=max_entries)

    def _check_parent(self, path: str) -> None:
        with self.confined.parent(self._parse(path)):
            pass

    def _stage_file(self, before: Image, data: bytes, *, run: str, is_bound: bool) -> Staged:
        return stage_file(self.moves, before, data, run=run, is_bound=is_bound)

    def _stage_append(self, path: str, data: bytes, *, run: str) -> Staged:
        return stage_append(self.moves, path, data, run=run)

    def _new_slot(self, run: str, *, size_bytes: int) -> str | None:
        return self.store.new_slot(run, size_bytes=size_bytes)


def _open_root(root: Path) -> tuple[Path, int]:
    if not _HAS_DESCRIPTORS:
        reason = "this platform cannot open files relative to a directory"
        raise EffectRefusedError("workspace.root", path=root, reason=reason)
    try:
        resolved = root.resolve(strict=True)
        return resolved, os.open(resolved, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise EffectRefusedError("workspace.root", path=root, reason=error.strerror) from None


def _open_store(
    places: Sequence[Path], *, confined: Confined, quota: int | None
) -> tuple[Store, AtomicRenames]:
    """Open the first place where a swap with the workspace works."""
    reasons = []
    for place in places:
        try:
            store = Store.open(place, opener=confined.opener, quota=quota)
        except OSError as error:
            reasons.append(f"{place}: {error.strerror or error}")
            continue
        try:
            return store, probe(store, confined.base)
        except OSError as error:
            store.close()
            reasons.append(f"{place}: {error.strerror or error}")
    raise EffectRefusedError("undo.store", store=places[0], reason="; ".join(reasons))

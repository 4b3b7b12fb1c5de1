"""Trading places between the workspace and the undo store: every rename AWE does in a workspace.

Each method opens the parent directory confined, makes one call, and lets go; nothing is replaced
that was not traded for something.  Effects use it to act, undo uses it to take back.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError
from awe_core.workspace.images import Bounds, Image, image
from awe_core.workspace.paths import Parts, parse, shown
from awe_core.workspace.store import NEW_FILE, back
from awe_core.workspace.syscalls import O_CLOEXEC, O_NOFOLLOW

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.workspace.confined import Confined
    from awe_core.workspace.store import Store
    from awe_core.workspace.syscalls import Renames


@attrs.frozen
class Moves:
    """The workspace's files and its store, as one place where names move."""

    confined: Confined
    store: Store
    renames: Renames
    portable_names: bool

    def parse(self, path: str) -> Parts:
        """Take a path apart by this workspace's rules."""
        return parse(path, portable_names=self.portable_names)

    def image(self, path: str, *, bounds: Bounds = Bounds()) -> Image:  # noqa: B008 - frozen
        """Describe what lies at *path*."""
        return image(self.confined, self.parse(path), bounds=bounds)

    def slot_image(self, slot: str) -> Image:
        """Describe what lies in *slot*; absent also when its run was discarded."""
        try:
            with self.store.slot(slot) as (directory, name):
                return attrs.evolve(image(self.store.confined(directory), (name,)), path=slot)
        except FileNotFoundError:
            return Image(slot, "absent")

    def look(self, path: str) -> Image:
        """Describe what lies at *path* without reading its content."""
        return image(self.confined, self.parse(path), hashing=False)

    def slot_look(self, slot: str) -> Image:
        """Describe what lies in *slot* without reading its content."""
        try:
            with self.store.slot(slot) as (directory, name):
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return Image(slot, "absent")
        return Image.of(slot, status)

    def name_it(self, held: int, path: str) -> None:
        """Give the nameless file *held* its name.

        :raises EffectError: ``fs.exists``
        """
        with (
            self.confined.parent(parts := self.parse(path)) as (directory, name),
            self.confined.translated(parts),
        ):
            os.link(f"/proc/self/fd/{held}", name, dst_dir_fd=directory, follow_symlinks=True)

    def settle(self, path: str, *, slot: str, to: str) -> None:
        """Finish what a crash cut in two where renames are `racy`; nothing to do elsewhere.

        A file that is both at *path* and in *slot* (or at *to*) stays at *path* alone.
        """
        if self.renames.capture == "swap":
            return
        if slot:
            self.store.settle(slot)
            self.store.settle(back(slot))
        ino = self.look(path).ino
        if slot and ino and self.slot_look(slot).ino == ino:
            self.store.remove(slot)
        if to and ino and self.look(to).ino == ino:
            with self.confined.parent(self.parse(to)) as (directory, name):
                os.unlink(name, dir_fd=directory)

    def swap(self, slot: str, path: str) -> None:
        """Trade the file in *slot* for the one at *path*."""
        with (
            self.confined.parent(parts := self.parse(path)) as (directory, name),
            self.store.slot(slot) as (slots, kept),
            self.confined.translated(parts),
        ):
            self.renames.exchange(slots, kept, directory, name)

    def take(self, path: str, slot: str) -> None:
        """Move what lies at *path* into the empty *slot*."""
        self.store.make_folder(slot)
        with (
            self.confined.parent(parts := self.parse(path)) as (directory, name),
            self.store.slot(slot) as (slots, kept),
            self.confined.translated(parts),
        ):
            self.renames.exclusive(directory, name, slots, kept)

    def put(self, slot: str, path: str) -> None:
        """Move what lies in *slot* to the free name *path*.

        :raises EffectError: ``fs.exists``
        """
        with (
            self.confined.parent(parts := self.parse(path)) as (directory, name),
            self.store.slot(slot) as (slots, kept),
            self.confined.translated(parts),
        ):
            self.renames.exclusive(slots, kept, directory, name)

    def shift(self, source: str, target: str) -> None:
        """Move inside the workspace, to a free name.

        :raises EffectError: ``fs.exists``, ``fs.missing``
        """
        with (
            self.confined.parent(self.parse(source)) as (from_dir, name),
            self.confined.parent(parts := self.parse(target)) as (to_dir, new_name),
        ):
            try:
                self.renames.exclusive(from_dir, name, to_dir, new_name)
            except FileNotFoundError:
                raise EffectError("fs.missing", path=shown(source)) from None
            except OSError as error:
                with self.confined.translated(parts):
                    raise error from None

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory.

        :raises OSError: as it is; ENOTEMPTY, ENOTDIR …
        """
        with self.confined.parent(self.parse(path)) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def open_file(self, path: str) -> int:
        """Open a file of the workspace for reading, whatever other names it has by now."""
        return self.confined.open_file(self.parse(path), links="read")

    def open_slot(self, slot: str) -> int:
        """Open a file of the store for reading."""
        with self.store.slot(slot) as (directory, name):
            return self.store.confined(directory).open_file((name,), links="read")

    @contextlib.contextmanager
    def new_in_store(self, slot: str) -> Iterator[int]:
        """Write a file of the store that is there, durable, only when it is whole."""
        self.store.make_folder(slot)
        with self.store.slot(slot) as (directory, name):
            draft = f"{name}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(draft, dir_fd=directory)
            held = os.open(draft, NEW_FILE, 0o600, dir_fd=directory)
            try:
                yield held
                os.fsync(held)
            finally:
                os.close(held)
            os.rename(draft, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)

    def sync_slot_file(self, slot: str) -> None:
        """Make the bytes of the file in *slot* durable; fine when there is none."""
        with contextlib.suppress(FileNotFoundError), self.store.slot(slot) as (directory, name):
            held = os.open(name, os.O_RDONLY | O_NOFOLLOW | O_CLOEXEC, dir_fd=directory)
            try:
                os.fsync(held)
            finally:
                os.close(held)

    def sync(self, paths: Iterable[str], *, slots: Iterable[str] = ()) -> None:
        """Make the directories of *paths* and the folders of *slots* durable."""
        for parts in {self.parse(path)[:-1] for path in paths}:
            with self.confined.directory(parts) as directory, self.confined.translated(parts):
                os.fsync(directory)
        folders = sorted(slots)
        for slot in folders:
            with contextlib.suppress(FileNotFoundError), self.store.slot(slot) as (held, _):
                os.fsync(held)
        if folders:
            os.fsync(self.store.fd)

"""Trading places between the workspace and the undo store: every rename AWE does in a workspace.

Each method opens the parent directories confined, makes one call, and lets go; nothing is replaced
that was not traded for something.  Effects use it to act, undo uses it to take back.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import EffectError
from awe_core.workspace.images import Image, image, look, tree_of
from awe_core.workspace.paths import Parts, parse
from awe_core.workspace.store import back, split
from awe_core.workspace.syscalls import NEW_FILE, settle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from awe_core.workspace.confined import Confined, HardLinks
    from awe_core.workspace.store import Store
    from awe_core.workspace.syscalls import AtomicRenames


@attrs.frozen
class Place:
    """One name, in the workspace or in the undo store."""

    confined: Confined
    parts: Parts

    def look(self) -> Image:
        """Describe what lies here without reading its content."""
        return look(self.confined, self.parts)

    def image(self) -> Image:
        """Describe what lies here."""
        return image(self.confined, self.parts)

    def fingerprint(self) -> str:
        """Sum up inodes, sizes and times of the whole tree here."""
        return tree_of(self.confined, self.parts, hashing=False).fingerprint

    def open(self, flags: int = os.O_RDONLY) -> int:
        """Open a file, for reading whatever other names it has by now."""
        links: HardLinks = "read" if flags == os.O_RDONLY else "refuse"
        return self.confined.open_file(self.parts, flags, links=links)[0]

    def parent(self) -> AbstractContextManager[tuple[int, str]]:
        """Hold the directory of this name open; gives it with the last component."""
        return self.confined.parent(self.parts)

    def error(self, error: OSError) -> EffectError:
        """Turn what the system said into the error people can act on."""
        return self.confined.error(error, self.parts)


@attrs.frozen
class Moves:
    """The workspace's files and its store, as one place where names move."""

    confined: Confined
    store: Store
    renames: AtomicRenames
    portable_names: bool

    def at(self, path: str) -> Place:
        """Give the place of a path of the workspace.

        :raises EffectRefusedError: ``workspace.escape``
        """
        return Place(self.confined, parse(path, portable_names=self.portable_names))

    def slot(self, slot: str) -> Place:
        """Give the place of a slot; nothing lies there when its run was discarded."""
        return Place(self.store.confined, split(slot))

    def swap(self, slot: Place, target: Place) -> None:
        """Trade the file in *slot* for the one at *target*."""
        with slot.parent() as (slots, kept), target.parent() as (directory, name):
            self.renames.exchange(slots, kept, directory, name)

    def move(self, source: Place, target: Place) -> None:
        """Move what lies at *source* to the free name *target*.

        :raises EffectError: ``fs.exists``, ``fs.missing``
        """
        is_kept = target.confined is self.store.confined
        if is_kept:
            self.store.make_folder("/".join(target.parts))
        with source.parent() as (from_dir, old), target.parent() as (to_dir, new):
            try:
                self.renames.exclusive(from_dir, old, to_dir, new)
            except OSError as error:
                about = source if is_kept or isinstance(error, FileNotFoundError) else target
                raise about.error(error) from None

    def name_it(self, held: int, target: Place) -> None:
        """Give the nameless file *held* its name.

        :raises EffectError: ``fs.exists``
        """
        with target.parent() as (directory, name):
            self.renames.link(held, directory, name)

    def remove_directory(self, target: Place) -> None:
        """Remove an empty directory.

        :raises EffectError: ``fs.not_empty``, ``fs.missing``
        """
        with target.parent() as (directory, name):
            self.renames.rmdir(directory, name)

    def open_new(self, slot: str, *, mode: int = 0o600) -> int:
        """Make the file of a new slot."""
        self.store.make_folder(slot)
        with self.slot(slot).parent() as (directory, name):
            return os.open(name, NEW_FILE, mode, dir_fd=directory)

    @contextlib.contextmanager
    def new_in_store(self, slot: str) -> Iterator[int]:
        """Write a file of the store that is there, durable, only when it is whole."""
        draft = f"{slot}.new"
        self.store.remove(draft)
        held = self.open_new(draft)
        try:
            yield held
            os.fsync(held)
        except OSError:  # of a full disk: half a copy would keep its room
            self.store.remove(draft)
            raise
        finally:
            os.close(held)
        with self.slot(slot).parent() as (directory, name):
            os.rename(f"{name}.new", name, src_dir_fd=directory, dst_dir_fd=directory)
        self.sync(self.slot(slot))

    def settle(self, path: str, *, slot: str, to: str) -> None:
        """Finish what a crash cut in two where renames are `racy`; nothing to do elsewhere.

        A file that is both at *path* and in *slot* (or at *to*) stays at *path* alone.
        """
        if self.renames.capture == "swap":
            return
        if slot and self.store.confined.lstat(split(slot)[:1]) is not None:  # else discarded
            for kept in (slot, back(slot)):
                with self.slot(kept).parent() as (directory, name):
                    settle(directory, name)
        ino = self.at(path).look().ino
        if slot and ino and self.slot(slot).look().ino == ino:
            self.store.remove(slot)
        if to and ino and self.at(to).look().ino == ino:
            with self.at(to).parent() as (directory, name):
                os.unlink(name, dir_fd=directory)

    def sync(self, *places: Place) -> None:
        """Make the directories of *places* durable; fine when one is gone with its names."""
        for folder in dict.fromkeys(Place(p.confined, p.parts[:-1]) for p in places):
            try:
                with folder.confined.directory(folder.parts) as held:
                    os.fsync(held)
            except EffectError as error:
                if error.code != "fs.missing":
                    raise
            if folder.confined is self.store.confined:
                os.fsync(self.store.fd)

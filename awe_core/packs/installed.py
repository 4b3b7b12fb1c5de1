"""Installed = approved: `verify_installed` reads what is on the disk once and compares it.

Rules.  Every file of the record is opened without following links and without waiting (a FIFO would
hang), must be a regular file of the approved size and digest, and its bytes are **kept**: what is
imported later is what was hashed here.  Then nothing may be extra: the top levels and the
``.dist-info`` hold pinned files alone, beside ``__pycache__`` (never read) and what installers
write.  RECORD can be written by anyone who can write the files, so it is never trusted for a
digest; it may only convict.  Zip, egg and editable installs are refused.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from awe_core.errors import PackError
from awe_core.packs.archive import INSTALLER_FILES, MAX_FILE_BYTES, record_rows, shown
from awe_core.packs.codecache import NO_CACHE, CodeCache
from awe_core.packs.verified import VerifiedPack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.packs.discovery import Found
    from awe_core.records import PackRecord

SHOWN = 20  #: findings of one error
MAX_NOTE_BYTES = 4 * 1024 * 1024  #: of RECORD and ``direct_url.json``
_NO_WAITING = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

#: Findings in the order of what they say about the machine; the first one names the error.
_GRAVITY = (
    *("pack.file_symlink", "pack.file_not_regular", "pack.file_changed"),
    *("pack.file_added", "pack.file_missing"),
)


def verify_installed(
    record: PackRecord,
    found: Found | None,
    *,
    editable: bool = False,
    cache: CodeCache = NO_CACHE,
) -> VerifiedPack:
    """Compare what is installed with *record*, and keep the bytes.

    :param found: the distribution as `discover` found it; None: it did not
    :param editable: whether the root accepts an editable install, which is hashed as it is
    :raises PackError: ``pack.not_installed``, ``.duplicate_distribution``, ``.version``,
        ``.install_kind``, ``.file_changed``, ``.file_missing``, ``.file_added``, ``.file_symlink``,
        ``.file_not_regular``
    """
    names = {"distribution": record.distribution, "version": record.version}
    if found is None:
        raise PackError("pack.not_installed", **names)
    if found.duplicates:
        where = [f"installed in {place}" for place in found.duplicates]
        raise PackError(
            "pack.duplicate_distribution", distribution=record.distribution, details=where
        )
    if found.version != record.version:
        raise PackError("pack.version", **names, found=found.version)
    root = Path(found.location)
    if not found.metadata_folder:
        raise _kind(record, "as a zip or egg", found.location)
    source = _editable_source(root / found.metadata_folder)
    if source is None:
        survey = _Survey(root, record, found.metadata_folder)
        return VerifiedPack.of(record, survey.compared(), cache=cache)
    if not editable:
        raise _kind(record, f"editable, from {source}", found.location)
    return VerifiedPack.of(record, _tree(record, source), is_editable=True, cache=cache)


class Unfit(Exception):  # noqa: N818 - it is a finding, and never leaves this package
    """Code, path, and why."""


def read(root: Path, path: str, limit: int) -> bytes:
    """Read at most *limit* bytes of a regular file; no link is followed, nothing is waited for.

    :raises Unfit: ``pack.file_missing``, ``pack.file_symlink``, ``pack.file_not_regular``
    """
    try:
        with open(root / path, "rb", opener=lambda p, f: os.open(p, f | _NO_WAITING)) as file:
            found = os.fstat(file.fileno())
            if stat.S_ISREG(found.st_mode):
                return file.read(min(limit, found.st_size + 1))
        why = "is no regular file"
    except (FileNotFoundError, NotADirectoryError, ValueError):  # or no file could be called so
        raise Unfit("pack.file_missing", path, "is not there") from None
    except OSError as error:
        if error.errno == errno.ELOOP:  # what O_NOFOLLOW makes of a link
            raise Unfit("pack.file_symlink", path, "is a link") from None
        why = f"cannot be read: {error.strerror}"
    raise Unfit("pack.file_not_regular", path, why)


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Give what lies in *folder*, by name; nothing where it cannot be listed."""
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except OSError:
        return []


def _editable_source(metadata: Path) -> Path | None:
    """Give the folder an editable install points to; None: it is none."""
    try:
        note = json.loads(read(metadata, "direct_url.json", MAX_NOTE_BYTES))
        if not note["dir_info"]["editable"]:
            return None
        return Path(url2pathname(urlsplit(note["url"]).path))
    except (Unfit, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _kind(record: PackRecord, how: str, where: str) -> PackError:
    names = {"distribution": record.distribution, "version": record.version}
    return PackError("pack.install_kind", **names, how=how, details=[f"installed in {where}"])


class _Survey:
    """One look at what lies in the installation folder; findings are collected."""

    def __init__(self, root: Path, record: PackRecord, metadata: str) -> None:
        self._root = root
        self._record = record
        self._metadata = metadata
        self._findings: dict[str, list[str]] = {code: [] for code in _GRAVITY}

    def compared(self) -> dict[str, bytes]:
        """Give the bytes of every file of the record, if nothing differs and nothing is extra."""
        self._look_around()
        kept: dict[str, bytes] = {}
        for path, approved in self._record.files.items():
            try:
                kept[path] = data = read(self._root, path, approved.size + 1)
            except Unfit as unfit:
                self._find(*unfit.args)
                continue
            found = hashlib.sha256(data).hexdigest()
            if found != approved.sha256 or len(data) != approved.size:
                why = f"approved sha256 {approved.sha256}, installed {found}"
                self._find("pack.file_changed", path, why)
        self._read_record()
        found_all = [why for whys in self._findings.values() for why in whys]
        for code, whys in self._findings.items():
            if whys:
                names = {"distribution": self._record.distribution, "version": self._record.version}
                first = found_all[:SHOWN]
                raise PackError(code, **names, count=len(found_all), details=first)
        return kept

    def _look_around(self) -> None:
        """Find what is there beside the pinned files, and links also in their place."""
        tops = {top.casefold() for top in self._record.top_level}
        waiting = [
            (entry, entry.name)
            for entry in entries(self._root)
            if entry.name.partition(".")[0].casefold() in tops or entry.name == self._metadata
        ]
        while waiting and len(self._findings["pack.file_added"]) < SHOWN:
            entry, path = waiting.pop()
            if entry.is_symlink():
                self._find("pack.file_symlink", path, "is a link")
            elif entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":
                    below = entries(Path(entry.path))
                    waiting += [(one, f"{path}/{one.name}") for one in below]
            elif path not in self._record.files and not (
                self._is_installers(path) and entry.is_file(follow_symlinks=False)
            ):
                self._find("pack.file_added", path, "is not in the approved wheel")

    def _read_record(self) -> None:
        """Find what only RECORD lists; without RECORD it lists nothing."""
        try:
            rows = record_rows(read(self._root, f"{self._metadata}/RECORD", MAX_NOTE_BYTES))
        except Unfit:
            return
        except csv.Error:
            self._find("pack.file_changed", f"{self._metadata}/RECORD", "it cannot be read")
            return
        for path in (row[0] for row in rows):
            folder = path.rpartition("/")[0]
            is_cached = folder.endswith("__pycache__") and ".." not in path.split("/")
            ours = path.partition("/")[0] in self._record.top_level or folder == "__pycache__"
            if path not in self._record.files and not (
                self._is_installers(path) or (is_cached and ours)
            ):
                self._find("pack.file_added", path, "RECORD lists it")

    def _is_installers(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return folder == self._metadata and name in INSTALLER_FILES

    def _find(self, code: str, path: str, why: str) -> None:
        self._findings[code].append(f"{shown(path)}: {why}")


def _tree(record: PackRecord, source: Path) -> dict[str, bytes]:
    """Read an editable install whole; its files are whatever they are at this moment."""
    files: dict[str, bytes] = {}
    for top in record.top_level:
        places = (source / "src", source)
        root = next((p for p in places if (p / top).exists() or (p / f"{top}.py").exists()), source)
        for path in _below(root, top):
            try:
                files[path] = read(root, path, MAX_FILE_BYTES)
            except Unfit as unfit:
                raise _kind(record, f"editable, and {path} {unfit.args[2]}", str(source)) from None
    return files


def _below(root: Path, top: str) -> Iterator[str]:
    if not (root / top).is_dir():
        yield f"{top}.py"
    for folder, _, names in os.walk(root / top):
        for path in (Path(folder, name).relative_to(root) for name in names):
            if "__pycache__" not in path.parts:
                yield path.as_posix()

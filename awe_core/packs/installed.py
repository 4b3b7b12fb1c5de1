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
import hashlib
import json
import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from awe_core.errors import PackError
from awe_core.packs.archive import MAX_FILE_BYTES, record_rows
from awe_core.packs.verified import VerifiedPack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.packs.discovery import Found
    from awe_core.records import PackRecord

#: What installers write into ``.dist-info`` beside the wheel's own; pip's and uv's sets differ.
INSTALLER_FILES = frozenset(
    {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
_SHOWN = 20
_READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_MAX_NOTE = 4 * 1024 * 1024  # of RECORD and direct_url.json

#: Findings in the order of what they say about the machine; the first one names the error.
_GRAVITY = (
    "pack.file_symlink",
    "pack.file_not_regular",
    "pack.file_changed",
    "pack.file_added",
    "pack.file_missing",
)


def verify_installed(
    record: PackRecord, found: Found | None, *, editable: bool = False
) -> VerifiedPack:
    """Compare what is installed with *record*, and keep the bytes.

    :param found: the distribution as `discover` found it; None: it did not
    :param editable: whether the root accepts an editable install, which is hashed as it is
    :raises PackError: ``pack.not_installed``, ``.duplicate_distribution``, ``.version``,
        ``.install_kind``, ``.file_changed``, ``.file_missing``, ``.file_added``, ``.file_symlink``,
        ``.file_not_regular``
    """
    installed = _checked(record, found)
    root = Path(installed.location)
    if not root.is_dir() or not installed.metadata_folder:
        raise _kind(record, "as a zip or egg", installed.location)
    source = editable_source(root / installed.metadata_folder)
    if source is not None:
        if not editable:
            raise _kind(record, f"editable, from {source}", installed.location)
        return VerifiedPack.of(
            record, _tree(record, source), location=str(source), is_editable=True
        )
    survey = _Survey(root, record, installed.metadata_folder)
    files = survey.pinned()
    survey.look_for_more()
    survey.raise_findings()
    return VerifiedPack.of(record, files, location=str(root))


def editable_source(metadata: Path) -> Path | None:
    """Give the folder an editable install points to; None: it is none."""
    try:
        note = json.loads((metadata / "direct_url.json").read_bytes()[:_MAX_NOTE])
        if not note["dir_info"]["editable"]:
            return None
        return Path(url2pathname(urlsplit(note["url"]).path))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _checked(record: PackRecord, found: Found | None) -> Found:
    names = {"distribution": record.distribution, "version": record.version}
    if found is None:
        raise PackError("pack.not_installed", **names)
    if found.duplicates:
        raise PackError(
            "pack.duplicate_distribution",
            distribution=record.distribution,
            details=[f"installed in {place}" for place in found.duplicates],
        )
    if found.version != record.version:
        raise PackError("pack.version", **names, found=found.version)
    return found


def _kind(record: PackRecord, how: str, where: str) -> PackError:
    return PackError(
        "pack.install_kind",
        distribution=record.distribution,
        version=record.version,
        how=how,
        details=[f"installed in {where}"],
    )


class _Unfit(Exception):  # noqa: N818 - it is a finding, and never leaves this module
    def __init__(self, code: str, why: str) -> None:
        super().__init__(code)
        self.code = code
        self.why = why


class _Survey:
    """One look at what lies in the installation folder; findings are collected."""

    def __init__(self, root: Path, record: PackRecord, metadata: str) -> None:
        self._root = root
        self._record = record
        self._metadata = metadata
        self._real_folders: set[PurePosixPath] = set()
        self._findings: dict[str, list[str]] = {code: [] for code in _GRAVITY}

    def pinned(self) -> dict[str, bytes]:
        """Read and compare every file of the record."""
        kept: dict[str, bytes] = {}
        for path, approved in self._record.files.items():
            try:
                self._check_folders(path)
                kept[path] = _regular(self._root / path, approved.size + 1)
            except _Unfit as unfit:
                self._find(unfit.code, path, unfit.why)
                continue
            found = hashlib.sha256(kept[path]).hexdigest()
            if found != approved.sha256 or len(kept[path]) != approved.size:
                why = f"approved sha256 {approved.sha256}, installed {found}"
                self._find("pack.file_changed", path, why)
        return kept

    def look_for_more(self) -> None:
        """Find what is there beside the pinned files."""
        tops = {top.casefold() for top in self._record.top_level}
        for entry in _scan(self._root):
            if entry.name.partition(".")[0].casefold() in tops:
                self._look_at(entry, entry.name)
        for entry in _scan(self._root / self._metadata):
            if entry.name not in INSTALLER_FILES or not entry.is_file(follow_symlinks=False):
                self._look_at(entry, f"{self._metadata}/{entry.name}")
        for path in self._listed():
            if not self._is_known(path):
                self._find("pack.file_added", path, "RECORD lists it")

    def raise_findings(self) -> None:
        """Refuse if anything was found; the gravest finding names the error."""
        found = [f"{why}" for whys in self._findings.values() for why in whys]
        for code, whys in self._findings.items():
            if whys:
                raise PackError(
                    code,
                    distribution=self._record.distribution,
                    version=self._record.version,
                    count=len(found),
                    details=found[:_SHOWN],
                )

    def _look_at(self, entry: os.DirEntry[str], path: str) -> None:
        """Compare one entry, and what is below it, with the pinned files."""
        waiting = [(entry, path)]
        while waiting and len(self._findings["pack.file_added"]) < _SHOWN:
            entry, path = waiting.pop()
            if entry.is_symlink():
                self._find("pack.file_symlink", path, "is a link")
            elif not entry.is_dir(follow_symlinks=False):
                if path not in self._record.files:
                    self._find("pack.file_added", path, "is not in the approved wheel")
            elif entry.name != "__pycache__":
                waiting += [(below, f"{path}/{below.name}") for below in _scan(Path(entry.path))]

    def _check_folders(self, path: str) -> None:
        for folder in PurePosixPath(path).parents[:-1]:
            if folder not in self._real_folders:
                if (self._root / folder).is_symlink():
                    raise _Unfit("pack.file_symlink", f"its folder {folder} is a link")
                self._real_folders.add(folder)

    def _listed(self) -> Iterator[str]:
        try:
            content = _regular(self._root / self._metadata / "RECORD", _MAX_NOTE)
            yield from (row[0] for row in record_rows(content))
        except _Unfit:
            return
        except csv.Error:
            self._find("pack.file_changed", f"{self._metadata}/RECORD", "it cannot be read")

    def _is_known(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        top = path.partition("/")[0]
        return (
            path in self._record.files
            or (folder == self._metadata and name in INSTALLER_FILES)
            or (
                (folder.endswith("__pycache__") and ".." not in path.split("/"))
                and (top in self._record.top_level or folder == "__pycache__")
            )
        )

    def _find(self, code: str, path: str, why: str) -> None:
        self._findings[code].append(f"{path}: {why}")


def _regular(path: Path, limit: int) -> bytes:
    """Read at most *limit* bytes of a regular file; no link is followed, nothing is waited for."""
    try:
        descriptor = os.open(path, _READ)
    except (FileNotFoundError, NotADirectoryError):
        raise _Unfit("pack.file_missing", "is not there") from None
    except OSError as error:
        if path.is_symlink():
            raise _Unfit("pack.file_symlink", "is a link") from None
        why = f"cannot be read: {error.strerror}"
        raise _Unfit("pack.file_not_regular", why) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _Unfit("pack.file_not_regular", "is no regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(limit)
    except OSError as error:
        raise _Unfit("pack.file_not_regular", f"cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _tree(record: PackRecord, source: Path) -> dict[str, bytes]:
    """Read an editable install whole; its files are whatever they are at this moment."""
    files: dict[str, bytes] = {}
    for top in record.top_level:
        places = (source / "src", source)
        root = next((p for p in places if (p / top).exists() or (p / f"{top}.py").exists()), source)
        for path in _below(root / top):
            name = path.relative_to(root).as_posix()
            try:
                files[name] = _regular(path, MAX_FILE_BYTES)
            except _Unfit as unfit:
                raise _kind(record, f"editable, and {name} {unfit.why}", str(source)) from None
    return files


def _below(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        return iter((path.with_suffix(".py"),))
    found = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return (one for one in found if "__pycache__" not in one.parts)

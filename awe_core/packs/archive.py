"""A wheel as bytes: opened without trust, every name and limit checked, nothing unpacked to disk.

Rules (PyPA "binary distribution format", and stricter where installers differ): one ``.dist-info``
that fits the file's name, no ``.data`` folder, names that are one file on every system, a RECORD
that agrees with the archive byte for byte.  Refusals are collected; only what cannot be read at all
is raised.
"""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import re
import stat
import zipfile
import zlib
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError
from awe_core.packs.discovery import entry_points, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message
    from pathlib import Path

MAX_FILES = 5_000
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_BYTES = 512 * 1024 * 1024  #: of all files together, unpacked
_MAX_PATH = 512

_FILENAME = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[A-Za-z0-9_.!+]+)"
    r"(-\d[A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl"
)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_UNSIGNED = ("RECORD", "RECORD.jws", "RECORD.p7s")  # what RECORD itself does not list
_STARTUP = (".pth", ".start")
_STARTUP_MODULES = frozenset({"sitecustomize", "usercustomize"})


@attrs.frozen(kw_only=True)
class Archive:
    """The files of a wheel, and what is unfit about them."""

    filename: str
    sha256: str
    size: int  #: of the wheel, in bytes
    files: Mapping[str, bytes] = attrs.field(repr=False)
    dist_info: str  #: the folder; empty if there is not exactly one
    distribution: str  #: normalised
    version: str
    requires_dist: tuple[str, ...]  #: as METADATA has them
    entry_points: Mapping[str, Mapping[str, str]]  #: by group
    refusals: tuple[AweError, ...]

    @property
    def pinned_files(self) -> dict[str, bytes]:
        """What a record pins: all but RECORD, which installers write anew."""
        unpinned = f"{self.dist_info}/RECORD"
        return {path: content for path, content in self.files.items() if path != unpinned}


def open_wheel(path: Path) -> Archive:
    """Read the wheel at *path*.

    :raises PackError: ``pack.wheel`` or ``pack.limits`` if it cannot be read as an archive
    """
    content = _read(path)
    reader = _Reader(path.name)
    files = reader.files(content)
    reader.check_paths(list(files))
    dist_info = reader.dist_info(files)
    metadata = email.message_from_bytes(files.get(f"{dist_info}/METADATA", b""))
    reader.check_metadata(metadata, dist_info)
    if dist_info:
        reader.check_record(files, dist_info)
    return Archive(
        filename=path.name,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        files=files,
        dist_info=dist_info,
        distribution=normalised(str(metadata.get("Name", ""))),
        version=str(metadata.get("Version", "")),
        requires_dist=tuple(map(str, metadata.get_all("Requires-Dist", []))),
        entry_points=entry_points(_text(files.get(f"{dist_info}/entry_points.txt", b""))),
        refusals=tuple(reader.refusals),
    )


def unfit_path(path: str) -> str | None:
    """Say why *path* is not one file on every system; None: it is."""
    parts = path.split("/")
    if not path.isascii() or not path.isprintable():
        return "a name that is not printable ASCII"
    if "\\" in path or ":" in path:
        return "a name with a backslash or colon"
    if path.startswith("/") or ".." in parts:
        return "a name that leads outside"
    if any(part in {"", "."} or part[-1] in ". " for part in parts):
        return "a name that other systems spell otherwise"
    return "a name that is too long" if len(path) > _MAX_PATH else None


def record_rows(content: bytes) -> list[list[str]]:
    """Read a RECORD: path, hash and size a row.

    :raises csv.Error: if it is none
    """
    return [row for row in csv.reader(io.StringIO(_text(content))) if row]


class _Reader:
    """Collects what is unfit about one wheel."""

    def __init__(self, wheel: str) -> None:
        self._wheel = wheel
        self.refusals: list[AweError] = []

    def refuse(self, code: str, **attributes: str) -> None:
        self.refusals.append(PackError(code, wheel=self._wheel, **attributes))

    def files(self, content: bytes) -> dict[str, bytes]:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return dict(self._members(archive))
        except (
            *(zipfile.BadZipFile, zlib.error, EOFError),
            *(NotImplementedError, RuntimeError, ValueError, OSError, OverflowError),
        ) as error:
            raise PackError(
                "pack.wheel", wheel=self._wheel, why=f"it is unreadable: {error}"
            ) from None

    def _members(self, archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
        members = archive.infolist()
        self._limit("number of files", len(members), most=MAX_FILES)
        seen: set[str] = set()
        total = 0
        for member in members:
            name = member.orig_filename
            if name in seen:
                self.refuse("pack.wheel", why=f"it holds {_shown(name)} twice")
                continue
            seen.add(name)
            if not self._is_plain(member) or member.is_dir():
                continue
            with archive.open(member) as file:
                content = file.read(MAX_FILE_BYTES + 1)
            total += len(content)
            self._limit(f"size of {_shown(name)}", len(content), most=MAX_FILE_BYTES)
            self._limit("size of all files", total, most=MAX_BYTES)
            yield name, content

    def _limit(self, what: str, found: int, *, most: int) -> None:
        if found > most:
            raise PackError("pack.limits", wheel=self._wheel, what=what, most=most)

    def _is_plain(self, member: zipfile.ZipInfo) -> bool:
        name = member.orig_filename
        why = unfit_path(name.removesuffix("/"))
        if why is None and member.filename != name:
            why = "a name that readers of archives see differently"
        if why is None and stat.S_IFMT(member.external_attr >> 16) not in {
            0,
            stat.S_IFREG,
            stat.S_IFDIR,
        }:
            why = "a link or special file"
        if why is None and member.compress_type not in _METHODS:
            why = "a compression that installers do not know"
        if why is None and member.is_dir() and member.file_size:
            why = "a folder with content"
        if why is not None:
            self.refuse("pack.path", path=_shown(name), why=why)
        return why is None

    def check_paths(self, paths: list[str]) -> None:
        """Names that are one on some systems, and files that run when Python starts."""
        spelled: dict[str, str] = {}
        for path in paths:
            for prefix in _prefixes(path):
                other = spelled.setdefault(prefix.casefold(), prefix)
                if other != prefix:
                    self.refuse("pack.case_collision", path=prefix, other=other)
            name = path.rpartition("/")[2]
            if name.endswith(_STARTUP) or _STARTUP_MODULES & {
                part.partition(".")[0] for part in path.split("/")
            }:
                self.refuse("pack.startup_file", path=path)
            if name.endswith((".pyc", ".pyo")) or "__pycache__" in path.split("/"):
                self.refuse("pack.path", path=path, why="code whose source nobody reads")
        for path in paths:
            for folder in list(_prefixes(path))[:-1]:
                if folder in paths:
                    self.refuse("pack.path", path=folder, why="a file that is a folder as well")

    def dist_info(self, files: Mapping[str, bytes]) -> str:
        tops = sorted({path.partition("/")[0] for path in files})
        for top in tops:
            if top.lower().endswith(".data"):
                self.refuse("pack.path", path=f"{top}/", why="a folder that installs anywhere")
        found = [top for top in tops if top.lower().endswith(".dist-info")]
        named = _FILENAME.fullmatch(self._wheel)
        if len(found) != 1:
            self.refuse("pack.wheel", why=f"it holds {len(found)} .dist-info folders, not one")
            return ""
        name, _, version = found[0].removesuffix(".dist-info").partition("-")
        if not named or (normalised(named["name"]), named["version"]) != (
            normalised(name),
            version,
        ):
            self.refuse("pack.name", why=f"its file name does not fit {found[0]}")
        for wanted in ("METADATA", "WHEEL", "RECORD"):
            if f"{found[0]}/{wanted}" not in files:
                self.refuse("pack.wheel", why=f"it has no {wanted}")
        return found[0]

    def check_metadata(self, metadata: Message, dist_info: str) -> None:
        names, versions = metadata.get_all("Name", []), metadata.get_all("Version", [])
        if len(names) != 1 or len(versions) != 1:
            self.refuse("pack.name", why="METADATA does not give one Name and one Version")
            return
        named = f"{normalised(str(names[0]))}-{str(versions[0]).replace('-', '_')}"
        folder, _, version = dist_info.removesuffix(".dist-info").partition("-")
        if dist_info and named != f"{normalised(folder)}-{version}":
            self.refuse("pack.name", why=f"METADATA says {named}, its folder is {dist_info}")

    def check_record(self, files: Mapping[str, bytes], dist_info: str) -> None:
        try:
            rows = record_rows(files.get(f"{dist_info}/RECORD", b""))
        except csv.Error as error:
            return self.refuse("pack.wheel", why=f"its RECORD cannot be read: {error}")
        listed = {row[0]: row[1:] for row in rows}
        if len(listed) != len(rows):
            self.refuse("pack.wheel", why="its RECORD lists a file twice")
        unsigned = {f"{dist_info}/{name}" for name in _UNSIGNED}
        for path in sorted((listed.keys() ^ files.keys()) - unsigned):
            where = "RECORD lists" if path in listed else "the archive holds"
            self.refuse("pack.wheel", why=f"only {where} {_shown(path)}")
        for path in sorted((listed.keys() & files.keys()) - unsigned):
            if listed[path] != [_record_hash(files[path]), str(len(files[path]))]:
                self.refuse("pack.wheel", why=f"{path} is not what RECORD says")
        return None


def _read(path: Path) -> bytes:
    limit = MAX_BYTES
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise PackError("pack.wheel", wheel=path.name, why=f"{error.strerror}") from None
    if len(content) > limit:
        raise PackError("pack.limits", wheel=path.name, what="size", most=limit)
    return content


def _prefixes(path: str) -> Iterator[str]:
    parts = path.split("/")
    return ("/".join(parts[: n + 1]) for n in range(len(parts)))


def _record_hash(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"


def _shown(name: str) -> str:
    return name.encode("ascii", "backslashreplace").decode()[:120]


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")

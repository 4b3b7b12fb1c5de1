"""A wheel as bytes: opened without trust, every name and limit checked, nothing unpacked to disk.

Rules (PyPA "binary distribution format", and stricter where installers differ): one ``.dist-info``
that fits the file's name, no ``.data`` folder, names that are one file on every system, a RECORD
that agrees with the archive byte for byte.  Refusals are collected; only what cannot be read at all
is raised.  `rebuild_wheel` is the way back, from what is installed.
"""

from __future__ import annotations

import base64
import csv
import email
import hashlib
import io
import itertools
import os
import re
import stat
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError
from awe_core.packs.discovery import entry_points, normalised

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

    from awe_core.packs.discovery import Found

MAX_FILES = 5_000
MAX_FILE_BYTES = 64 * 1024 * 1024
MAX_BYTES = 512 * 1024 * 1024  #: of all files together, unpacked
#: What is parsed of a wheel's notes; their readers take up to a hundred times as much memory.
_MAX_NOTES = {
    "RECORD": 4 << 20,
    "METADATA": 512 << 10,
    "WHEEL": 64 << 10,
    "entry_points.txt": 64 << 10,
}
_MAX_ROW = 4096  #: characters of one: a path, a hash and a size
_MAX_ROWS = 4 * MAX_FILES  #: of RECORD: each file and its bytecode, more than once
_MAX_PATH = 512

_FILENAME = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[A-Za-z0-9_.!+]+)"
    r"(-\d[A-Za-z0-9_.]*)?(-[A-Za-z0-9_.]+){3}\.whl"
)
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_KINDS = frozenset({0, stat.S_IFREG, stat.S_IFDIR})
_UNSIGNED = ("RECORD", "RECORD.jws", "RECORD.p7s")  # what RECORD itself does not list
_STARTUP_MODULES = frozenset({"sitecustomize", "usercustomize"})
#: What installers write into ``.dist-info`` beside the wheel's own; pip's and uv's sets differ.
INSTALLER_FILES = frozenset(
    {"INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the oldest time a zip can hold
UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
    *(RuntimeError, ValueError, OSError, OverflowError),
)


@attrs.frozen(kw_only=True)
class Archive:
    """The files of a wheel, and what is unfit about them."""

    filename: str
    sha256: str
    size: int  #: of the wheel, in bytes
    files: Mapping[str, bytes] = attrs.field(repr=False)
    dist_info: str  #: the folder; empty if there is not exactly one
    metadata: Message = attrs.field(repr=False)
    entry_points: Mapping[str, Mapping[str, str]]  #: by group
    refusals: tuple[AweError, ...]


def open_wheel(path: Path) -> Archive:
    """Read the wheel at *path*."""
    reader = _Reader(path.name)
    content = reader.read(path)
    files = reader.unpack(content)
    reader.check_paths(files)
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
        metadata=metadata,
        entry_points=reader.entry_points(files.get(f"{dist_info}/entry_points.txt", b"")),
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

    :raises csv.Error: it is none, or longer than any wheel makes it
    """
    lines = io.StringIO(_text(content))
    if any(len(line) > _MAX_ROW for line in lines):
        raise csv.Error(f"a row of more than {_MAX_ROW} characters")  # noqa: EM102, TRY003 - as csv says it
    lines.seek(0)
    rows = list(itertools.islice(csv.reader(lines), _MAX_ROWS + 1))
    if len(rows) > _MAX_ROWS:
        raise csv.Error(f"more than {_MAX_ROWS} rows")  # noqa: EM102, TRY003 - as csv says it
    return [row for row in rows if row]


def record_hash(sha256: bytes) -> str:
    """Write a digest as RECORD does."""
    return f"sha256={base64.urlsafe_b64encode(sha256).decode().rstrip('=')}"


def shown(name: str) -> str:
    """Write somebody's file name so that any terminal can show it."""
    return name.encode("ascii", "backslashreplace").decode()[:200]


def rebuild_wheel(found: Found, folder: Path) -> Path:
    """Write the wheel of an installed distribution into *folder* again and give its path.

    A pure wheel is only its files in a zip, so for trying things out on one machine that is enough:
    byte for byte the same each time, and what is approved then is exactly what lies here.

    :raises PackError: ``pack.install_kind`` when it was not installed from a wheel
    """
    root, metadata = Path(found.location), found.metadata_folder
    if not metadata or not (root / metadata / "RECORD").is_file():
        names = {"distribution": found.distribution, "version": found.version}
        raise PackError("pack.install_kind", **names, how="without a RECORD")
    files: dict[str, bytes] = {}
    for path in sorted(row[0] for row in record_rows((root / metadata / "RECORD").read_bytes())):
        parts = Path(path).parts
        is_installers = parts[0] == metadata and parts[-1] in INSTALLER_FILES
        if not (is_installers or path.startswith("/") or {"..", "__pycache__"} & {*parts}):
            files[path] = (root / path).read_bytes()
    lines = io.StringIO()
    rows = [
        [path, record_hash(hashlib.sha256(data).digest()), len(data)]
        for path, data in files.items()
    ]
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([*rows, [f"{metadata}/RECORD", "", ""]])
    files[f"{metadata}/RECORD"] = lines.getvalue().encode()
    tag = email.message_from_bytes(files.get(f"{metadata}/WHEEL", b"")).get("Tag", "py3-none-any")
    wheel = folder / f"{found.distribution.replace('-', '_')}-{found.version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o100644 << 16
            archive.writestr(entry, data)
    return wheel


class _Reader:
    """Collects what is unfit about one wheel."""

    def __init__(self, wheel: str) -> None:
        self._wheel = wheel
        self.refusals: list[AweError] = []

    def refuse(self, code: str, **attributes: str) -> None:
        self.refusals.append(PackError(code, wheel=self._wheel, **attributes))

    def read(self, path: Path) -> bytes:
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                self._limit("size", size, most=MAX_BYTES)
                return file.read(size)
        except OSError as error:
            raise PackError("pack.wheel", wheel=path.name, why=f"{error.strerror}") from None

    def unpack(self, content: bytes) -> dict[str, bytes]:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                return dict(self._members(archive))
        except UNREADABLE as error:
            why = f"it is unreadable: {error}"
            raise PackError("pack.wheel", wheel=self._wheel, why=why) from None

    def _members(self, archive: zipfile.ZipFile) -> Iterator[tuple[str, bytes]]:
        members = archive.infolist()
        self._limit("number of files", len(members), most=MAX_FILES)
        size = sum(member.file_size for member in members)  # no more is read, whatever is there
        self._limit("size of all files", size, most=MAX_BYTES)
        seen: set[str] = set()
        for member in members:
            name = member.orig_filename
            if name in seen:
                self.refuse("pack.wheel", why=f"it holds {shown(name)} twice")
                continue
            seen.add(name)
            if (why := _unfit_member(member)) is not None:
                self.refuse("pack.path", path=shown(name), why=why)
                continue
            if member.is_dir():
                continue
            most = _MAX_NOTES.get(name.partition(".dist-info/")[2], MAX_FILE_BYTES)
            self._limit(f"size of {shown(name)}", member.file_size, most=most)
            yield name, archive.read(member)

    def _limit(self, what: str, found: int, *, most: int) -> None:
        if found > most:
            raise PackError("pack.limits", wheel=self._wheel, what=what, most=most)

    def check_paths(self, paths: Mapping[str, bytes]) -> None:
        """Names that are one on some systems, and files that run when Python starts."""
        spelled: dict[str, str] = {}
        for path in paths:
            parts = path.split("/")
            prefixes = ["/".join(parts[: n + 1]) for n in range(len(parts))]
            for prefix in prefixes:
                other = spelled.setdefault(prefix.casefold(), prefix)
                if other != prefix:
                    self.refuse("pack.case_collision", path=prefix, other=other)
            is_startup = {part.partition(".")[0] for part in parts} & _STARTUP_MODULES
            if is_startup or path.endswith((".pth", ".start")):
                self.refuse("pack.startup_file", path=path)
            if path.endswith((".pyc", ".pyo")) or "__pycache__" in parts:
                self.refuse("pack.path", path=path, why="code whose source nobody reads")
            for folder in prefixes[:-1]:
                if folder in paths:
                    self.refuse("pack.path", path=folder, why="a file that is a folder as well")

    def dist_info(self, files: Mapping[str, bytes]) -> str:
        tops = sorted({path.partition("/")[0] for path in files})
        for top in tops:
            if top.lower().endswith(".data"):
                self.refuse("pack.path", path=f"{top}/", why="a folder that installs anywhere")
        found = [top for top in tops if top.lower().endswith(".dist-info")]
        if len(found) != 1:
            self.refuse("pack.wheel", why=f"it holds {len(found)} .dist-info folders, not one")
            return ""
        named = _FILENAME.fullmatch(self._wheel)
        if not named or _folder(named["name"], named["version"]) != _normal_folder(found[0]):
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
        named = _folder(str(names[0]), str(versions[0]).replace("-", "_"))
        if named != _normal_folder(dist_info):
            self.refuse("pack.name", why=f"METADATA says {named}, its folder is {dist_info}")

    def entry_points(self, content: bytes) -> dict[str, dict[str, str]]:
        try:
            return entry_points(_text(content))
        except ValueError as error:
            why = "is a line that not every installer reads alike"
            self.refuse("pack.entry_points", entry_point=shown(f"{error}"), why=why)
            return {}

    def check_record(self, files: Mapping[str, bytes], dist_info: str) -> None:
        try:
            rows = record_rows(files.get(f"{dist_info}/RECORD", b""))
        except csv.Error as error:
            return self.refuse("pack.wheel", why=f"its RECORD cannot be read: {error}")
        listed = {row[0]: row[1:] for row in rows}
        if len(listed) != len(rows):
            self.refuse("pack.wheel", why="its RECORD lists a file twice")
        for path in sorted({*listed, *files} - {f"{dist_info}/{name}" for name in _UNSIGNED}):
            if path not in files or path not in listed:
                where = "RECORD lists" if path in listed else "the archive holds"
                self.refuse("pack.wheel", why=f"only {where} {shown(path)}")
            elif listed[path] != [
                record_hash(hashlib.sha256(files[path]).digest()),
                str(len(files[path])),
            ]:
                self.refuse("pack.wheel", why=f"{path} is not what RECORD says")
        return None


def _unfit_member(member: zipfile.ZipInfo) -> str | None:
    name = member.orig_filename
    if why := unfit_path(name.removesuffix("/")):
        return why
    if member.filename != name:
        return "a name that readers of archives see differently"
    if stat.S_IFMT(member.external_attr >> 16) not in _KINDS:
        return "a link or special file"
    if member.compress_type not in _METHODS:
        return "a compression that installers do not know"
    return "a folder with content" if member.is_dir() and member.file_size else None


def _folder(name: str, version: str) -> str:
    return f"{normalised(name)}-{version}"


def _normal_folder(dist_info: str) -> str:
    name, _, version = dist_info.removesuffix(".dist-info").partition("-")
    return _folder(name, version)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")

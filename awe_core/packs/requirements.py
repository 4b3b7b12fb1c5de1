"""What a pack runs with: pinned when it is proposed, compared with what is here when it starts.

Rules.  Requirements are followed through extras and environment markers as they are *here* (PyPA
"dependency specifiers"); the core is left out.  The version is always pinned, and where wheels are
given the files too: SHA-256 over a line ``<sha256> <size> <path>`` for each that lies below
``site-packages``, by path; what installers write does not count.  Nothing may be extra in a folder
that is a package of the distribution; of a namespace, which others share, only its own files are
looked at.  RECORD is not trusted: it says which files to look for and, at best, what has changed.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import os
import re
import zipfile
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.errors import PackError
from awe_core.packs.archive import (
    INSTALLER_FILES,
    MAX_FILE_BYTES,
    UNREADABLE,
    record_hash,
    record_rows,
    shown,
)
from awe_core.packs.discovery import discover, normalised, said
from awe_core.packs.installed import MAX_NOTE_BYTES, SHOWN, Unfit, entries, read
from awe_core.records import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.packs.discovery import Found
    from awe_core.records import PackRecord

_LIBRARY = re.compile(r"^[^/]+\.data/(purelib|platlib)/")  # unpacked beside the other files
_NAMESPACE = re.compile(rb"\b(extend_path|declare_namespace)\(")  # before there were true ones


def requirements_of(
    requires_dist: Iterable[str], wheels: Path | None = None
) -> tuple[Requirement, ...]:
    """Pin what a wheel requires, and what that requires.

    :param wheels: a folder with the wheel of each; None: versions alone, those installed here
    :raises PackError: ``pack.requirement``
    """
    # Costs 11 ms, and a start, which only compares, has no use for it.
    from packaging.requirements import Requirement as Wanted  # noqa: PLC0415

    known: dict[str, tuple[Distribution, str]] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(line, "") for line in requires_dist]
    while waiting:
        line, extra = waiting.pop()
        try:
            wanted = Wanted(line)
            name, marker = normalised(wanted.name), wanted.marker
            if name == "awe-core" or (marker and not marker.evaluate({"extra": extra})):
                continue
            if name not in known:
                known[name] = _in_folder(name, wheels) if wheels else (distribution(name), "")
            found = known[name][0]
            version = said(found)[1]
            if not (version and wanted.specifier.contains(version, prereleases=True)):
                raise _unpinned(line, f"{version or 'no version'} is what was found")
        except (*UNREADABLE, ImportError) as error:  # unreadable text or wheel; not installed
            raise _unpinned(line, f"{error}".partition("\n")[0]) from None
        new = {(name, one) for one in ("", *wanted.extras)} - seen
        seen |= new
        waiting += [(more, one) for _, one in new for more in found.requires or ()]
    pinned = sorted(known.items())
    return tuple(Requirement(name, found.version, tree) for name, (found, tree) in pinned)


def check_requirements(record: PackRecord, *, deep: bool = False) -> None:
    """Compare what is installed with what a pack was approved with.

    :param deep: also the files of each requirement whose tree digest is pinned
    :raises PackError: ``pack.dependency``
    """
    differing: list[str] = []
    names = [wanted.distribution for wanted in record.requires]
    here = {one.name: one for one in discover(also=names)} if names else {}
    for wanted in record.requires:
        name, found = wanted.distribution, here.get(wanted.distribution)
        if found is None or found.version != wanted.version:
            version = found.version if found else "not at all"
            differing.append(f"{name}: approved {wanted.version}, installed {version}")
        elif deep and wanted.tree:
            differing += (f"{name}: {why}" for why in _differences(found, wanted.tree))
    if differing:
        about = {"distribution": record.distribution, "version": record.version}
        raise PackError("pack.dependency", **about, details=differing[:SHOWN])


def _unpinned(requirement: str, why: str) -> PackError:
    return PackError("pack.requirement", requirement=requirement, why=why)


def _in_folder(name: str, folder: Path) -> tuple[Distribution, str]:
    wheels = [one for one in folder.glob("*.whl") if normalised(one.name.split("-")[0]) == name]
    if len(wheels) != 1:
        raise _unpinned(name, f"{folder} holds {len(wheels)} wheels of it, not one")
    files: dict[str, tuple[str, int]] = {}
    archive = zipfile.ZipFile(wheels[0])
    for member in archive.infolist():
        path = _LIBRARY.sub("", member.filename)
        if not member.is_dir() and _counts(path):
            digest = hashlib.sha256(archive.read(member)).hexdigest()
            files[path] = (digest, member.file_size)
    inside = next((path for path in files if path.endswith(".dist-info/METADATA")), "")
    info = zipfile.Path(archive, inside.removesuffix("METADATA"))
    return PathDistribution(info), _tree(files)


def _counts(path: str) -> bool:
    """Whether a file is the distribution's own and lies in ``site-packages``."""
    folder, _, name = path.rpartition("/")
    is_installers = folder.endswith(".dist-info") and name in INSTALLER_FILES
    is_elsewhere = path.partition("/")[0].endswith(".data") or path.startswith(("/", "../"))
    return not (is_installers or is_elsewhere or "__pycache__" in folder.split("/"))


def _tree(files: Mapping[str, tuple[str, int]]) -> str:
    lines = (f"{sha256} {size} {path}\n" for path, (sha256, size) in sorted(files.items()))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _differences(found: Found, tree: str) -> list[str]:
    """Tell what of an installed distribution is not what was approved, as far as RECORD can."""
    if found.duplicates or not found.metadata_folder:
        return ["is not installed in one place, from a wheel"]
    root = Path(found.location)
    try:
        rows = record_rows(read(root, f"{found.metadata_folder}/RECORD", MAX_NOTE_BYTES))
    except (Unfit, csv.Error) as error:
        return [f"{found.metadata_folder}/RECORD: {error.args[-1]}"]
    listed = {row[0]: "".join(row[1:2]) for row in rows if _counts(row[0])}
    files, findings = _on_disk(root, listed)
    if _tree(files) == tree and not findings:
        return []
    here = {path: record_hash(bytes.fromhex(sha256)) for path, (sha256, _) in files.items()}
    for path in sorted({*listed, *here}):
        wanted, seen = (each.get(path, "nothing") for each in (listed, here))
        if wanted != seen:
            findings.append(f"{shown(path)}: its RECORD says {shown(wanted)}, found {seen}")
    return findings or [f"approved tree {tree}, installed {_tree(files)}"]


def _on_disk(root: Path, listed: Iterable[str]) -> tuple[dict[str, tuple[str, int]], list[str]]:
    """Hash the distribution's files and whatever lies among them; tell what is no file."""
    parts = [path.split("/") for path in listed]
    ours = {"/".join(part[: n + 1]) for part in parts for n in range(len(part))}
    packages = {"/".join(part[:-1]) for part in parts if part[-1].startswith("__init__.")}
    packages |= {part[0] for part in parts if part[0].endswith(".dist-info")}
    for one in sorted(packages):
        with contextlib.suppress(Unfit):
            if _NAMESPACE.search(read(root, f"{one}/__init__.py", MAX_NOTE_BYTES)):
                packages.discard(one)
    modules = {part[0].partition(".")[0] for part in parts if len(part) == 1 or part[0] in packages}
    files: dict[str, tuple[str, int]] = {}
    findings: list[str] = []
    waiting = [("", False)]
    while waiting:
        folder, whole = waiting.pop()
        whole = whole or folder in packages
        for entry in entries(root / folder):
            path = f"{folder}/{entry.name}" if folder else entry.name
            is_rival = not folder and entry.name.partition(".")[0] in modules
            if not (whole or path in ours or is_rival):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append((path, whole or path not in ours))
            elif _counts(path):
                try:
                    content = read(root, path, MAX_FILE_BYTES)
                    files[path] = (hashlib.sha256(content).hexdigest(), len(content))
                except Unfit as unfit:
                    findings.append(f"{shown(path)}: {unfit.args[2]}")
    return files, findings

"""Bytes kept for open runs, in ``<home>/packs/<record digest>``: an upgrade takes no undo away.

While an open run pins a record, its verified bytes lie here and are hashed again on every use.
They are run in a worker, never in the engine's process, which has the newer version.
"""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING

from awe_core.errors import PackError
from awe_core.packs.discovery import Found
from awe_core.packs.installed import verify_installed
from awe_core.packs.verified import VerifiedPack, record_digest

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.records import PackRecord


def keep(pack: VerifiedPack, home: Path) -> Path:
    """Put the bytes of *pack* into *home*; once is enough.

    :returns: the folder
    """
    folder = _folder(home, pack.digest)
    if folder.exists():
        return folder
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = folder.with_name(f".{pack.digest}.{secrets.token_hex(8)}")
    try:
        for path, content in pack.pinned.files.items():
            file = unfinished / path
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            file.write_bytes(content)
        _settle(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def kept(record: PackRecord, home: Path) -> VerifiedPack:
    """Read the kept bytes of *record*, and compare them as an installation is compared.

    :raises PackError: ``pack.not_installed`` if they are not kept; ``pack.file_…`` if they differ
    """
    folder = _folder(home, record_digest(record))
    if not folder.is_dir():
        names = {"distribution": record.distribution, "version": record.version}
        raise PackError("pack.not_installed", **names)
    metadata = next((p.partition("/")[0] for p in record.files if ".dist-info/" in p), "")
    found = Found(record.distribution, record.version, {}, str(folder), metadata)
    return verify_installed(record, found)


def drop(record_digest: str, home: Path) -> None:
    """Keep these bytes no longer; no open run pins them."""
    shutil.rmtree(_folder(home, record_digest), ignore_errors=True)


def _folder(home: Path, digest: str) -> Path:
    return home / "packs" / digest


def _settle(unfinished: Path, folder: Path) -> None:
    try:
        unfinished.rename(folder)
    except OSError:
        if not folder.is_dir():  # somebody else kept the same bytes first
            raise

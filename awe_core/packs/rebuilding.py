"""Makes the wheel of an installed distribution again, byte for byte the same each time.

People approve wheels.  What is installed here and now has lost its wheel, but a pure wheel is only
its files in a zip (binary distribution format, PyPA): for trying things out on one machine, and for
``awe packs trust-local``, that is enough.  What is approved then is exactly what lies here.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.errors import PackError
from awe_core.packs.installed import INSTALLER_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.packs.discovery import Found

_EPOCH = (1980, 1, 1, 0, 0, 0)  #: the oldest time a zip can hold


def rebuild_wheel(found: Found, folder: Path) -> Path:
    """Write the wheel of *found* into *folder* and give its path.

    :raises PackError: ``pack.install_kind`` when it was not installed from a wheel
    """
    root, metadata = Path(found.location), found.metadata_folder
    if not metadata or not (root / metadata / "RECORD").is_file():
        raise PackError(
            "pack.install_kind",
            distribution=found.distribution,
            version=found.version,
            how="without a RECORD",
        )
    files = dict(_files(root, metadata))
    name = found.distribution.replace("-", "_")
    wheel = folder / f"{name}-{found.version}-{_tag(files, metadata)}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in [*files.items(), (f"{metadata}/RECORD", _record(files, metadata))]:
            entry = zipfile.ZipInfo(path, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    return wheel


def _files(root: Path, metadata: str) -> Iterator[tuple[str, bytes]]:
    """Give what the wheel held, by its RECORD, in order of path."""
    record = (root / metadata / "RECORD").read_text(encoding="utf-8")
    for path in sorted(row[0] for row in csv.reader(io.StringIO(record)) if row):
        parts = Path(path).parts
        is_installers = parts[0] == metadata and parts[-1] in INSTALLER_FILES
        is_outside = Path(path).is_absolute() or ".." in parts
        if not is_installers and not is_outside and "__pycache__" not in parts:
            yield path, (root / path).read_bytes()


def _record(files: dict[str, bytes], metadata: str) -> bytes:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        writer.writerow([path, f"sha256={digest}", len(data)])
    writer.writerow([f"{metadata}/RECORD", "", ""])
    return lines.getvalue().encode()


def _tag(files: dict[str, bytes], metadata: str) -> str:
    """The compatibility tag that the wheel's own metadata names."""
    for line in files.get(f"{metadata}/WHEEL", b"").decode().splitlines():
        if line.startswith("Tag:"):
            return line.partition(":")[2].strip()
    return "py3-none-any"

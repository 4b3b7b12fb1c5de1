"""A reserve of 4 MiB that is given up when the disk is full.

It lets the journal record what was already done, and that it stops: nothing acts or unwinds until
there is room again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SIZE_BYTES = 4 * 1024 * 1024

#: What may still be recorded without room: what the world already shows.
EVIDENCE = frozenset(
    {"effect.applied", "effect.failed", "step.in_doubt", "undo.applied", "undo.conflict"}
    | {"undo.failed", "log.suspended", "log.resumed", "log.closed"}
)


def take(file: Path) -> bool:
    """Occupy the reserve; False when there is no room for it."""
    if file.exists():
        return True
    part = file.with_suffix(".part")
    try:
        with os.fdopen(os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb") as out:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(out.fileno(), 0, _SIZE_BYTES)
            else:
                out.write(bytes(_SIZE_BYTES))
        part.replace(file)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        return False
    return True


def missing_bytes(file: Path) -> int:
    """How much must be freed before the log goes on; 0 when there is room."""
    return max(0, 2 * _SIZE_BYTES - shutil.disk_usage(file.parent).free)

"""A reserve of 4 MiB that is given up when the disk is full.

It lets the journal record what was already done, and that it stops: nothing acts or unwinds until
there is room again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

SIZE_BYTES = 4 * 1024 * 1024

#: What may still be recorded without room: what the world already shows.
EVIDENCE = frozenset(
    {"effect.applied", "effect.failed", "step.in_doubt", "undo.applied", "undo.conflict"}
    | {"undo.failed", "log.suspended", "log.resumed", "log.closed"}
)


@attrs.frozen
class Ballast:
    """The reserve of one home."""

    file: Path

    def take(self) -> bool:
        """Occupy the reserve; False when there is no room for it."""
        if self.file.exists():
            return True
        part = self.file.with_suffix(".part")
        try:
            descriptor = os.open(part, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            try:
                _fill(descriptor)
            finally:
                os.close(descriptor)
            part.replace(self.file)
        except OSError:
            with contextlib.suppress(OSError):
                part.unlink()
            return False
        return True

    def give_up(self) -> None:
        """Free the reserve."""
        self.file.unlink(missing_ok=True)

    @property
    def missing_bytes(self) -> int:
        """How much must be freed before the log goes on; 0 when there is room."""
        return max(0, 2 * SIZE_BYTES - shutil.disk_usage(self.file.parent).free)


def _fill(descriptor: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, SIZE_BYTES)
    else:
        os.write(descriptor, bytes(SIZE_BYTES))

"""When a checkpoint is due, and what happens when the signer does not answer.

A checkpoint is due 1,000 records or 1 s after the first record that none covers.  It is written in
the transaction of the newest record it covers or later, never earlier.  A signer that fails stops
nothing: records go on, checkpoints wait, and after 60 s the log says so.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs

from awe_core.journal import notes

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from awe_core.journal.records import LogSigner
    from awe_core.journal.tree import Frontier
    from awe_core.values import JsonObject

EVERY_RECORDS = 1_000
EVERY_S = 1.0
_PATIENCE_S = 60.0
_RETRY_S = 1.0


@attrs.define
class Checkpointer:
    """The signing state of one open log."""

    origin: str
    signer: LogSigner
    signed: int  #: size of the newest checkpoint
    every_s: float = EVERY_S
    _uncovered_since: float | None = None
    _failing_since: float | None = None
    _tried_at: float = 0.0
    _is_reported: bool = False
    _error: str = ""

    def note_for(self, frontier: Frontier, *, is_forced: bool = False) -> str | None:
        """Give the note over *frontier* if one is due; None if not, or if the signer failed."""
        now = time.monotonic()
        if frontier.size == self.signed:
            return None
        since = self._uncovered_since = self._uncovered_since or now
        is_due = frontier.size - self.signed >= EVERY_RECORDS or now - since >= self.every_s
        is_resting = self._failing_since is not None and now - self._tried_at < _RETRY_S
        if not is_forced and (is_resting or not is_due):
            return None
        self._tried_at = now
        checkpoint = notes.Checkpoint(self.origin, frontier.size, frontier.root())
        try:
            return notes.sign(checkpoint, self.signer)
        except Exception as error:  # noqa: BLE001 - foreign code: a device or a service
            self._failing_since = self._failing_since or now
            self._error = f"{type(error).__name__}: {error}"[:2000]
            return None

    def committed(self, size: int) -> None:
        """Hear that a note over the log up to *size* is durable."""
        self.signed, self._uncovered_since, self._failing_since = size, None, None

    def report(self) -> JsonObject | None:
        """Give the event that tells of a silent signer, or of its return; each once an outage."""
        if self._failing_since is None:
            if not self._is_reported:
                return None
            self._is_reported = False
            return {"kind": "sink.recovered", "sink": "signer", "acked": self.signed, "behind": 0}
        if self._is_reported or time.monotonic() - self._failing_since < _PATIENCE_S:
            return None
        self._is_reported = True
        err = {"code": "audit.signer", "type": "", "msg": self._error}
        return {"kind": "sink.degraded", "sink": "signer", "acked": self.signed, "err": err}

    @property
    def is_behind(self) -> bool:
        """Tell whether a record waits for a checkpoint."""
        return self._uncovered_since is not None


def keep_copies(note: str, anchors: Iterable[Path]) -> None:
    """Put *note* at every anchor, whole or not at all; a disk that is away is no reason to stop."""
    for anchor in anchors:
        part = anchor.with_name(anchor.name + ".part")
        with suppress(OSError):
            part.write_text(note)
            part.replace(anchor)

"""How taking one effect back can end, other than by an error."""

from __future__ import annotations

from typing import TypeAlias

import attrs


@attrs.frozen
class Applied:
    """The world is again as it was when the record was captured."""


@attrs.frozen
class Conflict:
    """Somebody else changed *path* after us, so it was left alone."""

    path: str  #: relative to the workspace
    found_sha256: str | None  #: what is there now, lower-case hex; None when nothing is
    kept: str | None = None  #: the slot in which our earlier version lies


UndoOutcome: TypeAlias = Applied | Conflict

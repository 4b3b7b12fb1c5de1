"""One answer of the doctor: what was looked at, how it is, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from awe_core.values import JsonObject


class Level(StrEnum):
    """Green: as it should be.  Amber: it works, with a caveat.  Red: a promise does not hold."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@attrs.frozen
class Check:
    """One thing the doctor looked at."""

    topic: str
    what: str
    level: Level
    found: str
    next: str = ""  #: the command or edit that mends it; empty when green

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        return {
            "topic": self.topic,
            "what": self.what,
            "level": self.level.value,
            "found": self.found,
            "next": self.next or None,
        }

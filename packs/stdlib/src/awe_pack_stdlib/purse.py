"""A purse for work whose price nobody knows before: what a stranger's template or query makes.

A thread cannot be killed and memory cannot be given back by force, so such work pays as it goes and
stops when the purse is empty.  What holds one thing twice pays twice: comparing or writing it would
visit it twice, and doubling that forty times over is how a hundred bytes fill a machine.
"""

from __future__ import annotations

import math
import sys
import time


class PurseEmptyError(Exception):
    """The work would take more memory or time than it may."""


class Purse:
    """Bytes and seconds that one piece of work may take, all together."""

    def __init__(self, most_bytes: int, *, seconds: float) -> None:
        """Start the clock."""
        self._left = most_bytes
        self._until = time.monotonic() + seconds
        self._limits = f"{most_bytes >> 20} MiB or {seconds:g} seconds"

    def pay(self, size: int) -> None:
        """Take *size* bytes out.

        :raises PurseEmptyError: there were not as many, or time is up
        """
        self._left -= size
        if self._left < 0 or time.monotonic() > self._until:
            message = f"it takes more than {self._limits}"
            raise PurseEmptyError(message)

    def pay_for(self, value: object) -> None:
        """Pay for *value* with all it holds."""
        waiting = [value]
        while waiting:
            one = waiting.pop()
            self.pay(sys.getsizeof(one))
            match one:
                case list() | tuple():
                    waiting += one
                case dict():
                    waiting += one.keys()
                    waiting += one.values()


def no_json(value: object) -> object:
    """Give the first thing in *value* that JSON does not have, or None."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case None | bool() | int() | str():
                pass
            case float() as found if math.isfinite(found):
                pass
            case list() | tuple() as found:
                waiting += found
            case dict() as found:
                waiting += found.keys()
                waiting += found.values()
            case found:
                return found
    return None

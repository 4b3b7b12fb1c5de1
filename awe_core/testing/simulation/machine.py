"""A machine whose time, chance and file numbers follow from one seed.

`Machine.install` replaces, for the whole process, what the engine asks of the operating system:
clocks, random bytes, the process id, inode numbers and times of files.  So it is for processes that
are thrown away: a simulated life is a forked child, and its crash is ``os._exit``.

Rules: time passes only where the loop would have waited, and 1 µs at each of its turns.  A file has
the number and the time of its first look; both are kept in a file, because undo records outlive the
process that made them.  The time of a folder is always 0: the kernel's would depend on its tick.
"""

from __future__ import annotations

import asyncio
import math
import os
import random
import selectors
import stat
import time
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_EPOCH_US = 1_800_000_000_000_000  #: when every world begins
_REAL_NS = 10**18  #: times of files after this are the kernel's, those before it are ours
_PID = 4242
_STALLED = "everything waits for something that nothing will ever bring"


@attrs.define(eq=False)
class Clock:
    """Virtual time, in microseconds since 1970."""

    now_us: int = _EPOCH_US

    def __call__(self) -> int:
        """Give the time."""
        return self.now_us


class Machine:
    """Time, chance and file numbers of one process."""

    def __init__(self, seed: str, *, numbers: Path, now_us: int = _EPOCH_US) -> None:
        """Start at *now_us*.

        :param seed: of all chance; a new process of the same world needs another one
        :param numbers: the file in which inode numbers and times are kept over processes
        """
        self.dice = random.Random(seed)
        self.clock = Clock(now_us)
        self._entropy = random.Random(f"{seed}/entropy")
        self._files = _Files(numbers)

    def install(self) -> None:
        """Put this machine under everything that runs in this process from now on."""
        clock, draw = self.clock, self._entropy.randbytes
        _replace(os, "urandom", draw)
        _replace(random, "_urandom", draw)  # what `secrets` reads
        _replace(os, "getpid", lambda: _PID)
        for name, unit in {"time": 1e-6, "monotonic": 1e-6}.items():
            _replace(time, name, lambda unit=unit: clock.now_us * unit)
            _replace(time, f"{name}_ns", lambda: clock.now_us * 1_000)
        for name in ("stat", "fstat"):
            _replace(os, name, self._files.seen_by(getattr(os, name)))

    def loop(self) -> asyncio.AbstractEventLoop:
        """Make an event loop that skips what it would have waited."""
        return _Loop(self.clock)


def _replace(module: Any, name: str, function: Callable[..., Any]) -> None:
    setattr(module, name, function)


# ---- the loop ----------------------------------------------------------------------------------
class _Skipping(selectors.SelectSelector):
    """Waits for nothing: nothing outside can happen, so the next timer is what comes next."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError(_STALLED)
        self._clock.now_us += max(1, math.ceil(timeout * 1e6))
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Skipping(clock))
        self._clock = clock

    def time(self) -> float:
        """Give virtual seconds."""
        return self._clock.now_us / 1e6


# ---- file numbers ------------------------------------------------------------------------------
class _Files:
    """Gives inodes and times of files numbers in the order in which they are first looked at."""

    def __init__(self, kept: Path) -> None:
        self._known: dict[tuple[int, ...], int] = {}
        self._kept = os.open(kept, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        for line in kept.read_text().splitlines():
            *key, number = map(int, line.split())
            self._known[tuple(key)] = number

    def seen_by(self, look: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        """Wrap `os.stat` or `os.fstat`."""

        def looked(*args: Any, **how: Any) -> os.stat_result:
            found = look(*args, **how)
            ino = self._number((found.st_dev, found.st_ino))
            when = found.st_mtime_ns
            if stat.S_ISDIR(found.st_mode):
                when = 0
            elif when >= _REAL_NS:
                when = 10**9 * self._number((found.st_dev, found.st_ino, when))
            plain = (found.st_mode, ino, *found[2:8], when // 10**9, found[9])
            return os.stat_result(plain, {"st_atime_ns": when, "st_mtime_ns": when})

        return looked

    def _number(self, key: tuple[int, ...]) -> int:
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self._known) + 1
            os.write(self._kept, f"{' '.join(map(str, key))} {number}\n".encode())
        return number

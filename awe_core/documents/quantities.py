"""Durations and sizes as people write them: ``10s``, ``8MiB``.  Text in, integers out."""

from __future__ import annotations

import re

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_UNITS_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_DURATION = re.compile(r"([0-9]{1,16})(us|ms|s|m|h|d)")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|TiB)")
_MAX_US = 36_500 * _UNITS_US["d"]  # now plus this still fits the journal's integers
_MAX_SIZE = 1 << 50


def duration_us(text: str) -> int:
    """Read a duration of at most 36,500 days; no fractions, no spaces, one unit.

    :raises ValueError: with what is wrong, in words
    """
    found = _DURATION.fullmatch(text)
    if found is None:
        message = f"{text[:40]!r} is no duration; write 250ms, 10s, 5m, 24h or 7d"
        raise ValueError(message)
    amount = int(found[1]) * _UNITS_US[found[2]]
    if amount > _MAX_US:
        message = f"{text} is longer than 36500d"
        raise ValueError(message)
    return amount


def size_bytes(text: str | int) -> int:
    """Read a size of 1 byte to 1,024 TiB; a bare number counts bytes.

    :raises ValueError: with what is wrong, in words
    """
    found = _SIZE.fullmatch(str(text) if isinstance(text, str) else f"{text}B")
    if found is None:
        message = f"{str(text)[:40]!r} is no size; write 512KiB, 8MiB or 2GiB"
        raise ValueError(message)
    amount = int(found[1]) * _UNITS_BYTES[found[2]]
    if not 0 < amount <= _MAX_SIZE:
        message = f"{text} is not between 1B and 1024TiB"
        raise ValueError(message)
    return amount


def written_us(amount: int) -> str:
    """Write microseconds the shortest exact way `duration_us` reads."""
    return _written(amount, _UNITS_US)


def written_bytes(amount: int) -> str:
    """Write bytes the shortest exact way `size_bytes` reads."""
    return _written(amount, _UNITS_BYTES)


def _written(amount: int, units: dict[str, int]) -> str:
    unit = max((u for u in units if amount % units[u] == 0), key=units.__getitem__)
    return f"{amount // units[unit]}{unit}"

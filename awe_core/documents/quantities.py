"""Durations and sizes as people write them: ``10s``, ``8MiB``; and the formats of our schemas."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import re
from typing import TYPE_CHECKING

from jsonschema import FormatChecker

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS_US = {
    "us": 1,
    "ms": 1_000,
    "s": 1_000_000,
    "m": 60_000_000,
    "h": 3_600_000_000,
    "d": 86_400_000_000,
}
_UNITS_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_QUANTITY = re.compile(r"([0-9]{1,16})([A-Za-z]+)")
_MAX_US = 36_500 * _UNITS_US["d"]  # now plus this still fits the journal's integers
_MAX_SIZE = 1 << 50


def duration_us(text: str) -> int:
    """Read a duration of at most 36,500 days; no fractions, no spaces, one unit.

    :raises ValueError: with what is wrong, in words
    """
    amount = _read(text, _UNITS_US)
    if amount is None:
        message = f"{text[:40]!r} is no duration; write 250ms, 10s, 5m, 24h or 7d"
        raise ValueError(message)
    if amount > _MAX_US:
        message = f"{text} is longer than 36500d"
        raise ValueError(message)
    return amount


def size_bytes(text: str | int) -> int:
    """Read a size of 1 byte to 1,024 TiB; a bare number counts bytes.

    :raises ValueError: with what is wrong, in words
    """
    amount = _read(text if isinstance(text, str) else f"{text}B", _UNITS_BYTES)
    if amount is None:
        message = f"{str(text)[:40]!r} is no size; write 512KiB, 8MiB or 2GiB"
        raise ValueError(message)
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


def _read(text: str, units: dict[str, int]) -> int | None:
    found = _QUANTITY.fullmatch(text)
    return int(found[1]) * units[found[2]] if found and found[2] in units else None


def _written(amount: int, units: dict[str, int]) -> str:
    unit = max((u for u in units if amount % units[u] == 0), key=units.__getitem__)
    return f"{amount // units[unit]}{unit}"


#: What the published schemas assert by ``format``, beside what JSON Schema has.
FORMATS = FormatChecker(formats=())
_FORMATS: dict[str, Callable[[str], object]] = {
    "awe-duration": lambda text: duration_us(text) > 0,
    "awe-delay": lambda text: duration_us(text) >= 0,
    "awe-size": size_bytes,
    "awe-base64": lambda text: base64.b64decode(text, validate=True) is not None,
    "awe-time": dt.datetime.fromisoformat,
    "awe-network": ipaddress.ip_network,
}
for _name, _holds in _FORMATS.items():
    FORMATS.checks(_name, raises=ValueError)(
        lambda found, holds=_holds: not isinstance(found, str) or bool(holds(found))
    )

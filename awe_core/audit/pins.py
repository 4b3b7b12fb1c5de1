"""Which keys a verifier trusts: a text file kept outside of what is verified.

A line is a full verifier key, or ``<origin-prefix>/* <base64(0x01 ‖ public key)>`` for all logs of
a deployment.  Empty lines and lines that begin with ``#`` count for nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal.notes import VerifierKey, is_origin, parse_public, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY = "/*"


@attrs.frozen
class Pins:
    """Keys that somebody has compared with the operator."""

    keys: tuple[VerifierKey, ...] = ()
    prefixes: tuple[tuple[str, bytes], ...] = ()  #: origin prefix and public key

    def __bool__(self) -> bool:
        return bool(self.keys or self.prefixes)

    def of(self, origin: str) -> list[VerifierKey]:
        """Give the pinned keys of the log named *origin*."""
        found = [key for key in self.keys if key.origin == origin]
        found += [
            VerifierKey(origin, public)
            for prefix, public in self.prefixes
            if origin.startswith(f"{prefix}/")
        ]
        return found


def parse_pins(text: str | Iterable[str]) -> Pins:
    """Read pins, one a line.

    :raises AuditError: ``audit.pin``
    """
    keys, prefixes = [], []
    for number, raw in enumerate(text.splitlines() if isinstance(text, str) else text, 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        name, _, encoded = line.partition(" ")
        if encoded:
            prefixes.append(_prefix(name, encoded.strip(), number))
        else:
            keys.append(_key(line, number))
    return Pins(tuple(keys), tuple(prefixes))


def _key(line: str, number: int) -> VerifierKey:
    try:
        return parse_vkey(line)
    except AuditError as error:
        raise AuditError("audit.pin", line=number, reason=error.summary) from None


def _prefix(name: str, encoded: str, number: int) -> tuple[str, bytes]:
    prefix, public = name.removesuffix(_ANY), parse_public(encoded)
    if not name.endswith(_ANY) or not is_origin(prefix) or public is None:
        reason = f"expected {'PREFIX/* KEY'}, found {name[:80]!a}"
        raise AuditError("audit.pin", line=number, reason=reason)
    return prefix, public

"""Which keys a verifier trusts: pins, kept outside of what is verified, and what they hand over to.

A pin is a full verifier key, or ``<origin-prefix>/* <base64(0x01 ‖ public key)>`` for all logs of
a deployment, one a line; empty lines and lines that begin with ``#`` count for nothing.

A pinned key hands over to another one by a note that both have signed, with the record
``log.key_rotated`` under its root; from then on the old key is retired.  A signature by an unknown
name or id says nothing; one whose name and id match a trusted key must verify.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal.notes import Note, VerifierKey, is_origin, parse_public, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY = "/*"

#: Code of a finding, what was expected, what was found.
Fault = tuple[str, str, str]


@attrs.frozen
class Pins:
    """Keys that somebody has compared with the operator."""

    keys: tuple[VerifierKey, ...] = ()
    prefixes: tuple[tuple[str, bytes], ...] = ()  #: origin prefix and public key

    def __bool__(self) -> bool:
        return bool(self.keys or self.prefixes)

    def of(self, origin: str) -> list[VerifierKey]:
        """Give the pinned keys of the log named *origin*."""
        named = [key for key in self.keys if key.origin == origin]
        matching = [public for prefix, public in self.prefixes if origin.startswith(f"{prefix}/")]
        return [*named, *(VerifierKey(origin, public) for public in matching)]


def parse_pins(text: str | Iterable[str]) -> Pins:
    """Read pins, one a line.

    :raises AuditError: ``audit.pin``
    """
    keys, prefixes = [], []
    for number, raw in enumerate(text.splitlines() if isinstance(text, str) else text, 1):
        name, _, encoded = raw.strip().partition(" ")
        if not name or name.startswith("#"):
            continue
        if not encoded:
            key = known_key(name)
            if key is None:
                raise _odd(number, "NAME+HASH+KEY", name)
            keys.append(key)
            continue
        prefix, public = name.removesuffix(_ANY), parse_public(encoded.strip())
        if not name.endswith(_ANY) or not is_origin(prefix) or public is None:
            raise _odd(number, "PREFIX/* KEY", name)
        prefixes.append((prefix, public))
    return Pins(tuple(keys), tuple(prefixes))


@attrs.define
class Trust:
    """The keys that are trusted while a log is read, note by note in order of size."""

    pins: Pins
    used: dict[str, None] = attrs.field(factory=dict)  #: fingerprints of those that signed
    _keys: dict[VerifierKey, int | None] = attrs.field(factory=dict)  #: and the size it retired at
    _announced: set[VerifierKey] = attrs.field(factory=set)  #: by a record read so far

    def heard(self, vkey: object) -> None:
        """Hear of a record ``log.key_rotated``: it announces a key and gives it no trust yet."""
        key = known_key(vkey)
        if key is not None:
            self._announced.add(key)

    def judge(self, note: Note) -> Fault | None:
        """Say what speaks against the next note; every record below its size has been heard."""
        origin, size = note.checkpoint.origin, note.checkpoint.size
        for key in self.pins.of(origin):
            self._keys.setdefault(key, None)
        answers = {k: note.is_signed_by(k) for k in self._keys if k.origin == origin}
        for key, answer in answers.items():
            if answer is False:
                return "audit.signature", f"a signature by {key}", "another signature in its name"
        signed = [key for key, answer in answers.items() if answer]
        live = [key for key in signed if (at := self._keys[key]) is None or size <= at]
        if not live and signed:
            found = f"retired key {signed[0].fingerprint}"
            return "audit.retired_key", "the key it handed over to", found
        if not live:
            return "audit.untrusted_key", f"a pinned key of {origin}", "other keys"
        self.used.update(dict.fromkeys(key.fingerprint for key in live))
        for key in self._announced - set(self._keys):
            if key.origin == origin and note.is_signed_by(key):
                self._keys |= {**dict.fromkeys(live, size), key: None}
        return None


def prefixes(origin: str, pins: Pins) -> list[tuple[str, bytes]]:
    """Give pins for the logs beside the one named *origin*: a deployment has one key."""
    return [(origin.rpartition("/")[0], key.public) for key in pins.of(origin)]


def known_key(vkey: object) -> VerifierKey | None:
    """Read a key that a stranger wrote; None when it is none."""
    try:
        return parse_vkey(vkey) if isinstance(vkey, str) else None
    except AuditError:
        return None


def _odd(number: int, expected: str, found: str) -> AuditError:
    return AuditError("audit.pin", line=number, reason=f"expected {expected}, found {found[:80]!a}")

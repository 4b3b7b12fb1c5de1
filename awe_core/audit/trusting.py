"""Which notes of a log may be believed: pinned keys, and their rotation.

Trust begins with pins.  A pinned key hands over to another one by a note that both have signed,
with the record ``log.key_rotated`` under its root; from then on the old key is retired.  A
signature by an unknown name or id says nothing; one whose name and id match a trusted key must
verify.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal.notes import Note, VerifierKey, parse_note, parse_vkey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.audit.pins import Pins


@attrs.frozen
class Judged:
    """What a note is worth."""

    is_trusted: bool
    code: str = ""  #: of a finding; empty when it is trusted
    expected: str = ""
    found: str = ""


@attrs.define
class Trust:
    """The keys that are trusted while a log is read, note by note in order of size."""

    pins: Pins
    keys: dict[VerifierKey, int | None] = attrs.field(factory=dict)  #: and the size it retired at
    rotated: set[VerifierKey] = attrs.field(factory=set)  #: named by a record read so far
    used: dict[str, None] = attrs.field(factory=dict)  #: fingerprints of those that signed

    def heard(self, vkey: object) -> None:
        """Hear of a record ``log.key_rotated``: it announces a key and gives it no trust yet."""
        if isinstance(vkey, str):
            try:
                self.rotated.add(parse_vkey(vkey))
            except AuditError:
                return

    def judge(self, note: Note) -> Judged:
        """Judge the next note; every record below its size has been heard."""
        origin, size = note.checkpoint.origin, note.checkpoint.size
        for key in self.pins.of(origin):
            self.keys.setdefault(key, None)
        mine = [key for key in self.keys if key.origin == origin]
        answers = {key: note.is_signed_by(key) for key in mine}
        if False in answers.values():
            return Judged(is_trusted=False, code="audit.signature", **_wrong(answers))
        signed = [key for key, answer in answers.items() if answer]
        live = [key for key in signed if (at := self.keys[key]) is None or size <= at]
        if not live:
            return _refused(origin, signed)
        self.used.update(dict.fromkeys(key.fingerprint for key in live))
        self._hand_over(note, live)
        return Judged(is_trusted=True)

    def _hand_over(self, note: Note, live: Iterable[VerifierKey]) -> None:
        for key in self.rotated - set(self.keys):
            if key.origin == note.checkpoint.origin and note.is_signed_by(key):
                for old in live:
                    self.keys[old] = note.checkpoint.size
                self.keys[key] = None


def read_notes(data: Iterable[bytes]) -> tuple[list[Note], list[AuditError]]:
    """Parse notes; give them by size, and what is malformed."""
    notes, errors = [], []
    for one in data:
        try:
            notes.append(parse_note(one))
        except AuditError as error:
            errors.append(error)
    return sorted(notes, key=lambda note: note.checkpoint.size), errors


def _wrong(answers: dict[VerifierKey, bool | None]) -> dict[str, str]:
    key = next(key for key, answer in answers.items() if answer is False)
    return {"expected": f"a signature by {key}", "found": "another signature in its name"}


def _refused(origin: str, retired: list[VerifierKey]) -> Judged:
    if retired:
        expected, found = "the key it handed over to", f"retired key {retired[0].fingerprint}"
        return Judged(is_trusted=False, code="audit.retired_key", expected=expected, found=found)
    expected = f"a pinned key of {origin}"
    return Judged(
        is_trusted=False, code="audit.untrusted_key", expected=expected, found="other keys"
    )


def fingerprint_of(vkey: object) -> str:
    """Give the fingerprint of a key that a log claims for itself; empty when it is none."""
    try:
        return parse_vkey(vkey).fingerprint if isinstance(vkey, str) else ""
    except AuditError:
        return ""


def shown(root: bytes) -> str:
    """Give a root as notes write it."""
    return b64encode(root).decode()

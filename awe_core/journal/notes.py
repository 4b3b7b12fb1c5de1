r"""Checkpoints: the size and root of a log in a C2SP signed note (tlog-checkpoint, signed-note).

::

    <origin>\n<size>\n<base64(root)>\n\n— <name> <base64(keyid ‖ signature)>\n

Three text lines and no extension lines.  Everything read here may come from a stranger: sizes are
bounded, base64 is strict, a number has one form.  Whether a key is *trusted* is not decided here.
"""

from __future__ import annotations

import binascii
import re
from base64 import b64decode, b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from awe_core.canonical import MAX_INTEGER
from awe_core.errors import AuditError
from awe_core.journal.tree import HASH_BYTES

if TYPE_CHECKING:
    from awe_core.journal.records import LogSigner

MAX_NOTE_BYTES = 16 * 1024
MAX_SIGNATURES = 16

_ORIGIN = re.compile(r"[a-z0-9._/-]{1,200}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,15}")
_ED25519 = b"\x01"
_KEY_BYTES = 32
_KEYID_BYTES = 4
_DASH = "\u2014 "
_KEY_FORM = "NAME+HASH+KEY of an Ed25519 key"


@attrs.frozen
class VerifierKey:
    """A log's public key under its name: what people pin."""

    origin: str  #: deployment and log id
    public: bytes  #: Ed25519, 32 bytes

    @property
    def keyid(self) -> bytes:
        """The four bytes that a signature line names the key by."""
        return sha256(self.origin.encode() + b"\n" + _ED25519 + self.public).digest()[:_KEYID_BYTES]

    @property
    def fingerprint(self) -> str:
        """What two people compare: SHA-256 of the public key."""
        return "sha256:" + sha256(self.public).hexdigest()

    def __str__(self) -> str:
        key = b64encode(_ED25519 + self.public).decode()
        return f"{self.origin}+{self.keyid.hex()}+{key}"

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Tell whether *signature* over *text* is this key's."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@attrs.frozen
class Checkpoint:
    """What a note says: this log had this root at this size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> bytes:
        """The signed bytes, with their last LF."""
        return f"{self.origin}\n{self.size}\n{b64encode(self.root).decode()}\n".encode()


@attrs.frozen
class NoteSignature:
    """One signature line."""

    name: str
    keyid: bytes
    signature: bytes


@attrs.frozen
class Note:
    """A checkpoint and who signed it."""

    checkpoint: Checkpoint
    signatures: tuple[NoteSignature, ...]

    def is_signed_by(self, key: VerifierKey) -> bool | None:
        """Tell whether *key* signed; None when no signature carries its name and id."""
        mine = [s for s in self.signatures if s.name == key.origin and s.keyid == key.keyid]
        if not mine:
            return None
        return all(key.verifies(self.checkpoint.text, s.signature) for s in mine)


def sign(checkpoint: Checkpoint, *signers: LogSigner) -> str:
    """Give the note of *checkpoint* with a signature line a signer."""
    lines = [checkpoint.text.decode(), "\n"]
    for signer in signers:
        keyid = VerifierKey(checkpoint.origin, signer.public).keyid
        signature = b64encode(keyid + signer.sign(checkpoint.text)).decode()
        lines.append(f"{_DASH}{checkpoint.origin} {signature}\n")
    return "".join(lines)


def is_origin(name: object) -> bool:
    """Tell whether *name* may name a log."""
    return isinstance(name, str) and _ORIGIN.fullmatch(name) is not None


def parse_vkey(text: str) -> VerifierKey:
    """Read the text form of a key.

    :raises AuditError: ``audit.note`` when it has not that form, or its id is not its key's
    """
    origin, _, rest = text.partition("+")
    keyid, _, encoded = rest.partition("+")
    public = parse_public(encoded)
    if not is_origin(origin) or public is None:
        raise _malformed(_KEY_FORM, text)
    key = VerifierKey(origin, public)
    _require(keyid == key.keyid.hex(), f"key id {key.keyid.hex()}", keyid)
    return key


def parse_public(encoded: str) -> bytes | None:
    """Read ``base64(0x01 ‖ public key)``; None when it is something else."""
    raw = _base64(encoded)
    if raw is None or len(raw) != 1 + _KEY_BYTES or raw[:1] != _ED25519:
        return None
    return raw[1:]


def parse_note(data: bytes) -> Note:
    """Read a signed note.

    :raises AuditError: ``audit.note``
    """
    _require(len(data) <= MAX_NOTE_BYTES, f"at most {MAX_NOTE_BYTES} bytes", f"{len(data)}")
    try:
        body, _, tail = data.decode().partition("\n\n")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is not"
        raise _malformed("UTF-8", found) from None
    _require(tail.endswith("\n"), "text, an empty line, signature lines", "something else")
    lines = tail[:-1].split("\n")
    _require(len(lines) <= MAX_SIGNATURES, f"at most {MAX_SIGNATURES} signatures", f"{len(lines)}")
    return Note(_parse_checkpoint(body), tuple(_parse_signature(line) for line in lines))


def _parse_checkpoint(body: str) -> Checkpoint:
    lines = body.split("\n")
    _require(len(lines) == 3, "three lines of text", f"{len(lines)}")  # noqa: PLR2004 - as drawn
    origin, size, encoded = lines
    _require(is_origin(origin), "an origin of [a-z0-9._/-]", origin)
    is_size = _NUMBER.fullmatch(size) is not None and int(size) <= MAX_INTEGER
    _require(is_size, "a size in decimal", size)
    root = _base64(encoded) or b""
    _require(len(root) == HASH_BYTES, "a root of 32 bytes in base64", encoded)
    return Checkpoint(origin, int(size), root)


def _parse_signature(line: str) -> NoteSignature:
    name, _, encoded = line.removeprefix(_DASH).partition(" ")
    _require(line.startswith(_DASH) and bool(name) and "+" not in name, "a signature line", line)
    signature = _base64(encoded) or b""
    _require(len(signature) > _KEYID_BYTES, "a key id and a signature in base64", encoded)
    return NoteSignature(name, signature[:_KEYID_BYTES], signature[_KEYID_BYTES:])


def _base64(encoded: str) -> bytes | None:
    """Decode standard base64 that has exactly one form."""
    try:
        raw = b64decode(encoded.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None
    return raw if b64encode(raw).decode() == encoded else None


def _require(is_fine: bool, expected: str, found: str) -> None:  # noqa: FBT001 - the condition
    if not is_fine:
        raise _malformed(expected, found)


def _malformed(expected: str, found: str) -> AuditError:
    shown = found[:80].encode("ascii", "backslashreplace").decode()
    return AuditError("audit.note", where="the note", seq="-", expected=expected, found=shown)

"""Keys and signatures: one encoding a key, one id an encoding.

A key's id is the SHA-256 over ``awe-key/v1``, NUL, the scheme, NUL and the raw bytes, so no key can
stand under two ids.  Ed25519 keys of small order are refused (RFC 8032 leaves that to the user):
under one of them a signature can hold for every message.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from awe_core.errors import TrustError

if TYPE_CHECKING:
    from awe_core.records import Digest, Key

ED25519 = "ed25519"
ECDSA_P256 = "ecdsa-sha2-nistp256"

_ED25519_BYTES = 32
_POINT_BYTES = 65
_UNCOMPRESSED = 4  # SEC 1: the first byte of an uncompressed point
_PRIME = 2**255 - 19
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
#: The y coordinates of all points of order 1, 2, 4 and 8.
_SMALL_ORDER_Y = frozenset({1, _PRIME - 1, 0, _ORDER_8_Y, _PRIME - _ORDER_8_Y})


@runtime_checkable
class Signer(Protocol):
    """Whoever can sign with one key: a key file, a device, a service."""

    @property
    def keyid(self) -> Digest:
        """The id of the key, as the root has it."""

    @property
    def scheme(self) -> str:
        """``ed25519`` or ``ecdsa-sha2-nistp256``."""

    @property
    def public(self) -> bytes:
        """The raw public key."""

    def sign(self, pae: bytes, /) -> bytes:
        """Sign these exact bytes.

        :raises TrustError: ``signer.refused``
        """


def keyid_of(scheme: str, public: bytes) -> Digest:
    """Name a key by its one encoding."""
    return hashlib.sha256(b"awe-key/v1\0" + scheme.encode() + b"\0" + public).hexdigest()


def check_key(keyid: Digest, key: Key) -> None:
    """Refuse a key that is not what its id says, or that is none.

    :raises TrustError: ``trust.root_key``
    """
    raw = bytes.fromhex(key.public)
    if keyid != keyid_of(key.scheme, raw):
        why = "its id is not the digest of its scheme and bytes"
    else:
        why = _weak_ed25519(raw) if key.scheme == ED25519 else _no_point(raw)
    if why:
        raise TrustError("trust.root_key", keyid=keyid[:12], owner=key.owner, why=why)


def holds(key: Key, signature: bytes, *, message: bytes) -> bool:
    """Whether *signature* over *message* is by *key*, which `check_key` has passed."""
    raw = bytes.fromhex(key.public)
    try:
        if key.scheme == ED25519:
            Ed25519PublicKey.from_public_bytes(raw).verify(signature, message)
        else:
            point = EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
            point.verify(signature, message, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _no_point(raw: bytes) -> str:
    if len(raw) != _POINT_BYTES or raw[0] != _UNCOMPRESSED:
        return "it is not an uncompressed point of 65 bytes"
    try:
        EllipticCurvePublicKey.from_encoded_point(SECP256R1(), raw)
    except ValueError:
        return "it is not a point of P-256"
    return ""


def _weak_ed25519(raw: bytes) -> str:
    y = int.from_bytes(raw, "little") & ((1 << 255) - 1)  # the highest bit is the sign of x
    if len(raw) != _ED25519_BYTES:
        return "it is not 32 bytes long"
    if y >= _PRIME:
        return "it is not the one encoding of its point"
    return "it is a point of small order" if y in _SMALL_ORDER_Y else ""

"""Keys, and the DSSE envelopes they sign (secure-systems-lab/dsse, version 1).

Rules: bytes are hashed and verified before they are parsed.  The payload type is compared before
anything else, because it keeps an approval from being read as a manifest.  One encoding a key, one
id an encoding, one spelling of base64.  A signature by an unknown key, or a wrong one, does not
count and does no harm; a malformed one refuses the document.  Thresholds count distinct owners.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar, runtime_checkable

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from awe_core import canonical
from awe_core.errors import CanonicalError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.records import Digest, Key, Root
    from awe_core.records.forms import Document
    from awe_core.values import Json, JsonObject

    _D = TypeVar("_D", bound=Document)

ED25519 = "ed25519"
ECDSA_P256 = "ecdsa-sha2-nistp256"

_ED25519_BYTES = 32
_UNCOMPRESSED = b"\4"  # SEC 1: the first byte of an uncompressed point
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
    if raw[:1] != _UNCOMPRESSED:
        return "it is not an uncompressed point"
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


MAX_SIGNATURES = 64
MAX_BYTES = 6 * 1024 * 1024  #: of an envelope: 4 MiB of payload in base64, and its signatures
_MAX_DEPTH = 4


@attrs.frozen
class Envelope:
    """A payload and who claims to have signed it."""

    kind: str  #: ``trust-root``, ``manifest``, ``statement``
    payload: bytes = attrs.field(repr=False)
    signatures: tuple[tuple[Digest, bytes], ...] = attrs.field(repr=False)  #: key id, signature
    at: str  #: its file, for messages
    digest: Digest = attrs.field(init=False)  #: of the payload: the bytes that are signed

    @digest.default
    def _digest(self) -> Digest:
        return canonical.sha256_hex(self.payload)

    def document(self, kind: type[_D]) -> _D:
        """Read the payload; raised as by `parse_document`."""
        return kind.from_json(parse_document(self.payload, at=self.at), at=self.at)

    def signers(self, keys: Mapping[Digest, Key]) -> dict[Digest, Key]:
        """Give those of *keys* whose signatures hold."""
        message = pae(payload_type(self.kind), self.payload)
        return {
            keyid: keys[keyid]
            for keyid, signature in self.signatures
            if keyid in keys and holds(keys[keyid], signature, message=message)
        }

    def require(self, root: Root, role: str) -> dict[Digest, Key]:
        """Give the keys that signed under *role*, if their distinct owners are enough."""
        held = root.roles[role]
        signed = self.signers({keyid: root.keys[keyid] for keyid in held.keys})
        owners = sorted({key.owner for key in signed.values()})
        if len(owners) < held.threshold:
            who = [f"signed by: {', '.join(owners) or 'nobody who counts'}"]
            about: dict[str, Any] = {"have": len(owners), "need": held.threshold, "details": who}
            raise TrustError("trust.threshold", file=self.at, role=role, **about)
        return signed


def payload_type(kind: str) -> str:
    """Give the type of ``trust-root``, ``manifest`` or ``statement``."""
    return f"application/vnd.awe.{kind}.v1+json"


def pae(kind: str, payload: bytes) -> bytes:
    """Give the bytes that are signed: the pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def parse(data: bytes, kind: str, *, at: str) -> Envelope:
    """Read an envelope whose payload is of *kind*; *at* is its file, for messages."""
    if len(data) > MAX_BYTES:
        raise TrustError("store.too_large", file=at, size_bytes=len(data), limit_bytes=MAX_BYTES)
    found = _strict(data, at)
    if type(found) is not dict or found.keys() != {"payload", "payloadType", "signatures"}:
        _refuse(at, "its fields are not exactly payload, payloadType, signatures")
    if found["payloadType"] != payload_type(kind):
        raise TrustError("trust.payload_type", file=at, wanted=kind)
    entries = found["signatures"]
    if type(entries) is not list or len(entries) > MAX_SIGNATURES:
        _refuse(at, f"its signatures are not a list of at most {MAX_SIGNATURES}")
    for entry in entries:
        if type(entry) is not dict or entry.keys() != {"keyid", "sig"}:
            _refuse(at, "a signature has other fields than keyid and sig")
        if type(entry["keyid"]) is not str:
            _refuse(at, "a key id is not a string")
    signatures = tuple((entry["keyid"], _bytes(entry["sig"], at)) for entry in entries)
    return Envelope(kind, _bytes(found["payload"], at), signatures, at)


def seal(kind: str, payload: bytes, signatures: Iterable[tuple[Digest, bytes]]) -> bytes:
    """Write an envelope, in the one form this project writes."""
    signed = [{"keyid": k, "sig": base64.b64encode(s).decode()} for k, s in sorted(signatures)]
    text = base64.b64encode(payload).decode()
    return canonical.document(
        {"payload": text, "payloadType": payload_type(kind), "signatures": signed}
    )


def parse_document(data: bytes, *, at: str) -> JsonObject:
    """Read canonical JSON."""
    try:
        return canonical.parse_document(data)
    except CanonicalError as error:
        sizes: JsonObject = {"size_bytes": len(data), "limit_bytes": canonical.DOCUMENT_BYTES}
        match error.code:
            case "canonical.too_large":
                refusal = TrustError("store.too_large", file=at, **sizes)
            case "canonical.not_canonical":
                refusal = TrustError("store.not_canonical", file=at)
            case _:
                refusal = TrustError("store.malformed", where=at, why=error.summary)
        raise refusal from None


def by_digest(store: Mapping[str, bytes], file: str, digest: Digest) -> bytes:
    """Give a file that is named by the digest of its bytes."""
    if file not in store:
        raise TrustError("store.no_file", file=file)
    if canonical.sha256_hex(store[file]) != digest:
        raise TrustError("store.digest", file=file)
    return store[file]


def _bytes(text: Json, at: str) -> bytes:
    """Decode base64 that has no second spelling: one alphabet, full padding, no unused bits."""
    if type(text) is not str:
        _refuse(at, "payload and sig are not strings")
    altchars = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        found = base64.b64decode(text, altchars, validate=True)
    except ValueError:
        found = b""
    if base64.b64encode(found, altchars).decode() != text:
        raise TrustError("trust.base64", file=at)
    return found


def _strict(data: bytes, at: str) -> Json:
    def once(pairs: list[tuple[str, Json]]) -> Json:
        if len(dict(pairs)) != len(pairs):
            _refuse(at, "a key stands twice in one object")
        return dict(pairs)

    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH + MAX_SIGNATURES:
        _refuse(at, "it nests too deeply or has too many signatures")
    try:
        return json.loads(str(data, "utf-8"), object_pairs_hook=once)
    except ValueError:
        _refuse(at, "it is not JSON in UTF-8")


def _refuse(at: str, why: str) -> NoReturn:
    raise TrustError("trust.envelope", file=at, why=why)

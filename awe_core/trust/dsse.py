"""DSSE envelopes (secure-systems-lab/dsse, version 1): parse, name the signers, seal.

Rules: the payload type is compared before anything else, because it keeps an approval from being
read as a manifest.  Strict JSON, exactly the fields of the specification, standard or URL-safe
base64 with its one spelling.  A signature by an unknown key, or a wrong one, does not count and
does no harm; a malformed one refuses the document.  Thresholds are ours, not the envelope's.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, NoReturn

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.trust import keys as key_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.records import Digest, Key
    from awe_core.values import Json

MAX_SIGNATURES = 64
MAX_BYTES = 6 * 1024 * 1024  #: of an envelope: 4 MiB of payload in base64, and its signatures

_MAX_DEPTH = 4


@attrs.frozen
class Envelope:
    """A payload and who claims to have signed it."""

    payload: bytes = attrs.field(repr=False)
    payload_type: str
    signatures: tuple[tuple[Digest, bytes], ...] = attrs.field(repr=False)  #: key id, signature
    digest: Digest  #: of the envelope's own bytes


def payload_type(kind: str) -> str:
    """Give the type of ``trust-root``, ``manifest`` or ``statement``."""
    return f"application/vnd.awe.{kind}.v1+json"


def pae(kind: str, payload: bytes) -> bytes:
    """Give the bytes that are signed: the pre-authentication encoding."""
    name = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def parse(data: bytes, kind: str, *, at: str) -> Envelope:
    """Read an envelope whose payload is of *kind*.

    :param at: the file, for messages
    :raises TrustError: ``store.too_large``, ``trust.payload_type``, ``.envelope``, ``.base64``
    """
    if len(data) > MAX_BYTES:
        raise TrustError("store.too_large", file=at, size_bytes=len(data), limit_bytes=MAX_BYTES)
    found = _strict(data, at)
    if type(found) is not dict or found.keys() != {"payload", "payloadType", "signatures"}:
        _refuse(at, "its fields are not exactly payload, payloadType, signatures")
    wanted = payload_type(kind)
    if found["payloadType"] != wanted:
        raise TrustError("trust.payload_type", file=at, wanted=kind)
    entries = found["signatures"]
    if type(entries) is not list or len(entries) > MAX_SIGNATURES:
        _refuse(at, f"its signatures are not a list of at most {MAX_SIGNATURES}")
    return Envelope(
        payload=_bytes(found["payload"], at),
        payload_type=wanted,
        signatures=tuple(_signature(entry, at) for entry in entries),
        digest=canonical.sha256_hex(data),
    )


def seal(kind: str, payload: bytes, signatures: Iterable[tuple[Digest, bytes]]) -> bytes:
    """Write an envelope, in the one form this project writes."""
    return canonical.document(
        {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type(kind),
            "signatures": [
                {"keyid": keyid, "sig": base64.b64encode(sig).decode()}
                for keyid, sig in sorted(signatures)
            ],
        }
    )


def signers(envelope: Envelope, keys: Mapping[Digest, Key]) -> dict[Digest, Key]:
    """Give those of *keys* whose signatures hold."""
    message = pae(envelope.payload_type, envelope.payload)
    return {
        keyid: keys[keyid]
        for keyid, signature in envelope.signatures
        if keyid in keys and key_rules.holds(keys[keyid], signature, message=message)
    }


def _signature(entry: Json, at: str) -> tuple[Digest, bytes]:
    if type(entry) is not dict or entry.keys() != {"keyid", "sig"}:
        _refuse(at, "a signature has other fields than keyid and sig")
    if type(entry["keyid"]) is not str:
        _refuse(at, "a key id is not a string")
    return entry["keyid"], _bytes(entry["sig"], at)


def _bytes(text: Json, at: str) -> bytes:
    """Decode base64 that has no second spelling: one alphabet, full padding, no unused bits."""
    if type(text) is not str:
        _refuse(at, "payload and sig are not strings")
    altchars = b"-_" if "-" in text or "_" in text else b"+/"
    try:
        found = base64.b64decode(text, altchars, validate=True)
    except ValueError:
        raise TrustError("trust.base64", file=at) from None
    if base64.b64encode(found, altchars).decode() != text:
        raise TrustError("trust.base64", file=at)
    return found


def _strict(data: bytes, at: str) -> Json:
    if data.count(b"[") + data.count(b"{") > _MAX_DEPTH + MAX_SIGNATURES:
        _refuse(at, "it nests too deeply or has too many signatures")
    try:
        return json.loads(str(data, "utf-8"), object_pairs_hook=_Once(at))
    except ValueError:
        _refuse(at, "it is not JSON in UTF-8")


@attrs.frozen
class _Once:
    """Builds objects in which no key stands twice."""

    at: str

    def __call__(self, pairs: list[tuple[str, Json]]) -> Json:
        found = dict(pairs)
        if len(found) != len(pairs):
            _refuse(self.at, "a key stands twice in one object")
        return found


def _refuse(at: str, why: str) -> NoReturn:
    raise TrustError("trust.envelope", file=at, why=why)

"""Signatures over what people decide, and whether their key may."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.trust import dsse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.records import Key, Root
    from awe_core.records.forms import Document
    from awe_core.trust import Signer


def entitled(root: Root, signer: Signer, *, role: str) -> Key:
    """Give the key of *signer* in the root, if it holds *role*.

    :raises TrustError: ``trust.unknown_role``, ``signer.not_in_role``
    """
    if role not in root.roles:
        raise TrustError("trust.unknown_role", role=role, name=root.deployment)
    key = root.keys.get(signer.keyid)
    if key is None or not root.holds(signer.keyid, role):
        owner = key.owner if key else f"key {signer.keyid[:12]}"
        raise TrustError("signer.not_in_role", owner=owner, role=role, version=root.version)
    return key


def signed(kind: str, document: Document, signers: Iterable[Signer]) -> bytes:
    """Seal *document* with the signatures of all *signers*."""
    payload = canonical.document(document.to_json())
    message = dsse.pae(dsse.payload_type(kind), payload)
    return dsse.seal(kind, payload, [(each.keyid, each.sign(message)) for each in signers])


def signed_also(envelope: dsse.Envelope, signer: Signer) -> bytes:
    """Add a signature to an envelope, or renew the signer's own."""
    message = dsse.pae(dsse.payload_type(envelope.kind), envelope.payload)
    signatures = {**dict(envelope.signatures), signer.keyid: signer.sign(message)}
    return dsse.seal(envelope.kind, envelope.payload, signatures.items())

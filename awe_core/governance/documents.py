"""Making documents: records by their digest, and signatures over what people decide."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.records import PackRecord
from awe_core.trust import approvals, dsse, judgement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.records import Digest, FacadeRecord, Key, Root
    from awe_core.records.forms import Document
    from awe_core.trust import Signer


@attrs.frozen
class Subject:
    """A record in a store: what people decide about."""

    record: PackRecord | FacadeRecord
    digest: Digest

    @property
    def title(self) -> str:
        """NAME@VERSION, as commands take it."""
        return approvals.title(self.record)

    @property
    def kind(self) -> str:
        """``pack`` (of any kind) or ``facade``."""
        return "pack" if isinstance(self.record, PackRecord) else "facade"

    @property
    def group(self) -> str:
        """What its manifest entries stand under: distribution or facade id."""
        return self.record.distribution if isinstance(self.record, PackRecord) else self.record.name


def subject_of(record: PackRecord | FacadeRecord) -> Subject:
    """Name *record* by its digest."""
    return Subject(record, canonical.sha256_hex(canonical.document(record.to_json())))


def record_file(subject: Subject) -> tuple[str, bytes]:
    """Give the name and bytes of a record in the store."""
    file = judgement.record_file(subject.record, subject.digest)
    return file, canonical.document(subject.record.to_json())


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
    others = [each for each in envelope.signatures if each[0] != signer.keyid]
    signature = (signer.keyid, signer.sign(message))
    return dsse.seal(envelope.kind, envelope.payload, [*others, signature])

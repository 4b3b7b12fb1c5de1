"""Making documents: statements, manifests, roots, and adding a signature to one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.records import FacadeRecord, Key, PackRecord, Statement
from awe_core.trust import (
    DAY_S,
    Envelope,
    check_key,
    facade_file,
    pack_file,
    pae,
    payload_type,
    seal,
    statement_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.records import Digest, Manifest, Root, Seconds
    from awe_core.trust import Signer
    from awe_core.values import JsonObject


@attrs.frozen
class Subject:
    """A record in a store: what people decide about."""

    record: PackRecord | FacadeRecord
    digest: Digest

    @property
    def title(self) -> str:
        """NAME@VERSION, as commands take it."""
        return f"{self.record.name}@{self.record.version}"

    @property
    def group(self) -> str:
        """What its manifest entries stand under: distribution or facade id."""
        return self.record.distribution if isinstance(self.record, PackRecord) else self.record.name


def subject_of(record: PackRecord | FacadeRecord) -> Subject:
    """Name *record* by its digest."""
    return Subject(record, canonical.sha256_hex(canonical.document(record.to_json())))


def record_file(subject: Subject) -> tuple[str, bytes]:
    """Give the name and bytes of a record in the store."""
    data = canonical.document(subject.record.to_json())
    if isinstance(subject.record, PackRecord):
        record = subject.record
        return pack_file(record.distribution, record.version, subject.digest), data
    return facade_file(subject.record.name, subject.digest), data


def facade_record(  # noqa: PLR0913 - one record's fields
    facade: JsonObject,
    *,
    pack: str | None,
    reaches: Iterable[tuple[str, Digest]],
    proposed_by: str,
    authors: Iterable[str] = (),
    revision: int = 1,
) -> FacadeRecord:
    """Make the record of a facade.

    :param facade: the document, as it was read
    :param pack: the distribution it comes with; None: the deployment's own
    :param reaches: capability ids and contract digests it can get to
    :raises TrustError: ``store.malformed``
    """
    return FacadeRecord.from_json(
        {
            "awe": "facade-record/v1",
            "kind": "facade",
            "name": facade.get("id"),
            "revision": revision,
            "facade": facade,
            "pack": pack,
            "reaches": [{"id": i, "contract": digest} for i, digest in sorted(set(reaches))],
            "proposed_by": proposed_by,
            "authors": list(authors),
        }
    )


def entitled(root: Root, signer: Signer, *, role: str) -> Key:
    """Give the key of *signer* in the root, if it holds *role*.

    :raises TrustError: ``trust.unknown_role``, ``signer.not_in_role``
    """
    if role not in root.roles:
        raise TrustError("trust.unknown_role", role=role, name=root.deployment)
    key = root.keys.get(signer.keyid)
    if key is None or signer.keyid not in root.roles[role].keys:
        owner = key.owner if key else f"key {signer.keyid[:12]}"
        raise TrustError("signer.not_in_role", owner=owner, role=role, version=root.version)
    return key


def statement(  # noqa: PLR0913 - one statement's fields
    subject: Subject,
    decision: str,
    *,
    root: Root,
    role: str,
    signer: Signer,
    reason: str,
    now: Seconds,
    stops: Digest | None = None,
) -> tuple[str, bytes]:
    """Sign one decision; gives its file in the store.

    :raises TrustError: ``signer.not_in_role``, ``trust.unknown_role``, ``store.malformed``
    """
    entitled(root, signer, role=role)
    lasts = decision == "approve"
    said = Statement(
        deployment=root.deployment,
        root_version=root.version,
        decision=decision,
        role=role,
        subject=subject.digest,
        name=subject.record.name,
        version=subject.record.version,
        at=now,
        expires=now + root.policy.approval_days * DAY_S if lasts else None,
        reason=reason,
        stops=stops,
    )
    Statement.from_json(said.to_json())  # what we write, everybody must be able to read
    data = sign_payload("statement", canonical.document(said.to_json()), [signer])
    is_stop = decision in {"suspend", "revoke"}
    return statement_file(canonical.sha256_hex(data), is_stop=is_stop), data


def sign_payload(kind: str, payload: bytes, signers: Iterable[Signer]) -> bytes:
    """Seal *payload* with the signatures of all *signers*."""
    message = pae(payload_type(kind), payload)
    return seal(kind, payload, [(each.keyid, each.sign(message)) for each in signers])


def sign_also(envelope: Envelope, signer: Signer, *, kind: str) -> bytes:
    """Add a signature to an envelope, or renew the signer's own."""
    message = pae(envelope.payload_type, envelope.payload)
    others = [each for each in envelope.signatures if each[0] != signer.keyid]
    return seal(kind, envelope.payload, [*others, (signer.keyid, signer.sign(message))])


def manifest_payload(manifest: Manifest) -> bytes:
    """Give the bytes of a manifest that are signed."""
    return canonical.document(manifest.to_json())


def public_key(signer: Signer, *, owner: str, kind: str) -> tuple[Digest, Key]:
    """Give the entry of a root for the key of *signer*.

    :raises TrustError: ``trust.root_key``
    """
    key = Key(scheme=signer.scheme, public=signer.public.hex(), owner=owner, kind=kind)
    check_key(signer.keyid, key)
    return signer.keyid, key

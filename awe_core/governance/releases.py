"""What people decide, signed: statements, and the next manifest.

The release role writes down what people have decided and decides nothing itself: a stop that stands
is carried into the entry, whatever was asked for, and nothing is issued that would refuse an entry
which is in force today (an approval that has lapsed since is better found by a signer than by a
server at night).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.lifecycle import State
from awe_core.records import Manifest, ManifestFacade, ManifestPack, PackRecord, Statement
from awe_core.trust import DAY_S, envelopes, history, manifest_file, statement_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.governance.survey import Subject, SubjectState
    from awe_core.records import Digest, Key, Root, Seconds
    from awe_core.records.forms import Document
    from awe_core.trust import Chain, Signed, Signer, StoreBytes, Verdict
    from awe_core.trust.history import Issued


class By(TypedDict):
    """Who decides, why, and when."""

    signer: Signer
    reason: str  #: signed with the decision
    now: Seconds


@attrs.frozen
class Change:
    """What an entry shall become."""

    status: State
    sunset: Seconds | None = None


def statement(  # noqa: PLR0913 - what a statement is made of
    root: Root, subject: Subject, decision: str, role: str, by: By, *, stops: Digest | None = None
) -> dict[str, bytes]:
    """Sign one decision; gives its file in the store."""
    entitled(root, by["signer"], role=role)
    lasts_s = root.policy.approval_days * DAY_S
    said = Statement(
        deployment=root.deployment,
        root_version=root.version,
        decision=decision,
        role=role,
        subject=subject.digest,
        name=subject.record.name,
        version=subject.record.version,
        at=by["now"],
        expires=by["now"] + lasts_s if decision == "approve" else None,
        reason=by["reason"],
        stops=stops,
    )
    Statement.from_json(said.to_json())  # what we write, everybody must be able to read
    data = signed("statement", said, [by["signer"]])
    is_stop = decision in {"suspend", "revoke"}
    return {statement_file(canonical.sha256_hex(data), is_stop=is_stop): data}


def latest(store: StoreBytes, chain: Chain) -> Issued | None:
    """Read the newest manifest; its own root's release role must have signed it."""
    number = history.newest_manifest(store)
    if number is None:
        return None
    file = manifest_file(*number)
    if not 1 <= number[0] <= len(chain.roots):
        raise chain.mismatch(number[0], at=file)
    return history.read_manifest(store, file, chain.roots[number[0] - 1])


def next_manifest(
    base: Issued | None,
    states: Iterable[SubjectState],
    changes: Mapping[Digest, Change],
    *,
    root: Root,
    now: Seconds,
) -> Manifest:
    """Write the manifest that follows *base*."""
    before = base.manifest if base else None
    follows = before if before and before.root_version == root.version else None
    known = {each.subject.digest: each for each in states}
    entries = {each.record: each for each in before.entries} if before else {}
    wanted = {digest: Change(State(e.status), e.sunset) for digest, e in entries.items()}
    wanted |= changes
    for digest in wanted.keys() & known.keys():  # the others stay as they were
        entries[digest] = _entry(known[digest], wanted[digest], now=now)
    denied = {digest for digest, each in known.items() if each.state is State.REVOKED}
    issued = max(now, follows.issued) if follows else now
    made = sorted(entries.values(), key=lambda each: (each.name, each.record))
    return Manifest(
        deployment=root.deployment,
        root_version=root.version,
        version=follows.version + 1 if follows else 1,
        previous=base.digest if base else None,
        issued=issued,
        expires=issued + root.policy.manifest_days * DAY_S,
        packs=tuple(each for each in made if isinstance(each, ManifestPack)),
        facades=tuple(each for each in made if isinstance(each, ManifestFacade)),
        denied=tuple(sorted(denied.union(before.denied if before else ()))),
        documents=before.documents if before else {},
    )


def check_release(before: Verdict | None, after: Verdict, wanted: Iterable[Subject]) -> None:
    """Refuse a manifest that would refuse what is asked for, or what is in force today.

    After a rotation nothing is in force: what has lost its approvals stays listed and refused, as
    those who signed the root were told, and everything else works again.  A facade that the change
    of its pack leaves behind is refused until it is approved anew.
    """
    asked = {subject.digest for subject in wanted}
    fine = {each.digest for each in before.entries if not each.refusals} if before else set()
    for each in after.entries:
        for why in each.refusals:
            is_left_behind = why.code.startswith("facade.")
            if each.digest in asked or (each.digest in fine and not is_left_behind):
                raise why


def _entry(known: SubjectState, change: Change, *, now: Seconds) -> ManifestPack | ManifestFacade:
    """Write one entry; standing stops have their way."""
    if known.state is State.REVOKED:
        change = Change(State.REVOKED)
    elif known.standing_stops and change.status in {State.ACTIVE, State.DEPRECATED}:
        change = Change(State.SUSPENDED)
    record = known.subject.record
    entry: dict[str, Any] = {
        "record": known.subject.digest,
        "status": change.status.value,
        "sunset": change.sunset,
        "statements": tuple(sorted(each.digest for each in known.signed if _justifies(each, now))),
    }
    if isinstance(record, PackRecord):
        return ManifestPack(distribution=record.distribution, version=record.version, **entry)
    return ManifestFacade(id=record.name, **entry)


def _justifies(each: Signed, now: Seconds) -> bool:
    decision, expires = each.statement.decision, each.statement.expires
    if decision == "approve":
        return expires is not None and expires > now
    return decision in {"propose", "suspend", "resume", "revoke"}


def entitled(root: Root, signer: Signer, *, role: str) -> Key:
    """Give the key of *signer* in the root, if it holds *role*."""
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
    message = envelopes.pae(envelopes.payload_type(kind), payload)
    return envelopes.seal(kind, payload, [(each.keyid, each.sign(message)) for each in signers])


def signed_also(envelope: envelopes.Envelope, signer: Signer) -> bytes:
    """Add a signature to an envelope, or renew the signer's own."""
    message = envelopes.pae(envelopes.payload_type(envelope.kind), envelope.payload)
    signatures = {**dict(envelope.signatures), signer.keyid: signer.sign(message)}
    return envelopes.seal(envelope.kind, envelope.payload, signatures.items())

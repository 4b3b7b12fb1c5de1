"""The next manifest: what is in force now, with changes, justified by the statements in the store.

The release role writes down what people have decided and decides nothing itself: a stop that stands
is carried into the entry, whatever was asked for, and nothing is issued that would refuse an entry
which is in force today (an approval that has lapsed since is better found by a signer than by a
server at night).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.lifecycle import State
from awe_core.records import Manifest, ManifestFacade, ManifestPack, PackRecord
from awe_core.trust import (
    DAY_S,
    manifest_file,
    newest,
    parse_document,
    parse_envelope,
    signers,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.governance.documents import Subject
    from awe_core.governance.survey import SubjectState
    from awe_core.records import Digest, Seconds
    from awe_core.trust import Chain, Signed, StoreBytes, Verdict


@attrs.frozen
class Change:
    """What an entry shall become."""

    status: State
    sunset: Seconds | None = None


@attrs.frozen
class Latest:
    """The newest manifest of a store, whichever root it was made under."""

    manifest: Manifest
    digest: Digest


def latest(store: StoreBytes, chain: Chain) -> Latest | None:
    """Read the newest manifest; its own root's release role must have signed it.

    :raises TrustError: when it does not hold
    """
    number = newest(store)
    if number is None:
        return None
    file = manifest_file(*number)
    envelope = parse_envelope(store[file], "manifest", at=file)
    if not 1 <= number[0] <= len(chain.roots):
        raise TrustError(
            "trust.root_mismatch", what=file, made_for=number[0], current=chain.current.version
        )
    root = chain.roots[number[0] - 1]
    role = root.roles["release"]
    held = signers(envelope, {keyid: root.keys[keyid] for keyid in role.keys})
    have = len({key.owner for key in held.values()})
    if have < role.threshold:
        raise TrustError(
            "trust.threshold", file=file, role="release", have=have, need=role.threshold
        )
    manifest = Manifest.from_json(parse_document(envelope.payload, at=file), at=file)
    return Latest(manifest, canonical.sha256_hex(envelope.payload))


def next_manifest(  # noqa: PLR0913 - what a manifest is made of
    base: Latest | None,
    states: Iterable[SubjectState],
    changes: Mapping[Digest, Change],
    *,
    chain: Chain,
    now: Seconds,
    documents: Mapping[str, Digest] | None,
) -> Manifest:
    """Write the manifest that follows *base*.

    :param changes: record digest → what its entry shall become
    :param documents: pinned files; None: as in *base*
    """
    root = chain.current
    known = {each.subject.digest: each for each in states}
    entries = _entries(base)
    entries |= {digest: change for digest, change in changes.items() if digest in known}
    packs: list[ManifestPack] = []
    facades: list[ManifestFacade] = []
    denied = set(base.manifest.denied) if base else set()
    for digest, change in sorted(entries.items()):
        if digest not in known:
            continue  # kept below, as it was
        made = _entry(known[digest], change, now=now)
        if made.status == State.REVOKED:
            denied.add(digest)
        packs.append(made) if isinstance(made, ManifestPack) else facades.append(made)
    if base:
        packs += [each for each in base.manifest.packs if each.record not in known]
        facades += [each for each in base.manifest.facades if each.record not in known]
    denied |= {d for d, each in known.items() if each.state is State.REVOKED}
    same_root = base is not None and base.manifest.root_version == root.version
    issued = max(now, base.manifest.issued) if base and same_root else now
    return Manifest(
        deployment=root.deployment,
        root_version=root.version,
        version=base.manifest.version + 1 if base and same_root else 1,
        previous=base.digest if base else None,
        issued=issued,
        expires=issued + root.policy.manifest_days * DAY_S,
        packs=tuple(sorted(packs, key=lambda each: (each.distribution, each.record))),
        facades=tuple(sorted(facades, key=lambda each: (each.id, each.record))),
        denied=tuple(sorted(denied)),
        documents=dict(documents if documents is not None else _documents(base)),
    )


def check_release(before: Verdict | None, after: Verdict, wanted: Iterable[Subject]) -> None:
    """Refuse a manifest that would refuse what is asked for, or what is in force today.

    :raises AweError: the first refusal
    """
    asked = {subject.digest for subject in wanted}
    fine = {each.digest for each in before.entries if not each.refusals} if before else set()
    for each in after.entries:
        if each.refusals and (before is None or each.digest in asked | fine):
            raise each.refusals[0]


def _entries(base: Latest | None) -> dict[Digest, Change]:
    if base is None:
        return {}
    return {each.record: Change(State(each.status), each.sunset) for each in base.manifest.entries}


def _documents(base: Latest | None) -> Mapping[str, Digest]:
    return base.manifest.documents if base else {}


def _entry(known: SubjectState, change: Change, *, now: Seconds) -> ManifestPack | ManifestFacade:
    change = _with_stops(known, change)
    statements = tuple(sorted(each.digest for each in known.signed if _justifies(each, now)))
    record, digest = known.subject.record, known.subject.digest
    if isinstance(record, PackRecord):
        return ManifestPack(
            distribution=record.distribution,
            version=record.version,
            record=digest,
            status=change.status.value,
            sunset=change.sunset,
            statements=statements,
        )
    return ManifestFacade(
        id=record.name,
        record=digest,
        status=change.status.value,
        sunset=change.sunset,
        statements=statements,
    )


def _with_stops(known: SubjectState, change: Change) -> Change:
    """Let standing stops have their way."""
    if known.state is State.REVOKED:
        return Change(State.REVOKED)
    if standing_stops(known) and change.status in {State.ACTIVE, State.DEPRECATED}:
        return Change(State.SUSPENDED)
    return change


def standing_stops(known: SubjectState) -> tuple[Signed, ...]:
    """Give the suspensions that no resume has lifted."""
    lifted = {each.statement.stops for each in known.signed}
    return tuple(
        each
        for each in known.signed
        if each.statement.decision == "suspend" and each.digest not in lifted
    )


def _justifies(each: Signed, now: Seconds) -> bool:
    decision, expires = each.statement.decision, each.statement.expires
    if decision == "approve":
        return expires is not None and expires > now
    return decision in {"propose", "suspend", "resume", "revoke"}

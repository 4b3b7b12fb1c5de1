"""`judge`: what is in force in this deployment, from the bytes of its store alone.

In this order: root chain from the pin → manifest envelope, type, threshold → deployment and root →
order against the mark → times → uniqueness → stops → each entry's statements and record.  What
fails on the way to the entries fails as a whole and raises; a bad entry is a refusal of that entry,
and everything else stays in force.  No clock and no I/O: time and bytes are handed in.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import attrs

from awe_core.errors import TrustError
from awe_core.lifecycle import NOTHING, State, weakest
from awe_core.records import FacadeRecord, ManifestPack, PackRecord
from awe_core.trust import decisions, entries, envelopes, history
from awe_core.trust.entries import Bench
from awe_core.trust.history import walk
from awe_core.trust.verdict import Absent, FacadeVerdict, Mark, PackVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.errors import AweError
    from awe_core.records import Digest, Manifest, Seconds
    from awe_core.trust.history import Entry
    from awe_core.trust.verdict import StoreBytes


def judge(
    store: StoreBytes, *, pin: Digest, deployment: str, mark: Mark | None, now: Seconds
) -> Verdict:
    """Judge a store at one moment.

    :param pin: digest of root 1's payload, from ``awe.yaml``
    :param deployment: ``name`` in ``awe.yaml``
    :param mark: how far this home has come; None: it has seen nothing yet
    :param now: the clock, in seconds since 1970
    :raises TrustError: root or manifest do not hold; nothing of the store may be used
    """
    if mark is not None and mark.pin != pin:
        raise TrustError("trust.mark", why="it belongs to another pinned root")
    chain = walk(store, pin=pin, deployment=deployment)
    root, what = chain.current, f"root {chain.current.version}"
    if mark and root.version < mark.root_version:
        raise TrustError("trust.rollback", found=what, seen=f"root {mark.root_version}")
    moment = max(now, mark.seen_at) if mark else now
    history.check_not_ahead(what, root.issued, now=moment)
    issued = history.current_manifest(store, chain, mark=mark, now=moment)
    stops, warnings = decisions.stops(store, chain)
    if mark and now < mark.seen_at - history.SKEW_S:
        warnings.insert(0, TrustError("trust.clock", behind_s=mark.seen_at - now))
    manifest, digest = (issued.manifest, issued.digest) if issued else (None, None)
    unsettled = Verdict(
        root=root,
        root_digest=chain.digest,
        manifest=manifest,
        manifest_digest=digest,
        released_by=issued.signers if issued else {},
        phase="valid",
        packs=(),
        facades=(),
        absent=(),
        mark=Mark(
            pin=pin,
            root_version=root.version,
            version=manifest.version if manifest else 0,
            digest=digest,
            seen_at=moment,
            stops=stops.union(mark.stops if mark else ()),
            denied=frozenset(mark.denied if mark else ()).union(
                manifest.denied if manifest else ()
            ),
        ),
        warnings=tuple(warnings),
    )
    if issued:
        bench = Bench(store=store, chain=chain, issued=issued, stops=unsettled.mark.stops)
        unsettled = _with_entries(unsettled, bench)
    return at_time(unsettled, moment)


def at_time(verdict: Verdict, now: Seconds) -> Verdict:
    """Give the same verdict for a later moment: phase and sunsets move, nothing else does."""
    moment = max(now, verdict.mark.seen_at)
    root, manifest = verdict.root, verdict.manifest
    phase = history.phase(manifest, root, now=moment)
    packs, facades = entries.settle(
        verdict.packs, verdict.facades, root=root, phase=phase, now=moment
    )
    lasting = [each for each in verdict.warnings if each.code not in history.EXPIRY_CODES]
    expiry = history.expiry_warnings(manifest, root, now=moment)
    return attrs.evolve(
        verdict,
        phase=phase,
        packs=packs,
        facades=facades,
        mark=attrs.evolve(verdict.mark, seen_at=moment),
        warnings=(*lasting, *expiry),
    )


def check_documents(manifest: Manifest, files: Mapping[str, Digest]) -> None:
    """Compare the deployment's files with those that the manifest pins.

    :param files: path → digest of what is there; a path that is not there is left out
    :raises TrustError: ``trust.document``
    """
    for path, digest in sorted(manifest.documents.items()):
        if files.get(path) != digest:
            details = [f"signed sha256 {digest}", f"found {files.get(path) or 'no such file'}"]
            why = "differs from the signed one"
            raise TrustError("trust.document", file=path, why=why, details=details)


def pack_file(distribution: str, version: str, digest: Digest) -> str:
    """Name the file of a pack record in the store."""
    return f"packs/{distribution}/{version}/record-{digest}.json"


def facade_file(facade: str, digest: Digest) -> str:
    """Name the file of a facade record in the store."""
    return f"facades/{facade}/record-{digest}.json"


def record_file(record: PackRecord | FacadeRecord, digest: Digest) -> str:
    """Name the file of a record in the store."""
    if isinstance(record, PackRecord):
        return pack_file(record.distribution, record.version, digest)
    return facade_file(record.name, digest)


def _with_entries(verdict: Verdict, bench: Bench) -> Verdict:
    """Judge all entries, one by one and against each other."""
    manifest, root = bench.issued.manifest, verdict.root
    _check_unique(manifest)
    if root.environment == "prod" and "people.yaml" not in manifest.documents:
        raise TrustError("trust.document", file="people.yaml", why="is not pinned by the manifest")
    warnings: list[AweError] = []
    judged = [_judged(entry, (), bench, warnings) for entry in manifest.packs]
    standing = [each for each in judged if isinstance(each, PackVerdict)]
    packs = entries.beside_each_other(standing, root)
    judged += [_judged(entry, packs, bench, warnings) for entry in manifest.facades]
    return attrs.evolve(
        verdict,
        packs=tuple(packs),
        facades=tuple(each for each in judged if isinstance(each, FacadeVerdict)),
        absent=tuple(each for each in judged if isinstance(each, Absent)),
        warnings=(*verdict.warnings, *warnings),
    )


def _judged(
    entry: Entry, packs: Sequence[PackVerdict], bench: Bench, warnings: list[AweError]
) -> PackVerdict | FacadeVerdict | Absent:
    """Judge one entry; *packs* are those a facade may reach."""
    try:
        record = _record(entry, bench.store)
    except TrustError as error:
        status = State(entry.status)
        return Absent(name=entry.name, digest=entry.record, status=status, why=error)
    state, refusals, standing = bench.judge(entry, record)
    warnings += standing
    common: dict[str, Any] = {"digest": entry.record, "sunset": entry.sunset}
    common |= {"permits": NOTHING, "statements": entry.statements}  # `settle` permits more
    if isinstance(record, PackRecord):
        refusals += entries.ungrantable(record, bench.chain.current)
        return PackVerdict(record=record, status=state, refusals=tuple(refusals), **common)
    behind, problems = entries.reached(record, packs, bench.chain.current)
    return FacadeVerdict(
        record=record,
        own_status=state,
        status=weakest([state, *(pack.status for pack in behind)]),
        packs=tuple(pack.digest for pack in behind),
        refusals=(*refusals, *problems),
        **common,
    )


def _record(entry: Entry, store: StoreBytes) -> PackRecord | FacadeRecord:
    """Read the record of an entry from the one place where it may lie."""
    kind: type[PackRecord | FacadeRecord]
    if isinstance(entry, ManifestPack):
        kind, file = PackRecord, pack_file(entry.distribution, entry.version, entry.record)
    else:
        kind, file = FacadeRecord, facade_file(entry.id, entry.record)
    document = envelopes.parse_document(envelopes.by_digest(store, file, entry.record), at=file)
    record = kind.from_json(document, at=file)
    if record_file(record, entry.record) != file:
        raise TrustError("store.misplaced", file=file)
    return record


def _check_unique(manifest: Manifest) -> None:
    names = [f"record {entry.record[:12]}" for entry in manifest.entries]
    for entry in manifest.entries:
        if entry.status == State.ACTIVE:
            kind = "pack" if isinstance(entry, ManifestPack) else "facade"
            names.append(f"ACTIVE {kind} {entry.name}")
    for what, times in Counter(names).items():
        if times > 1:
            raise TrustError("trust.duplicate", what=what, by="two entries of the manifest")

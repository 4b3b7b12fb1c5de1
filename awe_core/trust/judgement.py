"""`judge`: what is in force in this deployment, from the bytes of its store alone.

In this order: root chain from the pin → manifest envelope, type, threshold → deployment and root →
order against the mark → times → uniqueness → stops → each entry's statements and record.  What
fails on the way to the entries fails as a whole and raises; a bad entry is a refusal of that entry,
and everything else stays in force.  No clock and no I/O: time and bytes are handed in.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.errors import TrustError
from awe_core.lifecycle import NOTHING, State, weakest
from awe_core.records import FacadeRecord, ManifestPack, PackRecord
from awe_core.trust import allowance, dsse, manifests, statements
from awe_core.trust.roots import walk
from awe_core.trust.standing import Bench, Case
from awe_core.trust.verdict import Absent, FacadeVerdict, Mark, PackVerdict, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from awe_core.errors import AweError
    from awe_core.records import Digest, Manifest, ManifestFacade, Seconds
    from awe_core.trust.manifests import Entry
    from awe_core.trust.roots import Chain
    from awe_core.trust.verdict import StoreBytes

_R = TypeVar("_R", PackRecord, FacadeRecord)


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
    moment = max(now, mark.seen_at) if mark else now
    _check_root_order(chain, mark, now=moment)
    issued = manifests.current(store, chain, mark=mark, now=moment)
    stops, warnings = statements.stops(store, chain)
    if mark and now < mark.seen_at - manifests.SKEW_S:
        warnings.insert(0, TrustError("trust.clock", behind_s=mark.seen_at - now))
    seen = mark or Mark(pin=pin, root_version=0, version=0, digest=None, seen_at=now)
    unsettled = Verdict(
        root=chain.current,
        root_digest=chain.digest,
        manifest=issued.manifest if issued else None,
        manifest_digest=issued.digest if issued else None,
        phase="valid",
        packs=(),
        facades=(),
        absent=(),
        mark=attrs.evolve(
            seen,
            root_version=chain.current.version,
            version=issued.manifest.version if issued else 0,
            digest=issued.digest if issued else None,
            stops=seen.stops | stops,
            denied=seen.denied.union(issued.manifest.denied if issued else ()),
        ),
        warnings=tuple(warnings),
    )
    if issued:
        history = issued.histories()
        stops = unsettled.mark.stops
        bench = Bench(store=store, chain=chain, issued=issued, stops=stops, history=history)
        unsettled = _with_entries(unsettled, bench)
    return at_time(unsettled, moment)


def at_time(verdict: Verdict, now: Seconds) -> Verdict:
    """Give the same verdict for a later moment: phase and sunsets move, nothing else does."""
    moment = max(now, verdict.mark.seen_at)
    root, manifest = verdict.root, verdict.manifest
    phase = manifests.phase(manifest, root, now=moment)
    packs, facades = allowance.settle(
        verdict.packs, verdict.facades, root=root, phase=phase, now=moment
    )
    lasting = [each for each in verdict.warnings if each.code not in manifests.EXPIRY_CODES]
    expiry = manifests.expiry_warnings(manifest, root, now=moment)
    mark = attrs.evolve(verdict.mark, seen_at=moment)
    warnings = (*lasting, *expiry)
    return attrs.evolve(
        verdict, phase=phase, packs=packs, facades=facades, mark=mark, warnings=warnings
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
    manifest, root = bench.issued.manifest, bench.root
    _check_unique(manifest)
    if root.environment == "prod" and "people.yaml" not in manifest.documents:
        raise TrustError("trust.document", file="people.yaml", why="is not pinned by the manifest")
    warnings: list[AweError] = []
    judged = [_pack(entry, bench, warnings) for entry in manifest.packs]
    packs = allowance.unclaimed([each for each in judged if isinstance(each, PackVerdict)])
    packs = allowance.interpreted(packs, root)
    faces = [_facade(entry, packs, bench, warnings) for entry in manifest.facades]
    return attrs.evolve(
        verdict,
        packs=tuple(packs),
        facades=tuple(each for each in faces if isinstance(each, FacadeVerdict)),
        absent=tuple(each for each in (*judged, *faces) if isinstance(each, Absent)),
        warnings=(*verdict.warnings, *warnings),
    )


def _pack(entry: ManifestPack, bench: Bench, warnings: list[AweError]) -> PackVerdict | Absent:
    file = pack_file(entry.distribution, entry.version, entry.record)
    try:
        record = _record(PackRecord, file, entry, bench)
    except TrustError as error:
        return _absent(entry, error)
    case = Case(entry, record, bench)
    warnings.extend(case.warnings)
    refusals = (*case.refusals, *allowance.ungrantable(record, bench.root))
    return PackVerdict(record=record, status=case.status, refusals=refusals, **_of(entry))


def _facade(
    entry: ManifestFacade, packs: Sequence[PackVerdict], bench: Bench, warnings: list[AweError]
) -> FacadeVerdict | Absent:
    file = facade_file(entry.id, entry.record)
    try:
        record = _record(FacadeRecord, file, entry, bench)
    except TrustError as error:
        return _absent(entry, error)
    case = Case(entry, record, bench)
    warnings.extend(case.warnings)
    behind, problems = allowance.reached(record, packs, bench.root)
    return FacadeVerdict(
        record=record,
        own_status=case.status,
        status=weakest([case.status, *(pack.status for pack in behind)]),
        packs=tuple(pack.digest for pack in behind),
        refusals=(*case.refusals, *problems),
        **_of(entry),
    )


def _record(kind: type[_R], file: str, entry: Entry, bench: Bench) -> _R:
    data = dsse.by_digest(bench.store, file, entry.record)
    record = kind.from_json(dsse.parse_document(data, at=file), at=file)
    if record_file(record, entry.record) != file:
        raise TrustError("store.misplaced", file=file)
    return record


def _of(entry: Entry) -> dict[str, Any]:
    """Give what a verdict has from its entry; what it permits is settled for a moment."""
    kept = {"digest": entry.record, "sunset": entry.sunset, "statements": entry.statements}
    return {**kept, "permits": NOTHING}


def _absent(entry: Entry, why: AweError) -> Absent:
    return Absent(name=entry.name, digest=entry.record, status=State(entry.status), why=why)


def _check_unique(manifest: Manifest) -> None:
    entries = manifest.entries
    listed = Counter(f"record {entry.record[:12]}" for entry in entries)
    active = Counter(
        f"ACTIVE {'pack' if isinstance(entry, ManifestPack) else 'facade'} {entry.name}"
        for entry in entries
        if entry.status == State.ACTIVE
    )
    for what, times in (listed + active).items():
        if times > 1:
            raise TrustError("trust.duplicate", what=what, by="two entries of the manifest")


def _check_root_order(chain: Chain, mark: Mark | None, *, now: Seconds) -> None:
    root = chain.current
    what = f"root {root.version}"
    if mark and root.version < mark.root_version:
        raise TrustError("trust.rollback", found=what, seen=f"root {mark.root_version}")
    manifests.check_not_ahead(what, root.issued, now=now)

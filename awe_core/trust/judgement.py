"""`judge`: what is in force in this deployment, from the bytes of its store alone.

In this order: root chain from the pin → manifest envelope, type, threshold → deployment and root →
order against the mark → times → uniqueness → stops → each entry's statements and record.  What
fails on the way to the entries fails as a whole and raises; a bad entry is a refusal of that entry,
and everything else stays in force.  No clock and no I/O: time and bytes are handed in.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError
from awe_core.lifecycle import NOTHING, State, weakest
from awe_core.records import FacadeRecord, ManifestPack, PackRecord, timestamp
from awe_core.trust import manifests, neighbours, statements
from awe_core.trust.allowance import settle
from awe_core.trust.reading import by_digest, parse
from awe_core.trust.roots import walk
from awe_core.trust.standing import Bench, judge_entry
from awe_core.trust.verdict import Absent, FacadeVerdict, Mark, PackVerdict, Stop, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.errors import AweError
    from awe_core.records import Digest, Manifest, ManifestFacade, Seconds
    from awe_core.trust.manifests import Entry, Issued
    from awe_core.trust.roots import Chain
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
    moment = max(now, mark.seen_at) if mark else now
    _check_root_order(chain, mark, now=moment)
    issued = manifests.current(store, chain, mark=mark, now=moment)
    manifest = issued.manifest if issued else None
    found, ignored = statements.stops(store, chain)
    stops = found | (mark.stops if mark else frozenset())
    warnings = [*_clock_warnings(mark, now), *ignored]
    warnings += manifests.expiry_warnings(manifest, chain.current, now=moment)
    phase = manifests.phase(manifest, chain.current, now=moment)
    unsettled = _Entries()
    if issued:
        history = manifests.histories(issued)
        bench = Bench(store=store, chain=chain, issued=issued, stops=stops, history=history)
        unsettled = _entries(bench)
    packs, facades = settle(
        unsettled.packs, unsettled.facades, root=chain.current, phase=phase, now=moment
    )
    return Verdict(
        root=chain.current,
        root_digest=chain.digest,
        manifest=manifest,
        manifest_digest=issued.digest if issued else None,
        phase=phase,
        packs=packs,
        facades=facades,
        absent=unsettled.absent,
        mark=_next_mark(chain, issued, mark, pin=pin, stops=stops, now=moment),
        warnings=(*warnings, *unsettled.warnings),
    )


def at_time(verdict: Verdict, now: Seconds) -> Verdict:
    """Give the same verdict for a later moment: phase and sunsets move, nothing else does."""
    moment = max(now, verdict.mark.seen_at)
    phase = manifests.phase(verdict.manifest, verdict.root, now=moment)
    packs, facades = settle(
        verdict.packs, verdict.facades, root=verdict.root, phase=phase, now=moment
    )
    lasting = [each for each in verdict.warnings if each.code not in manifests.EXPIRY_CODES]
    expiry = manifests.expiry_warnings(verdict.manifest, verdict.root, now=moment)
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
            raise TrustError(
                "trust.document", file=path, why="differs from the signed one", details=details
            )


@attrs.frozen
class _Entries:
    """All entries, judged one by one and against each other."""

    packs: Sequence[PackVerdict] = ()
    facades: Sequence[FacadeVerdict] = ()
    absent: tuple[Absent, ...] = ()
    warnings: tuple[AweError, ...] = ()


def _entries(bench: Bench) -> _Entries:
    manifest, root = bench.manifest, bench.root
    _check_unique(manifest)
    if root.environment == "prod" and "people.yaml" not in manifest.documents:
        raise TrustError("trust.document", file="people.yaml", why="is not pinned by the manifest")
    warnings: list[AweError] = []
    judged = [_pack(entry, bench, warnings) for entry in manifest.packs]
    packs = [each for each in judged if isinstance(each, PackVerdict)]
    packs = neighbours.interpreted(neighbours.unclaimed(packs), root)
    faces = [_facade(entry, packs, bench, warnings) for entry in manifest.facades]
    return _Entries(
        packs,
        [each for each in faces if isinstance(each, FacadeVerdict)],
        tuple(each for each in (*judged, *faces) if isinstance(each, Absent)),
        tuple(warnings),
    )


def _pack(entry: ManifestPack, bench: Bench, warnings: list[AweError]) -> PackVerdict | Absent:
    file = pack_file(entry.distribution, entry.version, entry.record)
    try:
        data = by_digest(bench.store, file, entry.record)
        record = PackRecord.from_json(parse(data, at=file), at=file)
    except TrustError as error:
        return _absent(entry, error)
    if (record.distribution, record.version) != (entry.distribution, entry.version):
        return _absent(entry, TrustError("store.misplaced", file=file))
    standing = judge_entry(entry, record, bench)
    warnings.extend(standing.warnings)
    return PackVerdict(
        record=record,
        digest=entry.record,
        status=standing.status,
        sunset=entry.sunset,
        permits=NOTHING,
        refusals=(*standing.refusals, *neighbours.ungrantable(record, bench.root)),
        statements=entry.statements,
    )


def _facade(
    entry: ManifestFacade, packs: Sequence[PackVerdict], bench: Bench, warnings: list[AweError]
) -> FacadeVerdict | Absent:
    file = facade_file(entry.id, entry.record)
    try:
        data = by_digest(bench.store, file, entry.record)
        record = FacadeRecord.from_json(parse(data, at=file), at=file)
    except TrustError as error:
        return _absent(entry, error)
    if record.name != entry.id:
        return _absent(entry, TrustError("store.misplaced", file=file))
    standing = judge_entry(entry, record, bench)
    warnings.extend(standing.warnings)
    behind, problems = neighbours.reached(record, packs, bench.root)
    return FacadeVerdict(
        record=record,
        digest=entry.record,
        own_status=standing.status,
        status=weakest([standing.status, *(pack.status for pack in behind)]),
        sunset=entry.sunset,
        packs=tuple(pack.digest for pack in behind),
        permits=NOTHING,
        refusals=(*standing.refusals, *problems),
        statements=entry.statements,
    )


def pack_file(distribution: str, version: str, digest: Digest) -> str:
    """Name the file of a pack record in the store."""
    return f"packs/{distribution}/{version}/record-{digest}.json"


def facade_file(facade: str, digest: Digest) -> str:
    """Name the file of a facade record in the store."""
    return f"facades/{facade}/record-{digest}.json"


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
    if root.issued > now + manifests.SKEW_S:
        issued = timestamp(root.issued)
        raise TrustError("trust.from_future", what=what, issued=issued, now=timestamp(now))


def _clock_warnings(mark: Mark | None, now: Seconds) -> list[AweError]:
    if mark is None or now >= mark.seen_at - manifests.SKEW_S:
        return []
    return [TrustError("trust.clock", behind_s=mark.seen_at - now)]


def _next_mark(  # noqa: PLR0913 - what a mark is made of
    chain: Chain,
    issued: Issued | None,
    mark: Mark | None,
    *,
    pin: Digest,
    stops: frozenset[Stop],
    now: Seconds,
) -> Mark:
    denied = mark.denied if mark else frozenset()
    return Mark(
        pin=pin,
        root_version=chain.current.version,
        version=issued.manifest.version if issued else 0,
        digest=issued.digest if issued else None,
        seen_at=now,
        stops=stops,
        denied=denied.union(issued.manifest.denied) if issued else denied,
    )

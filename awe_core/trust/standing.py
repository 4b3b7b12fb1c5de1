"""Where one entry of the manifest stands: its statements, the stops against it, its way here.

A manifest *claims* a state; here the claim is held against what people signed.  Stops narrow it
without asking the manifest, a lifted stop needs the `resume` that names it, and each step between
the manifests of the past must stand in the table of `lifecycle`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import State, transition
from awe_core.trust import approvals, statements
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.records import Digest, Manifest, Root
    from awe_core.trust.manifests import Entry, Issued
    from awe_core.trust.roots import Chain
    from awe_core.trust.statements import Signed
    from awe_core.trust.verdict import StoreBytes

RUNNING = frozenset({State.ACTIVE, State.DEPRECATED})


@attrs.frozen(kw_only=True)
class Bench:
    """What every entry is judged with."""

    store: StoreBytes
    chain: Chain
    issued: Issued
    stops: frozenset[Stop]  #: all that this home knows of
    history: Mapping[Digest, Sequence[tuple[Digest, Entry]]]  #: newest first

    @property
    def root(self) -> Root:
        """The root in force."""
        return self.chain.current

    @property
    def manifest(self) -> Manifest:
        """The manifest in force."""
        return self.issued.manifest


@attrs.frozen
class Standing:
    """What an entry comes to."""

    status: State  #: effective
    refusals: tuple[AweError, ...]
    warnings: tuple[AweError, ...]


def judge_entry(entry: Entry, record: approvals.Record, bench: Bench) -> Standing:
    """Judge what packs and facades have in common."""
    signed, unread = _signed(entry.statements, bench)
    lifted = _lifted(entry, signed, bench)
    stops = _stops(entry, signed, bench)
    status, warnings = _narrowed(entry, record, stops, lifted, bench.manifest)
    refusals = _unjustified(entry, record, stops, bench.manifest)
    if entry.status != State.REVOKED:
        at = bench.manifest.issued
        lacking = approvals.missing(record, entry.record, signed, root=bench.root, at=at)
        refusals += (*unread, *lacking) if lacking else ()
        refusals += _untravelled(entry, record, bench, lifted)
    return Standing(status, tuple(refusals), warnings)


def _signed(digests: Iterable[Digest], bench: Bench) -> tuple[list[Signed], list[AweError]]:
    signed: list[Signed] = []
    unread: list[AweError] = []
    for digest in digests:
        try:
            each = statements.find(bench.store, digest, bench.chain)
        except AweError as error:
            unread.append(error)
        else:
            signed.append(each)
    return signed, unread


def _lifted(entry: Entry, signed: Iterable[Signed], bench: Bench) -> frozenset[Digest]:
    """Give what the resumes of this entry lift; whoever released the manifest lifts nothing."""
    alone = bench.root.policy.self_approval
    return frozenset(
        each.statement.stops
        for each in signed
        if each.statement.stops is not None
        and each.statement.subject == entry.record
        and (alone or each.owner not in bench.issued.releasers)
    )


def _stops(entry: Entry, signed: Iterable[Signed], bench: Bench) -> frozenset[Stop]:
    """Collect what stops this record: seen by this home, stated here, or in earlier manifests.

    What an earlier manifest suspended it with and nobody can read any more counts as a suspension:
    losing a file must not start anything.
    """
    found = set(bench.stops)
    found |= {statements.as_stop(each) for each in signed if statements.is_stop(each)}
    for _, earlier in bench.history[entry.record]:
        if earlier.status == State.SUSPENDED:
            read, _unread = _signed(earlier.statements, bench)
            found |= {statements.as_stop(each) for each in read if statements.is_stop(each)}
            lost = set(earlier.statements) - {each.digest for each in read}
            found |= {Stop(digest, entry.record, "suspend") for digest in lost}
    return frozenset(stop for stop in found if stop.subject == entry.record)


def _narrowed(
    entry: Entry,
    record: approvals.Record,
    stops: frozenset[Stop],
    lifted: frozenset[Digest],
    manifest: Manifest,
) -> tuple[State, tuple[AweError, ...]]:
    """Give the effective state: the manifest's, narrowed by denials and standing stops."""
    status = State(entry.status)
    if entry.record in manifest.denied or any(stop.decision == "revoke" for stop in stops):
        return State.REVOKED, ()
    standing = sorted(stop.statement for stop in stops if stop.statement not in lifted)
    if status in RUNNING and standing:
        return State.SUSPENDED, (_resume_missing(record, standing[0]),)
    return status, ()


def _unjustified(
    entry: Entry, record: approvals.Record, stops: frozenset[Stop], manifest: Manifest
) -> list[AweError]:
    """Tell why the claimed state does not follow from what people signed."""
    name = approvals.title(record)
    is_denied = entry.record in manifest.denied
    match State(entry.status):
        case State.REVOKED if not is_denied:
            return [TrustError("trust.status", subject=name, why="it is REVOKED and not denied")]
        case State.REVOKED:
            return []
        case _ if is_denied:
            return [PackError("pack.denied", name=name)]
        case State.SUSPENDED if not stops:
            return [TrustError("trust.status", subject=name, why="nobody has suspended it")]
        case State.DEPRECATED if entry.sunset is None:
            return [TrustError("trust.status", subject=name, why="it is DEPRECATED without sunset")]
        case _:
            return []


def _untravelled(
    entry: Entry, record: approvals.Record, bench: Bench, lifted: frozenset[Digest]
) -> list[AweError]:
    """Check each step that the manifests show, oldest first.

    Back from SUPERSEDED leads a resume that names a manifest of that very time, so it works once.
    """
    stations: list[tuple[State, set[Digest]]] = []
    for manifest, each in reversed(bench.history[entry.record]):
        if stations and stations[-1][0] == each.status:
            stations[-1][1].add(manifest)
        else:
            stations.append((State(each.status), {manifest}))
    for (before, named), (after, _) in pairwise(stations):
        try:
            transition(before, after, subject=approvals.title(record))
        except TrustError as error:
            return [error]
        if before is State.SUPERSEDED and after is State.ACTIVE and lifted.isdisjoint(named):
            return [_resume_missing(record, min(named))]
    return []


def _resume_missing(record: approvals.Record, stop: Digest) -> PackError:
    return PackError("pack.resume_missing", name=approvals.title(record), stop=stop[:12])

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
    from collections.abc import Iterator

    from awe_core.records import Digest
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
    #: The entries of each record, newest first, each with the digest of its manifest.
    history: dict[Digest, list[tuple[Digest, Entry]]] = attrs.field(init=False)

    @history.default
    def _history(self) -> dict[Digest, list[tuple[Digest, Entry]]]:
        found: dict[Digest, list[tuple[Digest, Entry]]] = {}
        for digest, manifest in ((self.issued.digest, self.issued.manifest), *self.issued.past):
            for entry in manifest.entries:
                found.setdefault(entry.record, []).append((digest, entry))
        return found

    def judge(self, entry: Entry, record: approvals.Record) -> Standing:
        """Hold what *entry* claims of *record* against what people signed."""
        root, manifest = self.chain.current, self.issued.manifest
        signed, unread = statements.find(self.store, entry.statements, self.chain)
        stops, lifted = self._stops(entry, signed), self._lifted(entry, signed)
        is_denied = entry.record in manifest.denied
        is_revoked = is_denied or any(stop.decision == "revoke" for stop in stops)
        standing = sorted(s.statement for s in stops if s.statement not in lifted)
        warnings: list[AweError] = []
        if not is_revoked and standing and entry.status in RUNNING:
            warnings.append(_resume_missing(record, standing[0]))
        status = State.SUSPENDED if warnings else State(entry.status)
        refusals = list(_unjustified(entry, record, is_denied=is_denied, is_stopped=bool(stops)))
        if entry.status != State.REVOKED:
            digest, at = entry.record, manifest.issued
            lacking = approvals.missing(record, digest, signed, root=root, at=at)
            refusals += (*unread, *lacking) if lacking else ()
            refusals += self._untravelled(entry, record, lifted)
        return Standing(State.REVOKED if is_revoked else status, tuple(refusals), tuple(warnings))

    def _lifted(self, entry: Entry, signed: list[Signed]) -> set[Digest | None]:
        """What the resumes of this entry lift; whoever released the manifest lifts nothing."""
        releasers = {key.owner for key in self.issued.signers.values()}
        if self.chain.current.policy.self_approval:
            releasers = set()
        return {
            each.statement.stops
            for each in signed
            if each.statement.subject == entry.record and each.owner not in releasers
        } - {None}

    def _stops(self, entry: Entry, signed: list[Signed]) -> set[Stop]:
        """What stops this record: seen by this home, stated here, or in earlier manifests.

        What an earlier manifest suspended it with and nobody can read any more counts as a
        suspension: losing a file must not start anything.
        """
        found = {*self.stops, *(each.stop for each in signed if each.stop)}
        for _, earlier in self.history[entry.record]:
            if earlier.status == State.SUSPENDED:
                read, _ = statements.find(self.store, earlier.statements, self.chain)
                found |= {each.stop for each in read if each.stop}
                lost = set(earlier.statements) - {each.digest for each in read}
                found |= {Stop(digest, entry.record, "suspend") for digest in lost}
        return {stop for stop in found if stop.subject == entry.record}

    def _untravelled(
        self, entry: Entry, record: approvals.Record, lifted: set[Digest | None]
    ) -> list[AweError]:
        """Check each step that the manifests show, oldest first.

        Back from SUPERSEDED leads a resume that names a manifest of that very time, so it works
        once.
        """
        stations: list[tuple[State, set[Digest]]] = []
        for manifest, each in reversed(self.history[entry.record]):
            if not stations or stations[-1][0] != each.status:
                stations.append((State(each.status), set()))
            stations[-1][1].add(manifest)
        for (before, named), (after, _) in pairwise(stations):
            try:
                transition(before, after, subject=approvals.title(record))
            except TrustError as error:
                return [error]
            is_back = (before, after) == (State.SUPERSEDED, State.ACTIVE)
            if is_back and lifted.isdisjoint(named):
                return [_resume_missing(record, min(named))]
        return []


@attrs.frozen
class Standing:
    """Where a record stands by itself."""

    status: State  #: effective: the manifest's, narrowed by denials and standing stops
    refusals: tuple[AweError, ...]  #: why the entry is not taken
    warnings: tuple[AweError, ...]  #: the stop that stands against what the manifest shows running


def _unjustified(
    entry: Entry, record: approvals.Record, *, is_denied: bool, is_stopped: bool
) -> Iterator[AweError]:
    """Tell why the claimed state does not follow from what people signed."""
    name = approvals.title(record)
    if is_denied and entry.status != State.REVOKED:
        yield PackError("pack.denied", name=name)
    elif entry.status == State.REVOKED and not is_denied:
        yield TrustError("trust.status", subject=name, why="it is REVOKED and not denied")
    elif entry.status == State.SUSPENDED and not is_stopped:
        yield TrustError("trust.status", subject=name, why="nobody has suspended it")
    elif entry.status == State.DEPRECATED and entry.sunset is None:
        yield TrustError("trust.status", subject=name, why="it is DEPRECATED without sunset")


def _resume_missing(record: approvals.Record, stop: Digest) -> PackError:
    return PackError("pack.resume_missing", name=approvals.title(record), stop=stop[:12])

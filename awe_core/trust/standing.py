"""Where one entry of the manifest stands: its statements, the stops against it, its way here.

A manifest *claims* a state; here the claim is held against what people signed.  Stops narrow it
without asking the manifest, a lifted stop needs the `resume` that names it, and each step between
the manifests of the past must stand in the table of `lifecycle`.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import State, transition
from awe_core.trust import approvals, statements
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.records import Digest, Root
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

    def signed(self, digests: Iterable[Digest]) -> tuple[list[Signed], list[AweError]]:
        """Read the statements that an entry refers to, and tell why others do not count."""
        signed: list[Signed] = []
        unread: list[AweError] = []
        for digest in digests:
            try:
                signed.append(statements.find(self.store, digest, self.chain))
            except AweError as error:
                unread.append(error)
        return signed, unread


@attrs.define(eq=False)
class Case:
    """One entry before the bench: what packs and facades have in common."""

    entry: Entry
    record: approvals.Record
    bench: Bench

    @cached_property
    def status(self) -> State:
        """The effective state: the manifest's, narrowed by denials and standing stops."""
        if self._is_denied or any(stop.decision == "revoke" for stop in self._stops):
            return State.REVOKED
        return State.SUSPENDED if self.warnings else State(self.entry.status)

    @cached_property
    def warnings(self) -> tuple[AweError, ...]:
        """The stop that stands against a record which the manifest shows running."""
        standing = sorted(s.statement for s in self._stops if s.statement not in self._lifted)
        revoked = any(stop.decision == "revoke" for stop in self._stops)
        if self._is_denied or revoked or self.entry.status not in RUNNING or not standing:
            return ()
        return (self._resume_missing(standing[0]),)

    @cached_property
    def refusals(self) -> tuple[AweError, ...]:
        """Why the entry is not taken."""
        unjustified = self._unjustified()
        if self.entry.status == State.REVOKED:
            return unjustified
        signed, unread = self._signed
        at, root = self.bench.issued.manifest.issued, self.bench.root
        lacking = approvals.missing(self.record, self.entry.record, signed, root=root, at=at)
        return (*unjustified, *(unread if lacking else ()), *lacking, *self._untravelled())

    @cached_property
    def _signed(self) -> tuple[list[Signed], list[AweError]]:
        return self.bench.signed(self.entry.statements)

    @property
    def _is_denied(self) -> bool:
        return self.entry.record in self.bench.issued.manifest.denied

    @cached_property
    def _lifted(self) -> frozenset[Digest]:
        """What the resumes of this entry lift; whoever released the manifest lifts nothing."""
        alone = self.bench.root.policy.self_approval
        return frozenset(
            each.statement.stops
            for each in self._signed[0]
            if each.statement.stops is not None
            and each.statement.subject == self.entry.record
            and (alone or each.owner not in self.bench.issued.releasers)
        )

    @cached_property
    def _stops(self) -> frozenset[Stop]:
        """What stops this record: seen by this home, stated here, or in earlier manifests.

        What an earlier manifest suspended it with and nobody can read any more counts as a
        suspension: losing a file must not start anything.
        """
        found = set(self.bench.stops)
        found |= {each.as_stop() for each in self._signed[0] if each.is_stop}
        for _, earlier in self.bench.history[self.entry.record]:
            if earlier.status == State.SUSPENDED:
                read, _unread = self.bench.signed(earlier.statements)
                found |= {each.as_stop() for each in read if each.is_stop}
                lost = set(earlier.statements) - {each.digest for each in read}
                found |= {Stop(digest, self.entry.record, "suspend") for digest in lost}
        return frozenset(stop for stop in found if stop.subject == self.entry.record)

    def _unjustified(self) -> tuple[AweError, ...]:
        """Tell why the claimed state does not follow from what people signed."""
        name = approvals.title(self.record)
        match State(self.entry.status):
            case State.REVOKED if self._is_denied:
                return ()
            case State.REVOKED:
                why = "it is REVOKED and not denied"
            case _ if self._is_denied:
                return (PackError("pack.denied", name=name),)
            case State.SUSPENDED if not self._stops:
                why = "nobody has suspended it"
            case State.DEPRECATED if self.entry.sunset is None:
                why = "it is DEPRECATED without sunset"
            case _:
                return ()
        return (TrustError("trust.status", subject=name, why=why),)

    def _untravelled(self) -> tuple[AweError, ...]:
        """Check each step that the manifests show, oldest first.

        Back from SUPERSEDED leads a resume that names a manifest of that very time, so it works
        once.
        """
        stations: list[tuple[State, set[Digest]]] = []
        for manifest, each in reversed(self.bench.history[self.entry.record]):
            if not stations or stations[-1][0] != each.status:
                stations.append((State(each.status), set()))
            stations[-1][1].add(manifest)
        for (before, named), (after, _) in pairwise(stations):
            try:
                transition(before, after, subject=approvals.title(self.record))
            except TrustError as error:
                return (error,)
            back = (before, after) == (State.SUPERSEDED, State.ACTIVE)
            if back and self._lifted.isdisjoint(named):
                return (self._resume_missing(min(named)),)
        return ()

    def _resume_missing(self, stop: Digest) -> PackError:
        return PackError("pack.resume_missing", name=approvals.title(self.record), stop=stop[:12])

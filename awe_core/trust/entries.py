"""Where one entry of the manifest stands, and what it may do beside the others at a moment.

A manifest *claims* a state; here the claim is held against what people signed.  Stops narrow it
without asking the manifest, a lifted stop needs the `resume` that names it, and each step between
the manifests of the past must stand in the table of `lifecycle`.  Nobody claims what another
claims, a declarative pack needs its interpreter, and a facade may do nothing that one of its packs
may not.  Undo outlives everything but REVOKED, which runs no byte of the pack.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import Permits, State, permits, transition
from awe_core.trust import decisions
from awe_core.trust.decisions import title
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from awe_core.records import Digest, FacadeRecord, PackRecord, Root, Seconds
    from awe_core.trust.decisions import Signed
    from awe_core.trust.history import Chain, Entry, Issued
    from awe_core.trust.verdict import FacadeVerdict, PackVerdict, Phase, StoreBytes

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

    def judge(
        self, entry: Entry, record: decisions.Record
    ) -> tuple[State, list[AweError], list[AweError]]:
        """Hold what *entry* claims of *record* against what people signed.

        :returns: its state, narrowed by denials and standing stops; why the entry is not taken; the
            stop that stands against what the manifest shows running
        """
        root, manifest = self.chain.current, self.issued.manifest
        signed, unread = decisions.find(self.store, entry.statements, self.chain)
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
            lacking = decisions.missing(record, digest, signed, root=root, at=at)
            refusals += (*unread, *lacking) if lacking else ()
            refusals += self._untravelled(entry, record, lifted)
        return State.REVOKED if is_revoked else status, refusals, warnings

    def _lifted(self, entry: Entry, signed: list[Signed]) -> set[Digest | None]:
        """What the resumes of this entry lift; whoever released the manifest lifts nothing."""
        releasers = {key.owner for key in self.issued.signers.values()}
        if self.chain.current.policy.self_approval:
            releasers = set()
        return {
            each.statement.stops
            for each in signed
            if each.statement.subject == entry.record and each.owner not in releasers
        }

    def _stops(self, entry: Entry, signed: list[Signed]) -> set[Stop]:
        """What stops this record: seen by this home, stated here, or in earlier manifests.

        What an earlier manifest suspended it with and nobody can read any more counts as a
        suspension: losing a file must not start anything.
        """
        found = {*self.stops, *(each.stop for each in signed if each.stop)}
        for _, earlier in self.history[entry.record]:
            if earlier.status == State.SUSPENDED:
                read, _ = decisions.find(self.store, earlier.statements, self.chain)
                found |= {each.stop for each in read if each.stop}
                lost = set(earlier.statements) - {each.digest for each in read}
                found |= {Stop(digest, entry.record, "suspend") for digest in lost}
        return {stop for stop in found if stop.subject == entry.record}

    def _untravelled(
        self, entry: Entry, record: decisions.Record, lifted: set[Digest | None]
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
                transition(before, after, subject=title(record))
            except TrustError as error:
                return [error]
            is_back = (before, after) == (State.SUPERSEDED, State.ACTIVE)
            if is_back and lifted.isdisjoint(named):
                return [_resume_missing(record, min(named))]
        return []


def _unjustified(
    entry: Entry, record: decisions.Record, *, is_denied: bool, is_stopped: bool
) -> Iterator[AweError]:
    """Tell why the claimed state does not follow from what people signed."""
    name = title(record)
    if is_denied and entry.status != State.REVOKED:
        yield PackError("pack.denied", name=name)
    elif entry.status == State.REVOKED and not is_denied:
        yield TrustError("trust.status", subject=name, why="it is REVOKED and not denied")
    elif entry.status == State.SUSPENDED and not is_stopped:
        yield TrustError("trust.status", subject=name, why="nobody has suspended it")
    elif entry.status == State.DEPRECATED and entry.sunset is None:
        yield TrustError("trust.status", subject=name, why="it is DEPRECATED without sunset")


def _resume_missing(record: decisions.Record, stop: Digest) -> PackError:
    return PackError("pack.resume_missing", name=title(record), stop=stop[:12])


_STRENGTH = (State.ACTIVE, State.DEPRECATED, State.SUPERSEDED, State.SUSPENDED, State.REVOKED)


def settle(
    packs: Iterable[PackVerdict],
    facades: Iterable[FacadeVerdict],
    *,
    root: Root,
    phase: Phase,
    now: Seconds,
) -> tuple[tuple[PackVerdict, ...], tuple[FacadeVerdict, ...]]:
    """Fill in `permits` of every verdict."""

    def allowed(verdict: PackVerdict | FacadeVerdict) -> Permits:
        base = permits(verdict.status)
        over = verdict.sunset is not None and now >= verdict.sunset
        is_refused = not _in_force(verdict, root)
        ends = phase == "expired" or over or is_refused
        pauses = is_refused or (phase == "expired" and root.policy.on_expiry != "drain")
        return Permits(
            new=base.new and not ends,
            resume=base.resume and not pauses,
            undo_core=base.undo_core,
            undo_own=base.undo_own and not is_refused,
        )

    settled = tuple(attrs.evolve(pack, permits=allowed(pack)) for pack in packs)
    by_digest = {pack.digest: pack.permits for pack in settled}
    bounded = []
    for facade in facades:
        bounds = [allowed(facade), *(by_digest[digest] for digest in facade.packs)]
        every = [all(each) for each in zip(*map(attrs.astuple, bounds), strict=True)]
        bounded.append(attrs.evolve(facade, permits=Permits(*every)))
    return settled, tuple(bounded)


def beside_each_other(packs: Sequence[PackVerdict], root: Root) -> list[PackVerdict]:
    """Refuse who claims what another claims, and declarative packs without their interpreter."""
    claims: dict[str, set[str]] = {}
    for pack in packs:
        for claim in _claims(pack.record) if pack.status is not State.REVOKED else ():
            claims.setdefault(claim, set()).add(pack.name)
    shared = {claim: ", ".join(sorted(by)) for claim, by in claims.items() if len(by) > 1}
    judged = []
    for pack in packs:
        twice = [claim for claim in _claims(pack.record) if claim in shared]
        why = [TrustError("trust.duplicate", what=claim, by=shared[claim]) for claim in twice]
        judged.append(attrs.evolve(pack, refusals=(*pack.refusals, *why)))
    running = {pack.name for pack in judged if pack.status in RUNNING and _in_force(pack, root)}
    for n, pack in enumerate(judged):
        needed = pack.record.interpreter
        if needed not in {None, *running}:
            why_not = PackError("pack.interpreter", name=title(pack.record), interpreter=needed)
            judged[n] = attrs.evolve(pack, refusals=(*pack.refusals, why_not))
    return judged


def reached(
    facade: FacadeRecord, packs: Sequence[PackVerdict], root: Root
) -> tuple[list[PackVerdict], list[AweError]]:
    """Find the packs behind a facade, and what is wrong with them."""
    found: dict[Digest, PackVerdict] = {}
    problems: list[AweError] = []
    best = sorted(packs, key=lambda p: (not _in_force(p, root), _STRENGTH.index(p.status)))
    offers = [(pack, entry) for pack in best for entry in pack.record.capabilities]
    own = next((pack for pack in best if pack.name == facade.pack), None)
    if own is not None:  # it may bring nothing but the workflow that the facade exposes
        found[own.digest] = own
    elif facade.pack is not None:
        why = f"its pack {facade.pack} was never released"
        problems.append(PackError("facade.not_active", facade=facade.name, why=why))
    for reach in facade.reaches:
        about = {"facade": facade.name, "capability": reach.id}
        offer = next((each for each in offers if each[1].id == reach.id), None)
        if offer is None:
            problems.append(PackError("facade.unknown_target", **about))
            continue
        pack, entry = offer
        found[pack.digest] = pack
        if entry.contract != reach.contract:
            details = [f"approved sha256 {reach.contract}", f"now sha256 {entry.contract}"]
            problems.append(PackError("facade.target_changed", **about, details=details))
    for pack in found.values():
        if not _in_force(pack, root):
            why = f"{title(pack.record)} is refused"
            problems.append(PackError("facade.not_active", facade=facade.name, why=why))
    return list(found.values()), problems


def ungrantable(record: PackRecord, root: Root) -> list[AweError]:
    """Tell what the root's policy does not let this record have, or wants it to have."""
    policy, name = root.policy, title(record)
    found: list[AweError] = []
    lacking = set(policy.evidence) - {each.kind for each in record.evidence}
    if lacking:
        found.append(PackError("pack.evidence", name=name, kinds=", ".join(sorted(lacking))))
    if record.executor == "inproc" and {"*", record.distribution}.isdisjoint(policy.inproc):
        found.append(PackError("pack.executor", name=name))
    return found


def _in_force(verdict: PackVerdict | FacadeVerdict, root: Root) -> bool:
    """Whether no refusal keeps it from being used.

    A development root may let refusals of packs pass; manifest and signatures it never does.
    """
    is_observed = root.policy.observe and all(isinstance(e, PackError) for e in verdict.refusals)
    return not verdict.refusals or is_observed


def _claims(record: PackRecord) -> list[str]:
    capabilities = [f"capability {entry.id}" for entry in record.capabilities]
    return capabilities + [f"top level {name}" for name in record.top_level]

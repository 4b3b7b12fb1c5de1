"""What each record may do, given its state, the others beside it and the moment.

Nobody claims what another claims, a declarative pack needs its interpreter, and a facade may do
nothing that one of its packs may not.  Undo outlives everything but REVOKED, which runs no byte of
the pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import PackError, TrustError
from awe_core.lifecycle import Permits, State, permits
from awe_core.trust.approvals import title
from awe_core.trust.standing import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.errors import AweError
    from awe_core.records import Digest, FacadeRecord, PackRecord, Root, Seconds
    from awe_core.trust.verdict import FacadeVerdict, PackVerdict, Phase

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
        ends = phase == "expired" or (verdict.status is State.DEPRECATED and over) or is_refused
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

"""What each record may do, given its state, the others beside it and the moment.

Nobody claims what another claims, a declarative pack needs its interpreter, and a facade may do
nothing that one of its packs may not.  Undo outlives everything but REVOKED, which runs no byte of
the pack.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.errors import PackError, TrustError
from awe_core.lifecycle import Permits, State, permits
from awe_core.trust.approvals import title
from awe_core.trust.standing import RUNNING
from awe_core.trust.verdict import FacadeVerdict, PackVerdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.errors import AweError
    from awe_core.records import Digest, FacadeRecord, PackRecord, Root, Seconds
    from awe_core.trust.verdict import Phase

_T = TypeVar("_T", PackVerdict, FacadeVerdict)
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
    settled = tuple(_allow(pack, root, phase=phase, now=now) for pack in packs)
    by_digest = {pack.digest: pack for pack in settled}
    allowed = (_allow(facade, root, phase=phase, now=now) for facade in facades)
    return settled, tuple(_bounded(facade, by_digest) for facade in allowed)


def unclaimed(packs: Sequence[PackVerdict]) -> list[PackVerdict]:
    """Refuse every distribution that claims a name which another one claims as well."""
    claims: dict[str, set[str]] = {}
    for pack in packs:
        if pack.status is not State.REVOKED:
            for claim in _claims(pack.record):
                claims.setdefault(claim, set()).add(pack.name)
    shared = {claim: ", ".join(sorted(by)) for claim, by in claims.items() if len(by) > 1}
    refused = []
    for pack in packs:
        twice = [claim for claim in _claims(pack.record) if claim in shared]
        why = [TrustError("trust.duplicate", what=claim, by=shared[claim]) for claim in twice]
        refused.append(_refused(pack, why))
    return refused


def interpreted(packs: Sequence[PackVerdict], root: Root) -> list[PackVerdict]:
    """Refuse declarative packs whose interpreter is not in force itself."""
    running = {pack.name for pack in packs if pack.status in RUNNING and _in_force(pack, root)}
    judged = []
    for pack in packs:
        needed = pack.record.interpreter
        why = PackError("pack.interpreter", name=title(pack.record), interpreter=needed)
        judged.append(_refused(pack, [] if needed in {None, *running} else [why]))
    return judged


def reached(
    facade: FacadeRecord, packs: Sequence[PackVerdict], root: Root
) -> tuple[list[PackVerdict], list[AweError]]:
    """Find the packs behind a facade, and what is wrong with them."""
    found: dict[Digest, PackVerdict] = {}
    problems: list[AweError] = []
    offers = [
        (pack, entry)
        for pack in sorted(
            packs, key=lambda each: (not _in_force(each, root), _STRENGTH.index(each.status))
        )
        for entry in pack.record.capabilities
    ]
    for reach in facade.reaches:
        about = {"facade": facade.name, "capability": reach.id}
        pack, entry = next((each for each in offers if each[1].id == reach.id), (None, None))
        if pack is None or entry is None:
            problems.append(PackError("facade.unknown_target", **about))
            continue
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
    observed = root.policy.observe and all(isinstance(e, PackError) for e in verdict.refusals)
    return not verdict.refusals or observed


def _allow(verdict: _T, root: Root, *, phase: Phase, now: Seconds) -> _T:
    base = permits(verdict.status)
    over = verdict.sunset is not None and now >= verdict.sunset
    if verdict.status is State.DEPRECATED and over:
        base = attrs.evolve(base, new=False)
    if phase == "expired":
        drains = root.policy.on_expiry == "drain"
        base = attrs.evolve(base, new=False, resume=base.resume and drains)
    if not _in_force(verdict, root):
        base = attrs.evolve(base, new=False, resume=False, undo_own=False)
    return attrs.evolve(verdict, permits=base)


def _bounded(facade: FacadeVerdict, packs: Mapping[Digest, PackVerdict]) -> FacadeVerdict:
    bounds = [facade.permits, *(packs[digest].permits for digest in facade.packs)]
    names = (each.name for each in attrs.fields(Permits))
    allowed = Permits(**{name: all(getattr(each, name) for each in bounds) for name in names})
    return attrs.evolve(facade, permits=allowed)


def _claims(record: PackRecord) -> list[str]:
    capabilities = [f"capability {entry.id}" for entry in record.capabilities]
    return capabilities + [f"top level {name}" for name in record.top_level]


def _refused(pack: PackVerdict, problems: Iterable[AweError]) -> PackVerdict:
    return attrs.evolve(pack, refusals=(*pack.refusals, *problems))

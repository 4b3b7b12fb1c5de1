"""What each record may do at a moment: state, sunset, phase and refusals together.

Undo outlives everything but REVOKED, which runs no byte of the pack; a facade may do nothing that
one of its packs may not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.errors import PackError
from awe_core.lifecycle import Permits, State, permits
from awe_core.trust.verdict import FacadeVerdict, PackVerdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.errors import AweError
    from awe_core.records import Digest, Root, Seconds
    from awe_core.trust.verdict import Phase

_T = TypeVar("_T", PackVerdict, FacadeVerdict)


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
    bounded = tuple(
        _bounded(_allow(facade, root, phase=phase, now=now), by_digest) for facade in facades
    )
    return settled, bounded


def is_in_force(verdict: PackVerdict, root: Root) -> bool:
    """Whether no refusal keeps it from being used."""
    return not verdict.refusals or _only_observed(verdict.refusals, root)


def _allow(verdict: _T, root: Root, *, phase: Phase, now: Seconds) -> _T:
    base = permits(verdict.status)
    over = verdict.sunset is not None and now >= verdict.sunset
    if verdict.status is State.DEPRECATED and over:
        base = attrs.evolve(base, new=False)
    if phase == "expired":
        keeps_running = base.resume and root.policy.on_expiry == "drain"
        base = attrs.evolve(base, new=False, resume=keeps_running)
    if verdict.refusals and not _only_observed(verdict.refusals, root):
        base = Permits(new=False, resume=False, undo_core=base.undo_core, undo_own=False)
    return attrs.evolve(verdict, permits=base)


def _only_observed(refusals: Iterable[AweError], root: Root) -> bool:
    """Whether a development root lets these pass; manifest and signatures never are."""
    return root.policy.observe and all(isinstance(each, PackError) for each in refusals)


def _bounded(facade: FacadeVerdict, packs: Mapping[Digest, PackVerdict]) -> FacadeVerdict:
    bounds = [facade.permits, *(packs[digest].permits for digest in facade.packs)]
    names = (each.name for each in attrs.fields(Permits))
    allowed = Permits(**{name: all(getattr(each, name) for each in bounds) for name in names})
    return attrs.evolve(facade, permits=allowed)

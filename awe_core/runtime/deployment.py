"""What this deployment may run: trust judged, packs verified, registry and gate filled.

It fails closed per pack and never for the core: a bad root or manifest means no packs at all, a bad
pack means that pack and its facades; either way the deployment is there and says why.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.effects import GrantPlan
from awe_core.errors import AweError, TrustError
from awe_core.gate import Gate, GateSnapshot
from awe_core.governance import Governance, StoreFolder
from awe_core.handshake import People
from awe_core.packs import (
    CodeCache,
    PinnedFinder,
    check_requirements,
    discover,
    normalised,
    verify_installed,
)
from awe_core.plugins import Plugins
from awe_core.registry import CapabilityRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.config import Config
    from awe_core.packs import Found, VerifiedPack
    from awe_core.trust import Mark, PackVerdict, Verdict


@attrs.frozen(kw_only=True)
class Deployment:
    """One deployment as it stands at one moment."""

    config: Config
    verdict: Verdict | None  #: None: nothing is trusted, for the reason in `failure`
    failure: AweError | None
    registry: CapabilityRegistry
    gate: Gate
    finder: PinnedFinder
    plugins: Plugins
    packs: tuple[VerifiedPack, ...]
    refused: tuple[tuple[str, AweError], ...]  #: distributions that are off here, and why
    found: tuple[Found, ...]  #: every installed distribution with the entry point

    @property
    def trust(self) -> str:
        """What every record says of the root."""
        if self.verdict is None:
            return "none"
        return "dev-local" if self.verdict.is_dev else "prod"

    @property
    def people(self) -> People:
        """Who may answer the handshake: the people who hold keys in the root, and their roles."""
        if self.verdict is None:
            return People({})
        root, roles = self.verdict.root, dict[str, tuple[str, ...]]()
        for name, role in root.roles.items():
            for keyid in role.keys:
                key = root.keys[keyid]
                if key.kind == "person":
                    roles[key.owner] = (*roles.get(key.owner, ()), name)
        return People(roles, is_dev=self.verdict.is_dev)

    @property
    def governance(self) -> Governance:
        """The store, for reading and for signing.

        :raises TrustError: ``trust.not_pinned`` when ``awe.yaml`` names no root
        """
        return governance_of(self.config)


def governance_of(config: Config) -> Governance:
    """Give the store of *config* under its pinned root.

    :raises TrustError: ``trust.not_pinned``
    """
    if config.trust.root_sha256 is None:
        raise _unpinned(config)
    return Governance(StoreFolder(config.trust.store), config.trust.root_sha256, config.name)


def load(config: Config, *, now_s: int, mark: Mark | None) -> Deployment:
    """Judge trust and verify what is installed; nothing of a pack is imported."""
    verdict, failure = _judged(config, now_s=now_s, mark=mark)
    found = discover(also=[pack.name for pack in verdict.packs] if verdict else ())
    finder, plugins = PinnedFinder(CodeCache.at(config.home)), Plugins()
    registry = CapabilityRegistry(finder, plugins, dev=verdict is not None and verdict.is_dev)
    packs: list[VerifiedPack] = []
    aside: dict[str, AweError] = {}
    refused: list[tuple[str, AweError]] = []
    for pack in verdict.packs if verdict else ():
        try:
            if _is_needed(pack):
                editable = verdict is not None and verdict.root.policy.editable
                packs.append(_taken(pack, found, registry, editable=editable))
        except AweError as error:
            aside[pack.digest] = error
            refused.append((pack.name, error))
            finder.block(pack.record.top_level, error)
    refused += [(one.distribution, one.error) for one in registry.load_plugins()]
    if verdict is None:
        snapshot = GateSnapshot.closed(failure or _unpinned(config))
    else:
        snapshot = GateSnapshot.of(verdict, set_aside=aside, local=registry.local)
    return Deployment(
        config=config,
        verdict=verdict,
        failure=failure,
        registry=registry,
        gate=Gate(snapshot),
        finder=finder,
        plugins=plugins,
        packs=tuple(packs),
        refused=tuple(refused),
        found=found,
    )


def _judged(
    config: Config, *, now_s: int, mark: Mark | None
) -> tuple[Verdict | None, AweError | None]:
    """Judge the store; when it does not hold as a whole, nothing of it is used."""
    try:
        return governance_of(config).verdict(now=now_s, mark=mark), None
    except AweError as error:
        return None, error


def _is_needed(pack: PackVerdict) -> bool:
    """Whether any of its code may still run: an old record beside a newer one is left alone."""
    if pack.refusals:
        raise pack.refusals[0]
    return pack.permits.new or pack.permits.resume


def _taken(
    pack: PackVerdict, found: Iterable[Found], registry: CapabilityRegistry, *, editable: bool
) -> VerifiedPack:
    """Verify one pack and put what it offers into the registry."""
    name = normalised(pack.name)
    here = next((one for one in found if one.name == name), None)
    verified = verify_installed(pack.record, here, editable=editable)
    check_requirements(pack.record)
    for spec in verified.contracts():
        GrantPlan.compile(spec)  # a kind nobody here performs refuses the pack now, not at a call
    registry.add(verified)
    return verified


def _unpinned(config: Config) -> TrustError:
    return TrustError("trust.not_pinned", file=config.file or "awe.yaml")

"""What this deployment may run: trust judged, packs verified, registry and gate filled.

It fails closed per pack and never for the core: a bad root or manifest means no packs at all, a bad
pack means that pack and its facades; either way the deployment is there and says why.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import attrs

from awe_core import __version__, canonical
from awe_core.effects import GrantPlan
from awe_core.errors import AccessError, AweError, PackError, TrustError
from awe_core.gate import Gate, GateSnapshot
from awe_core.governance import Governance, StoreFolder, mark_from_json
from awe_core.handshake import People
from awe_core.lifecycle import State
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
from awe_core.trust import check_documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.capability import CapabilitySpec
    from awe_core.config import Config
    from awe_core.journal import Reading
    from awe_core.packs import Found, VerifiedPack
    from awe_core.records import Policy
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
    trouble: AweError | None = None  #: why newer news in the store was not taken; the old stands

    def capability(self, reference: str) -> CapabilitySpec:
        """Resolve what may be called; where a listed pack is off here, its reason is the answer.

        :raises AweError: ``capability.unknown``, or why its pack is off
        """
        try:
            return self.registry.resolve(reference).spec
        except AccessError as error:
            raise self.gate.reason(reference.partition("@")[0]) or error from None

    @property
    def trust(self) -> str:
        """What every record says of the root."""
        if self.verdict is None:
            return "none"
        if self.verdict.root.policy.observe:
            return "observe"
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

    def with_plugins(self) -> Deployment:
        """Import the plugins that may run and register what they offer; name those that fail.

        From now on the finder serves; whoever asked for that takes it back at the end.
        """
        self.finder.install()
        judged = self.verdict.packs if self.verdict else ()
        may_run = {pack.digest for pack in judged if _may_run(pack)}
        running = {one.record.distribution for one in self.packs if one.digest in may_run}
        aside = [(one.distribution, one.error) for one in self.registry.load_plugins(only=running)]
        return attrs.evolve(self, refused=(*self.refused, *aside))

    @property
    def governance(self) -> Governance:
        """The store, for reading and for signing.

        :raises TrustError: ``trust.not_pinned`` when ``awe.yaml`` names no root
        """
        return governance_of(self.config)


def governance_of(config: Config, mark: Mark | None = None) -> Governance:
    """Give the store of *config* under its pinned root.

    :raises TrustError: ``trust.not_pinned``
    """
    pin = config.trust.root_sha256
    if pin is None:
        raise _unpinned(config)
    return Governance(StoreFolder(config.trust.store), pin, config.name, mark)


def read_mark(journal: Reading, config: Config) -> Mark | None:
    """How far this home has come; None: it has seen nothing yet."""
    body = journal.mark(config.name)
    return None if body is None else mark_from_json(canonical.parse_document(body))


def load(
    config: Config, *, now_s: int, mark: Mark | None, before: Deployment | None = None
) -> Deployment:
    """Judge trust and verify what is installed; nothing of a pack is imported.

    :param before: the deployment of this process so far; its verified bytes go on counting, since
        what has changed on the disk changes nothing in a process that holds the approved ones
    """
    verdict, failure = _judged(config, now_s=now_s, mark=mark)
    judged = verdict.packs if verdict else ()
    found = discover(also=[pack.name for pack in judged])
    if before is None:
        finder, plugins = PinnedFinder(CodeCache.at(config.home, made_by=__version__)), Plugins()
        registry = CapabilityRegistry(finder, plugins, dev=verdict is not None and verdict.is_dev)
    else:
        finder, plugins, registry = before.finder, before.plugins, before.registry
    packs, failed = _taken(registry, finder, found, verdict)
    if verdict is None:
        snapshot = GateSnapshot.closed(failure or _unpinned(config))
    else:
        off = {pack.digest: error for pack, error in failed}
        snapshot = GateSnapshot.of(verdict, set_aside=off, local=registry.local)
    return Deployment(
        config=config,
        verdict=verdict,
        failure=failure,
        registry=registry,
        gate=Gate(snapshot),
        finder=finder,
        plugins=plugins,
        packs=packs,
        refused=tuple(_refused(finder, packs, failed)),
        found=found,
    )


def _judged(
    config: Config, *, now_s: int, mark: Mark | None
) -> tuple[Verdict | None, AweError | None]:
    """Judge the store; when it does not hold as a whole, nothing of it is used."""
    try:
        verdict = governance_of(config, mark).verdict(now=now_s)
        if verdict.manifest is not None:
            check_documents(verdict.manifest, pinnable(config, verdict.manifest.documents))
    except AweError as error:
        return None, error
    return verdict, None


def pinnable(config: Config, names: Iterable[str]) -> dict[str, str]:
    """Give the digests of those of the deployment's own files that are there, by name."""
    base = config.file.parent if config.file else config.workspace.root
    found = {}
    for name in names:
        with contextlib.suppress(OSError):
            found[name] = canonical.sha256_hex((base / name).read_bytes())
    return found


def _taken(
    registry: CapabilityRegistry,
    finder: PinnedFinder,
    found: Iterable[Found],
    verdict: Verdict | None,
) -> tuple[tuple[VerifiedPack, ...], list[tuple[PackVerdict, AweError]]]:
    """Take what of the verdict's packs is here; give the others with the reason.

    A record that may not run is taken too where its bytes are here, so that its runs can be looked
    at and taken back by the core; its code cannot be imported then.
    """
    packs: dict[str, VerifiedPack] = {}
    failed: list[tuple[PackVerdict, AweError]] = []
    if verdict is None:
        return (), failed
    for pack in sorted(verdict.packs, key=_may_run, reverse=True):
        try:
            if pack.refusals and not _may_run(pack):
                raise pack.refusals[0]
            if pack.name in packs:
                version = pack.record.version
                raise PackError("pack.replaced", distribution=pack.name, version=version)
            packs[pack.name] = _verified(registry, finder, pack, found, policy=verdict.root.policy)
        except AweError as error:
            failed.append((pack, error))
            continue
        if not _may_run(pack) and not pack.permits.undo_own:
            finder.block(pack.record.top_level, _blocked(pack))
    return tuple(packs.values()), failed


def _refused(
    finder: PinnedFinder,
    packs: Iterable[VerifiedPack],
    failed: Iterable[tuple[PackVerdict, AweError]],
) -> Iterator[tuple[str, AweError]]:
    """Name what is off and should not be, and let nothing of it be imported."""
    here = {one.record.distribution for one in packs}
    for pack, error in failed:
        if pack.name not in here:
            finder.block(pack.record.top_level, error)
        is_missed = pack.refusals or pack.permits.new or pack.permits.resume
        if is_missed and (pack.name not in here or pack.status is State.ACTIVE):
            yield pack.name, error


def _may_run(pack: PackVerdict) -> bool:
    return pack.permits.new or pack.permits.resume


def _verified(
    registry: CapabilityRegistry,
    finder: PinnedFinder,
    pack: PackVerdict,
    found: Iterable[Found],
    *,
    policy: Policy,
) -> VerifiedPack:
    held = next((one for one in registry.packs() if one.record.distribution == pack.name), None)
    if held is not None and held.digest == pack.digest and not held.is_editable:
        finder.admit(held.pinned)
        return held
    name = normalised(pack.name)
    here = next((one for one in found if one.name == name), None)
    verified = verify_installed(pack.record, here, editable=policy.editable, cache=finder.cache)
    check_requirements(pack.record, deep=policy.dependencies == "pinned")
    for spec in verified.contracts():
        GrantPlan.compile(spec)  # a kind nobody performs refuses the pack now, not at a call
    try:
        registry.add(verified)
    except PackError as error:
        if held is None or error.code != "pack.already_imported":
            raise
        version, loaded = pack.record.version, held.record.version
        raise PackError(
            "pack.loaded", distribution=pack.name, version=version, loaded=loaded
        ) from None
    return verified


def _blocked(pack: PackVerdict) -> PackError:
    return PackError(
        "pack.not_active",
        distribution=pack.name,
        version=pack.record.version,
        status=pack.status.value,
        capability=pack.name,
        doing="be imported",
    )


def _unpinned(config: Config) -> TrustError:
    return TrustError("trust.not_pinned", file=config.file or "awe.yaml")

"""From a report to the records people approve: the pack's, and one a facade it brings.

What ``pack.yaml`` asks for is only the default of what is granted; the proposal decides, and the
record is what counts.  Nothing unfit becomes a record.
"""

from __future__ import annotations

import importlib.metadata
import re
from typing import TYPE_CHECKING, TypeVar

from awe_core.capability import CapabilitySpec, Undo, UndoCompensate
from awe_core.documents import ProposalSpec
from awe_core.errors import AccessError, PackError
from awe_core.pack import PackSpec
from awe_core.packs.discovery import normalised
from awe_core.records import (
    CapabilityEntry,
    FacadeRecord,
    PackRecord,
    PinnedFile,
    Reach,
    Requirement,
    Unenforced,
    Wheel,
    WorkflowEntry,
)
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.packs.contents import Contents, Contract, Facade, Written
    from awe_core.packs.wheel import WheelReport
    from awe_core.records import Evidence

_Spec = TypeVar("_Spec", CapabilitySpec, WorkflowSpec)

LOCK_FILE = "source.lock.json"  #: of a declarative pack: what it was made from


def record_from_wheel(
    report: WheelReport,
    proposal: ProposalSpec,
    *,
    facades: Iterable[str] = (),
    requires: Iterable[Requirement] = (),
    evidence: Iterable[Evidence] = (),
) -> PackRecord:
    """Build the record that a proposal puts before people; its revision is 1.

    :param proposal: who proposes, and what shall be granted
    :param facades: digests of the facade records it comes with (`facade_records`)
    :raises AweError: the wheel's first refusal; ``pack.native`` for machine code without the grant;
        ``pack.name`` if the proposal is about another distribution or version
    """
    _check(report, proposal)
    declarative = report.kind == "declarative"
    return PackRecord(
        kind=report.kind,
        name=report.name,
        distribution=report.distribution,
        version=report.version,
        revision=1,
        wheel=Wheel(report.filename, report.sha256, report.size),
        files={path: PinnedFile(one.sha256, one.size) for path, one in report.files.items()},
        top_level=report.top_level,
        entry_points=dict(report.entry_points),
        hooks=() if declarative else proposal.hooks,
        executor=proposal.executor,
        reuse=proposal.reuse,
        native=proposal.native,
        accept_unenforced=tuple(
            Unenforced(one.right, one.reason) for one in proposal.accept_unenforced
        ),
        capabilities=tuple(_capability(one, declarative) for one in report.contents.contracts),
        workflows=tuple(
            WorkflowEntry(one.spec.id, one.spec.version, one.digest)
            for one in report.contents.workflows
        ),
        facades=tuple(facades),
        requires=tuple(requires),
        proposed_by=proposal.proposed_by,
        authors=proposal.authors,
        evidence=tuple(evidence),
        report=report.digest,
        interpreter=_interpreter(report) if declarative else None,
        source=_lock(report) if declarative else None,
    )


def asked_for(
    report: WheelReport, *, proposed_by: str, reason: str, authors: Iterable[str] = ()
) -> ProposalSpec:
    """Give the proposal that grants exactly what ``pack.yaml`` asks for."""
    pack = report.contents.pack or PackSpec(name=report.name)
    return ProposalSpec(
        distribution=report.distribution,
        version=report.version,
        proposed_by=proposed_by,
        authors=tuple(authors),
        reason=reason,
        executor=pack.executor,
        reuse=pack.reuse,
        native=pack.native,
        hooks=pack.hooks,
        accept_unenforced=pack.accept_unenforced,
    )


def facade_record(
    facade: Facade,
    offers: Iterable[Contents],
    *,
    pack: str | None,
    proposed_by: str,
    authors: Iterable[str] = (),
) -> FacadeRecord:
    """Build the record of one facade; its revision is 1.

    :param offers: the packs it may reach into, its own among them
    :param pack: the distribution it came with; None: the deployment's own
    :raises AccessError: ``facade.unknown_target``
    """
    return FacadeRecord(
        kind="facade",
        name=facade.spec.id,
        revision=1,
        facade=facade.document,
        pack=pack,
        reaches=reaches(facade, offers),
        proposed_by=proposed_by,
        authors=tuple(authors),
    )


def reaches(facade: Facade, offers: Iterable[Contents]) -> tuple[Reach, ...]:
    """Find every capability a facade can get to: through workflows, and to take effects back.

    :raises AccessError: ``facade.unknown_target``
    """
    catalogue = _Catalogue(facade.spec.id, tuple(offers))
    catalogue.visit(facade.spec.target, is_workflow=facade.spec.workflow is not None)
    return tuple(Reach(*one) for one in sorted(catalogue.found))


def installed_requirements(requires_dist: Iterable[str]) -> tuple[Requirement, ...]:
    """Pin what a wheel requires, and what that requires, to the versions installed here.

    Optional extras and what is not installed (another platform's) are left out, and so is the core.
    """
    found: dict[str, Requirement] = {}
    waiting = list(requires_dist)
    while waiting:
        line = waiting.pop()
        name = re.match(r"[A-Za-z0-9][A-Za-z0-9._-]*", line)
        if name is None or "extra" in line.partition(";")[2]:
            continue
        wanted = normalised(name[0])
        if wanted in found or wanted == "awe-core":
            continue
        try:
            distribution = importlib.metadata.distribution(wanted)
        except importlib.metadata.PackageNotFoundError:
            continue
        found[wanted] = Requirement(wanted, distribution.version, "")
        waiting += distribution.requires or []
    return tuple(found[name] for name in sorted(found))


def check_requirements(record: PackRecord) -> None:
    """Compare the versions a pack was approved with to what is installed.

    :raises PackError: ``pack.dependency``
    """
    differing = []
    for wanted in record.requires:
        try:
            version = importlib.metadata.version(wanted.distribution)
        except importlib.metadata.PackageNotFoundError:
            version = "not installed"
        if version != wanted.version:
            differing.append(
                f"{wanted.distribution}: approved {wanted.version}, installed {version}"
            )
    if differing:
        names = {"distribution": record.distribution, "version": record.version}
        raise PackError("pack.dependency", **names, details=differing)


def _check(report: WheelReport, proposal: ProposalSpec) -> None:
    if report.refusals:
        raise report.refusals[0]
    named = (normalised(proposal.distribution), proposal.version)
    if named != (report.distribution, report.version):
        why = f"it is {report.distribution} {report.version}, proposed is {' '.join(named)}"
        raise PackError("pack.name", wheel=report.filename, why=why)
    if report.native and not proposal.native:
        raise PackError("pack.native", wheel=report.filename, details=report.native[:20])


def _capability(contract: Contract, declarative: bool) -> CapabilityEntry:  # noqa: FBT001 - private
    spec = contract.spec
    effects = tuple(dict.fromkeys(_effects(spec) if declarative else _kinds(spec)))
    return CapabilityEntry(spec.id, spec.version, contract.digest, spec.risk.value, effects)


def _kinds(spec: CapabilitySpec) -> Iterator[str]:
    return (effect.kind for effect in spec.effects)


def _effects(spec: CapabilitySpec) -> Iterator[str]:
    """Name exact hosts: for an imported tool they are what people judge."""
    for effect in spec.effects:
        hosts = effect.fields.get("hosts", ()) if effect.kind == "net.http" else ()
        yield from (f"{effect.kind} {host}" for host in hosts)
        if not hosts:
            yield effect.kind


def _interpreter(report: WheelReport) -> str:
    pack = report.contents.pack
    module = (pack.interpreter or "") if pack else ""
    return normalised(module.partition(":")[0].partition(".")[0])


def _lock(report: WheelReport) -> str:
    path = f"{report.contents.package}/{LOCK_FILE}"
    if path not in report.files:
        raise PackError("pack.wheel", wheel=report.filename, why=f"it has no {path}")
    return report.files[path].sha256


class _Catalogue:
    """Walks from one facade to everything it reaches."""

    def __init__(self, facade: str, offers: tuple[Contents, ...]) -> None:
        self._facade = facade
        self._contracts = [one for offer in offers for one in offer.contracts]
        self._workflows = [one for offer in offers for one in offer.workflows]
        self.found: set[tuple[str, str]] = set()
        self._seen: set[tuple[str, bool]] = set()

    def visit(self, reference: str, *, is_workflow: bool) -> None:
        waiting = [(reference, is_workflow)]
        while waiting:
            target = waiting.pop()
            if target in self._seen:
                continue
            self._seen.add(target)
            if target[1]:
                waiting += _called(self._one(self._workflows, target[0]).spec)
            else:
                contract = self._one(self._contracts, target[0])
                self.found.add((contract.spec.id, contract.digest))
                waiting += _taking_back(contract.spec.undo)

    def _one(self, known: Iterable[Written[_Spec]], reference: str) -> Written[_Spec]:
        named = [one for one in known if reference in {one.spec.id, one.spec.reference}]
        if not named:
            raise AccessError("facade.unknown_target", facade=self._facade, capability=reference)
        return max(named, key=lambda one: one.spec.major)


def _called(workflow: WorkflowSpec) -> Iterator[tuple[str, bool]]:
    for step in workflow.steps:
        yield step.target, step.workflow is not None
        if step.compensation is not None:
            yield from _taking_back(step.compensation)


def _taking_back(undo: Undo) -> Iterator[tuple[str, bool]]:
    if isinstance(undo, UndoCompensate):
        for call in (undo.compensate, undo.before, undo.lookup):
            if call is not None:
                yield call.capability, False

"""From a report to the records people approve: the pack's, and one a facade it brings.

What ``pack.yaml`` asks for is only the default of what is granted; the proposal decides, and the
record is what counts.  Nothing unfit becomes a record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from awe_core.capability import CapabilitySpec, Undo, UndoCompensate
from awe_core.documents import ProposalSpec
from awe_core.errors import AccessError, PackError
from awe_core.pack import PackSpec
from awe_core.packs.discovery import normalised
from awe_core.records import (
    CapabilityEntry,
    FacadeRecord,
    PackRecord,
    Reach,
    Requirement,
    Unenforced,
    Wheel,
    WorkflowEntry,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.pack import FacadeSpec
    from awe_core.packs.contents import Contents, Written
    from awe_core.packs.wheel import WheelReport
    from awe_core.records import Evidence
    from awe_core.workflow import WorkflowSpec

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
    :param facades: digests of the facade records it comes with (`facade_record`)
    :param evidence: what speaks for the wheel (`provenance`)
    :raises AweError: the wheel's first refusal; ``pack.native`` for machine code without the grant;
        ``pack.name`` if the proposal is about another distribution or version
    """
    _check(report, proposal)
    is_declarative = report.kind == "declarative"
    rights = (Unenforced(one.right, one.reason) for one in proposal.accept_unenforced)
    return PackRecord(
        kind=report.kind,
        name=report.name,
        distribution=report.distribution,
        version=report.version,
        revision=1,
        wheel=Wheel(report.filename, report.sha256, report.size),
        files=dict(report.files),
        top_level=report.top_level,
        entry_points=dict(report.entry_points),
        hooks=() if is_declarative else proposal.hooks,
        executor=proposal.executor,
        reuse=proposal.reuse,
        native=proposal.native,
        accept_unenforced=tuple(rights),
        capabilities=tuple(
            _capability(one, exact=is_declarative) for one in report.contents.contracts
        ),
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
        **(_source(report) if is_declarative else {}),
    )


def asked_for(report: WheelReport, *, proposed_by: str, reason: str) -> ProposalSpec:
    """Give the proposal that grants exactly what ``pack.yaml`` asks for."""
    pack = report.contents.pack or PackSpec(name=report.name)
    return ProposalSpec(
        distribution=report.distribution,
        version=report.version,
        proposed_by=proposed_by,
        authors=(),
        reason=reason,
        executor=pack.executor,
        reuse=pack.reuse,
        native=pack.native,
        hooks=pack.hooks,
        accept_unenforced=pack.accept_unenforced,
    )


def facade_record(
    facade: Written[FacadeSpec],
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
        reaches=_reaches(facade.spec, tuple(offers)),
        proposed_by=proposed_by,
        authors=tuple(authors),
    )


def _check(report: WheelReport, proposal: ProposalSpec) -> None:
    if report.refusals:
        raise report.refusals[0]
    named = (normalised(proposal.distribution), proposal.version)
    if named != (report.distribution, report.version):
        why = f"it is {report.distribution} {report.version}, proposed is {' '.join(named)}"
        raise PackError("pack.name", wheel=report.filename, why=why)
    if report.native and not proposal.native:
        raise PackError("pack.native", wheel=report.filename, details=report.native[:20])


def _capability(contract: Written[CapabilitySpec], *, exact: bool) -> CapabilityEntry:
    """Give its entry; *exact* hosts for an imported tool, since they are what people judge."""
    effects: dict[str, None] = {}
    for effect in contract.spec.effects:
        hosts = effect.fields.get("hosts", ()) if exact and effect.kind == "net.http" else ()
        effects |= dict.fromkeys([f"{effect.kind} {host}" for host in hosts] or [effect.kind])
    spec = contract.spec
    return CapabilityEntry(spec.id, spec.version, contract.digest, spec.risk.value, tuple(effects))


def _source(report: WheelReport) -> dict[str, str]:
    """Give what performs a declarative pack, and the digest of what it was made from."""
    pack, path = report.contents.pack, f"{report.contents.package}/{LOCK_FILE}"
    if path not in report.files:
        raise PackError("pack.wheel", wheel=report.filename, why=f"it has no {path}")
    module = ((pack.interpreter or "") if pack else "").partition(":")[0]
    interpreter = normalised(module.partition(".")[0])
    return {"interpreter": interpreter, "source": report.files[path].sha256}


def _reaches(facade: FacadeSpec, offers: tuple[Contents, ...]) -> tuple[Reach, ...]:
    """Find every capability a facade can get to: through workflows, and to take effects back."""
    known: dict[bool, list[Written[Any]]] = {
        True: [one for offer in offers for one in offer.workflows],
        False: [one for offer in offers for one in offer.contracts],
    }
    found: set[tuple[str, str]] = set()
    seen: set[tuple[str, bool]] = set()
    waiting = [(facade.target, facade.workflow is not None)]
    while waiting:
        target = waiting.pop()
        if target in seen:
            continue
        seen.add(target)
        reference, is_workflow = target
        named = [
            one for one in known[is_workflow] if reference in {one.spec.id, one.spec.reference}
        ]
        if not named:
            raise AccessError("facade.unknown_target", facade=facade.id, capability=reference)
        written = max(named, key=lambda one: int(one.spec.major))
        if is_workflow:
            waiting += _called(written.spec)
        else:
            found.add((written.spec.id, written.digest))
            waiting += _taking_back(written.spec.undo)
    return tuple(Reach(*one) for one in sorted(found))


def _called(workflow: WorkflowSpec) -> Iterator[tuple[str, bool]]:
    for step in workflow.steps:
        yield step.target, step.workflow is not None
        yield from _taking_back(step.compensation)


def _taking_back(undo: Undo | None) -> Iterator[tuple[str, bool]]:
    if isinstance(undo, UndoCompensate):
        yield from ((call.capability, False) for _, call in undo.calls())

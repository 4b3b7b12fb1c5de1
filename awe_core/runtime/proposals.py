"""From a wheel to what people are asked to approve: the pack record and its facades' records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from awe_core import canonical
from awe_core.documents import load_proposal
from awe_core.errors import AccessError
from awe_core.governance import as_yaml
from awe_core.lifecycle import State
from awe_core.packs import (
    asked_for,
    facade_record,
    inspect_wheel,
    installed_top_levels,
    record_digest,
    record_from_wheel,
    requirements_of,
    verify_provenance,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from awe_core.packs import WheelReport
    from awe_core.records import FacadeRecord, PackRecord
    from awe_core.runtime.deployment import Deployment


@attrs.frozen
class Proposal:
    """A pack and the facades it comes with, as one sitting approves them."""

    report: WheelReport
    record: PackRecord
    facades: tuple[FacadeRecord, ...]
    papers: Mapping[str, bytes]  #: what reviewers read beside the record: name → content


def inspected(deployment: Deployment, wheel: Path) -> WheelReport:
    """Look through *wheel* beside what is installed and governed here: names, top levels."""
    taken = installed_top_levels()
    packs = deployment.verdict.packs if deployment.verdict else ()
    known = {one.name for one in (deployment.verdict.facades if deployment.verdict else ())}
    for record in (one.record for one in packs if one.status is not State.REVOKED):
        for top in record.top_level:
            taken[top] = taken.get(top, frozenset()) | {record.distribution}
        known |= {record.name, *(one.id for one in record.capabilities)}
    known.update(*taken.values())
    return inspect_wheel(wheel, taken=taken, known=known)


def draft(  # noqa: PLR0913 - what a proposer says
    deployment: Deployment,
    wheel: Path,
    *,
    proposed_by: str,
    reason: str,
    proposal: Path | None = None,
    deps: Path | None = None,
    provenance: Path | None = None,
) -> Proposal:
    """Build the records of *wheel*; nothing of it is imported.

    :param proposal: the YAML that says what to grant; None: exactly what ``pack.yaml`` asks for
    :param deps: a folder with the wheels of all it requires, whose files are pinned then
    :param provenance: the attestations of its index, verified and shown to those who approve
    :raises AweError: the wheel's first refusal, what it requires and cannot be pinned, or
        a facade whose target nobody offers
    """
    report = inspected(deployment, wheel)
    if proposal is None:
        wanted = asked_for(report, proposed_by=proposed_by, reason=reason)
        plain = json.loads(json.dumps(attrs.asdict(wanted)))  # lists for tuples
        text = as_yaml({"awe": "proposal/v1", **plain}).encode()
    else:
        text = proposal.read_bytes()
        wanted = load_proposal(text, file=str(proposal))
    offers = [*(pack.contents for pack in deployment.packs), report.contents]
    by, authors, pack_name = wanted.proposed_by, wanted.authors, report.distribution
    try:
        facades = [
            facade_record(facade, offers, pack=pack_name, proposed_by=by, authors=authors)
            for facade in report.contents.facades
        ]
    except AccessError as error:  # perhaps of a pack that is ACTIVE, and off for its own reason
        off = [f"{name} is off: {why.summary}" for name, why in deployment.refused]
        said: dict[str, Any] = error.attributes
        raise AccessError(error.code, details=off, **said) from None
    facades = [_in_force(deployment, facade) for facade in facades]
    digests = [record_digest(facade) for facade in facades]
    requires = requirements_of(report.requires_dist, deps)
    evidence = () if provenance is None else (verify_provenance(provenance, wheel),)
    record = record_from_wheel(
        report, wanted, facades=digests, requires=requires, evidence=evidence
    )
    revision = deployment.governance.next_revision(record.name, record.version)
    record = attrs.evolve(record, revision=revision)
    papers = {f"report-{report.digest}.json": canonical.document(report.as_json())}
    papers |= {"proposal.yaml": text}
    if provenance is not None:
        papers |= {f"evidence/{one.sha256}.json": provenance.read_bytes() for one in evidence}
    return Proposal(report, record, tuple(facades), papers)


def _in_force(deployment: Deployment, made: FacadeRecord) -> FacadeRecord:
    """Give the ACTIVE record that says the same of the same contracts, else the next revision."""
    for each in deployment.verdict.facades if deployment.verdict else ():
        known = each.record
        same = (known.name, known.facade, known.reaches) == (made.name, made.facade, made.reaches)
        if same and each.own_status is State.ACTIVE and not each.refusals:
            return known
    revision = deployment.governance.next_revision(made.name, made.version)
    return attrs.evolve(made, revision=revision)

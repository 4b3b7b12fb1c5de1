"""From a wheel to what people are asked to approve: the pack record and its facades' records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.documents import load_proposal
from awe_core.governance import as_yaml
from awe_core.packs import (
    asked_for,
    facade_record,
    inspect_wheel,
    installed_requirements,
    installed_top_levels,
    record_digest,
    record_from_wheel,
)

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.packs import WheelReport
    from awe_core.records import FacadeRecord, PackRecord
    from awe_core.runtime.deployment import Deployment


@attrs.frozen
class Proposal:
    """A pack and the facades it comes with, as one sitting approves them."""

    report: WheelReport
    asked: bytes  #: the proposal as it was written
    record: PackRecord
    facades: tuple[FacadeRecord, ...]

    @property
    def papers(self) -> dict[str, bytes]:
        """What reviewers read beside the record: name → content."""
        report = canonical.document(self.report.as_json())
        return {f"report-{self.report.digest}.json": report, "proposal.yaml": self.asked}


def draft(
    deployment: Deployment,
    wheel: Path,
    *,
    proposed_by: str,
    reason: str,
    proposal: Path | None = None,
) -> Proposal:
    """Build the records of *wheel*; nothing of it is imported.

    :param proposal: the YAML that says what to grant; None: exactly what ``pack.yaml`` asks for
    :raises AweError: the wheel's first refusal, or a facade whose target nobody offers
    """
    taken = dict(installed_top_levels())  # by what is installed, and by other records
    for pack in deployment.verdict.packs if deployment.verdict else ():
        taken |= dict.fromkeys(pack.record.top_level, pack.record.distribution)
    report = inspect_wheel(wheel, taken=taken)
    if proposal is None:
        wanted = asked_for(report, proposed_by=proposed_by, reason=reason)
        plain = json.loads(json.dumps(attrs.asdict(wanted)))  # lists for tuples
        text = as_yaml({"awe": "proposal/v1", **plain}).encode()
    else:
        text = proposal.read_bytes()
        wanted = load_proposal(text, file=str(proposal))
    offers = [*(pack.contents for pack in deployment.packs), report.contents]
    by, authors, pack_name = wanted.proposed_by, wanted.authors, report.distribution
    facades = tuple(
        facade_record(facade, offers, pack=pack_name, proposed_by=by, authors=authors)
        for facade in report.contents.facades
    )
    digests = [record_digest(facade) for facade in facades]
    requires = installed_requirements(report.requires_dist)
    record = record_from_wheel(report, wanted, facades=digests, requires=requires)
    return Proposal(report, text, record, facades)

"""From a wheel to what people are asked to approve: the pack record and its facades' records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

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
    from collections.abc import Iterable
    from pathlib import Path

    from awe_core.documents import ProposalSpec
    from awe_core.packs import WheelReport
    from awe_core.records import Evidence, FacadeRecord, PackRecord
    from awe_core.runtime.deployment import Deployment


@attrs.frozen
class Proposal:
    """A pack and the facades it comes with, as one sitting approves them."""

    report: WheelReport
    record: PackRecord
    facades: tuple[FacadeRecord, ...]


def draft(  # noqa: PLR0913 - all that a proposal is made of
    deployment: Deployment,
    wheel: Path,
    *,
    proposed_by: str,
    reason: str,
    asked: ProposalSpec | None = None,
    evidence: Iterable[Evidence] = (),
) -> Proposal:
    """Build the records of *wheel*; nothing of it is imported.

    :param asked: what shall be granted; None: exactly what ``pack.yaml`` asks for
    :param evidence: what speaks for the wheel, shown to those who approve
    :raises AweError: the wheel's first refusal, or a facade whose target nobody offers
    """
    taken = dict(installed_top_levels())  # by what is installed, and by other records
    for pack in deployment.verdict.packs if deployment.verdict else ():
        taken |= dict.fromkeys(pack.record.top_level, pack.record.distribution)
    report = inspect_wheel(wheel, taken=taken)
    wanted = asked or asked_for(report, proposed_by=proposed_by, reason=reason)
    offers = [*(pack.contents for pack in deployment.packs), report.contents]
    by, authors, pack_name = wanted.proposed_by, wanted.authors, report.distribution
    facades = tuple(
        facade_record(facade, offers, pack=pack_name, proposed_by=by, authors=authors)
        for facade in report.contents.facades
    )
    digests = [record_digest(facade) for facade in facades]
    requires = installed_requirements(report.requires_dist)
    made = record_from_wheel(report, wanted, facades=digests, requires=requires, evidence=evidence)
    return Proposal(report, made, facades)

"""From a wheel to what people are asked to approve: the pack record and its facades' records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.lifecycle import State
from awe_core.packs import (
    asked_for,
    facade_record,
    inspect_wheel,
    installed_top_levels,
    record_digest,
    record_from_wheel,
    requirements_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.documents import ProposalSpec
    from awe_core.packs import WheelReport
    from awe_core.records import FacadeRecord, PackRecord
    from awe_core.runtime.deployment import Deployment


@attrs.frozen
class Proposal:
    """A pack and the facades it comes with, as one sitting approves them."""

    report: WheelReport
    record: PackRecord
    facades: tuple[FacadeRecord, ...]


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
    asked: ProposalSpec | None = None,
    deps: Path | None = None,
) -> Proposal:
    """Build the records of *wheel*; nothing of it is imported.

    :param asked: what shall be granted; None: exactly what ``pack.yaml`` asks for
    :param deps: a folder with the wheels of all it requires, whose files are pinned then
    :raises AweError: the wheel's first refusal, what it requires and cannot be pinned, or
        a facade whose target nobody offers
    """
    report = inspected(deployment, wheel)
    wanted = asked or asked_for(report, proposed_by=proposed_by, reason=reason)
    offers = [*(pack.contents for pack in deployment.packs), report.contents]
    by, authors, pack_name = wanted.proposed_by, wanted.authors, report.distribution
    facades = tuple(
        facade_record(facade, offers, pack=pack_name, proposed_by=by, authors=authors)
        for facade in report.contents.facades
    )
    digests = [record_digest(facade) for facade in facades]
    requires = requirements_of(report.requires_dist, deps)
    return Proposal(
        report, record_from_wheel(report, wanted, facades=digests, requires=requires), facades
    )

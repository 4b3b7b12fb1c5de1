"""From one deployment's store to another's: the record and its papers travel, statements never do.

What people said was said about one deployment (``trust.deployment``); here they decide anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.errors import UsageError
from awe_core.governance.survey import read_subjects, record_file, subject_of
from awe_core.records import FacadeRecord, PackRecord

if TYPE_CHECKING:
    from awe_core.governance.governing import Governance
    from awe_core.governance.store import StoreFolder

_Record = TypeVar("_Record", PackRecord, FacadeRecord)


def copied(
    store: StoreFolder, name: str, into: Governance, *, proposed_by: str
) -> tuple[PackRecord, list[FacadeRecord], dict[str, bytes]]:
    """Give what `Governance.propose` takes: NAME@VERSION of *store* as *proposed_by* proposes it.

    Of several revisions the newest is taken.

    :raises UsageError: ``governance.unknown``
    :raises TrustError: the store cannot be read
    """

    def anew(record: _Record) -> _Record:
        revision = into.next_revision(record.name, record.version)
        return attrs.evolve(record, proposed_by=proposed_by, revision=revision)

    known = read_subjects(store.read())
    packs = [(each, each.record) for each in known if isinstance(each.record, PackRecord)]
    named = [each for each in packs if each[0].title == name]
    if not named:
        titles = ", ".join(sorted({subject.title for subject, _ in packs}))
        details = [f"in that store: {titles or 'no pack'}"]
        raise UsageError("governance.unknown", name=name, details=details)
    subject, record = max(named, key=lambda each: each[1].revision)
    facades = [
        anew(each.record)
        for each in known
        if isinstance(each.record, FacadeRecord) and each.digest in record.facades
    ]
    digests = tuple(subject_of(facade).digest for facade in facades)
    folder = record_file(subject)[0].rpartition("/")[0]
    names = (f"report-{record.report}.json", "proposal.yaml")
    papers = {each: store.read_one(f"{folder}/{each}") for each in names}
    found = {each: data for each, data in papers.items() if data is not None}
    return attrs.evolve(anew(record), facades=digests), facades, found

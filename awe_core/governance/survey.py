"""Where every record of a store stands: from the manifest, or before it from the statements.

The manifest knows only what has been ACTIVE once.  Before that a record's state follows from the
signed statements about it: rejection or withdrawal ends it when it came before enough approvals.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from awe_core import canonical
from awe_core.errors import AweError, UsageError
from awe_core.governance.documents import Subject
from awe_core.lifecycle import State
from awe_core.records import FacadeRecord, PackRecord
from awe_core.trust import Signed, dsse, needs, statements
from awe_core.trust.approvals import missing

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.records import Root, Seconds
    from awe_core.trust import Chain, StoreBytes, Verdict

_RECORD = re.compile(r"(packs|facades)/.+/record-([0-9a-f]{64})\.json")
_ENDS = {"reject": State.REJECTED, "withdraw": State.WITHDRAWN}
_OVER = frozenset({State.REJECTED, State.WITHDRAWN, State.REVOKED})
_SHORTEST_DIGEST = 8

Kind: TypeAlias = Literal["pack", "facade"]


@attrs.frozen(kw_only=True)
class SubjectState:
    """One record and where it stands."""

    subject: Subject
    state: State
    signed: tuple[Signed, ...]  #: all statements about it that hold, by time
    lacking: tuple[AweError, ...]  #: why it is not approved; empty: it is
    refusals: tuple[AweError, ...]  #: why the manifest's entry is not taken

    @property
    def standing_stops(self) -> tuple[Signed, ...]:
        """The suspensions that no resume has lifted."""
        lifted = {each.statement.stops for each in self.signed}
        suspended = (each for each in self.signed if each.statement.decision == "suspend")
        return tuple(each for each in suspended if each.digest not in lifted)


def read_subjects(store: StoreBytes) -> tuple[Subject, ...]:
    """Read the records of a store; what is no record is passed over (`awe verify` names it)."""
    found = []
    for file in sorted(store):
        named = _RECORD.fullmatch(file)
        if named is None or canonical.sha256_hex(store[file]) != named[2]:
            continue
        kind = PackRecord if named[1] == "packs" else FacadeRecord
        try:
            record = kind.from_json(dsse.parse_document(store[file], at=file), at=file)
        except AweError:
            continue
        found.append(Subject(record, named[2]))
    return tuple(found)


def read_statements(store: StoreBytes, chain: Chain) -> tuple[Signed, ...]:
    """Read the statements that hold, by time; forged ones are passed over."""
    found = (each for each in statements.every(store, chain) if isinstance(each, Signed))
    return tuple(sorted(found, key=lambda each: (each.statement.at, each.digest)))


def survey(
    store: StoreBytes, chain: Chain, verdict: Verdict | None, *, now: Seconds
) -> tuple[SubjectState, ...]:
    """Tell where every record of a store stands."""
    said = read_statements(store, chain)
    entries = verdict.entries if verdict else ()
    listed = {each.digest: (each.own_status, each.refusals) for each in entries}
    listed |= (
        {each.digest: (each.status, (each.why,)) for each in verdict.absent} if verdict else {}
    )
    found = []
    for subject in read_subjects(store):
        signed = tuple(each for each in said if each.statement.subject == subject.digest)
        lacking = missing(subject.record, subject.digest, signed, root=chain.current, at=now)
        entry = listed.get(subject.digest)
        state, refusals = entry or (_before_manifest(subject, signed, chain.current, now), ())
        about = {"lacking": lacking, "refusals": refusals}
        found.append(SubjectState(subject=subject, state=state, signed=signed, **about))
    return tuple(found)


def find(states: Iterable[SubjectState], name: str, *, kind: Kind | None = None) -> SubjectState:
    """Give the record that NAME, NAME@VERSION or the beginning of a digest stands for.

    :param kind: packs (of any kind) or facades alone; None: both
    :raises UsageError: ``governance.unknown``, ``governance.ambiguous``
    """
    looked_at = [each for each in states if kind in {None, each.subject.kind}]
    found = [each for each in looked_at if _is_named(each.subject, name)]
    if not found:
        known = sorted({each.subject.title for each in looked_at})
        details = [f"known: {', '.join(known) or 'nothing has been proposed'}"]
        raise UsageError("governance.unknown", name=name, details=details)
    found = [each for each in found if each.state not in _OVER] or found
    if len(found) > 1:
        details = [f"{each.subject.title} {each.subject.digest} {each.state}" for each in found]
        raise UsageError("governance.ambiguous", name=name, details=details)
    return found[0]


def _is_named(subject: Subject, name: str) -> bool:
    wanted, _, version = name.partition("@")
    by_name = wanted in {subject.record.name, subject.group}
    by_digest = len(name) >= _SHORTEST_DIGEST and subject.digest.startswith(name)
    return by_digest or (by_name and version in {"", subject.record.version})


def _before_manifest(
    subject: Subject, signed: tuple[Signed, ...], root: Root, now: Seconds
) -> State:
    """Tell the state of a record that no manifest lists."""

    def lacks(said: tuple[Signed, ...]) -> bool:
        return bool(missing(subject.record, subject.digest, said, root=root, at=now))

    proposer = subject.record.proposed_by
    if any(each.statement.decision == "revoke" for each in signed):
        return State.REVOKED
    for n, each in enumerate(signed):
        end = _ENDS.get(each.statement.decision)
        if end and _may_end(each, subject, root) and lacks(signed[:n]):
            return end
    if not lacks(signed):
        return State.APPROVED
    proposed = (each for each in signed if each.statement.decision == "propose")
    return State.PROPOSED if proposer in {each.owner for each in proposed} else State.NONE


def _may_end(each: Signed, subject: Subject, root: Root) -> bool:
    """Whoever could approve may reject; only the proposer withdraws."""
    if each.statement.decision == "withdraw":
        return each.owner == subject.record.proposed_by
    return each.statement.role in needs(root.policy, subject.record)

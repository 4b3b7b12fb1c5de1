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
from awe_core.lifecycle import State
from awe_core.records import FacadeRecord, PackRecord
from awe_core.trust import Signed, decisions, envelopes, judgement, needs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.records import Digest, Root, Seconds
    from awe_core.trust import Chain, StoreBytes, Verdict

RECORD = re.compile(r"(packs|facades)/(.+)/record-([0-9a-f]{64})\.json")
_ENDS = {"reject": State.REJECTED, "withdraw": State.WITHDRAWN}
_OVER = frozenset({State.REJECTED, State.WITHDRAWN, State.REVOKED})
_SHORTEST_DIGEST = 8

Kind: TypeAlias = Literal["pack", "facade"]


@attrs.frozen
class Subject:
    """A record in a store: what people decide about."""

    record: PackRecord | FacadeRecord
    digest: Digest

    @property
    def title(self) -> str:
        """NAME@VERSION, as commands take it."""
        return decisions.title(self.record)

    @property
    def kind(self) -> str:
        """``pack`` (of any kind) or ``facade``."""
        return "pack" if isinstance(self.record, PackRecord) else "facade"

    @property
    def group(self) -> str:
        """What its manifest entries stand under: distribution or facade id."""
        return self.record.distribution if isinstance(self.record, PackRecord) else self.record.name


@attrs.frozen
class SubjectState:
    """One record and where it stands."""

    subject: Subject
    state: State
    signed: tuple[Signed, ...]  #: all statements about it that hold, by time
    lacking: tuple[AweError, ...]  #: why it is not approved; empty: it is
    refusals: tuple[AweError, ...]  #: why the manifest's entry is not taken

    @property
    def is_running(self) -> bool:
        """Whether its runs may begin or go on, as far as its own state goes."""
        return self.state in {State.ACTIVE, State.DEPRECATED} and not self.refusals

    @property
    def standing_stops(self) -> tuple[Signed, ...]:
        """The suspensions that no resume has lifted."""
        lifted = {each.statement.stops for each in self.signed}
        suspended = (each for each in self.signed if each.statement.decision == "suspend")
        return tuple(each for each in suspended if each.digest not in lifted)


def subject_of(record: PackRecord | FacadeRecord) -> Subject:
    """Name *record* by its digest."""
    return Subject(record, canonical.sha256_hex(canonical.document(record.to_json())))


def record_file(subject: Subject) -> tuple[str, bytes]:
    """Give the name and bytes of a record in the store."""
    file = judgement.record_file(subject.record, subject.digest)
    return file, canonical.document(subject.record.to_json())


def read_subjects(store: StoreBytes) -> tuple[Subject, ...]:
    """Read the records of a store; what is no record is passed over (`awe verify` names it)."""
    found = []
    for file in sorted(store):
        named = RECORD.fullmatch(file)
        if named is None or canonical.sha256_hex(store[file]) != named[3]:
            continue
        kind = PackRecord if named[1] == "packs" else FacadeRecord
        try:
            record = kind.from_json(envelopes.parse_document(store[file], at=file), at=file)
        except AweError:
            continue
        found.append(Subject(record, named[3]))
    return tuple(found)


def read_statements(store: StoreBytes, chain: Chain) -> tuple[Signed, ...]:
    """Read the statements that hold, by time; forged ones are passed over."""
    found = (each for each in decisions.every(store, chain) if isinstance(each, Signed))
    return tuple(sorted(found, key=lambda each: (each.statement.at, each.digest)))


def survey(
    store: StoreBytes, chain: Chain, verdict: Verdict | None, *, now: Seconds
) -> tuple[SubjectState, ...]:
    """Tell where every record of a store stands."""
    said = read_statements(store, chain)
    listed: dict[Digest, tuple[State, tuple[AweError, ...]]] = {}
    if verdict:
        listed |= {each.digest: (each.own_status, each.refusals) for each in verdict.entries}
        listed |= {each.digest: (each.status, (each.why,)) for each in verdict.absent}
    found = []
    for subject in read_subjects(store):
        signed = tuple(each for each in said if each.statement.subject == subject.digest)
        lacking = lacks(subject, signed, chain.current, at=now)
        state, refusals = listed.get(subject.digest) or (
            _before_manifest(subject, signed, chain.current, now),
            (),
        )
        found.append(SubjectState(subject, state, signed, lacking, refusals))
    return tuple(found)


def find(states: Iterable[SubjectState], name: str, *, kind: Kind | None = None) -> SubjectState:
    """Give the record that NAME, NAME@VERSION or the beginning of a digest stands for."""
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


def lacks(
    subject: Subject, signed: Iterable[Signed], root: Root, *, at: Seconds
) -> tuple[AweError, ...]:
    """Tell why *subject* is not approved by what was *signed*; empty: it is."""
    return decisions.missing(subject.record, subject.digest, signed, root=root, at=at)


def _is_named(subject: Subject, name: str) -> bool:
    wanted, _, version = name.partition("@")
    by_name = wanted in {subject.record.name, subject.group}
    by_digest = len(name) >= _SHORTEST_DIGEST and subject.digest.startswith(name)
    return by_digest or (by_name and version in {"", subject.record.version})


def _before_manifest(
    subject: Subject, signed: tuple[Signed, ...], root: Root, now: Seconds
) -> State:
    """Tell the state of a record that no manifest lists."""
    proposer, needed = subject.record.proposed_by, needs(root.policy, subject.record)
    if any(each.statement.decision == "revoke" for each in signed):
        return State.REVOKED
    for n, each in enumerate(signed):
        said = each.statement  # whoever could approve may reject; only the proposer withdraws
        may_end = each.owner == proposer if said.decision == "withdraw" else said.role in needed
        if said.decision in _ENDS and may_end and lacks(subject, signed[:n], root, at=now):
            return _ENDS[said.decision]
    if not lacks(subject, signed, root, at=now):
        return State.APPROVED
    is_proposed = any(
        each.statement.decision == "propose" and each.owner == proposer for each in signed
    )
    return State.PROPOSED if is_proposed else State.NONE

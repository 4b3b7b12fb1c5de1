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
from awe_core.trust import Signed, is_stop, missing, needs, parse_document, read_statement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.records import Root, Seconds
    from awe_core.trust import Chain, StoreBytes, Verdict

_STATEMENT = re.compile(r"(?:statements|stops)/([0-9a-f]{64})\.dsse")
_RECORD = re.compile(r"(packs|facades)/.+/record-([0-9a-f]{64})\.json")
Kind: TypeAlias = Literal["pack", "facade"]
_ENDS = {"reject": State.REJECTED, "withdraw": State.WITHDRAWN}


@attrs.frozen(kw_only=True)
class SubjectState:
    """One record and where it stands."""

    subject: Subject
    state: State
    signed: tuple[Signed, ...]  #: all statements about it that hold, by time
    lacking: tuple[AweError, ...]  #: why it is not approved; empty: it is
    refusals: tuple[AweError, ...]  #: why the manifest's entry is not taken


def read_subjects(store: StoreBytes) -> tuple[Subject, ...]:
    """Read the records of a store; what is no record is passed over (`awe verify` names it)."""
    found = []
    for file in sorted(store):
        named = _RECORD.fullmatch(file)
        if named is None or canonical.sha256_hex(store[file]) != named[2]:
            continue
        kind = PackRecord if named[1] == "packs" else FacadeRecord
        try:
            record = kind.from_json(parse_document(store[file], at=file), at=file)
        except AweError:
            continue
        found.append(Subject(record, named[2]))
    return tuple(found)


def read_statements(store: StoreBytes, chain: Chain) -> tuple[Signed, ...]:
    """Read the statements that hold, by time; forged ones are passed over."""
    found = []
    for file in sorted(store):
        named = _STATEMENT.fullmatch(file)
        if named is None or canonical.sha256_hex(store[file]) != named[1]:
            continue
        try:
            found.append(read_statement(store[file], chain, at=file))
        except AweError:
            continue
    return tuple(sorted(found, key=lambda each: (each.statement.at, each.digest)))


def survey(
    store: StoreBytes, chain: Chain, verdict: Verdict | None, *, now: Seconds
) -> tuple[SubjectState, ...]:
    """Tell where every record of a store stands."""
    statements = read_statements(store, chain)
    listed = _listed(verdict)
    return tuple(
        _state(
            subject,
            tuple(each for each in statements if each.statement.subject == subject.digest),
            listed.get(subject.digest),
            root=chain.current,
            now=now,
        )
        for subject in read_subjects(store)
    )


def matching(
    states: Iterable[SubjectState], name: str, *, kind: Kind | None = None
) -> tuple[SubjectState, ...]:
    """Give what NAME, NAME@VERSION or the beginning of a digest stands for; ended records last.

    :param kind: packs (of any kind) or facades alone; None: both
    :raises UsageError: ``governance.unknown``
    """
    wanted, _, version = name.partition("@")
    looked_at = [each for each in states if kind in {None, _kind(each.subject)}]
    found = [
        each
        for each in looked_at
        if (
            wanted in {each.subject.record.name, each.subject.group}
            and version in {"", each.subject.record.version}
        )
        or (len(name) >= _SHORTEST_DIGEST and each.subject.digest.startswith(name))
    ]
    if not found:
        known = sorted({each.subject.title for each in looked_at})
        details = [f"known: {', '.join(known) or 'nothing has been proposed'}"]
        raise UsageError("governance.unknown", name=name, details=details)
    return tuple(each for each in found if each.state not in _OVER) or tuple(found)


def find(states: Iterable[SubjectState], name: str, *, kind: Kind | None = None) -> SubjectState:
    """Give the one record that *name* stands for.

    :raises UsageError: ``governance.unknown``, ``governance.ambiguous``
    """
    found = matching(states, name, kind=kind)
    if len(found) > 1:
        details = [f"{each.subject.title} {each.subject.digest} {each.state}" for each in found]
        raise UsageError("governance.ambiguous", name=name, details=details)
    return found[0]


def _kind(subject: Subject) -> Kind:
    return "facade" if isinstance(subject.record, FacadeRecord) else "pack"


_SHORTEST_DIGEST = 8
_OVER = frozenset({State.REJECTED, State.WITHDRAWN, State.REVOKED})


def _listed(verdict: Verdict | None) -> dict[str, tuple[State, tuple[AweError, ...]]]:
    if verdict is None:
        return {}
    found: dict[str, tuple[State, tuple[AweError, ...]]] = {
        each.digest: (each.status, (each.why,)) for each in verdict.absent
    }
    found |= {each.digest: (each.status, each.refusals) for each in verdict.packs}
    return found | {each.digest: (each.own_status, each.refusals) for each in verdict.facades}


def _state(
    subject: Subject,
    signed: tuple[Signed, ...],
    listed: tuple[State, tuple[AweError, ...]] | None,
    *,
    root: Root,
    now: Seconds,
) -> SubjectState:
    lacking = missing(subject.record, subject.digest, signed, root=root, at=now)
    state, refusals = listed or (_before_manifest(subject, signed, lacking, root, now), ())
    return SubjectState(
        subject=subject, state=state, signed=signed, lacking=lacking, refusals=refusals
    )


def _before_manifest(
    subject: Subject,
    signed: Sequence[Signed],
    lacking: tuple[AweError, ...],
    root: Root,
    now: Seconds,
) -> State:
    if any(is_stop(each) and each.statement.decision == "revoke" for each in signed):
        return State.REVOKED
    for n, each in enumerate(signed):
        end = _ENDS.get(each.statement.decision)
        if end and _may_end(each, subject, root):
            until_then = signed[:n]
            early = missing(subject.record, subject.digest, until_then, root=root, at=now)
            if early:
                return end
    if not lacking:
        return State.APPROVED
    by_proposer = any(
        each.statement.decision == "propose" and each.owner == subject.record.proposed_by
        for each in signed
    )
    return State.PROPOSED if by_proposer else State.NONE


def _may_end(each: Signed, subject: Subject, root: Root) -> bool:
    """Whoever could approve may reject; only the proposer withdraws."""
    if each.statement.decision == "withdraw":
        return each.owner == subject.record.proposed_by
    return each.statement.role in needs(root.policy, subject.record)

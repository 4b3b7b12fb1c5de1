"""Whether the right people have approved a record: N of M by policy, separation of duties.

Rules: all matching rules of the policy apply and the largest number a role wins; what no rule
matches cannot be approved.  People count, one under one role a record; the proposer and the
authors approve nothing of theirs unless the root allows self-approval (never in production).  The
proposal itself must be signed by the person the record names, or "not by the proposer" would mean
nothing.  An approval must be unexpired when the manifest is issued, not when a server starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from awe_core.errors import AweError, PackError, TrustError
from awe_core.records import FacadeRecord, PackRecord, timestamp
from awe_core.trust.manifests import DAY_S, SKEW_S
from awe_core.trust.roots import people

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.records import Digest, Policy, Root, Seconds
    from awe_core.trust.statements import Signed

Record: TypeAlias = PackRecord | FacadeRecord


def needs(policy: Policy, record: Record) -> Mapping[str, int]:
    """Tell how many people of which roles have to approve *record*; empty: nobody can."""
    found: dict[str, int] = {}
    for rule in policy.approvals:
        if rule.when.matches(record):
            for role, number in rule.need.items():
                found[role] = max(number, found.get(role, 0))
    return found


def title(record: Record) -> str:
    """Name a record for people: NAME@VERSION."""
    return f"{record.name}@{record.version}"


def excluded(record: Record, root: Root) -> frozenset[str]:
    """Name those who approve nothing of this record: its proposer and authors."""
    own = frozenset({record.proposed_by, *record.authors})
    return frozenset() if root.policy.self_approval else own


def missing(
    record: Record, digest: Digest, signed: Iterable[Signed], *, root: Root, at: Seconds
) -> tuple[AweError, ...]:
    """Tell why *record* is not approved as of *at*; empty: it is.

    Statements that do not count are named only where they are missed.
    """
    problems: list[AweError] = []
    counted: list[Signed] = []
    proposed = False
    for each in signed:
        try:
            _check_subject(each, record, digest)
            if each.statement.decision == "approve":
                _check_approval(each, record, root, at=at)
                counted.append(each)
        except AweError as error:
            problems.append(error)
        else:
            by_proposer = each.owner == record.proposed_by
            proposed |= each.statement.decision == "propose" and by_proposer
    lacking = _uncovered(record, counted, root)
    if not proposed:
        lacking.insert(0, _lacking(record, "proposer", 0, 1, (record.proposed_by,)))
    return (*problems, *lacking) if lacking else ()


def _check_subject(signed: Signed, record: Record, digest: Digest) -> None:
    said, name = signed.statement, title(record)
    if (said.subject, said.name, said.version) != (digest, record.name, record.version):
        who = {"owner": signed.owner, "decision": said.decision}
        details = [f"stated about: {said.name}@{said.version} sha256 {said.subject}"]
        raise PackError("pack.approval_subject", **who, name=name, details=details)


def _check_approval(signed: Signed, record: Record, root: Root, *, at: Seconds) -> None:
    said, owner, name = signed.statement, signed.owner, title(record)
    if owner in excluded(record, root):
        raise PackError("pack.self_approval", owner=owner, name=name)
    ends = said.expires or 0
    if not 0 < ends - said.at <= root.policy.approval_days * DAY_S:
        why = f"{root.policy.approval_days} days are allowed"
        raise TrustError("trust.lifetime", what=f"{owner}'s approval", why=why)
    if not said.at - SKEW_S <= at < ends:
        expires = timestamp(ends)
        details = [f"given {timestamp(said.at)}, looked at as of {timestamp(at)}"]
        raise PackError(
            "pack.approval_expired", owner=owner, name=name, expires=expires, details=details
        )


def _assign(
    needed: Mapping[str, int], given: Mapping[str, frozenset[str]]
) -> dict[tuple[str, int], str]:
    """Give each needed place a person of its own, as many as can be (augmenting paths).

    :param needed: how many of each role
    :param given: who approved under each role
    :returns: (role, place) → person
    """
    held: dict[str, tuple[str, int]] = {}

    def seat(place: tuple[str, int], tried: set[str]) -> bool:
        for person in sorted(given.get(place[0], ())):
            if person not in tried:
                tried.add(person)
                if person not in held or seat(held[person], tried):
                    held[person] = place
                    return True
        return False

    for role, number in sorted(needed.items()):
        for n in range(number):
            seat((role, n), set())
    return {place: person for person, place in held.items()}


def _uncovered(record: Record, approvals: Sequence[Signed], root: Root) -> list[AweError]:
    needed = needs(root.policy, record)
    if not needed:
        return [_lacking(record, "any role", 0, 1, ())]
    given = {
        role: frozenset(each.owner for each in approvals if each.statement.role == role)
        for role in needed
    }
    filled = {role: len(given[role]) for role in needed}
    if not root.policy.self_approval:  # else one person may be everybody
        seats = _assign(needed, given)
        filled = {role: sum(place[0] == role for place in seats) for role in needed}
    short = [role for role in needed if filled[role] < needed[role]]
    found: list[AweError] = [
        PackError("pack.separation_of_duties", name=title(record), role=role)
        for role in short
        if len(given[role]) >= needed[role]
    ]
    for role in sorted(short):
        could = people(root, role) - given[role] - excluded(record, root)
        found.append(_lacking(record, role, filled[role], needed[role], could))
    return found


def _lacking(record: Record, role: str, have: int, need: int, could: Iterable[str]) -> PackError:
    details = ["who could: " + (", ".join(sorted(could)) or "nobody in the root as it is")]
    numbers = {"have": have, "need": need}
    name = title(record)
    return PackError("pack.approvals_missing", name=name, role=role, **numbers, details=details)

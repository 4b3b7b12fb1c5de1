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
    from collections.abc import Iterable, Mapping

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
    given: dict[str, set[str]] = {}  # role → who approved under it
    is_proposed = False
    for each in signed:
        decision = each.statement.decision
        if problem := _uncounted(each, record, digest, root, at):
            problems.append(problem)
        elif decision == "approve":
            given.setdefault(each.statement.role, set()).add(each.owner)
        else:
            is_proposed |= decision == "propose" and each.owner == record.proposed_by
    lacking: list[AweError] = []
    if not is_proposed:
        lacking.append(_lacking(record, "proposer", 0, 1, (record.proposed_by,)))
    lacking += _uncovered(record, given, root)
    return (*problems, *lacking) if lacking else ()


def _uncounted(
    signed: Signed, record: Record, digest: Digest, root: Root, at: Seconds
) -> AweError | None:
    """Tell why a statement does not count for *record*; None: it does."""
    said, owner, name = signed.statement, signed.owner, title(record)
    if (said.subject, said.name, said.version) != (digest, record.name, record.version):
        details = [f"stated about: {said.name}@{said.version} sha256 {said.subject}"]
        about = {"owner": owner, "decision": said.decision, "name": name}
        return PackError("pack.approval_subject", **about, details=details)
    if said.decision != "approve":
        return None
    if owner in excluded(record, root):
        return PackError("pack.self_approval", owner=owner, name=name)
    ends = said.expires or 0
    if not 0 < ends - said.at <= root.policy.approval_days * DAY_S:
        why = f"{root.policy.approval_days} days are allowed"
        return TrustError("trust.lifetime", what=f"{owner}'s approval", why=why)
    if not said.at - SKEW_S <= at < ends:
        details = [f"given {timestamp(said.at)}, looked at as of {timestamp(at)}"]
        about = {"owner": owner, "name": name, "expires": timestamp(ends)}
        return PackError("pack.approval_expired", **about, details=details)
    return None


def _uncovered(record: Record, given: Mapping[str, set[str]], root: Root) -> list[AweError]:
    """Tell which roles are short of people, each person counting once."""
    needed = needs(root.policy, record)
    if not needed:
        return [_lacking(record, "any role", 0, 1, ())]
    found: list[AweError] = []
    seated = _seated(needed, given)
    for role, number in sorted(needed.items()):
        approved = given.get(role, set())
        filled = len(approved) if root.policy.self_approval else seated.count(role)
        if filled < number:
            if len(approved) >= number:
                found.insert(
                    0, PackError("pack.separation_of_duties", name=title(record), role=role)
                )
            could = people(root, role) - approved - excluded(record, root)
            found.append(_lacking(record, role, filled, number, could))
    return found


def _seated(needed: Mapping[str, int], given: Mapping[str, set[str]]) -> list[str]:
    """Give each needed place a person of its own, as many as can be (augmenting paths).

    :returns: the role of each place that was filled
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
    return [role for role, _ in held.values()]


def _lacking(record: Record, role: str, have: int, need: int, could: Iterable[str]) -> PackError:
    details = ["who could: " + (", ".join(sorted(could)) or "nobody in the root as it is")]
    about = {"name": title(record), "role": role, "have": have, "need": need}
    return PackError("pack.approvals_missing", **about, details=details)

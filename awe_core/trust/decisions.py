"""What people signed about a record: whether each may decide so, and whether enough have approved.

Rules of a statement: exactly one owner has signed; a person, or for ``suspend`` also a machine.
The key stands in the *current* root under the role it names, or it has left and ``retired`` lists
this very statement (by digest, because a date in it is whatever the key's thief wrote); stops also
stay valid when they were valid under the root they name.  Rules of approval: all matching rules of
the policy apply and the largest number a role wins; what no rule matches cannot be approved.
People count, one under one role a record, never proposer or authors unless the root allows it; the
proposal is signed by the person the record names; an approval must be unexpired when the manifest
is issued, not when a server starts.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import TRANSITIONS
from awe_core.records import FacadeRecord, PackRecord, Statement, timestamp
from awe_core.trust import envelopes
from awe_core.trust.history import DAY_S, SKEW_S, people
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.records import Digest, Key, Policy, Root, Seconds
    from awe_core.trust.history import Chain
    from awe_core.trust.verdict import StoreBytes

_FILE = re.compile(r"(statements|stops)/([0-9a-f]{64})\.dsse")
_STOPPING = frozenset({"suspend", "revoke"})

#: Which roles a decision may be signed under; none: those that the policy asks for approvals.
DECIDERS: Mapping[str, frozenset[str]] = {
    rule.decision: rule.roles for rule in TRANSITIONS.values() if rule.decision
}


@attrs.frozen
class Signed:
    """A statement whose signature holds and whose signer may decide so."""

    statement: Statement
    digest: Digest  #: of the envelope
    keyid: Digest
    owner: str

    @property
    def stop(self) -> Stop | None:
        """It as the stop it is; None: it stops nothing."""
        if self.statement.decision not in _STOPPING:
            return None
        is_last = self.statement.decision == "revoke"
        return Stop(self.digest, self.statement.subject, "revoke" if is_last else "suspend")


def statement_file(digest: Digest, *, is_stop: bool) -> str:
    """Name the file of a statement in the store."""
    return f"{'stops' if is_stop else 'statements'}/{digest}.dsse"


def find(
    store: StoreBytes, digests: Iterable[Digest], chain: Chain
) -> tuple[list[Signed], list[AweError]]:
    """Read the statements that an entry refers to, and tell why others do not count."""
    found: list[Signed] = []
    unread: list[AweError] = []
    for digest in digests:
        stop = statement_file(digest, is_stop=True)
        file = statement_file(digest, is_stop=False)
        try:
            file = stop if file not in store and stop in store else file
            found.append(_read(store, file, digest, chain))
        except AweError as error:
            unread.append(error)
    return found, unread


def every(store: StoreBytes, chain: Chain, *, stops: bool = False) -> Iterator[Signed | AweError]:
    """Read all statements of a store, or those under ``stops/``; why, where one does not count."""
    for file in sorted(store):
        named = _FILE.fullmatch(file)
        if named and (named[1] == "stops" or not stops):
            try:
                yield _read(store, file, named[2], chain)
            except AweError as error:
                yield error


def stops(store: StoreBytes, chain: Chain) -> tuple[frozenset[Stop], list[AweError]]:
    """Read all stops of a store: those that count, and why the others do not."""
    found: set[Stop] = set()
    ignored: list[AweError] = []
    for each in every(store, chain, stops=True):
        if isinstance(each, AweError):
            ignored.append(each)
        elif each.stop:
            found.add(each.stop)
        else:
            why = f"it stands among the stops and says {each.statement.decision}"
            ignored.append(TrustError("trust.statement", file=each.digest[:12], why=why))
    return frozenset(found), ignored


def _read(store: StoreBytes, file: str, digest: Digest, chain: Chain) -> Signed:
    """Read a statement and check who signed it."""
    envelope = envelopes.parse(envelopes.by_digest(store, file, digest), "statement", at=file)
    signed = envelope.signers(chain.every_key)
    owners = {key.owner for key in signed.values()}
    if len(owners) != 1:
        who = ", ".join(sorted(owners)) or "nobody known"
        raise TrustError("trust.statement", file=file, why=f"it is signed by {who}, not by one")
    statement = envelope.document(Statement)
    chain.check_made_here(statement.deployment, at=file)
    if statement.root_version > chain.current.version:
        raise chain.mismatch(statement.root_version, at=file)
    keyid = _entitled(statement, signed, digest, chain)
    key, decision = signed[keyid], statement.decision
    if key.kind == "machine" and decision != "suspend":
        about = {"owner": key.owner, "name": statement.name}
        raise PackError("pack.approval_kind", decision=decision, **about)
    return Signed(statement, digest, keyid, key.owner)


def _entitled(
    statement: Statement, signed: Mapping[Digest, Key], digest: Digest, chain: Chain
) -> Digest:
    """Give the key that may decide so."""
    role = statement.role
    allowed = DECIDERS[statement.decision]
    if allowed and role not in allowed:
        why = f"{role} does not {statement.decision}; {' or '.join(sorted(allowed))} does"
        raise TrustError("trust.statement", file=digest[:12], why=why)
    then, now = chain.roots[statement.root_version - 1], chain.current
    if role not in now.roles and role not in then.roles:
        raise TrustError("trust.unknown_role", role=role, name=statement.name)
    for keyid in sorted(signed):
        retired = now.retired.get(keyid)
        stays = retired is not None and digest in retired.statements
        outlives = stays or statement.decision in _STOPPING
        if now.holds(keyid, role) or (outlives and then.holds(keyid, role)):
            return keyid
    owner = next(iter(signed.values())).owner
    raise TrustError("signer.not_in_role", owner=owner, role=role, version=now.version)


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
    """Give each needed place a person of its own, as many as can be (augmenting paths)."""
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

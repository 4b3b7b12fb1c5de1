"""Signed statements: who said it, and whether they may.

Rules: exactly one owner has signed; a person, or for ``suspend`` also a machine.  The key stands in
the *current* root under the role the statement names, or it has left and the root's ``retired``
table lists this very statement (an exact digest, because a date in a statement is whatever the
key's thief wrote).  Stops alone stay valid when they were valid under the root they name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import TRANSITIONS
from awe_core.records import Statement
from awe_core.trust import dsse
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.records import Digest, Key
    from awe_core.trust.roots import Chain
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
    envelope = dsse.parse(dsse.by_digest(store, file, digest), "statement", at=file)
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
    """Give the key that may decide so.

    :raises TrustError: ``trust.unknown_role``, ``signer.not_in_role``, ``trust.statement``
    """
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

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
from awe_core.trust.reading import by_digest, parse
from awe_core.trust.verdict import Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.records import Digest, Key
    from awe_core.trust.roots import Chain
    from awe_core.trust.verdict import StoreBytes

_STOP_FILE = re.compile(r"stops/([0-9a-f]{64})\.dsse")
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
    kind: str  #: ``person`` or ``machine``


def statement_file(digest: Digest, *, is_stop: bool) -> str:
    """Name the file of a statement in the store."""
    return f"{'stops' if is_stop else 'statements'}/{digest}.dsse"


def find(store: StoreBytes, digest: Digest, chain: Chain) -> Signed:
    """Read a statement that somebody refers to.

    :raises AweError: why it does not count
    """
    file = statement_file(digest, is_stop=False)
    stop = statement_file(digest, is_stop=True)
    file = stop if file not in store and stop in store else file
    return read(by_digest(store, file, digest), chain, at=file)


def read(data: bytes, chain: Chain, *, at: str) -> Signed:
    """Read a statement and check who signed it.

    :raises AweError: why it does not count
    """
    envelope = dsse.parse(data, "statement", at=at)
    signed = dsse.signers(envelope, chain.every_key)
    owners = {key.owner for key in signed.values()}
    if len(owners) != 1:
        who = ", ".join(sorted(owners)) or "nobody known"
        raise TrustError("trust.statement", file=at, why=f"it is signed by {who}, not by one")
    statement = Statement.from_json(parse(envelope.payload, at=at), at=at)
    current = chain.current
    if statement.deployment != current.deployment:
        raise TrustError(
            "trust.deployment", what=at, found=statement.deployment, expected=current.deployment
        )
    if statement.root_version > current.version:
        raise TrustError(
            "trust.root_mismatch",
            what=at,
            made_for=statement.root_version,
            current=current.version,
        )
    keyid = _entitled(statement, signed, envelope.digest, chain)
    key = signed[keyid]
    if key.kind == "machine" and statement.decision != "suspend":
        raise PackError(
            "pack.approval_kind", decision=statement.decision, owner=key.owner, name=statement.name
        )
    return Signed(statement, envelope.digest, keyid, key.owner, key.kind)


def stops(store: StoreBytes, chain: Chain) -> tuple[frozenset[Stop], tuple[AweError, ...]]:
    """Read all stops of a store: those that count, and why the others do not."""
    found: set[Stop] = set()
    ignored: list[AweError] = []
    for file in sorted(store):
        named = _STOP_FILE.fullmatch(file)
        if named is None:
            continue
        try:
            found.add(as_stop(read(by_digest(store, file, named[1]), chain, at=file)))
        except AweError as error:
            ignored.append(error)
    return frozenset(found), tuple(ignored)


def is_stop(signed: Signed) -> bool:
    """Whether a statement stops its subject."""
    return signed.statement.decision in _STOPPING


def as_stop(signed: Signed) -> Stop:
    """Take a statement as the stop it is.

    :raises TrustError: ``trust.statement`` when it stops nothing
    """
    match signed.statement.decision:
        case "suspend" | "revoke" as decision:
            return Stop(signed.digest, signed.statement.subject, decision)
        case other:
            why = f"it stands among the stops and says {other}"
            raise TrustError("trust.statement", file=signed.digest[:12], why=why)


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
    then = chain.roots[statement.root_version - 1]
    now = chain.current
    if role not in now.roles and role not in then.roles:
        raise TrustError("trust.unknown_role", role=role, name=statement.name)
    for keyid in sorted(signed):
        held_then = role in then.roles and keyid in then.roles[role].keys
        if statement.decision in _STOPPING and held_then:
            return keyid
        if role in now.roles and keyid in now.roles[role].keys:
            return keyid
        if keyid in now.retired and digest in now.retired[keyid].statements and held_then:
            return keyid
    owner = next(iter(signed.values())).owner
    raise TrustError("signer.not_in_role", owner=owner, role=role, version=now.version)

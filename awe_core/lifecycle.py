"""The life of a record: which state follows which, who brings it about, and what may run in it.

One table of transitions and one of permissions, for packs and facades alike.  What is not in the
tables is illegal.  Stopping is cheap, restarting is dear: one operator suspends, two people resume;
REJECTED, WITHDRAWN and REVOKED end a record for ever, and the same bytes return only as a new
revision.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class State(StrEnum):
    """Where a record stands; `NONE` is before its proposal."""

    NONE = "NONE"
    PROPOSED = "PROPOSED"
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    WITHDRAWN = "WITHDRAWN"
    ACTIVE = "ACTIVE"
    DEPRECATED = "DEPRECATED"
    SUSPENDED = "SUSPENDED"
    SUPERSEDED = "SUPERSEDED"
    REVOKED = "REVOKED"


@attrs.frozen
class Permits:
    """What may happen with a record."""

    new: bool  #: runs may begin
    resume: bool  #: runs that have begun may go on
    undo_core: bool  #: effects may be taken back by strategies of the core
    undo_own: bool  #: … and by the pack's own code


@attrs.frozen
class Rule:
    """How one state becomes another."""

    roles: frozenset[str]  #: one holder of any of these signs; empty: whoever the policy asks
    decision: str | None  #: the statement that carries it
    by_manifest: bool  #: whether the next manifest has to say so


def _by(roles: str, decision: str | None = None, *, by_manifest: bool = False) -> Rule:
    return Rule(frozenset(roles.split()), decision, by_manifest)


_RELEASE = _by("release", by_manifest=True)
_SUSPEND = _by("operator security", "suspend")
_RESUME = _by("security", "resume", by_manifest=True)  # and a releaser, another person
_REVOKE = _by("security", "revoke")

_S = State
_ENDURING = (_S.APPROVED, _S.ACTIVE, _S.SUSPENDED, _S.DEPRECATED, _S.SUPERSEDED)

#: The one table: from, to, who and by what.
TRANSITIONS: Mapping[tuple[State, State], Rule] = MappingProxyType(
    {
        (_S.NONE, _S.PROPOSED): _by("proposer", "propose"),
        (_S.PROPOSED, _S.APPROVED): _by("", "approve"),
        (_S.PROPOSED, _S.REJECTED): _by("", "reject"),
        (_S.PROPOSED, _S.WITHDRAWN): _by("proposer", "withdraw"),
        (_S.APPROVED, _S.ACTIVE): _RELEASE,
        (_S.ACTIVE, _S.SUSPENDED): _SUSPEND,
        (_S.DEPRECATED, _S.SUSPENDED): _SUSPEND,
        (_S.SUSPENDED, _S.ACTIVE): _RESUME,
        (_S.SUPERSEDED, _S.ACTIVE): _RESUME,
        (_S.ACTIVE, _S.DEPRECATED): _RELEASE,
        (_S.DEPRECATED, _S.ACTIVE): _RELEASE,
        (_S.ACTIVE, _S.SUPERSEDED): _RELEASE,
        (_S.DEPRECATED, _S.SUPERSEDED): _RELEASE,
        **{(before, _S.REVOKED): _REVOKE for before in _ENDURING},
    }
)

NOTHING = Permits(new=False, resume=False, undo_core=False, undo_own=False)
_ALL = Permits(new=True, resume=True, undo_core=True, undo_own=True)
_UNDO = Permits(new=False, resume=False, undo_core=True, undo_own=True)

#: What each state allows; DEPRECATED takes new runs until its sunset only; the rest nothing.
PERMITS: Mapping[State, Permits] = MappingProxyType(
    {
        **dict.fromkeys(State, NOTHING),
        **dict.fromkeys((_S.ACTIVE, _S.DEPRECATED), _ALL),
        **dict.fromkeys((_S.SUSPENDED, _S.SUPERSEDED), _UNDO),
        _S.REVOKED: Permits(new=False, resume=False, undo_core=True, undo_own=False),
    }
)

#: From the strongest to the weakest.
_STRENGTH = (
    *(_S.ACTIVE, _S.DEPRECATED, _S.SUPERSEDED, _S.SUSPENDED, _S.REVOKED),
    *(_S.APPROVED, _S.PROPOSED, _S.NONE, _S.WITHDRAWN, _S.REJECTED),
)


def permits(state: State) -> Permits:
    """Tell what *state* allows, the sunset of DEPRECATED aside."""
    return PERMITS[state]


def transition(before: State, after: State, *, subject: str) -> Rule:
    """Tell how *before* becomes *after*.

    :param subject: whom it is about, for the message
    :raises TrustError: ``trust.status`` when the table has no such step
    """
    rule = TRANSITIONS.get((before, after))
    if rule is None:
        legal = ", ".join(to for start, to in TRANSITIONS if start is before) or "nothing"
        why, details = f"{before} cannot become {after}", [f"{before} can become: {legal}"]
        raise TrustError("trust.status", subject=subject, why=why, details=details)
    return rule


def weakest(states: Iterable[State]) -> State:
    """Give the weakest of *states*: a facade is never stronger than a pack it reaches."""
    return max(states, key=_STRENGTH.index)

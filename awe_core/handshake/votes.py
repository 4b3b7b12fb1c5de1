"""Who may answer, and when an answer is enough: people are counted, never keys or accounts.

Pure.  A vote counts for each requirement it satisfies; one deny closes the request; nothing counts
at or after the instant of expiry (50-handshake, sections 3 and 5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.capability import Risk
from awe_core.errors import HandshakeError
from awe_core.events import ASSURANCES, ConfirmationRequest, Decision, Requirement, Vote

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen
class People:
    """The enrolled people and their roles; a development root relaxes what it says here."""

    roles: Mapping[str, tuple[str, ...]]  #: person id → roles
    is_dev: bool = False

    def holds(self, person: str, wanted: tuple[str, ...]) -> bool:
        """Whether *person* is enrolled and holds any of the *wanted* roles (none wanted: any)."""
        if person not in self.roles:
            return False
        return not wanted or bool(set(wanted) & set(self.roles[person]))


@attrs.frozen
class Counted:
    """The vote was taken and more are needed."""

    request: ConfirmationRequest
    missing: tuple[Requirement, ...]


@attrs.frozen
class Granted:
    """Every requirement is met."""

    request: ConfirmationRequest


@attrs.frozen
class Refused:
    """A person said no."""

    request: ConfirmationRequest
    vote: Vote


Outcome: TypeAlias = Counted | Granted | Refused


def effective(requirement: Requirement, people: People) -> Requirement:
    """Relax a requirement to what a development root can meet; production keeps it whole."""
    if not people.is_dev:
        return requirement
    quorum = min(requirement.quorum, max(1, len(people.roles)))
    weaker = min(requirement.min_assurance, "local", key=ASSURANCES.index)
    return attrs.evolve(requirement, quorum=quorum, min_assurance=weaker, roles=())


def take(request: ConfirmationRequest, decision: Decision, people: People) -> Outcome:
    """Apply one person's *decision* to the *request* it names.

    :raises HandshakeError: ``handshake.expired`` ``.stale`` ``.scope`` ``.not_eligible``
        ``.assurance``
    """
    _check_named(request, decision)
    _check_person(request, decision, people)
    vote = Vote(
        by=decision.by,
        via=decision.via,
        assurance=decision.assurance,
        verdict=decision.verdict,
        at_us=decision.at_us,
        roles=people.roles[_person(decision.by)],
        self_=True if _is_requester(request, decision.by) else None,
        reason=decision.reason,
        signature=decision.signature,
    )
    if decision.verdict != "approve":
        return Refused(request, vote)
    _check_counts(request, vote, people)
    counted = attrs.evolve(request, votes=(*request.votes, vote), version=request.version + 1)
    missing = unmet(counted, people)
    return Counted(counted, missing) if missing else Granted(counted)


def unmet(request: ConfirmationRequest, people: People) -> tuple[Requirement, ...]:
    """Which requirements the votes of *request* do not meet yet."""
    return tuple(
        requirement
        for requirement in request.requirements
        if _count(request, effective(requirement, people), people)
        < effective(requirement, people).quorum
    )


def _count(request: ConfirmationRequest, requirement: Requirement, people: People) -> int:
    """Distinct people whose approval satisfies *requirement*."""
    return len({v.by for v in request.votes if _satisfies(request, v, requirement, people)})


def _satisfies(
    request: ConfirmationRequest, vote: Vote, requirement: Requirement, people: People
) -> bool:
    alone = requirement.quorum < 2 and Risk(request.risk) < Risk.HIGH  # noqa: PLR2004 - "two people"
    return (
        vote.verdict == "approve"
        and vote.by not in requirement.exclude
        and (not vote.self_ or alone or people.is_dev)
        and people.holds(_person(vote.by), requirement.roles)
        and ASSURANCES.index(vote.assurance) >= ASSURANCES.index(requirement.min_assurance)
    )


def _is_requester(request: ConfirmationRequest, by: str) -> bool:
    if by == request.requester:
        return True
    return by == request.on_behalf_of and Risk(request.risk) >= Risk.CRITICAL


def _check_named(request: ConfirmationRequest, decision: Decision) -> None:
    if decision.at_us >= request.expires_us:
        raise HandshakeError("handshake.expired", request=request.id)
    shown = (decision.request, decision.version, decision.digest)
    if shown != (request.id, request.version, request.digest):
        raise HandshakeError(
            "handshake.stale",
            request=request.id,
            details=[
                f"current: version {request.version}, {request.digest}",
                f"answered: version {decision.version}, {decision.digest}",
            ],
        )
    if decision.scope != "once" or decision.selector is not None:
        asked = decision.selector or decision.scope
        raise HandshakeError("handshake.scope", request=request.id, scope=asked)


def _check_person(request: ConfirmationRequest, decision: Decision, people: People) -> None:
    """Refuse who may not answer at all; denying is open to every enrolled person."""
    if not decision.by.startswith("person:"):
        raise _not_eligible(request, decision.by, why="agents and services decide nothing")
    if _person(decision.by) not in people.roles:
        raise _not_eligible(request, decision.by, why="this person is not enrolled")


def _check_counts(request: ConfirmationRequest, vote: Vote, people: People) -> None:
    """Refuse an approval that would count for nothing, and say whether another channel helps."""
    needed = [effective(requirement, people) for requirement in request.requirements]
    signed = attrs.evolve(vote, assurance="signed")
    possible = [r for r in needed if _satisfies(request, signed, r, people)]
    if not possible:
        why = "this answer counts for none of the requirements"
        raise _not_eligible(request, vote.by, why=why)
    earlier = [v for v in request.votes if v.by == vote.by]
    open_ = [r for r in possible if not any(_satisfies(request, v, r, people) for v in earlier)]
    if not open_:
        raise _not_eligible(request, vote.by, why="this person has already approved")
    if not any(_satisfies(request, vote, r, people) for r in open_):
        raise HandshakeError(
            "handshake.assurance",
            request=request.id,
            given=vote.assurance,
            needed=min((r.min_assurance for r in open_), key=ASSURANCES.index),
        )


def _not_eligible(request: ConfirmationRequest, by: str, *, why: str) -> HandshakeError:
    needed = [f"needed: {_in_words(r)}" for r in request.requirements]
    return HandshakeError(
        "handshake.not_eligible", request=request.id, by=by, why=why, details=needed
    )


def _person(actor: str) -> str:
    return actor.partition(":")[2]


def _in_words(requirement: Requirement) -> str:
    who = " or ".join(requirement.roles) or "any enrolled person"
    return f"{requirement.quorum} of: {who}, at least by {requirement.min_assurance}"

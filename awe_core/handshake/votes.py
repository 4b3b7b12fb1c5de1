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

    :raises HandshakeError: ``handshake.stale`` ``.not_eligible`` ``.assurance`` ``.expired``
    """
    _check_named(request, decision)
    person = decision.by.partition(":")[2]
    _check_eligible(request, decision, person, people)
    vote = Vote(
        by=decision.by,
        via=decision.via,
        assurance=decision.assurance,
        verdict=decision.verdict,
        at_us=decision.at_us,
        roles=people.roles.get(person, ()),
        self_=True if _is_requester(request, decision.by) else None,
        reason=decision.reason,
        signature=decision.signature,
    )
    if decision.verdict != "approve":
        return Refused(request, vote)
    _check_assurance(request, decision, people)
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
        and people.holds(vote.by.partition(":")[2], requirement.roles)
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


def _check_eligible(
    request: ConfirmationRequest, decision: Decision, person: str, people: People
) -> None:
    """Refuse who may not answer at all; denying is open to every enrolled person."""
    why = None
    if not decision.by.startswith("person:"):
        why = "agents and services decide nothing"
    elif person not in people.roles:
        why = "this person is not enrolled"
    elif decision.verdict == "approve" and any(v.by == decision.by for v in request.votes):
        why = "this person has already approved"
    elif decision.verdict == "approve" and not _counts_anywhere(request, decision, people):
        why = "this answer counts for none of the requirements"
    if why is not None:
        raise HandshakeError(
            "handshake.not_eligible",
            request=request.id,
            by=decision.by,
            why=why,
            details=[f"needed: {_in_words(r)}" for r in request.requirements],
        )


def _counts_anywhere(request: ConfirmationRequest, decision: Decision, people: People) -> bool:
    """Whether *decision* would count for any requirement if it came over a strong channel."""
    vote = Vote(
        by=decision.by,
        via=decision.via,
        assurance="signed",
        verdict="approve",
        at_us=decision.at_us,
        self_=_is_requester(request, decision.by),
    )
    return any(
        _satisfies(request, vote, effective(r, people), people) for r in request.requirements
    )


def _check_assurance(request: ConfirmationRequest, decision: Decision, people: People) -> None:
    given = ASSURANCES.index(decision.assurance)
    needed = [effective(r, people).min_assurance for r in request.requirements]
    if needed and all(given < ASSURANCES.index(n) for n in needed):
        raise HandshakeError(
            "handshake.assurance",
            request=request.id,
            given=decision.assurance,
            needed=min(needed, key=ASSURANCES.index),
        )


def _in_words(requirement: Requirement) -> str:
    who = " or ".join(requirement.roles) or "any enrolled person"
    return f"{requirement.quorum} of: {who}, at least by {requirement.min_assurance}"

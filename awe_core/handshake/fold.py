"""From all policies' answers to one outcome: pure, and the order of the policies means nothing.

A deny is never overridden; an exception counts as one.  Asks add up: every requirement of every ask
must be met.  Nobody with an opinion is an ask, never a yes (50-handshake, section 4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.capability import Confirm, Risk
from awe_core.events import Ask, PolicyAnswer, Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.events import Answer, Assurance


@attrs.frozen
class Judged:
    """One policy's answer, with the record of it."""

    answer: Answer
    record: PolicyAnswer


@attrs.frozen
class Refuse:
    """Nothing happens."""

    by: PolicyAnswer


@attrs.frozen
class Grant:
    """The call may happen without a person."""

    by: PolicyAnswer


@attrs.frozen
class AskPeople:
    """All of the requirements must be met by votes."""

    requirements: tuple[Requirement, ...]

    def expires_us(self, now_us: int, latest_us: int) -> int:
        """When the question closes: the earliest instant of all, *latest_us* at the latest."""
        given = (r.expires_in_us for r in self.requirements)
        return min([latest_us, *(now_us + us for us in given if us is not None)])


Outcome: TypeAlias = Refuse | Grant | AskPeople

_MINIMUM: Mapping[Risk, tuple[int, Assurance]] = {
    Risk.LOW: (1, "relayed"),
    Risk.MEDIUM: (1, "local"),
    Risk.HIGH: (1, "session"),
    Risk.CRITICAL: (2, "session"),
}

_NEVER = PolicyAnswer(name="contract", version="1", answer="approve", reason="confirm: never")


def default_requirement(risk: Risk, configured: Mapping[str, Requirement]) -> Requirement:
    """What a yes to a call of *risk* needs when no policy says more (section 5)."""
    if risk.value in configured:
        return configured[risk.value]
    quorum, assurance = _MINIMUM[risk]
    return Requirement(quorum=quorum, min_assurance=assurance)


def fold(
    judged: Sequence[Judged], *, confirm: Confirm, risk: Risk, default: Requirement
) -> Outcome:
    """Fold the answers of all configured policies into one outcome.

    The *default* is a minimum: what policies ask for comes on top of it and never replaces it.
    """
    answers = sorted(judged, key=lambda one: one.record.name)
    asks = [one.answer for one in answers if isinstance(one.answer, Ask)]
    denies = [one.record for one in answers if one.record.answer in {"deny", "failed"}]
    approves = [one.record for one in answers if one.record.answer == "approve"]
    if denies:
        return Refuse(denies[0])
    if asks or confirm is Confirm.ALWAYS:
        return AskPeople(_requirements(asks, default))
    if approves:
        return Grant(approves[0])
    if confirm is Confirm.NEVER and risk is Risk.LOW:
        return Grant(_NEVER)
    return AskPeople((default,))


def _requirements(asks: Sequence[Ask], default: Requirement) -> tuple[Requirement, ...]:
    """Every requirement once, in an order that does not depend on the policies' order."""
    wanted = {default, *(r for ask in asks for r in ask.requirements)}
    return tuple(sorted(wanted, key=_place))


def _place(one: Requirement) -> tuple[object, ...]:
    expires = -1 if one.expires_in_us is None else one.expires_in_us
    return (-one.quorum, one.min_assurance, one.roles, one.exclude, expires)

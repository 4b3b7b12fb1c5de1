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
    """Fold the answers of all configured policies into one outcome."""
    for one in judged:
        if one.record.answer in {"deny", "failed"}:
            return Refuse(one.record)
    asks = [one.answer for one in judged if isinstance(one.answer, Ask)]
    if asks or confirm is Confirm.ALWAYS:
        return AskPeople(_requirements(asks, default))
    for one in judged:
        if one.record.answer == "approve":
            return Grant(one.record)
    if confirm is Confirm.NEVER and risk is Risk.LOW:
        return Grant(_NEVER)
    return AskPeople((default,))


def _requirements(asks: Sequence[Ask], default: Requirement) -> tuple[Requirement, ...]:
    """Every requirement once, in an order that does not depend on the policies' order."""
    stated = {r for ask in asks for r in ask.requirements}
    if not stated or any(not ask.requirements for ask in asks):
        stated.add(default)
    return tuple(sorted(stated, key=lambda r: (-r.quorum, r.min_assurance, r.roles, r.exclude)))

"""The configured chain of policies, and how each of them is judged.

All policies named in ``confirm:`` judge every call, so that the record shows every answer.  One
that raises, answers another type or takes longer than a second denies; after three in a row it
denies for 30 seconds without being asked (50-handshake, section 4).  One that is overdue is left to
itself: nobody waits for it any more, and its late answer is ignored.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any, Literal, Protocol

import attrs

from awe_core import canonical
from awe_core.errors import HandshakeError
from awe_core.events import Approve, Ask, Deny, PolicyAnswer, Requirement
from awe_core.handshake.fold import Judged
from awe_core.handshake.policies import Auto

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from awe_core.events import Answer, ConfirmationRequest, Facts
    from awe_core.hookspecs import ConfirmationPolicy

TIMEOUT_S = 1.0
FAILURES_IN_A_ROW = 3
SHUT_FOR_US = 30_000_000

_LONGEST = 2_000  #: characters of a recorded reason


class Threads(Protocol):
    """Where the impure policies that are no coroutines run."""

    async def run(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - whatever *work* gives
        """Run *work* in a thread; cancelled, leave it to itself."""


@attrs.define
class _Health:
    """How a policy has behaved lately."""

    failures: int = 0
    shut_until_us: int = 0


@attrs.frozen
class _Failed:
    """What a policy did instead of answering."""

    why: str


class PolicyChain:
    """The policies of one deployment, in no particular order."""

    def __init__(
        self,
        policies: Sequence[ConfirmationPolicy],
        *,
        threads: Threads,
        settings: object = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """Take the policies that ``confirm:`` names.

        :param settings: all that ``confirm:`` says, for the digest
        :raises HandshakeError: ``handshake.policy_missing`` when two of them share a name
        """
        self.names = tuple(policy.name for policy in policies)
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            why = "two policies have this name"
            raise HandshakeError("handshake.policy_missing", policy=", ".join(twice), why=why)
        self._policies = tuple(policies)
        self._threads = threads
        self._timeout_s = timeout_s
        self._overdue: set[asyncio.Task[object]] = set()
        self._health = {name: _Health() for name in self.names}
        self.is_pure = all(policy.is_pure for policy in policies)
        #: Whether calls of one contract, confirmed alike and previewed alike, are answered alike.
        self.reads_contracts_alone = all(type(policy) is Auto for policy in policies)
        described = [[p.name, p.version] for p in sorted(policies, key=lambda p: p.name)]
        #: Digest of the policy set; another one re-gates what waits.
        self.digest = canonical.digest(canonical.value([described, settings]))

    def judge_now(self, request: ConfirmationRequest, facts: Facts) -> list[Judged]:
        """Ask every policy inline; only for a chain whose policies are all pure."""
        return [self._judge_pure(policy, request, facts) for policy in self._policies]

    async def judge(self, request: ConfirmationRequest, facts: Facts) -> list[Judged]:
        """Ask every policy; the impure ones at the same time, each with its time-out."""
        waiting = [self._judge_any(policy, request, facts) for policy in self._policies]
        return list(await asyncio.gather(*waiting))

    def _judge_pure(
        self, policy: ConfirmationPolicy, request: ConfirmationRequest, facts: Facts
    ) -> Judged:
        if self._is_shut(policy, facts.now_us):
            why = "failed three times in a row; denies for 30 s"
            return _judged(policy, None, "failed", why)
        try:
            answer: object = policy.judge(request, facts)
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - foreign
            answer = _Failed(f"raised {type(error).__name__}")
        return self._taken(policy, facts.now_us, answer)

    async def _judge_any(
        self, policy: ConfirmationPolicy, request: ConfirmationRequest, facts: Facts
    ) -> Judged:
        if policy.is_pure or self._is_shut(policy, facts.now_us):
            return self._judge_pure(policy, request, facts)
        asked = asyncio.ensure_future(self._asked(policy, request, facts))
        answer: object = _Failed(f"no answer in {self._timeout_s:g} s")
        try:
            await asyncio.wait({asked}, timeout=self._timeout_s)
        finally:
            if asked.done():
                answer = _Failed("raised CancelledError") if asked.cancelled() else asked.result()
            else:  # wait no longer, whatever it makes of being cancelled
                self._overdue.add(asked)
                asked.add_done_callback(self._overdue.discard)
                asked.cancel()
        return self._taken(policy, facts.now_us, answer)

    async def _asked(
        self, policy: ConfirmationPolicy, request: ConfirmationRequest, facts: Facts
    ) -> object:
        """Run an impure policy: a coroutine on the loop, anything else in a thread."""
        try:
            if inspect.iscoroutinefunction(policy.judge):
                return await policy.judge(request, facts)
            answer = await self._threads.run(lambda: policy.judge(request, facts))
            return await answer if inspect.isawaitable(answer) else answer
        except (Exception, SystemExit) as error:  # noqa: BLE001 - foreign code; it is recorded
            return _Failed(f"raised {type(error).__name__}")

    def _is_shut(self, policy: ConfirmationPolicy, now_us: int) -> bool:
        return now_us < self._health[policy.name].shut_until_us

    def _taken(self, policy: ConfirmationPolicy, now_us: int, answer: object) -> Judged:
        health = self._health[policy.name]
        if isinstance(answer, _Failed):
            failed = answer
        elif (word := _word(answer)) is not None:
            health.failures = 0
            reason = "" if answer is None else answer.reason[:_LONGEST]  # type: ignore[attr-defined]  # an answer, as `_word` says
            return _judged(policy, answer, word, reason)  # type: ignore[arg-type]  # as above
        else:
            if inspect.iscoroutine(answer):
                answer.close()
            failed = _Failed(f"answered {type(answer).__name__}, which is no answer")
        health.failures += 1
        if health.failures >= FAILURES_IN_A_ROW:
            health.failures, health.shut_until_us = 0, now_us + SHUT_FOR_US
        return _judged(policy, None, "failed", failed.why)


_Word = Literal["approve", "deny", "ask", "none", "failed"]


def _word(answer: object) -> _Word | None:
    """Name what was answered; None when it is no answer."""
    match answer:
        case None:
            return "none"
        case Approve(reason=str()):
            return "approve"
        case Deny(reason=str()):
            return "deny"
        case Ask(reason=str(), requirements=tuple() as wanted):
            return "ask" if all(isinstance(one, Requirement) for one in wanted) else None
        case _:
            return None


def _judged(policy: ConfirmationPolicy, answer: Answer, word: _Word, reason: str) -> Judged:
    record = PolicyAnswer(name=policy.name, version=policy.version, answer=word, reason=reason)
    return Judged(answer, record)

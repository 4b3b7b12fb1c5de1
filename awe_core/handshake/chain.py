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
        names = [policy.name for policy in policies]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise HandshakeError(
                "handshake.policy_missing",
                policy=", ".join(sorted(twice)),
                why="two policies have this name",
            )
        self._policies = tuple(policies)
        self._threads = threads
        self._timeout_s = timeout_s
        self._overdue: set[asyncio.Task[object]] = set()
        self._health = {name: _Health() for name in names}
        self.is_pure = all(policy.is_pure for policy in policies)
        described = [[p.name, p.version] for p in sorted(policies, key=lambda p: p.name)]
        #: Digest of the policy set; another one re-gates what waits.
        self.digest = canonical.digest(canonical.value([described, settings]))

    @property
    def names(self) -> tuple[str, ...]:
        """The policies' names, as configured."""
        return tuple(policy.name for policy in self._policies)

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
        shut = self._shut(policy, facts.now_us)
        if shut is not None:
            return shut
        try:
            answer = policy.judge(request, facts)
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - foreign
            return self._failed(policy, facts.now_us, f"raised {type(error).__name__}")
        return self._taken(policy, facts.now_us, answer)

    async def _judge_any(
        self, policy: ConfirmationPolicy, request: ConfirmationRequest, facts: Facts
    ) -> Judged:
        if policy.is_pure:
            return self._judge_pure(policy, request, facts)
        shut = self._shut(policy, facts.now_us)
        if shut is not None:
            return shut
        asked = asyncio.ensure_future(self._asked(policy, request, facts))
        try:
            await asyncio.wait({asked}, timeout=self._timeout_s)
        finally:
            if not asked.done():
                self._leave(asked)
        if not asked.done():
            return self._failed(policy, facts.now_us, f"no answer in {self._timeout_s:g} s")
        if asked.cancelled():
            return self._failed(policy, facts.now_us, "raised CancelledError")
        return self._taken(policy, facts.now_us, asked.result())

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
            return _Raised(type(error).__name__)

    def _leave(self, asked: asyncio.Task[object]) -> None:
        """Wait no longer for *asked*, whatever it makes of being cancelled."""
        self._overdue.add(asked)
        asked.add_done_callback(self._overdue.discard)
        asked.cancel()

    def _shut(self, policy: ConfirmationPolicy, now_us: int) -> Judged | None:
        if now_us >= self._health[policy.name].shut_until_us:
            return None
        return _judged(policy, None, "failed", "failed three times in a row; denies for 30 s")

    def _failed(self, policy: ConfirmationPolicy, now_us: int, why: str) -> Judged:
        health = self._health[policy.name]
        health.failures += 1
        if health.failures >= FAILURES_IN_A_ROW:
            health.failures, health.shut_until_us = 0, now_us + SHUT_FOR_US
        return _judged(policy, None, "failed", why)

    def _taken(self, policy: ConfirmationPolicy, now_us: int, answer: object) -> Judged:
        if isinstance(answer, _Raised):
            return self._failed(policy, now_us, f"raised {answer.kind}")
        match answer:
            case None:
                word: Literal["approve", "deny", "ask", "none"] = "none"
            case Approve(reason=str()):
                word = "approve"
            case Deny(reason=str()):
                word = "deny"
            case Ask(reason=str(), requirements=wanted) if _are_requirements(wanted):
                word = "ask"
            case _:
                if inspect.iscoroutine(answer):
                    answer.close()
                why = f"answered {type(answer).__name__}, which is no answer"
                return self._failed(policy, now_us, why)
        self._health[policy.name].failures = 0
        return _judged(policy, answer, word, "" if answer is None else answer.reason[:_LONGEST])


@attrs.frozen
class _Raised:
    """What an impure policy did instead of answering."""

    kind: str


def _are_requirements(wanted: object) -> bool:
    return isinstance(wanted, tuple) and all(isinstance(one, Requirement) for one in wanted)


def _judged(
    policy: ConfirmationPolicy,
    answer: Answer,
    word: Literal["approve", "deny", "ask", "none", "failed"],
    reason: str,
) -> Judged:
    record = PolicyAnswer(name=policy.name, version=policy.version, answer=word, reason=reason)
    return Judged(answer, record)

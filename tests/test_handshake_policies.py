"""How policies are judged whatever they do, and what those that the core ships answer."""

from __future__ import annotations

import asyncio
import threading

import attrs
import pytest

from awe_core.capability import Risk
from awe_core.errors import HandshakeError, UsageError
from awe_core.events import (
    Approve,
    Ask,
    ConfirmationRequest,
    Deny,
    Facts,
    PolicyAnswer,
    Requirement,
)
from awe_core.handshake import Allowed, AllowList, Auto, Console, DenyAll, PolicyChain
from awe_core.hookspecs import ConfirmationPolicy
from awe_core.invoke import DaemonPool

SHORT_S = 0.05  #: a time-out that a test can wait for


def request(**fields):
    given = {
        "id": "hs_a",
        "version": 1,
        "capability": "fs.delete@1.0.0",
        "risk": "low",
        "digest": "sha256:1",
        "undo": {"kind": "captured"},
        "requester": "agent:bot",
        "run": "run",
        "step": "call",
        "policy_set": "p",
        "opened_us": 0,
        "expires_us": 1,
    }
    return ConfirmationRequest(**(given | fields))


def facts(**fields):
    given = {"now_us": 0, "environment": "prod", "has_preview": True}
    return Facts(**(given | fields))


@attrs.frozen
class Scripted:
    """Answers what it is given; an exception is raised, a function called."""

    answer: object
    name: str = "scripted"
    version: str = "7"
    is_pure: bool = True

    def judge(self, request, facts):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer(request, facts) if callable(self.answer) else self.answer


@attrs.frozen
class Awaited(Scripted):
    """The same as a coroutine."""

    is_pure: bool = False

    async def judge(self, request, facts):
        await asyncio.sleep(0)
        found = Scripted.judge(self, request, facts)
        return await found if asyncio.iscoroutine(found) else found


@attrs.frozen
class Threaded(Scripted):
    """The same, blocking."""

    is_pure: bool = False


@pytest.fixture
def threads():
    pool = DaemonPool(2, name="test-policy")
    yield pool
    pool.close()


@pytest.fixture
def chain_of(threads):
    def make(*policies, timeout_s=30.0, settings=None):
        return PolicyChain(policies, threads=threads, timeout_s=timeout_s, settings=settings)

    return make


def judge(chain, at_us=0):
    """Ask as the engine does: inline where all are pure."""
    if chain.is_pure:
        return chain.judge_now(request(), facts(now_us=at_us))
    return asyncio.run(chain.judge(request(), facts(now_us=at_us)))


def told(chain, at_us=0):
    (one,) = judge(chain, at_us)
    return one.record.answer, one.record.reason


KINDS = [Scripted, Awaited, Threaded]


# --------------------------------------------------------------------------------------- the chain


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, ("none", "")),
        (Approve(reason="small"), ("approve", "small")),
        (Deny(reason="no"), ("deny", "no")),
        (Ask(reason="sure?"), ("ask", "sure?")),
    ],
)
def test_every_answer_is_recorded_with_its_reason(kind, answer, expected, chain_of):
    (one,) = judge(chain_of(kind(answer)))
    assert one.answer == answer
    word, reason = expected
    assert one.record == PolicyAnswer(name="scripted", version="7", answer=word, reason=reason)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("error", [ValueError("secret"), KeyError("k"), asyncio.CancelledError()])
def test_a_policy_that_raises_has_failed_and_its_words_are_not_recorded(kind, error, chain_of):
    assert told(chain_of(kind(error))) == ("failed", f"raised {type(error).__name__}")


@pytest.mark.parametrize("kind", KINDS)
def test_a_policy_that_wants_to_end_the_process_has_failed(kind, chain_of):
    answer, reason = told(chain_of(kind(SystemExit(0))))
    assert answer == "failed"
    assert reason.startswith("raised ")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "answer", [True, "approve", {"answer": "approve"}, Approve, object(), (Approve(),)]
)
def test_any_other_answer_is_none(kind, answer, chain_of):
    found = (lambda *_: answer) if callable(answer) else answer
    word, reason = told(chain_of(kind(found)))
    assert word == "failed"
    assert "is no answer" in reason


@pytest.mark.parametrize(
    "answer",
    [
        Ask(requirements=("two people",)),
        Deny(reason=None),
        Approve(reason=["because"]),
    ],
)
def test_an_answer_with_other_things_in_it_is_none(answer, chain_of):
    word, reason = told(chain_of(Scripted(answer)))
    assert (word, reason) == ("failed", f"answered {type(answer).__name__}, which is no answer")


def test_requirements_may_come_as_lists(chain_of):
    ask = Ask(requirements=[Requirement(roles=["security"])])
    (one,) = judge(chain_of(Scripted(ask)))
    assert one.answer.requirements == (Requirement(roles=("security",)),)
    assert hash(one.answer)


def test_a_long_reason_is_cut(chain_of):
    _, reason = told(chain_of(Scripted(Deny(reason="x" * 10_000))))
    assert len(reason) == 2_000


def test_a_coroutine_from_a_policy_that_says_it_is_pure_is_no_answer(chain_of):
    async def later():
        return Approve()

    word, reason = told(chain_of(Scripted(lambda *_: later())))
    assert (word, reason) == ("failed", "answered coroutine, which is no answer")


def test_an_impure_policy_may_give_something_to_wait_for(chain_of):
    async def later():
        return Approve(reason="waited for")

    assert told(chain_of(Threaded(lambda *_: later()))) == ("approve", "waited for")


def test_a_policy_that_awaits_too_long_has_failed(chain_of):
    async def forever():
        await asyncio.Event().wait()

    chain = chain_of(Awaited(lambda *_: forever()), timeout_s=SHORT_S)
    assert told(chain) == ("failed", "no answer in 0.05 s")


def test_a_policy_that_does_not_let_itself_be_cancelled_is_left_to_itself(chain_of):
    ended = []

    async def stubborn():
        for _ in range(3):
            try:
                await asyncio.sleep(SHORT_S * 2)
            except asyncio.CancelledError:
                continue
        ended.append(True)
        return Approve()

    async def main():
        chain = chain_of(Awaited(lambda *_: stubborn()), timeout_s=SHORT_S)
        (one,) = await chain.judge(request(), facts())
        return one.record.answer, list(ended)

    assert asyncio.run(main()) == ("failed", [])


def test_a_thread_that_does_not_return_is_left_to_itself_and_another_takes_its_place(threads):
    stuck = threading.Event()
    chain = PolicyChain(
        [Threaded(lambda *_: stuck.wait(), name=f"p{i}") for i in range(2)],
        threads=threads,
        timeout_s=SHORT_S,
    )
    well = PolicyChain([Threaded(Approve())], threads=threads)

    async def main():
        hung = await chain.judge(request(), facts())
        return hung, await well.judge(request(), facts())

    try:
        hung, answered = asyncio.run(main())
    finally:
        stuck.set()
    assert ["failed", "failed"] == [one.record.answer for one in hung]
    assert ["approve"] == [one.record.answer for one in answered]


def test_a_time_out_of_the_policys_own_is_what_it_raised(chain_of):
    assert told(chain_of(Awaited(TimeoutError()))) == ("failed", "raised TimeoutError")


def test_impure_policies_are_asked_at_the_same_time(chain_of):
    both = threading.Barrier(2)
    chain = chain_of(
        Threaded(lambda *_: both.wait(10) >= 0 and Approve(), name="a"),
        Threaded(lambda *_: both.wait(10) >= 0 and Approve(), name="b"),
    )
    assert ["approve", "approve"] == [one.record.answer for one in judge(chain)]


def test_every_policy_is_asked_also_after_a_deny(chain_of):
    chain = chain_of(
        Scripted(Deny(reason="no"), name="a"),
        Scripted(ValueError(), name="b"),
        Scripted(Approve(), name="c"),
    )
    assert ["deny", "failed", "approve"] == [one.record.answer for one in judge(chain)]


@pytest.mark.parametrize("kind", KINDS)
def test_three_failures_in_a_row_shut_a_policy_for_thirty_seconds(kind, chain_of):
    asked = []

    def fail(*_):
        asked.append(True)
        raise ValueError

    chain = chain_of(kind(fail))
    for _ in range(3):
        assert told(chain, 1_000) == ("failed", "raised ValueError")
    shut = ("failed", "failed three times in a row; denies for 30 s")
    assert told(chain, 1_000) == shut
    assert told(chain, 1_000 + 29_999_999) == shut
    assert len(asked) == 3
    assert told(chain, 1_000 + 30_000_000) == ("failed", "raised ValueError")


def test_failures_that_are_not_in_a_row_shut_nothing(chain_of):
    script = iter([ValueError(), ValueError(), Approve(), ValueError(), ValueError(), Approve()])

    def play(*_):
        found = next(script)
        if isinstance(found, Exception):
            raise found
        return found

    chain = chain_of(Scripted(play))
    answers = [told(chain)[0] for _ in range(6)]
    assert answers == ["failed", "failed", "approve", "failed", "failed", "approve"]


def test_one_policy_that_is_shut_leaves_the_others_alone(chain_of):
    chain = chain_of(Scripted(ValueError(), name="a"), Scripted(Approve(), name="b"))
    for _ in range(4):
        found = judge(chain)
    assert ["failed", "approve"] == [one.record.answer for one in found]


def test_two_policies_of_one_name_are_refused(chain_of):
    with pytest.raises(HandshakeError, match="two policies have this name") as caught:
        chain_of(Scripted(None), Scripted(Approve()))
    assert caught.value.code == "handshake.policy_missing"


def test_the_policy_set_has_a_digest_that_does_not_depend_on_the_order(chain_of):
    a, b = Scripted(None, name="a"), Scripted(None, name="b")
    assert chain_of(a, b).digest == chain_of(b, a).digest
    others = [
        chain_of(a),
        chain_of(a, attrs.evolve(b, version="8")),
        chain_of(a, attrs.evolve(b, name="c")),
        chain_of(a, b, settings={"cells": {}}),
    ]
    assert len({chain_of(a, b).digest, *(one.digest for one in others)}) == 5


def test_a_chain_is_pure_when_all_of_it_is(chain_of):
    assert chain_of(Scripted(None), DenyAll()).is_pure
    assert not chain_of(Scripted(None), Threaded(None, name="t")).is_pure
    assert chain_of(DenyAll(), Console()).names == ("deny_all", "console")


# -------------------------------------------------------------------------------------------- auto

READS = [{"fs.read": {"paths": ["a"]}}, {"clock": {}}, {"env.read": {"names": ["x"]}}]
WRITES = [{"fs.write": {"paths": ["a"]}}, {"fs.delete": {"paths": ["b"]}}]
GETS = [{"net.http": {"hosts": ["a.example"], "methods": ["GET", "HEAD"]}}]
POSTS = [{"net.http": {"hosts": ["a.example"], "methods": ["GET", "POST"]}}]
RUNS = [{"process.exec": {"programs": [{"name": "git", "args": []}]}}]
UNDO = {
    kind: {"kind": kind} for kind in ("captured", "compensate", "strategy", "none", "not_needed")
}

PLANS = {
    "nothing": ([], "not_needed", 0),
    "reads": (READS, "not_needed", 0),
    "reads, whatever undo says": (READS, "none", 0),
    "writes, captured": (READS + WRITES, "captured", 1),
    "asks a far side": (GETS, "not_needed", 2),
    "shows a secret": ([{"secret.use": {"names": ["t"]}}], "not_needed", 2),
    "asks a far side, then writes": (GETS + WRITES, "captured", 2),
    "tells a far side, compensated": (POSTS, "compensate", 2),
    "runs a program, with a strategy": (RUNS, "strategy", 2),
    "tells a far side": (POSTS, "none", 3),
    "tells a far side, and captures files alone": (POSTS + WRITES, "captured", 3),
    "writes, and cannot take it back": (WRITES, "none", 3),
    "writes, and does not want it back": (WRITES, "not_needed", 3),
    "asks a far side, then writes for good": (GETS + WRITES, "none", 3),
    "runs a program": (RUNS, "captured", 3),
    "an effect of a plugin": ([{"mail.send": {}}], "not_needed", 3),
    "a request whose methods nobody knows": ([{"net.http": {"hosts": ["a"]}}], "not_needed", 3),
}
TABLE = [
    ("approve", "approve", "ask", "ask2"),
    ("approve", "approve", "ask", "ask2"),
    ("approve", "ask", "ask", "ask2"),
    ("ask", "ask", "ask", "ask2"),
]


def cell(policy, effects, undo, risk, **known):
    asked = request(effects=tuple(effects), undo=UNDO[undo], risk=risk.value)
    match policy.judge(asked, facts(**known)):
        case Approve():
            return "approve"
        case Ask(requirements=()):
            return "ask"
        case Ask(requirements=(Requirement(quorum=2, min_assurance="session"),)):
            return "ask2"


@pytest.mark.parametrize("risk", list(Risk))
@pytest.mark.parametrize("plan", PLANS)
def test_auto_answers_by_its_table(plan, risk):
    effects, undo, row = PLANS[plan]
    assert cell(Auto.configured({}), effects, undo, risk) == TABLE[row][risk.rank]


@pytest.mark.parametrize("risk", list(Risk))
@pytest.mark.parametrize("plan", PLANS)
def test_without_a_preview_auto_looks_one_row_further_down(plan, risk):
    effects, undo, row = PLANS[plan]
    found = cell(Auto.configured({}), effects, undo, risk, has_preview=False)
    assert found == TABLE[min(row + 1, 3)][risk.rank]


@pytest.mark.parametrize("risk", list(Risk))
@pytest.mark.parametrize("plan", PLANS)
def test_effects_that_were_seen_and_not_declared_count_as_the_worst(plan, risk):
    effects, undo, _ = PLANS[plan]
    found = cell(Auto.configured({}), effects, undo, risk, undeclared_seen=True)
    assert found == TABLE[3][risk.rank]


def test_auto_says_which_cell_it_was():
    answer = Auto.configured({}).judge(request(risk="medium"), facts())
    assert answer.reason == "reads, medium"


def test_a_cell_may_be_made_tighter_without_a_word():
    policy = Auto.configured({"cells": {"reads.low": "ask2"}})
    assert cell(policy, READS, "not_needed", Risk.LOW) == "ask2"
    assert cell(policy, READS, "not_needed", Risk.MEDIUM) == "approve"


def test_a_laxer_cell_needs_a_reason():
    cells = {"leaves.medium": "approve"}
    policy = Auto.configured({"cells": cells, "accept_risk": "read-only partner APIs, reviewed"})
    assert cell(policy, GETS, "not_needed", Risk.MEDIUM) == "approve"
    for reason in ({}, {"accept_risk": ""}, {"accept_risk": "  "}, {"accept_risk": True}):
        with pytest.raises(UsageError, match="needs accept_risk: REASON"):
            Auto.configured({"cells": cells, **reason})


@pytest.mark.parametrize(
    "settings",
    [
        {"cells": {"leaves": "approve"}},
        {"cells": {"leaves.small": "ask"}},
        {"cells": {"reads.low": "never"}},
        {"cells": {"reads.low": ["ask"]}},
        {"cells": {("reads", "low"): "ask"}},
        {"cells": ["reads.low: ask"]},
        {"cells": "ask"},
        {"cells": None},
        {"cell": {}},
        {"accept_riks": "typed in a hurry"},
    ],
)
def test_settings_that_auto_does_not_know_are_refused_and_never_left_out(settings):
    with pytest.raises(UsageError) as caught:
        Auto.configured(settings)
    assert caught.value.code == "handshake.policy_settings"


# ------------------------------------------------------------------------------- the other policies


@pytest.mark.parametrize("policy", [DenyAll(), Console(), Auto.configured({}), AllowList(())])
def test_the_shipped_policies_keep_the_protocol_and_are_pure(policy):
    assert isinstance(policy, ConfirmationPolicy)
    assert policy.is_pure


def test_deny_all_denies():
    assert isinstance(DenyAll().judge(request(), facts()), Deny)


def test_console_asks():
    assert isinstance(Console().judge(request(), facts()), Ask)


LISTED = Allowed("fs.delete", ("agent:bot",), 100, {"path": "tmp/a"}, "a scratch file")
COVERED = {"arguments": {"path": "tmp/a", "recursive": False}}


def listed(*entries, at_us=0, **fields):
    return AllowList(entries or (LISTED,)).judge(request(**(COVERED | fields)), facts(now_us=at_us))


def test_the_allow_list_approves_what_it_lists_with_the_reason_that_stands_there():
    assert listed() == Approve(reason="a scratch file")


@pytest.mark.parametrize(
    "other",
    [
        {"capability": "fs.delete_all@1.0.0"},
        {"capability": "fs.read@1.0.0"},
        {"requester": "agent:other"},
        {"requester": "person:bot"},
        {"arguments": {"path": "tmp/b"}},
        {"arguments": {}},
        {"arguments": None},
        {"risk": "high"},
        {"risk": "critical"},
        {"at_us": 100},
    ],
)
def test_the_allow_list_has_no_opinion_on_anything_else(other):
    assert listed(**other) is None


def test_an_entry_without_callers_and_end_holds_for_everyone_for_ever():
    open_ = attrs.evolve(LISTED, callers=(), until_us=None)
    assert isinstance(listed(open_, requester="service:ci", at_us=10**18), Approve)


def test_an_entry_may_name_capabilities_by_a_pattern():
    entry = attrs.evolve(LISTED, capability="fs.*")
    assert isinstance(listed(entry), Approve)
    assert listed(entry, capability="net.get@1.0.0") is None


@pytest.mark.parametrize(
    ("given", "stated", "is_same"),
    [(True, 1, False), (1, True, False), (0, False, False), (None, None, True), ([1], [1], True)],
)
def test_arguments_are_compared_as_json(given, stated, is_same):
    entry = attrs.evolve(LISTED, arguments={"n": stated})
    assert (listed(entry, arguments={"n": given}) is not None) == is_same


def test_an_argument_that_is_not_given_equals_nothing_not_even_null():
    assert listed(attrs.evolve(LISTED, arguments={"force": None}), arguments={}) is None


def test_the_first_entry_that_covers_the_call_is_the_one():
    stranger = attrs.evolve(LISTED, callers=("agent:other",), reason="not for you")
    later = attrs.evolve(LISTED, reason="another")
    assert listed(stranger, LISTED, later).reason == "a scratch file"

"""The handshake's laws: what binds, how answers fold, who counts, what a ticket is good for."""

from __future__ import annotations

import hashlib
import inspect
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from awe_core.capability import (
    CapabilityCall,
    Confirm,
    Risk,
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
    undo_in_words,
)
from awe_core.errors import HandshakeError
from awe_core.events import (
    ASSURANCES,
    Approve,
    Ask,
    ConfirmationRequest,
    Decision,
    Deny,
    PolicyAnswer,
    Requirement,
)
from awe_core.handshake import (
    AskPeople,
    Counted,
    Grant,
    Granted,
    Judged,
    Ledger,
    People,
    Refuse,
    Refused,
    call_digest,
    default_requirement,
    fold,
    new_request_id,
    summary,
    take,
    ticket_of,
    unmet,
)

NOW, EXPIRES = 1_000, 2_000
DIGEST = "sha256:" + "1" * 64
ROLES = {
    "lin": ("approver",),
    "mia": ("approver", "security"),
    "noa": ("operator",),
}
PEOPLE = People(ROLES)


def request(**fields):
    given = {
        "id": "hs_" + "a" * 26,
        "version": 1,
        "capability": "fs.delete@1.0.0",
        "risk": "medium",
        "digest": DIGEST,
        "undo": {"kind": "captured"},
        "requester": "agent:bot",
        "run": "run",
        "step": "call",
        "requirements": (Requirement(),),
        "policy_set": "sha256:00",
        "opened_us": NOW,
        "expires_us": EXPIRES,
    }
    return ConfirmationRequest(**(given | fields))


def decision(by="person:lin", asked=None, **fields):
    asked = asked or request()
    given = {
        "request": asked.id,
        "version": asked.version,
        "digest": asked.digest,
        "verdict": "approve",
        "by": by,
        "via": "cli",
        "assurance": "signed",
        "at_us": NOW,
    }
    return Decision(**(given | fields))


def refusal(asked, given, people=PEOPLE):
    with pytest.raises(HandshakeError) as caught:
        take(asked, given, people)
    return caught.value


# ------------------------------------------------------------------------------------- the digest

CALL = {
    "capability": "fs.delete",
    "version": "1.0.0",
    "pack": "a" * 64,
    "arguments": b'{"path":"a.txt"}',
    "workspace": "demo/1-2",
    "preimages": [{"path": "a.txt", "kind": "file", "sha256": "b" * 64, "mode": 420}],
}
OTHER = {
    "capability": "fs.write",
    "version": "1.0.1",
    "pack": "b" * 64,
    "arguments": b'{"path":"b.txt"}',
    "workspace": "demo/1-3",
    "preimages": [{"path": "a.txt", "kind": "absent", "sha256": "absent", "mode": 0}],
}


def test_the_digest_covers_the_canonical_call_under_its_own_prefix():
    said = {**CALL, "arguments": json.loads(CALL["arguments"])}
    text = json.dumps(said, sort_keys=True, separators=(",", ":"))
    expected = hashlib.sha256(b"awe:call:v1\n" + text.encode()).hexdigest()
    assert f"sha256:{expected}" == call_digest(**CALL)


@pytest.mark.parametrize("member", list(inspect.signature(call_digest).parameters))
def test_every_member_of_a_call_moves_its_digest(member):
    assert call_digest(**{**CALL, member: OTHER[member]}) != call_digest(**CALL)


@pytest.mark.parametrize(
    ("key", "value"), [("path", "b"), ("kind", "symlink"), ("sha256", "c"), ("mode", 384)]
)
def test_every_part_of_a_preimage_moves_the_digest(key, value):
    changed = [{**CALL["preimages"][0], key: value}]
    assert call_digest(**{**CALL, "preimages": changed}) != call_digest(**CALL)


def test_the_order_of_preimages_means_nothing():
    two = [*CALL["preimages"], {"path": "0", "kind": "absent", "sha256": "absent", "mode": 0}]
    there, back = (call_digest(**{**CALL, "preimages": p}) for p in (two, two[::-1]))
    assert there == back


# ---------------------------------------------------------------------------------------- the fold

requirements = st.builds(
    Requirement,
    quorum=st.integers(1, 3),
    roles=st.sampled_from([(), ("approver",), ("security",)]),
    min_assurance=st.sampled_from(ASSURANCES),
    exclude=st.sampled_from([(), ("person:lin",)]),
    expires_in_us=st.none() | st.integers(1, 50),
)
answers = st.one_of(
    st.none(),
    st.builds(Approve),
    st.builds(Deny, reason=st.just("no")),
    st.builds(Ask, requirements=st.lists(requirements, max_size=2).map(tuple)),
    st.just("failed"),
)
WORDS = {type(None): "none", Approve: "approve", Deny: "deny", Ask: "ask", str: "failed"}


def judged(answer, name="p"):
    record = PolicyAnswer(name=name, version="1", answer=WORDS[type(answer)])
    return Judged(None if answer == "failed" else answer, record)


many = st.lists(answers, max_size=5).map(
    lambda all_: [judged(a, f"p{i}") for i, a in enumerate(all_)]
)
confirms, risks = st.sampled_from(Confirm), st.sampled_from(Risk)


def folded(all_, confirm, risk, configured=None):
    default = default_requirement(risk, configured or {})
    return fold(all_, confirm=confirm, risk=risk, default=default)


def strictness(outcome):
    return (Grant, AskPeople, Refuse).index(type(outcome))


def is_laxer(one, other):
    """Whether *one* lets through what *other* would not."""
    if strictness(one) != strictness(other):
        return strictness(one) < strictness(other)
    if isinstance(one, AskPeople):
        dropped = set(other.requirements) - set(one.requirements)
        return bool(dropped) or one.expires_us(0, 100) > other.expires_us(0, 100)
    return False


@given(many, confirms, risks, st.randoms())
def test_the_order_of_policies_means_nothing(all_, confirm, risk, random):
    shuffled = random.sample(all_, len(all_))
    assert folded(all_, confirm, risk) == folded(shuffled, confirm, risk)


@given(many, confirms, risks, st.none() | st.builds(Ask, requirements=st.tuples(requirements)))
def test_one_more_ask_or_deny_is_never_laxer(all_, confirm, risk, ask):
    before = folded(all_, confirm, risk)
    more = judged(Deny(reason="no") if ask is None else ask, "q")
    assert not is_laxer(folded([*all_, more], confirm, risk), before)


@given(many, confirms, risks)
def test_one_more_failure_denies(all_, confirm, risk):
    assert isinstance(folded([*all_, judged("failed", "q")], confirm, risk), Refuse)


@given(many, confirms, risks)
def test_one_more_policy_without_an_opinion_changes_nothing(all_, confirm, risk):
    assert folded([*all_, judged(None, "q")], confirm, risk) == folded(all_, confirm, risk)


@given(many, confirms, risks)
def test_a_stricter_contract_is_never_laxer(all_, confirm, risk):
    assert not is_laxer(folded(all_, Confirm.ALWAYS, risk), folded(all_, confirm, risk))


@given(many, confirms, risks)
def test_what_people_are_asked_is_never_below_the_minimum(all_, confirm, risk):
    outcome = folded(all_, confirm, risk)
    if isinstance(outcome, AskPeople):
        assert default_requirement(risk, {}) in outcome.requirements


def test_nobody_with_an_opinion_is_a_question():
    assert isinstance(folded([], Confirm.POLICY, Risk.LOW), AskPeople)


@pytest.mark.parametrize("risk", list(Risk))
def test_confirm_never_approves_at_risk_low_alone(risk):
    expected = Grant if risk is Risk.LOW else AskPeople
    assert isinstance(folded([judged(None)], Confirm.NEVER, risk), expected)


def test_confirm_never_answers_no_ask_and_no_deny():
    assert isinstance(folded([judged(Ask())], Confirm.NEVER, Risk.LOW), AskPeople)
    assert isinstance(folded([judged(Deny(reason="no"))], Confirm.NEVER, Risk.LOW), Refuse)


def test_what_the_deployment_requires_holds_beside_what_a_policy_asks():
    strict = Requirement(quorum=2, roles=("security",), min_assurance="signed")
    asked = judged(Ask(requirements=(Requirement(quorum=1, min_assurance="relayed"),)))
    outcome = folded([asked], Confirm.POLICY, Risk.HIGH, {"high": strict})
    assert strict in outcome.requirements


def test_the_earliest_expiry_counts():
    asks = [
        judged(Ask(requirements=(Requirement(expires_in_us=us),)), f"p{us}") for us in (900, 50)
    ]
    outcome = folded(asks, Confirm.POLICY, Risk.LOW)
    assert outcome.expires_us(NOW, EXPIRES) == NOW + 50
    assert outcome.expires_us(NOW, NOW + 10) == NOW + 10


@pytest.mark.parametrize(
    ("risk", "quorum", "assurance"),
    [
        ("low", 1, "relayed"),
        ("medium", 1, "local"),
        ("high", 1, "session"),
        ("critical", 2, "session"),
    ],
)
def test_the_minimum_rises_with_the_risk(risk, quorum, assurance):
    found = default_requirement(Risk(risk), {})
    assert (quorum, assurance) == (found.quorum, found.min_assurance)


@pytest.mark.parametrize("fields", [{"quorum": 0}, {"quorum": -1}, {"min_assurance": "certain"}])
def test_a_requirement_that_asks_for_nothing_cannot_be_made(fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        Requirement(**fields)


# --------------------------------------------------------------------------------------- the votes


def test_an_approval_that_meets_everything_grants():
    outcome = take(request(), decision(), PEOPLE)
    assert isinstance(outcome, Granted)
    assert ["person:lin"] == [vote.by for vote in outcome.request.votes]
    assert outcome.request.votes[0].roles == ("approver",)


@pytest.mark.parametrize("verdict", ["deny", "send_back"])
def test_one_deny_closes_whatever_was_approved_before(verdict):
    asked = request(requirements=(Requirement(quorum=2),))
    counted = take(asked, decision(asked=asked), PEOPLE).request
    given = decision("person:mia", counted, verdict=verdict, reason="not today")
    outcome = take(counted, given, PEOPLE)
    assert isinstance(outcome, Refused)
    assert (outcome.vote.by, outcome.vote.reason) == ("person:mia", "not today")


def test_the_requester_may_always_say_no():
    asked = request(requester="person:noa", risk="critical")
    given = decision("person:noa", asked, verdict="deny", assurance="relayed")
    assert isinstance(take(asked, given, PEOPLE), Refused)


def test_votes_count_people_and_never_the_same_person_twice():
    asked = request(requirements=(Requirement(quorum=2),))
    counted = take(asked, decision(asked=asked), PEOPLE)
    assert isinstance(counted, Counted)
    assert counted.request.version == asked.version + 1
    again = refusal(counted.request, decision(asked=counted.request, via="rest"))
    assert again.code == "handshake.not_eligible"
    assert "already approved" in again.summary
    second = decision("person:mia", counted.request)
    assert isinstance(take(counted.request, second, PEOPLE), Granted)


@pytest.mark.parametrize("kind", ["agent", "service", "policy", "Person", ""])
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_agents_and_services_decide_nothing_whoever_they_are_named_after(kind, verdict):
    error = refusal(request(), decision(f"{kind}:lin", verdict=verdict))
    assert error.code == "handshake.not_eligible"


@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_somebody_who_is_not_enrolled_decides_nothing(verdict):
    error = refusal(request(), decision("person:eve", verdict=verdict))
    assert (error.code, error.exit_code) == ("handshake.not_eligible", 3)
    assert "not enrolled" in error.summary


@pytest.mark.parametrize(
    ("risk", "counts"), [("low", True), ("medium", True), ("high", False), ("critical", False)]
)
def test_whoever_submitted_a_run_may_confirm_it_below_risk_high(risk, counts):
    asked = request(requester="person:lin", risk=risk)
    if counts:
        vote = take(asked, decision(asked=asked), PEOPLE).request.votes[0]
        assert vote.self_
    else:
        assert refusal(asked, decision(asked=asked)).code == "handshake.not_eligible"


def test_whoever_submitted_a_run_never_counts_towards_two():
    asked = request(requester="person:lin", risk="low", requirements=(Requirement(quorum=2),))
    assert refusal(asked, decision(asked=asked)).code == "handshake.not_eligible"


@pytest.mark.parametrize(("risk", "counts"), [("high", True), ("critical", False)])
def test_the_person_an_agent_acts_for_counts_below_critical(risk, counts):
    asked = request(on_behalf_of="person:lin", risk=risk)
    if counts:
        assert isinstance(take(asked, decision(asked=asked), PEOPLE), Granted)
    else:
        assert refusal(asked, decision(asked=asked)).code == "handshake.not_eligible"


def test_every_requirement_must_be_met():
    both = (Requirement(roles=("security",)), Requirement(roles=("operator",)))
    asked = request(requirements=both)
    counted = take(asked, decision("person:mia", asked), PEOPLE)
    assert isinstance(counted, Counted)
    assert counted.missing == (both[1],)
    granted = take(counted.request, decision("person:noa", counted.request), PEOPLE)
    assert isinstance(granted, Granted)


def test_a_vote_counts_for_each_requirement_it_satisfies():
    asked = request(requirements=(Requirement(), Requirement(roles=("security",))))
    assert isinstance(take(asked, decision("person:mia", asked), PEOPLE), Granted)


def test_a_role_that_was_taken_away_counts_no_more():
    asked = request(requirements=(Requirement(quorum=2, roles=("approver",)),))
    counted = take(asked, decision("person:mia", asked), PEOPLE).request
    later = People({**ROLES, "mia": ("operator",)})
    assert isinstance(take(counted, decision("person:lin", counted), later), Counted)


def test_the_excluded_do_not_count():
    asked = request(requirements=(Requirement(exclude=("person:lin",)),))
    assert refusal(asked, decision(asked=asked)).code == "handshake.not_eligible"


def test_a_request_without_requirements_cannot_be_granted():
    asked = request(requirements=())
    assert refusal(asked, decision(asked=asked)).code == "handshake.not_eligible"


@given(st.sampled_from(ASSURANCES), st.sampled_from(ASSURANCES))
def test_an_answer_counts_if_its_assurance_is_no_weaker_than_needed(shown, needed):
    asked = request(requirements=(Requirement(min_assurance=needed),))
    given = decision(asked=asked, assurance=shown)
    if ASSURANCES.index(shown) >= ASSURANCES.index(needed):
        assert isinstance(take(asked, given, PEOPLE), Granted)
    else:
        error = refusal(asked, given)
        assert error.code == "handshake.assurance"
        assert error.attributes["needed"] == needed


def test_the_assurances_stand_in_their_order():
    assert ASSURANCES == ("relayed", "local", "session", "signed")


def test_somebody_who_answered_weakly_may_answer_again_by_a_stronger_channel():
    strong = Requirement(roles=("security",), min_assurance="signed")
    asked = request(requirements=(Requirement(min_assurance="local"), strong))
    weak = take(asked, decision("person:mia", asked, assurance="local"), PEOPLE)
    assert isinstance(weak, Counted)
    assert weak.missing == (strong,)
    same = decision("person:mia", weak.request, assurance="session")
    assert refusal(weak.request, same).code == "handshake.assurance"
    assert isinstance(take(weak.request, decision("person:mia", weak.request), PEOPLE), Granted)


def test_a_deny_needs_no_assurance():
    asked = request(requirements=(Requirement(min_assurance="signed"),))
    given = decision(asked=asked, verdict="deny", assurance="relayed")
    assert isinstance(take(asked, given, PEOPLE), Refused)


@pytest.mark.parametrize(
    "named",
    [{"version": 2}, {"digest": "sha256:" + "2" * 64}, {"request": "hs_" + "b" * 26}],
)
@pytest.mark.parametrize("verdict", ["approve", "deny"])
def test_an_answer_to_something_else_than_what_was_shown_is_refused(named, verdict):
    error = refusal(request(), decision(verdict=verdict, **named))
    assert (error.code, error.exit_code) == ("handshake.stale", 8)


@given(st.integers(0, 2 * EXPIRES), st.sampled_from(["approve", "deny"]))
def test_nothing_counts_at_or_after_the_instant_of_expiry(at_us, verdict):
    given = decision(at_us=at_us, verdict=verdict)
    if at_us < EXPIRES:
        assert isinstance(take(request(), given, PEOPLE), Granted | Refused)
    else:
        assert refusal(request(), given).code == "handshake.expired"


@pytest.mark.parametrize("wider", [{"scope": "session"}, {"scope": "run"}, {"selector": "**"}])
def test_an_approval_wider_than_what_was_asked_is_refused(wider):
    error = refusal(request(), decision(**wider))
    assert (error.code, error.exit_code) == ("handshake.scope", 2)


@pytest.mark.parametrize("wrong", [{"verdict": "Approve"}, {"assurance": "certain"}])
def test_a_decision_in_other_words_cannot_be_made(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        decision(**wrong)


def test_a_refused_answer_names_who_could_give_it():
    asked = request(requirements=(Requirement(quorum=2, roles=("security",)),))
    error = refusal(asked, decision(asked=asked))
    assert error.details == ("needed: 2 of: security, at least by local",)


def test_development_caps_the_quorum_at_the_people_there_are():
    alone = People({"lin": ("approver",)}, is_dev=True)
    asked = request(requester="person:lin", risk="critical", requirements=(Requirement(quorum=2),))
    assert isinstance(take(asked, decision(asked=asked), alone), Granted)


def test_development_keeps_the_quorum_that_its_people_can_meet():
    asked = request(requirements=(Requirement(quorum=2),))
    outcome = take(asked, decision(asked=asked), People(ROLES, is_dev=True))
    assert isinstance(outcome, Counted)


def test_development_asks_for_no_more_than_local_and_no_less_than_that():
    asked = request(requirements=(Requirement(min_assurance="signed", roles=("board",)),))
    dev = People(ROLES, is_dev=True)
    assert isinstance(take(asked, decision(asked=asked, assurance="local"), dev), Granted)
    error = refusal(asked, decision(asked=asked, assurance="relayed"), dev)
    assert error.code == "handshake.assurance"


def test_development_lets_no_agent_decide_and_nobody_who_is_not_enrolled():
    dev = People(ROLES, is_dev=True)
    assert refusal(request(), decision("agent:lin"), dev).code == "handshake.not_eligible"
    assert refusal(request(), decision("person:eve"), dev).code == "handshake.not_eligible"


class Voting(RuleBasedStateMachine):
    """People, an agent and a stranger answer one request in any order and by any channel."""

    def __init__(self):
        super().__init__()
        self.asked = request(
            requester="person:noa",
            risk="critical",
            requirements=(
                Requirement(quorum=2, min_assurance="session"),
                Requirement(roles=("security",)),
            ),
        )
        self.closed = None
        self.strongest = {}

    @rule(
        by=st.sampled_from(
            ["person:lin", "person:mia", "person:noa", "person:eve", "agent:lin", "service:lin"]
        ),
        assurance=st.sampled_from(ASSURANCES),
        verdict=st.sampled_from(["approve", "approve", "approve", "deny"]),
        is_stale=st.booleans(),
        at_us=st.sampled_from([NOW, EXPIRES - 1, EXPIRES]),
    )
    def answer(self, by, assurance, verdict, is_stale, at_us):
        if self.closed:
            return
        named = self.asked.version - is_stale
        given = decision(
            by, self.asked, assurance=assurance, verdict=verdict, version=named, at_us=at_us
        )
        try:
            outcome = take(self.asked, given, PEOPLE)
        except HandshakeError:
            return
        assert not is_stale
        assert at_us < EXPIRES
        assert by in {"person:lin", "person:mia", "person:noa"}
        if isinstance(outcome, Refused):
            self.closed = "refused"
            return
        place = ASSURANCES.index(assurance)
        self.strongest[by] = max(place, self.strongest.get(by, 0))
        self.asked = outcome.request
        if isinstance(outcome, Granted):
            self.closed = "granted"

    @invariant()
    def it_is_granted_exactly_when_enough_people_said_so(self):
        session = ASSURANCES.index("session")
        enough = {by for by, place in self.strongest.items() if place >= session}
        has_security = self.strongest.get("person:mia", 0) >= ASSURANCES.index("local")
        is_met = len(enough) >= 2 and has_security
        assert (self.closed == "granted") == (is_met and self.closed != "refused")

    @invariant()
    def the_requester_is_never_among_those_who_count(self):
        assert "person:noa" not in self.strongest


TestVoting = Voting.TestCase


# -------------------------------------------------------------------------------------- the ledger


def test_request_ids_are_long_and_never_the_same():
    ids = {new_request_id() for _ in range(100)}
    assert len(ids) == 100
    assert all(len(one) == 29 and one.startswith("hs_") for one in ids)


def test_a_request_is_found_by_its_id_or_by_a_prefix_that_only_it_has():
    ledger = Ledger()
    one, two = request(id="hs_aaab"), request(id="hs_aaac")
    ledger.ask(one)
    ledger.ask(two)
    assert ledger.find("hs_aaab") == one
    assert ledger.find("hs_aaac") == two
    for ambiguous in ("hs_aaa", "", "hs_b"):
        with pytest.raises(HandshakeError, match="no open request"):
            ledger.find(ambiguous)


def test_an_id_that_begins_another_id_is_itself():
    ledger = Ledger()
    short, long = request(id="hs_a"), request(id="hs_ab")
    ledger.ask(long)
    ledger.ask(short)
    assert ledger.find("hs_a") == short


def test_a_granted_request_is_not_open_any_more():
    ledger = Ledger()
    asked = request()
    ledger.ask(asked)
    assert list(ledger) == [asked]
    assert ledger.of_step("run", "call") == asked
    ledger.grant(asked, now_us=NOW)
    assert len(ledger) == 0
    assert ledger.of_step("run", "call") is None


def test_a_ticket_names_exactly_what_was_granted():
    ticket = Ledger(ticket_us=7).grant(request(), now_us=NOW)
    assert (ticket.request, ticket.digest) == (request().id, DIGEST)
    assert (ticket.run, ticket.step, ticket.expires_us) == ("run", "call", NOW + 7)


def test_an_unused_ticket_lapses_ten_minutes_after_the_decision():
    ledger = Ledger()
    ticket = ledger.grant(request(), now_us=NOW)
    assert ticket.expires_us == NOW + 600_000_000
    with pytest.raises(HandshakeError) as caught:
        ledger.use(ticket, now_us=ticket.expires_us)
    assert caught.value.code == "handshake.expired"


def test_the_nonce_is_128_bits_and_shown_nowhere():
    ticket = Ledger().grant(request(), now_us=NOW)
    assert len(bytes.fromhex(ticket.nonce)) == 16
    assert ticket.nonce not in repr(ticket)
    assert ticket.nonce not in ticket_of(ticket.nonce)
    assert len(ticket_of(ticket.nonce)) == 64


def test_a_made_up_ticket_opens_nothing():
    ledger = Ledger()
    ticket = ledger.grant(request(), now_us=NOW)
    for forged in (
        attrs.evolve(ticket, nonce="0" * 32),
        attrs.evolve(ticket, digest="sha256:" + "2" * 64),
        attrs.evolve(ticket, step="other"),
        attrs.evolve(ticket, expires_us=ticket.expires_us + 1),
    ):
        with pytest.raises(HandshakeError, match="has been used"):
            ledger.use(forged, now_us=NOW)
    ledger.use(ticket, now_us=NOW)


class Tickets(RuleBasedStateMachine):
    """Grants, uses, drops and restarts in any order: no ticket is ever good twice."""

    steps = Bundle("steps")
    tickets = Bundle("tickets")

    def __init__(self):
        super().__init__()
        self.ledger = Ledger()
        self.unused = {}
        self.used = set()
        self.now_us = NOW

    @rule(target=tickets, step=st.sampled_from(["a", "b"]))
    def grant(self, step):
        asked = request(id=new_request_id(), step=step)
        self.ledger.ask(asked)
        ticket = self.ledger.grant(asked, now_us=self.now_us)
        self.unused[step] = ticket
        return ticket

    @rule(us=st.sampled_from([1, 600_000_000]))
    def time_passes(self, us):
        self.now_us += us

    @rule(ticket=tickets)
    def use(self, ticket):
        is_good = self.unused.get(ticket.step) == ticket and self.now_us < ticket.expires_us
        try:
            self.ledger.use(ticket, now_us=self.now_us)
        except HandshakeError:
            assert not is_good
        else:
            assert is_good
            assert ticket.nonce not in self.used
            self.used.add(ticket.nonce)
        if self.unused.get(ticket.step) == ticket:
            del self.unused[ticket.step]

    @rule(ticket=consumes(tickets))
    def drop(self, ticket):
        self.ledger.drop(ticket.run, ticket.step)
        self.unused.pop(ticket.step, None)

    @rule()
    def restart(self):
        """What the journal shows as granted and not used is put back, nothing else."""
        self.ledger = Ledger()
        for ticket in self.unused.values():
            self.ledger.restore(ticket)

    @invariant()
    def what_is_unused_is_what_was_granted_last(self):
        for step in "ab":
            assert self.ledger.ticket("run", step) == self.unused.get(step)


TestTickets = Tickets.TestCase


# ------------------------------------------------------------------------------------ the question


@given(st.lists(st.text(max_size=200), max_size=6))
def test_a_summary_shows_how_many_and_the_first_few_cut(paths):
    (part,) = summary([{"fs.write": {"paths": paths}}])
    assert part["count"] == len(paths)
    assert len(part["first"]) == min(3, len(paths))
    assert all(len(one) <= 80 for one in part["first"])


def test_an_effect_without_targets_is_a_phrase_too():
    assert summary([{"clock": {}}]) == ({"phrase": "clock", "count": 0, "first": []},)


@pytest.mark.parametrize(
    ("undo", "words"),
    [
        (UndoCaptured(), {"kind": "captured"}),
        (UndoNotNeeded(), {"kind": "not_needed"}),
        (UndoNone("mail"), {"kind": "none", "why": "mail"}),
        (UndoStrategyNamed("s3.version"), {"kind": "strategy", "strategy": "s3.version"}),
        (
            UndoCompensate(CapabilityCall("crm.delete@1", {})),
            {"kind": "compensate", "capability": "crm.delete@1"},
        ),
    ],
)
def test_a_question_says_how_the_call_would_be_taken_back(undo, words):
    assert undo_in_words(undo) == words


def test_unmet_requirements_are_those_of_the_request():
    both = (Requirement(), Requirement(roles=("security",)))
    assert unmet(request(requirements=both), PEOPLE) == both

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.errors import TrustError
from awe_core.lifecycle import TRANSITIONS, Permits, State, permits, transition, weakest

STATES = st.sampled_from(list(State))
NOTHING = Permits(new=False, resume=False, undo_core=False, undo_own=False)
ENDED = (State.REJECTED, State.WITHDRAWN, State.REVOKED)

#: The table of the governance chapter, written down a second time.
TABLE = {
    ("NONE", "PROPOSED"): ("propose", "proposer", False),
    ("PROPOSED", "APPROVED"): ("approve", "", False),
    ("PROPOSED", "REJECTED"): ("reject", "", False),
    ("PROPOSED", "WITHDRAWN"): ("withdraw", "proposer", False),
    ("APPROVED", "ACTIVE"): (None, "release", True),
    ("ACTIVE", "SUSPENDED"): ("suspend", "operator security", False),
    ("DEPRECATED", "SUSPENDED"): ("suspend", "operator security", False),
    ("SUSPENDED", "ACTIVE"): ("resume", "security", True),
    ("SUPERSEDED", "ACTIVE"): ("resume", "security", True),
    ("ACTIVE", "DEPRECATED"): (None, "release", True),
    ("DEPRECATED", "ACTIVE"): (None, "release", True),
    ("ACTIVE", "SUPERSEDED"): (None, "release", True),
    ("DEPRECATED", "SUPERSEDED"): (None, "release", True),
    ("APPROVED", "REVOKED"): ("revoke", "security", False),
    ("ACTIVE", "REVOKED"): ("revoke", "security", False),
    ("SUSPENDED", "REVOKED"): ("revoke", "security", False),
    ("DEPRECATED", "REVOKED"): ("revoke", "security", False),
    ("SUPERSEDED", "REVOKED"): ("revoke", "security", False),
}


def test_the_table_is_the_one_that_was_decided():
    found = {
        (before.value, after.value): (rule.decision, " ".join(sorted(rule.roles)), rule.by_manifest)
        for (before, after), rule in TRANSITIONS.items()
    }
    assert found == TABLE


@pytest.mark.parametrize(
    ("before", "after"), list(itertools.product(State, State)), ids=itertools.count()
)
def test_what_is_not_in_the_table_is_illegal(before, after):
    if (before.value, after.value) in TABLE:
        assert transition(before, after, subject="x@1") is TRANSITIONS[before, after]
        return
    with pytest.raises(TrustError) as caught:
        transition(before, after, subject="x@1")
    assert caught.value.code == "trust.status"
    legal = ", ".join(to for start, to in TABLE if start == before.value) or "nothing"
    assert (f"{before} can become: {legal}",) == tuple(caught.value.details)


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_record_becomes_nothing(state):
    assert not [after for before, after in TRANSITIONS if before is state]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("ACTIVE DEPRECATED", Permits(new=True, resume=True, undo_core=True, undo_own=True)),
        ("SUSPENDED SUPERSEDED", Permits(new=False, resume=False, undo_core=True, undo_own=True)),
        ("REVOKED", Permits(new=False, resume=False, undo_core=True, undo_own=False)),
        ("NONE PROPOSED APPROVED REJECTED WITHDRAWN", NOTHING),
    ],
    ids=itertools.count(),
)
def test_each_state_allows_what_the_table_says(states, expected):
    assert [expected] * len(states.split()) == [permits(State(one)) for one in states.split()]


@given(STATES, STATES)
def test_the_weaker_of_two_states_allows_no_more_than_either(one, two):
    both = permits(weakest([one, two]))
    for name in ("new", "resume", "undo_own"):
        assert getattr(both, name) <= getattr(permits(one), name)
        assert getattr(both, name) <= getattr(permits(two), name)
    assert weakest([one, two]) is weakest([two, one])
    assert weakest([one]) is one

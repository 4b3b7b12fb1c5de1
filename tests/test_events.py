"""Facts and their records: there and back, and what forged records come to."""

from __future__ import annotations

import json
from functools import cache
from typing import Literal, get_args, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import values
from awe_core.canonical import parse_line
from awe_core.errors import CanonicalError, JournalError
from awe_core.events import (
    FACTS,
    Actor,
    ConfirmationRequest,
    Decision,
    EffectIntended,
    PackRef,
    RunOpened,
    RunResumed,
    StepFailed,
    StepStarted,
    UndoStarted,
    Value,
    Vote,
    WorkflowRef,
    codec,
    confirmation,
    decode,
    encode,
    facts,
    parts,
)

PLAIN = {
    str: st.text(max_size=5),
    int: st.integers(-(2**53) + 1, 2**53 - 1),
    bool: st.booleans(),
}
KEYS = st.text("abcXYZ019_.-", min_size=1, max_size=3)  #: that a line can hold
JSON = st.recursive(
    st.booleans() | PLAIN[int] | PLAIN[str],
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=3,
)
NAMES = {**vars(values), **vars(parts), **vars(confirmation), **vars(facts)}


@cache
def instances(kind):
    """Any *kind* that could have been recorded, made of its own annotations."""
    hints = get_type_hints(kind, NAMES)
    fields = {}
    for a in attrs.fields(kind):
        if "unrecorded" not in a.metadata:
            drawn = of_type(hints[a.name], a)
            fields[a.name] = drawn if a.default is attrs.NOTHING else st.just(a.default) | drawn
            if isinstance(a.default, attrs.Factory):
                fields[a.name] = drawn
    return st.builds(kind, **fields)


def of_type(hint, a):
    arguments = get_args(hint)
    if type(None) in arguments:
        (inner,) = (one for one in arguments if one is not type(None))
        return st.none() | of_type(inner, a)
    if a.name == "quorum":
        return st.integers(1, 3)
    if hint in PLAIN:
        return PLAIN[hint]
    if attrs.has(hint):
        return instances(hint)
    if getattr(hint, "__origin__", None) is Literal:
        return st.sampled_from(arguments)
    if getattr(hint, "__origin__", None) is tuple:
        return st.lists(of_type(arguments[0], a), max_size=2).map(tuple)
    if hint == dict[str, str]:
        return st.dictionaries(KEYS, PLAIN[str], max_size=2)
    return st.dictionaries(KEYS, JSON, max_size=2) if "dict" in str(hint) else JSON


def written(fact, **options):
    """The event of *fact*, read back from its bytes, which are canonical."""
    return parse_line(encode(fact, **{"run": "r", "rseq": 0, **options}))


every = st.sampled_from(sorted(FACTS.values(), key=lambda kind: kind.kind)).flatmap(instances)


@given(every)
def test_every_fact_comes_back_from_its_record(fact):
    event = written(fact, run="r7", rseq=3)
    assert (event["kind"], event["run"], event["rseq"]) == (fact.kind, "r7", 3)
    assert decode(event) == fact


@pytest.mark.parametrize("kind", [ConfirmationRequest, Decision, Actor, Vote])
def test_requests_answers_and_actors_come_back_from_their_json(kind):
    @given(instances(kind))
    def check(value):
        assert codec.from_json(kind, json.loads(json.dumps(codec.to_json(value)))) == value

    check()


@given(every, st.dictionaries(st.text(min_size=12, max_size=14), JSON, min_size=1, max_size=2))
def test_keys_of_a_newer_log_are_left_alone(fact, more):
    assert decode({**more, **written(fact)}) == fact


@given(every, st.data())
def test_a_record_without_a_field_it_needs_is_no_record(fact, data):
    needed = [
        a.name.rstrip("_")
        for a in attrs.fields(type(fact))
        if a.default is attrs.NOTHING and "unrecorded" not in a.metadata
    ]
    event = written(fact, run="r7", rseq=3)
    missing = data.draw(st.sampled_from(needed))
    del event[missing]
    with pytest.raises(JournalError) as caught:
        decode(event)
    error = caught.value
    assert (error.code, error.exit_code) == ("journal.record", 7)
    assert (error.attributes["run"], error.attributes["rseq"]) == ("r7", 3)
    assert missing in error.summary


@given(every, st.data())
def test_a_record_with_a_value_of_another_type_is_no_record(fact, data):
    event = written(fact)
    plain = [k for k, v in event.items() if type(v) in (str, int, bool) and k in _typed(fact)]
    if not plain:
        return
    key = data.draw(st.sampled_from(plain))
    event[key] = [event[key]]
    with pytest.raises(JournalError, match=f"TypeError {key}"):
        decode(event)


def _typed(fact):
    hints = get_type_hints(type(fact), NAMES)
    plain = {str, int, bool}
    return {
        name.rstrip("_")
        for name, hint in hints.items()
        if name != "kind" and (hint in plain or plain & set(get_args(hint)))
    }


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"kind": "run.exploded"},
        {"kind": ["run.opened"]},
        {"kind": "step.skipped", "step": 7, "cause": "when"},
        {"kind": "step.skipped", "step": "s", "cause": "when", "epoch": True},
        {"kind": "step.failed", "step": "s", "attempt": 1, "class": "error", "err": "boom"},
        {"kind": "step.failed", "step": "s", "attempt": 1, "class": "error", "err": {"code": 1}},
        {"kind": "run.closed", "state": "FAILED", "count": 1, "dur_us": 1, "residue": {"a": 1}},
        {"kind": "run.closed", "state": "FAILED", "count": 1, "dur_us": 1, "residue": ["x"]},
        {"kind": "run.paused", "cause": "operator", "steps": "abc"},
        {"kind": "run.paused", "cause": "operator", "steps": [1]},
        {"kind": "undo.discarded", "cause": "quota", "bytes": "1"},
    ],
)
def test_what_nobody_here_has_written_is_no_record(event):
    with pytest.raises(JournalError) as caught:
        decode({"run": "r", "rseq": 1, **event})
    assert caught.value.code == "journal.record"


def test_null_is_as_good_as_absent_and_no_value_for_what_is_needed():
    event = {"kind": "step.skipped", "step": "s", "cause": "when", "run": "r", "rseq": 1}
    assert decode({**event, "epoch": None}).epoch is None
    with pytest.raises(JournalError):
        decode({**event, "step": None})


def test_words_that_python_keeps_for_itself_are_written_plainly():
    opened = RunOpened(
        workflow=WorkflowRef("w", "1", "d"),
        via="cli",
        by="person:lin",
        trust="prod",
        policies="p",
        in_=Value("c", 1),
        for_="person:mia",
    )
    failed = StepFailed(step="s", attempt=1, err=parts.Failure("c", "m"), class_="error")
    resumed = RunResumed(mode="retry", from_="s")
    started = UndoStarted(step="s", effect="e", strategy="x", try_=2, cause="failure")
    events = [written(one) for one in (opened, failed, resumed, started)]
    assert events[0]["in"] == {"c": "c", "len": 1}
    assert [one.get(k) for one, k in zip(events, ("for", "class", "from", "try"), strict=True)] == [
        "person:mia",
        "error",
        "s",
        2,
    ]
    assert not [key for one in events for key in one if key.endswith("_")]


def test_values_that_stand_in_payloads_are_never_written():
    started = StepStarted(step="s", attempt=1, arguments={"pin": "1234"})
    intent = EffectIntended(
        step="s",
        attempt=1,
        effect="e",
        type="fs.write",
        target="a",
        request="d",
        undo={},
        record=parts.UndoRecord("x", {"pin": "1234"}),
    )
    for fact in (started, intent):
        assert "1234" not in str(encode(fact, run="r", rseq=0))
        assert "1234" not in repr(fact)
    assert decode(written(started)).arguments is None


def test_what_is_none_is_left_out():
    event = written(StepStarted(step="s", attempt=1))
    assert event == {"step": "s", "attempt": 1, "kind": "step.started", "run": "r", "rseq": 0}


def test_what_the_log_cannot_hold_is_replaced_and_never_a_reason_to_stop():
    event = written(
        StepFailed(
            step="s",
            attempt=1,
            err=parts.Failure("c", "half a \ud83d pair"),
            class_="error",
            child={"fraction": 1.5, "pair": ["\udfff"]},
        )
    )
    assert event["err"]["msg"] == "half a ? pair"
    assert event["child"] == {"fraction": "1.5", "pair": ["?"]}


@pytest.mark.parametrize("number", [2**53, -(2**53)])
def test_an_integer_that_no_line_holds_is_refused(number):
    failure = parts.Failure("c", "m")
    fact = StepFailed(step="s", attempt=1, err=failure, class_="error", retry_after_us=number)
    with pytest.raises(CanonicalError):
        encode(fact, run="r", rseq=0)


def test_a_given_value_stands_in_place_of_the_field():
    fact = StepStarted(step="s", attempt=1, in_=Value("c", 1))
    assert written(fact, values={"in": '{"c":"d"}'})["in"] == {"c": "d"}


def test_every_kind_is_a_noun_and_a_past_verb_and_documented():
    for kind, fact in FACTS.items():
        noun, _, verb = kind.partition(".")
        assert noun in {"run", "step", "handshake", "effect", "undo"}
        assert verb.replace("_", "").isalpha()
        assert fact.__doc__


def test_facts_are_frozen_and_their_collections_cannot_change():
    started = StepStarted(step="s", attempt=1, effects=[{"clock": {}}])
    assert started.effects == ({"clock": {}},)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        started.step = "t"
    assert hash(PackRef("d", "1", "r"))


def test_an_actor_is_written_as_kind_and_id():
    assert str(Actor.person("lin")) == "person:lin"
    agent = Actor.agent("bot", on_behalf_of="person:lin", via="mcp")
    assert (str(agent), agent.on_behalf_of, agent.via) == ("agent:bot", "person:lin", "mcp")

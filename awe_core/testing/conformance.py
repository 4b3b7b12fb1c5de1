"""The suites that a pack or a part of the runtime must pass: subclass one, say how to make yours.

=================================  ===============================================================
`PackConformance`                  every example of an installed pack, and its way back
`AuditSinkConformance`             records arrive whole, in order, at least once
`ConfirmationPolicyConformance`    answers are lawful, reproducible, and no milder at more risk
`UndoStrategyConformance`          back is back, twice is once, other people's changes stay
=================================  ===============================================================

A partner's test module is then::

    class TestSiem(AuditSinkConformance):
        def make(self, place):
            return SiemSink(place / "siem.db")

        def held(self, place):
            return SiemClient(place / "siem.db").lines()

A suite that cannot fail proves nothing: ``tests/test_conformance.py`` runs each on broken parts.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import pytest

from awe_core import canonical
from awe_core.capability import ExampleError, Risk
from awe_core.events import Approve, Ask, ConfirmationRequest, Deny, Facts, UndoRecord
from awe_core.hookspecs import CapturingStrategy
from awe_core.testing.examples import Bench, Case, bench, cases, installed_contracts
from awe_core.undo import Applied, Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from awe_core.events import Answer, EffectIntended
    from awe_core.hookspecs import AuditSink, ConfirmationPolicy, UndoStrategy, World
    from awe_core.values import JsonObject


class PackConformance:
    """An installed pack's examples hold on the road it will travel, as does their way back."""

    pack: ClassVar[str] = ""  #: NAME of ``awe-pack-NAME``; empty: what ``--awe-pack`` says

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Make a test of each example."""
        if "case" in metafunc.fixturenames:
            found = cases(installed_contracts(self._distribution(metafunc.config)))
            metafunc.parametrize("case", found, ids=str)

    @pytest.fixture(scope="class")
    def pack_bench(
        self, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Bench]:
        """Give a deployment in which the pack is ACTIVE, over a world of its own."""
        with bench(tmp_path_factory.mktemp("pack"), self._distribution(request.config)) as found:
            yield found

    def test_an_example_holds(self, pack_bench: Bench, case: Case) -> None:
        """Call, compare, take back, compare."""
        assert () == pack_bench.problems(case)

    def test_every_documented_error_is_shown_by_an_example(
        self, request: pytest.FixtureRequest
    ) -> None:
        """An error that nobody shows is one that nobody has seen."""
        missing = {
            (spec.id, code)
            for spec in installed_contracts(self._distribution(request.config))
            for code in spec.errors
            if code
            not in {e.outcome.code for e in spec.examples if isinstance(e.outcome, ExampleError)}
        }
        assert set() == missing

    def _distribution(self, config: pytest.Config) -> str:
        name = self.pack or config.getoption("--awe-pack")
        if not name:
            pytest.fail("name the pack: pytest --awe-pack NAME, or `pack` in the subclass")
        return f"awe-pack-{str(name).removeprefix('awe-pack-')}"


@attrs.frozen
class Line:
    """A record as sinks receive it (`SealedLine`)."""

    log: str
    seq: int
    hash: bytes
    line: bytes
    event: JsonObject

    @classmethod
    def chain(cls, texts: Sequence[str]) -> tuple[Line, ...]:
        """Make records that hang on each other, one for each text."""
        log, made, prev = "c0" * 16, [], "0" * 64
        for seq, text in enumerate(texts):
            event: JsonObject = {
                "kind": "log.opened" if not seq else "access.changed",
                "what": text,
            }
            line = canonical.line(
                {"event": event, "log": log, "prev": prev, "seq": seq, "ts": seq, "v": 1}
            )
            leaf = hashlib.sha256(b"\0" + line).digest()
            made.append(cls(log, seq, leaf, line, event))
            prev = leaf.hex()
        return tuple(made)


class AuditSinkConformance(ABC):
    """What every sink does with records (60-audit, section 9)."""

    records: ClassVar[tuple[Line, ...]] = Line.chain(
        [*(f"record {n}" for n in range(20)), "ä 𝄞 \u202e \x00", "x" * 200_000]
    )

    @abstractmethod
    def make(self, place: Path) -> AuditSink:
        """Give the sink whose far side is kept at *place*, also when it was used before."""

    @abstractmethod
    def held(self, place: Path) -> Sequence[bytes]:
        """Give the lines that the far side at *place* holds, in order, read around the sink."""

    def test_a_new_far_side_holds_nothing(self, tmp_path: Path) -> None:
        """`open` says 0, so that the core sends all."""
        assert 0 == self._open(tmp_path)[1]

    def test_records_arrive_whole_and_in_order(self, tmp_path: Path) -> None:
        """Also long and odd ones, in batches of any size; `write` gives the durable size."""
        sink, _ = self._open(tmp_path)
        assert 1 == sink.write(self.records[:1])
        assert len(self.records) == sink.write(self.records[1:])
        sink.close(5)
        assert [one.line for one in self.records] == list(self.held(tmp_path))

    def test_a_batch_that_comes_again_does_no_harm(self, tmp_path: Path) -> None:
        """The core sends at least once; log and number identify a record."""
        sink, _ = self._open(tmp_path)
        sink.write(self.records[:8])
        sink.write(self.records[4:12])
        sink.close(5)
        assert [one.line for one in self.records[:12]] == list(self.held(tmp_path))

    def test_what_was_acknowledged_is_there_for_the_next_process(self, tmp_path: Path) -> None:
        """Without `close`: a process ends when it ends."""
        sink, _ = self._open(tmp_path)
        acknowledged = sink.write(self.records[:10])
        again, size = self._open(tmp_path)
        assert len(self.held(tmp_path)) >= size >= (acknowledged if sink.acknowledges else 0)
        assert len(self.records) == again.write(self.records[size:])
        assert [one.line for one in self.records] == list(self.held(tmp_path))

    def _open(self, place: Path) -> tuple[AuditSink, int]:
        sink = self.make(place)
        return sink, sink.open(self.records[0].log)


_STRICTNESS = {type(None): 1, Approve: 0, Ask: 1, Deny: 2}  #: no opinion ends in a question
_EFFECTS: tuple[tuple[JsonObject, ...], ...] = (
    (),
    ({"fs.read": {"paths": ["a"]}},),
    ({"fs.read": {"paths": ["a"]}}, {"fs.write": {"paths": ["b"]}}),
    (
        {"fs.read": {"paths": ["a"]}},
        {"fs.write": {"paths": ["b"]}},
        {"net.http": {"hosts": ["a.example"], "methods": ["POST"]}},
    ),
)  #: each does all that the one before does, and more


class ConfirmationPolicyConformance(ABC):
    """What every policy answers with (50-handshake, section 4)."""

    monotone: ClassVar[bool] = True  #: more risk or more effects never gets a milder answer

    @abstractmethod
    def make(self) -> ConfirmationPolicy:
        """Give the policy."""

    def requests(self) -> tuple[ConfirmationRequest, ...]:
        """Give the calls to judge; override to add those your rule is about."""
        return tuple(
            _request(risk, effects, undo)
            for risk in Risk
            for effects in _EFFECTS
            for undo in ("captured", "none")
        )

    def test_it_has_a_name_and_a_version(self) -> None:
        """Both are recorded with every answer."""
        policy = self.make()
        assert policy.name
        assert policy.version

    def test_every_answer_is_lawful_and_says_why(self) -> None:
        """`Approve`, `Deny`, `Ask` or None; anything else would deny every call."""
        for request in self.requests():
            answer = self._answer(request)
            assert answer is None or isinstance(answer, Approve | Ask | Deny), request
            assert answer is None or answer.reason.strip(), request

    def test_the_same_call_gets_the_same_answer(self) -> None:
        """Or a record could not be explained later."""
        for request in self.requests():
            assert self._answer(request) == self._answer(request)

    def test_a_pure_policy_answers_at_once(self) -> None:
        """`is_pure` runs on the engine's loop: an awaitable there is a claim that does not hold."""
        policy = self.make()
        answer = policy.judge(self.requests()[0], _facts())
        is_awaitable = inspect.isawaitable(answer)
        if inspect.iscoroutine(answer):
            answer.close()
        assert not (policy.is_pure and is_awaitable)

    def test_more_risk_never_gets_a_milder_answer(self) -> None:
        """Waived by ``monotone = False``, with the reason beside it."""
        if not self.monotone:
            pytest.skip("waived: monotone = False")
        for effects in _EFFECTS:
            answers = [self._strictness(_request(risk, effects, "captured")) for risk in Risk]
            assert sorted(answers) == answers, effects

    def test_more_effects_never_get_a_milder_answer(self) -> None:
        """A call that does more is not the smaller danger."""
        if not self.monotone:
            pytest.skip("waived: monotone = False")
        for risk in Risk:
            answers = [self._strictness(_request(risk, one, "captured")) for one in _EFFECTS]
            assert sorted(answers) == answers, risk

    def _strictness(self, request: ConfirmationRequest) -> tuple[int, int]:
        answer = self._answer(request)
        asked = [one.quorum for one in answer.requirements] if isinstance(answer, Ask) else []
        return _STRICTNESS[type(answer)], max(asked, default=0)

    def _answer(self, request: ConfirmationRequest) -> Answer:
        found = self.make().judge(request, _facts())
        if not inspect.isawaitable(found):
            return found
        steps = found.__await__()
        try:
            while True:
                next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer


def _facts() -> Facts:
    return Facts(now_us=0, environment="prod", has_preview=True)


def _request(risk: Risk, effects: tuple[JsonObject, ...], undo: str) -> ConfirmationRequest:
    return ConfirmationRequest(
        id="hs_" + "a" * 26,
        version=1,
        capability="conformance.call@1.0.0",
        risk=risk.value,
        arguments={},
        effects=effects,
        digest="sha256:" + "0" * 64,
        undo={"kind": undo},
        requester="agent:conformance",
        run="run",
        step="call",
        policy_set="sha256:" + "0" * 64,
        opened_us=0,
        expires_us=1,
    )


def _answered(found: Any) -> Any:  # noqa: ANN401 - whatever a strategy answers
    return asyncio.run(found) if inspect.iscoroutine(found) else found


class UndoStrategyConformance(ABC):
    """What every undo strategy holds to (40-effects-and-isolation, section 5)."""

    @abstractmethod
    def make(self) -> UndoStrategy:
        """Give the strategy, as a fresh process would make it."""

    @abstractmethod
    def world(self, place: Path) -> World:
        """Give the brokers' face over what lies at *place*."""

    @abstractmethod
    def act(self, place: Path) -> UndoRecord:
        """Do one effect at *place* as the broker does; give the record captured before it."""

    @abstractmethod
    def disturb(self, place: Path) -> None:
        """Change at *place* what the effect changed, as somebody else would."""

    @abstractmethod
    def state(self, place: Path) -> object:
        """Give what *place* looks like, to compare."""

    def intended(self, place: Path) -> tuple[EffectIntended, JsonObject, JsonObject] | None:  # noqa: ARG002 - for those who say
        """Give what `act` at *place* does, the contract's ``with``, and the effect's result.

        None: the strategy captures nothing by itself, so no contract can name it.
        """
        return None

    def test_capturing_alters_nothing_and_keeps_enough_to_take_back(self, tmp_path: Path) -> None:
        """What `capture` and `complete` give is JSON, and a fresh process undoes by it."""
        given = self.intended(tmp_path)
        if given is None:
            pytest.skip("it captures nothing by itself: no contract can name it")
        intent, args, result = given
        before, strategy = self.state(tmp_path), self.make()
        assert isinstance(strategy, CapturingStrategy)
        payload = _answered(strategy.capture(intent, args, self.world(tmp_path)))
        assert before == self.state(tmp_path)
        self.act(tmp_path)
        record = self._stored(UndoRecord(strategy.name, strategy.complete(payload, result)))
        assert isinstance(self._undo(tmp_path, record), Applied)
        assert before == self.state(tmp_path)

    def test_an_effect_is_seen_taken_back_and_gone(self, tmp_path: Path) -> None:
        """Capture, act, undo is the identity, from the stored record alone."""
        before = self.state(tmp_path)
        record = self._stored(self.act(tmp_path))
        assert before != self.state(tmp_path)
        assert "applied" == _answered(self.make().inspect(record, self.world(tmp_path)))
        assert isinstance(self._undo(tmp_path, record), Applied)
        assert before == self.state(tmp_path)
        assert "not_applied" == _answered(self.make().inspect(record, self.world(tmp_path)))

    def test_twice_is_once(self, tmp_path: Path) -> None:
        """A crash may come between the undo and its record."""
        before = self.state(tmp_path)
        record = self._stored(self.act(tmp_path))
        self._undo(tmp_path, record)
        assert isinstance(self._undo(tmp_path, record), Applied)
        assert before == self.state(tmp_path)

    def test_what_somebody_else_changed_since_is_left_alone(self, tmp_path: Path) -> None:
        """Theirs stays, and the outcome says so."""
        record = self._stored(self.act(tmp_path))
        self.disturb(tmp_path)
        theirs = self.state(tmp_path)
        assert isinstance(self._undo(tmp_path, record), Conflict)
        assert theirs == self.state(tmp_path)

    def _undo(self, place: Path, record: UndoRecord) -> object:
        return _answered(self.make().undo(record, self.world(place), "conformance-undo"))

    @staticmethod
    def _stored(record: UndoRecord) -> UndoRecord:
        """Give what a fresh process reads."""
        return UndoRecord(record.strategy, json.loads(json.dumps(record.payload)))

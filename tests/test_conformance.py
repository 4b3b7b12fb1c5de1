"""The shipped suites: ours pass them, and parts broken on purpose do not."""

# ruff: noqa: ARG002 - the protocols name what a broken part does not look at

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import attrs
import pytest

from awe_core.audit import JsonlSink
from awe_core.errors import AuditError
from awe_core.events import Approve, Ask, Deny, EffectIntended, UndoRecord
from awe_core.handshake import AllowList, Auto, Console, DenyAll
from awe_core.testing import (
    AuditSinkConformance,
    ConfirmationPolicyConformance,
    UndoStrategyConformance,
)
from awe_core.undo import Applied, Conflict

if TYPE_CHECKING:
    from pathlib import Path


class TestJsonl(AuditSinkConformance):
    def make(self, place):
        return JsonlSink(place / "sink", segment_bytes=1000)

    def held(self, place):
        files = sorted((place / "sink").glob("*.jsonl"))
        return [line for file in files for line in file.read_bytes().split(b"\n")[:-1]]


@pytest.mark.parametrize("policy", ["auto", "deny_all", "console", "allow_list"])
class TestPolicies(ConfirmationPolicyConformance):
    def make(self):
        return self.made()

    @pytest.fixture(autouse=True)
    def chosen(self, policy):
        made = {
            "auto": lambda: Auto.configured({}),
            "deny_all": DenyAll,
            "console": Console,
            "allow_list": lambda: AllowList(()),
        }
        self.made = made[policy]


@attrs.frozen
class Place:
    workspace: Path


class AddOne:
    """Adds one to a number in a file."""

    name, timeout_us = "test.add_one", 1_000_000

    async def capture(self, intent, args, world):
        return {"before": json.loads((world.workspace / args["file"]).read_text())}

    def complete(self, payload, result):
        return {**payload, "after": result["number"]}

    def inspect(self, record, world):
        found = json.loads((world.workspace / "number").read_text())
        known = {record.payload["before"]: "not_applied", record.payload["after"]: "applied"}
        return known.get(found, "unknown")

    def undo(self, record, world, key):
        match self.inspect(record, world):
            case "unknown":
                return Conflict("number", "?")
            case "applied":
                (world.workspace / "number").write_text(str(record.payload["before"]))
        return Applied()


class TestAddOne(UndoStrategyConformance):
    strategy: object = AddOne()

    @pytest.fixture(autouse=True)
    def arranged(self, tmp_path):
        (tmp_path / "number").write_text("1")

    def make(self):
        return self.strategy

    def world(self, place):
        return Place(place)

    def act(self, place):
        (place / "number").write_text("2")
        return UndoRecord(AddOne.name, {"before": 1, "after": 2})

    def intended(self, place):
        intent = EffectIntended(
            step="a", attempt=1, effect="e", type="t", target="number", request="", undo={}
        )
        return intent, {"file": "number"}, {"number": 2}

    def disturb(self, place):
        (place / "number").write_text("7")

    def state(self, place):
        return (place / "number").read_text()


# ---- a suite that cannot fail proves nothing ---------------------------------------------------
class Overwrites(AddOne):
    def undo(self, record, world, key):
        (world.workspace / "number").write_text(str(record.payload["before"]))
        return Applied()


class DoesNothing(AddOne):
    def undo(self, record, world, key):
        return Applied()


class OnlyOnce(AddOne):
    def undo(self, record, world, key):
        if self.inspect(record, world) == "not_applied":
            raise OSError("gone")
        return super().undo(record, world, key)


class Meddles(AddOne):
    async def capture(self, intent, args, world):
        (world.workspace / "number").write_text("9")
        return {"before": 9}


class Guesses(AddOne):
    def inspect(self, record, world):
        return "applied"


class Drops(JsonlSink):
    def write(self, batch):
        return super().write(batch[:-1]) + 1 if len(batch) > 1 else super().write(batch)


class Repeats(JsonlSink):
    def write(self, batch):
        self._size = batch[0].seq
        return super().write(batch)


class ForgetsAtOpen(JsonlSink):
    def open(self, log):
        super().open(log)
        return 0


@attrs.frozen
class Policy:
    answer: object
    name: str = "broken"
    version: str = "1"
    is_pure: bool = True

    def judge(self, request, facts):
        return self.answer(request) if callable(self.answer) else self.answer


async def later():
    return Deny(reason="later")


def milder(request):
    return Approve(reason="so be it") if request.risk == "critical" else Ask(reason="hm")


def fewer(request):
    return Ask(reason="hm") if len(request.effects) < 2 else Approve(reason="so much")


COUNT = iter(range(10_000))
BROKEN_POLICIES = {
    "test_every_answer_is_lawful_and_says_why": [Policy("yes"), Policy(Approve(reason=""))],
    "test_the_same_call_gets_the_same_answer": [
        Policy(lambda _: Deny(reason=f"number {next(COUNT)}"))
    ],
    "test_a_pure_policy_answers_at_once": [Policy(lambda _: later())],
    "test_more_risk_never_gets_a_milder_answer": [Policy(milder)],
    "test_more_effects_never_get_a_milder_answer": [Policy(fewer)],
    "test_it_has_a_name_and_a_version": [Policy(None, name=""), Policy(None, version="")],
}
BROKEN_SINKS = {
    "test_records_arrive_whole_and_in_order": Drops,
    "test_a_batch_that_comes_again_does_no_harm": Repeats,
    "test_what_was_acknowledged_is_there_for_the_next_process": ForgetsAtOpen,
}
BROKEN_STRATEGIES = {
    "test_what_somebody_else_changed_since_is_left_alone": Overwrites,
    "test_an_effect_is_seen_taken_back_and_gone": DoesNothing,
    "test_twice_is_once": OnlyOnce,
    "test_capturing_alters_nothing_and_keeps_enough_to_take_back": Meddles,
}
FAILS = (AssertionError, OSError, AuditError)


@pytest.mark.parametrize("law", BROKEN_POLICIES)
def test_a_broken_policy_fails_the_law_it_breaks(law):
    for broken in BROKEN_POLICIES[law]:
        suite = TestPolicies()
        suite.made = lambda: broken  # noqa: B023 - called in this turn of the loop
        with pytest.raises(FAILS):
            getattr(suite, law)()


@pytest.mark.parametrize("law", BROKEN_SINKS)
def test_a_broken_sink_fails_the_law_it_breaks(law, tmp_path):
    suite = TestJsonl()
    suite.make = lambda place: BROKEN_SINKS[law](place / "sink", segment_bytes=1000)
    with pytest.raises(FAILS):
        getattr(suite, law)(tmp_path)


@pytest.mark.parametrize(
    ("law", "broken"),
    [*BROKEN_STRATEGIES.items(), ("test_an_effect_is_seen_taken_back_and_gone", Guesses)],
)
def test_a_broken_strategy_fails_the_law_it_breaks(law, broken, tmp_path):
    (tmp_path / "number").write_text("1")
    suite = TestAddOne()
    suite.strategy = broken()
    with pytest.raises(FAILS):
        getattr(suite, law)(tmp_path)


@pytest.mark.parametrize(
    ("suite", "broken"),
    [
        (ConfirmationPolicyConformance, BROKEN_POLICIES),
        (UndoStrategyConformance, BROKEN_STRATEGIES),
    ],
)
def test_every_law_has_something_that_breaks_it(suite, broken):
    laws = {name for name, _ in inspect.getmembers(suite) if name.startswith("test_")}
    assert laws == set(broken)


def run_pytest(folder, *arguments):
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return found.returncode, found.stdout + found.stderr


def test_a_pack_passes_by_one_command_with_nothing_to_write(tmp_path):
    code, said = run_pytest(tmp_path, "--awe-pack", "stdlib", "-k", "hash")
    assert 0 == code, said
    assert " passed" in said


def test_a_pack_that_is_not_installed_is_named(tmp_path):
    code, said = run_pytest(tmp_path, "--awe-pack", "nowhere")
    assert 0 != code
    assert "awe-pack-nowhere" in said


def test_a_suite_that_does_not_ask_pays_for_nothing(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import sys\ndef test_it():\n"
        "    loaded = {m for m in sys.modules if m.startswith('awe_core')}\n"
        "    assert loaded <= {'awe_core', 'awe_core.testing', 'awe_core.testing.options'}\n"
    )
    code, said = run_pytest(tmp_path)
    assert 0 == code, said

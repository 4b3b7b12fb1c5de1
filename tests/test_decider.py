"""The run machine: each row of the chapter's tables, its laws against a naive model, its costs."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from awe_core.capability import CapabilitySpec, Risk
from awe_core.commands import (
    Admit,
    Cancel,
    Close,
    Doubt,
    Expand,
    Finish,
    Inspect,
    Interrupt,
    Leave,
    Pause,
    Rerun,
    Schedule,
    Skip,
    TakeBack,
    Withdraw,
)
from awe_core.decider import (
    Run,
    StepState,
    compile_workflow,
    decide,
    evolve,
    foresee,
    open_run,
    recover,
    replay,
    wants,
)
from awe_core.decider.table import TRANSITIONS, ItemState, Phase
from awe_core.decider.unit import Container, Item, Unit, Unwind
from awe_core.errors import EngineError, RunError, UndoError
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    Failure,
    HandshakeExpired,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeRequested,
    HandshakeVoted,
    RunCancelRequested,
    RunClosed,
    RunOpened,
    RunPaused,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepInDoubt,
    StepRetryScheduled,
    StepSkipped,
    StepStarted,
    UndoApplied,
    UndoConflict,
    UndoDiscarded,
    UndoFailed,
    UndoStarted,
    Value,
    WorkflowRef,
)
from awe_core.workflow import InFlight, Need, OnFailure, Retry, StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from awe_core.commands import Command
    from awe_core.events import Fact

S, E = StepState, ItemState
AT = "2026-01-02T03:04:05Z"
D = "sha256:0"
V = Value(c="0", len=0)


def capability(name: str = "do.it", **more: Any) -> CapabilitySpec:
    schema = {"type": "object"}
    return CapabilitySpec(
        id=name,
        version="1.0.0",
        summary="x",
        risk=Risk.LOW,
        input=schema,
        output=schema,
        handler="m:f",
        **more,
    )


CAPABILITIES = {
    "do.it@1": capability(),
    "do.again@1": capability("do.again", idempotent=True),
}


def workflow(*steps: StepSpec, name: str = "flow", **more: Any) -> WorkflowSpec:
    return WorkflowSpec(id=name, version="1.0.0", summary="x", steps=steps, **more)


def step(name: str, *needs: str | Need, **more: Any) -> StepSpec:
    target = {} if "workflow" in more else {"capability": "do.it@1"}
    wants_ = tuple(Need(need) if isinstance(need, str) else need for need in needs)
    return StepSpec(name, **{**target, "needs": wants_, **more})


def opened(**more: Any) -> RunOpened:
    given = {"inputs": {}, **more}
    return RunOpened(
        workflow=WorkflowRef("flow", "1.0.0", "0"),
        via="sdk",
        by="person:lin",
        in_=V,
        trust="dev-local",
        policies=D,
        **given,
    )


class Driver:
    """Carries commands out as scripted; handlers run until a test ends them."""

    def __init__(
        self, spec: WorkflowSpec, *, workflows: Iterable[WorkflowSpec] = (), **more: Any
    ) -> None:
        self.plan = compile_workflow(
            spec, capabilities=CAPABILITIES, workflows={w.reference: w for w in workflows}
        )
        self.facts: list[Fact] = [opened(**more)]
        self.run = open_run(self.plan, "r1", self.facts[0], started_at=AT)
        self.now = 1_000
        self.room = 100
        self.commands: list[Command] = []
        self.asks: set[str] = set()  #: steps that need a person
        self.skips: set[str] = set()  #: steps whose `when` is false
        self.lists: dict[str, list[Any]] = {}  #: what each fan-out goes over
        self.undos: dict[str, list[str]] = {}  #: effect → how its undos end
        self.sees: dict[str, str] = {}  #: effect → what inspection finds
        self.is_watching = False  #: commands are noted, not carried out
        self._requests = 0

    # what happens
    def fold(self, *facts: Fact) -> Driver:
        for fact in facts:
            evolve(self.run, fact)
            self.facts.append(fact)
        return self

    def turn(self) -> Driver:
        """Carry out commands until there are none."""
        for value in self.run.unloaded():
            fact = self.facts[value.rseq]
            self.run.supply(value, getattr(fact, value.kind, None))
        while True:
            decision = decide(self.run, self.now, self.room - self.run.calls)
            assert decision == decide(self.run, self.now, self.room - self.run.calls)
            before = len(self.facts)
            for command in decision.commands:
                if wants(self.run, command, self.now):
                    self.commands.append(command)
                    self.carry_out(command)
                    is_done = not wants(self.run, command, self.now)
                    assert is_done or isinstance(command, Interrupt | Finish), command
            if len(self.facts) == before:
                return self

    def wait(self) -> Driver:
        """Let the time pass to when the run wants to be asked again."""
        wake = decide(self.run, self.now, self.room).wake_at_us
        assert wake is not None
        self.now = max(self.now, wake)
        return self.turn()

    def carry_out(self, command: Command) -> None:  # noqa: C901, PLR0912 - one table
        match command:
            case Admit(step=path) | Expand(step=path) if path in self.skips:
                self.fold(StepSkipped(step=path, cause="when"))
            case Admit(step=path) if path in self.asks and self.state(path) is not S.GRANTED:
                self.ask(path)
            case Admit() | Rerun():
                self.fold(self.start_of(command))
            case Expand(step=path):
                items = self.lists.get(path)
                count = None if items is None else len(items)
                arguments = {} if items is None else items
                start = self.start_of(command)
                self.fold(attrs.evolve(start, items=count, scope="s@1", arguments=arguments))
            case Skip(step=path):
                self.fold(StepSkipped(step=path, cause="need"))
            case Finish(step=path, failure=None):
                is_fanout = self.run.unit(path).step.foreach is not None
                output = self.run.collected(path) if is_fanout else self.run.inside(path)["inputs"]
                self.complete(path, output)
            case Finish(step=path, failure=failure, class_=class_):
                self.fold(self.failure_of(path, class_ or "error", err=failure))
            case Schedule(step=path, attempt=attempt, base_us=base):
                self.fold(StepRetryScheduled(step=path, attempt=attempt, due_us=self.now + base))
            case Withdraw(step=path, request=request, cause=cause):
                self.expire(path, cause, request)
            case Inspect(item=effect, step=path):
                self.see(effect, path)
            case Doubt(step=path, attempt=attempt, effects=effects, inspect=seen):
                self.fold(StepInDoubt(step=path, attempt=attempt, effects=effects, inspect=seen))
            case TakeBack():
                self.take_back(command)
            case Leave(item=effect, step=path, cause=cause, why=why):
                err = Failure(f"undo.{cause}", why)
                self.fold(UndoFailed(step=path, effect=effect, err=err, cause=cause))
            case Cancel(cause=cause):
                self.fold(RunCancelRequested(via="engine", mode="rollback", cause=cause))
            case Pause(cause=cause, steps=steps):
                self.fold(RunPaused(cause=cause, steps=steps))
            case Close(state=state, residue=residue, standing=standing, failure=failure):
                count = self.run.next_rseq + 1
                self.fold(
                    RunClosed(
                        state=state,
                        count=count,
                        dur_us=0,
                        residue=residue,
                        standing=standing,
                        err=failure,
                    )
                )
            case Interrupt():
                pass

    def start_of(self, command: Admit | Rerun | Expand) -> StepStarted:
        return StepStarted(
            step=command.step, attempt=command.attempt, epoch=command.epoch or None, in_=V
        )

    def take_back(self, command: TakeBack) -> None:
        effect, path = command.item, command.step
        self.fold(
            UndoStarted(
                step=path, effect=effect, strategy="s", try_=command.try_, cause=command.cause
            )
        )
        script = self.undos.get(effect, [])
        match script.pop(0) if script else "applied":
            case "applied":
                self.fold(UndoApplied(step=path, effect=effect))
            case "conflict":
                self.fold(UndoConflict(step=path, effect=effect, found=D, kept="slot"))
            case "failed" if command.retry_base_us is not None:
                due = self.now + command.retry_base_us
                self.fold(UndoFailed(step=path, effect=effect, err=ERR, due_us=due))
            case "failed" | "final":
                self.fold(UndoFailed(step=path, effect=effect, err=ERR))
            case "hangs":
                pass

    # what tests say happens
    def ask(self, path: str, *, expires_us: int | None = None) -> str:
        self._requests += 1
        request = f"hs_{self._requests}"
        self.fold(
            HandshakeRequested(
                step=path,
                req=request,
                version=1,
                digest=D,
                request=V,
                expires_us=expires_us or self.now + 10**9,
            )
        )
        return request

    def grant(self, path: str) -> Driver:
        request = self.run.unit(path).request
        self.fold(HandshakeGranted(step=path, version=2, digest=D, req=request))
        return self.turn()

    def expire(self, path: str, cause: Any, request: str | None = None) -> None:
        request = request or self.run.unit(path).request or ""
        self.fold(HandshakeExpired(step=path, req=request, version=1, digest=D, cause=cause))

    def effect(self, path: str, name: str, *, on: str = "", undo: Any = None) -> str:
        self.intend(path, name, on=on, undo=undo)
        return self.apply(path, name)

    def intend(self, path: str, name: str, *, on: str = "", undo: Any = None) -> str:
        self.fold(
            EffectIntended(
                step=path,
                attempt=self.run.unit(path).attempt,
                effect=name,
                type="fs.write",
                target=on or name,
                request=D,
                undo={"strategy": "s"} if undo is None else undo,
            )
        )
        return name

    def apply(self, path: str, name: str, **more: Any) -> str:
        attempt = self.run.unit(path).attempt
        self.fold(EffectApplied(step=path, attempt=attempt, effect=name, **more))
        return name

    def see(self, effect: str, path: str) -> None:
        attempt = self.run.item(effect).attempt
        match self.sees.get(effect, "not_applied"):
            case "applied":
                self.apply(path, effect, found_by="inspect")
            case "not_applied":
                self.fold(
                    EffectFailed(
                        step=path, attempt=attempt, effect=effect, err=ERR, found_by="inspect"
                    )
                )
            case seen:
                self.fold(
                    EffectFailed(
                        step=path,
                        attempt=attempt,
                        effect=effect,
                        err=ERR,
                        applied=seen,
                        found_by="inspect",
                    )
                )

    def complete(self, path: str, output: Any = None, **more: Any) -> Driver:
        unit = self.run.unit(path)
        self.fold(
            StepCompleted(
                step=path,
                attempt=unit.attempt,
                epoch=unit.epoch or None,
                dur_us=0,
                output=output,
                **more,
            )
        )
        return self.turn()

    def failure_of(self, path: str, class_: str = "error", **more: Any) -> StepFailed:
        unit = self.run.unit(path)
        given = {"err": Failure("x.y", f"{path} failed"), **more}
        return StepFailed(
            step=path, attempt=unit.attempt, epoch=unit.epoch or None, class_=class_, **given
        )

    def fail(self, path: str, class_: str = "error", **more: Any) -> Driver:
        return self.fold(self.failure_of(path, class_, **more)).turn()

    def resume(self, mode: Any = "forward", **more: Any) -> Driver:
        return self.fold(RunResumed(mode=mode, by="person:lin", **more)).turn()

    def pause(self, cause: str = "operator") -> Driver:
        return self.fold(RunPaused(cause=cause)).turn()

    def cancel(self, mode: Any = "rollback") -> Driver:
        return self.fold(RunCancelRequested(via="cli", mode=mode)).turn()

    def crash(self) -> Driver:
        """Lose everything but the facts, and take the run up again."""
        self.run = replay(self.plan, "r1", self.facts, started_at=AT)
        recover(self.run)
        return self

    # what tests ask
    def state(self, path: str) -> StepState:
        return self.run.unit(path).state

    def states(self) -> dict[str, str]:
        return {view.path: view.state.value for view in self.run.steps()}

    def item(self, effect: str) -> ItemState:
        return self.run.item(effect).state

    def kinds(self, since: int = 0) -> list[str]:
        return [fact.kind for fact in self.facts[since:]]

    def undone(self) -> list[str]:
        return [fact.effect for fact in self.facts if isinstance(fact, UndoStarted)]

    def running(self) -> list[str]:
        return [
            u.path
            for u in self.run.units[1:]
            if u.state is S.STARTED and not isinstance(u, Container)
        ]

    def did(self, kind: type[Any]) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


ERR = Failure("undo.failed", "no")


def driver(*steps: StepSpec, **more: Any) -> Driver:
    of_run = {
        key: more.pop(key)
        for key in ("workflows", "expires_us", "inputs", "auto_rollback")
        if key in more
    }
    return Driver(workflow(*steps, **more), **of_run).turn()


# ---- steps forward -------------------------------------------------------------------------------
def test_a_run_of_one_step_goes_from_pending_to_completed() -> None:
    d = Driver(workflow(step("a")))

    assert d.run.state == "PENDING"
    d.turn()
    assert ("RUNNING", S.STARTED) == (d.run.state, d.state("a"))
    d.complete("a", {"n": 1})
    assert ["run.opened", "step.started", "step.completed", "run.closed"] == d.kinds()
    assert ("COMPLETED", Phase.CLOSED) == (d.run.state, d.run.phase)
    assert d.run.next_rseq == len(d.facts)


def test_steps_start_in_file_order_and_never_before_their_needs() -> None:
    d = driver(step("a"), step("b", "a"), step("c"), step("d", "b", "c"))

    assert ["a", "c"] == d.running()
    d.complete("a").complete("c")
    assert ["b"] == d.running()
    d.complete("b")
    assert ["d"] == d.running()


def test_no_more_steps_are_admitted_than_there_is_room_for() -> None:
    d = Driver(workflow(*(step(f"s{n}") for n in range(9))))

    admits = decide(d.run, 0, 4).commands

    assert ["s0", "s1", "s2", "s3"] == [admit.step for admit in admits]
    assert decide(d.run, 0, 0).commands == ()


def test_a_reference_is_a_need_and_brings_the_output() -> None:
    d = driver(step("a"), step("b", with_={"x": "${steps.a.output.n}"}))

    d.complete("a", {"n": 7})

    assert ["b"] == d.running()
    template = d.run.unit("b").step.with_
    assert {"x": 7} == template.evaluate(d.run.scope("b"))


def test_outputs_are_kept_only_while_something_unfinished_reads_them() -> None:
    d = driver(step("a"), step("b", with_={"x": "${steps.a.output}"}), step("c", "b"))

    d.complete("a", "kept")
    assert list(d.run.outputs.values()) == ["kept"]
    d.complete("b", "nobody reads this")
    assert d.run.outputs == {}


def test_the_outputs_of_the_run_keep_what_they_read_to_the_end() -> None:
    d = driver(step("a"), step("b", "a"), outputs={"x": "${steps.a.output}"})

    d.complete("a", 1)

    assert {"x": 1} == d.plan.root.outputs.evaluate(d.run.inside(""))


def test_a_false_when_skips_the_step_and_what_needs_it() -> None:
    d = Driver(workflow(step("a"), step("b", "a"), step("c", Need("b", even_if_skipped=True))))
    d.skips = {"a"}
    d.turn()

    assert ["SKIPPED", "SKIPPED", "STARTED"] == list(d.states().values())
    assert [Skip("b")] == d.did(Skip)
    d.complete("c")
    assert d.run.state == "COMPLETED"


def test_a_when_is_evaluated_once_when_ready() -> None:
    d = Driver(workflow(step("a", when="${inputs.go}")))

    assert d.run.when("a") is not None
    d.turn()
    assert d.run.when("a") is None


def test_a_refused_step_fails_its_run_which_is_rolled_back_with_nothing_to_undo() -> None:
    d = Driver(workflow(step("a")))

    d.fold(HandshakeRefused(step="a", digest=D, policy={"name": "no"})).turn()

    assert ("ROLLED_BACK", S.FAILED) == (d.run.state, d.state("a"))
    assert d.run.unit("a").failure.code == "handshake.denied"


# ---- the handshake -------------------------------------------------------------------------------
def asking(*steps: StepSpec, asks: tuple[str, ...] = ("a",)) -> Driver:
    d = Driver(workflow(*(steps or (step("a"),))))
    d.asks = set(asks)
    return d.turn()


def test_a_run_that_waits_for_a_person_is_paused_and_goes_on_when_granted() -> None:
    d = asking()

    assert ("PAUSED", S.ASKED) == (d.run.state, d.state("a"))
    d.fold(HandshakeVoted(step="a", req="hs_1", version=2, digest=D, vote={}))
    assert d.run.unit("a").version == 2
    d.grant("a")
    assert ("RUNNING", S.STARTED) == (d.run.state, d.state("a"))


def test_a_run_is_running_while_another_branch_works() -> None:
    assert asking(step("a"), step("b")).run.state == "RUNNING"


@pytest.mark.parametrize("cause", ["drift", "policy_changed", "pack_changed", "revoked"])
def test_drift_asks_anew_and_the_third_fails(cause: str) -> None:
    d = asking()

    for _ in range(2):
        d.expire("a", cause)
        assert d.state("a") is S.READY
        d.turn()
        assert d.state("a") is S.ASKED
    d.expire("a", cause)
    d.turn()

    assert (S.FAILED, "handshake.drift") == (d.state("a"), d.run.unit("a").failure.code)


def test_an_unanswered_request_is_a_no() -> None:
    d = asking()

    d.wait()

    assert [Withdraw("a", "hs_1", "timeout")] == d.did(Withdraw)
    assert ("ROLLED_BACK", "handshake.expired") == (d.run.state, d.run.failure.code)


def test_drift_found_at_use_asks_again() -> None:
    d = asking()
    d.is_watching = True
    d.fold(HandshakeGranted(step="a", version=2, digest=D, req="hs_1"))

    d.fold(
        HandshakeRequested(step="a", req="hs_1", version=3, digest=D, request=V, expires_us=10**9)
    )

    assert (S.ASKED, 3) == (d.state("a"), d.run.unit("a").version)


def test_a_ticket_nobody_used_in_time_asks_anew_and_is_no_drift() -> None:
    d = asking()
    d.fold(HandshakeGranted(step="a", version=2, digest=D, req="hs_1"))

    d.expire("a", "timeout")

    assert (S.READY, 0) == (d.state("a"), d.run.unit("a").drifts)


def test_a_standing_grant_answers_without_a_request() -> None:
    d = Driver(workflow(step("a")))

    d.fold(HandshakeGranted(step="a", version=1, digest=D, grant="g1"))

    assert [Admit("a", 1, 0)] == list(decide(d.run, 0, 1).commands)


def test_open_requests_are_withdrawn_when_another_step_fails() -> None:
    d = asking(step("a"), step("b"))

    d.fail("b")

    assert [Withdraw("a", "hs_1", "withdrawn")] == d.did(Withdraw)
    assert (S.VOID, "ROLLED_BACK") == (d.state("a"), d.run.state)


def test_an_answer_to_another_request_is_illegal() -> None:
    d = asking()

    with pytest.raises(EngineError, match="hs_1"):
        d.fold(HandshakeGranted(step="a", version=2, digest=D, req="hs_9"))


# ---- failure, retry ------------------------------------------------------------------------------
RETRY = Retry(attempts=3, backoff_us=1_000, factor=2, max_us=3_000)


def test_a_failure_takes_everything_back_newest_first() -> None:
    d = driver(step("a"), step("b", "a"), step("c", "b"))
    d.effect("a", "a1")
    d.effect("a", "a2")
    d.complete("a")
    d.effect("b", "b1")
    d.complete("b")
    d.effect("c", "c1")

    d.fail("c")

    assert ["c1", "b1", "a2", "a1"] == d.undone()
    assert ("ROLLED_BACK", "x.y") == (d.run.state, d.run.failure.code)


def test_units_stand_in_the_order_they_ended_not_began() -> None:
    d = driver(step("a"), step("b"), step("c", "a", "b"))
    d.effect("a", "a1")
    d.effect("b", "b1")

    d.complete("b").complete("a").fail("c")

    assert ["a1", "b1"] == d.undone()


def test_a_retry_takes_the_failed_attempt_back_and_waits() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "e1")

    d.fail("a", "timeout")

    assert (["e1"], S.BACKOFF) == (d.undone(), d.state("a"))
    assert [Schedule("a", 2, 1_000, is_jittered=True)] == d.did(Schedule)
    assert d.run.state == "RUNNING"
    d.wait()
    assert (S.STARTED, 2) == (d.state("a"), d.run.unit("a").attempt)
    d.fail("a", "timeout").wait().fail("a", "timeout")
    assert [1_000, 2_000] == [schedule.base_us for schedule in d.did(Schedule)]
    assert d.run.state == "ROLLED_BACK"


def test_a_delay_grows_to_its_most_and_honours_what_the_far_side_asks() -> None:
    retry = attrs.evolve(RETRY, attempts=9, on=("rate_limited",))
    d = driver(step("a", retry=retry))

    d.fail("a", "rate_limited").wait().fail("a", "rate_limited").wait().fail("a", "rate_limited")
    d.wait().fail("a", "rate_limited", retry_after_us=50_000)

    bases = [(schedule.base_us, schedule.is_jittered) for schedule in d.did(Schedule)]
    assert [(1_000, True), (2_000, True), (3_000, True), (50_000, False)] == bases


@pytest.mark.parametrize("class_", ["refused", "conflict", "contract", "expression"])
def test_refusals_conflicts_and_contract_errors_are_never_retried(class_: str) -> None:
    d = driver(step("a", retry=attrs.evolve(RETRY, on=("any",))))

    d.fail("a", class_)

    assert d.run.state == "ROLLED_BACK"


def test_an_idempotent_step_keeps_its_effects_for_the_next_attempt() -> None:
    d = driver(step("a", capability="do.again@1", retry=RETRY))
    d.effect("a", "e1")

    d.fail("a", "timeout").wait()
    d.apply("a", "e1", repeated=True)
    d.complete("a")

    assert ([], E.APPLIED, 1) == (d.undone(), d.item("e1"), d.run.standing)


def test_what_cannot_be_taken_back_ends_the_attempts() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "mail", undo={"none": "a mail is gone"})

    d.fail("a", "timeout")

    assert [] == d.did(Schedule)
    assert [Leave("mail", "a", "irreversible", "a mail is gone")] == d.did(Leave)
    assert ("FAILED", "a mail is gone") == (d.run.state, d.run.residue()[0].why)


def test_an_attempt_that_leaves_residue_is_the_last() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "e1")
    d.undos["e1"] = ["conflict", "conflict"]

    d.fail("a", "timeout")

    assert [] == d.did(Schedule)
    assert ["step.failed", "step.failed"] == [k for k in d.kinds() if k == "step.failed"]
    assert ("FAILED", 2) == (d.run.state, len(d.undone()))


def test_stop_leaves_everything_and_counts_what_stands() -> None:
    d = driver(step("a"), step("b", "a", on_failure=OnFailure.STOP))
    d.effect("a", "a1")
    d.complete("a")

    d.fail("b")

    assert ("FAILED", [], 1) == (d.run.state, d.undone(), d.facts[-1].standing)


def test_without_auto_rollback_a_failure_stops() -> None:
    d = driver(step("a"), auto_rollback=False)
    d.effect("a", "a1")

    assert d.fail("a").run.state == "FAILED"


def test_continue_takes_back_only_the_step_and_goes_on() -> None:
    d = driver(
        step("a"),
        step("b", "a", on_failure=OnFailure.CONTINUE),
        step("c", with_={"x": "${steps.b.output}"}),
    )
    d.effect("a", "a1")
    d.complete("a")
    d.effect("b", "b1")

    d.fail("b")

    assert (["b1"], S.TOLERATED, S.STARTED) == (d.undone(), d.state("b"), d.state("c"))
    assert d.run.scope("c")["steps"] == {"b": {"output": None}}
    assert d.complete("c").run.state == "COMPLETED"


def test_continue_with_residue_acts_as_rollback_and_tries_it_again() -> None:
    d = driver(step("a"), step("b", "a", on_failure=OnFailure.CONTINUE))
    d.effect("a", "a1")
    d.complete("a")
    d.effect("b", "b1")
    d.undos["b1"] = ["conflict"]

    d.fail("b")

    assert (["b1", "b1", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


# ---- fan-outs and scopes -------------------------------------------------------------------------
def fan(count: int, **more: Any) -> Driver:
    d = Driver(
        workflow(
            step("each", foreach="${inputs.of}", with_={"x": "${item}"}, **more),
            step("after", with_={"all": "${steps.each.output}"}),
        )
    )
    d.lists["each"] = [10 * n for n in range(count)]
    return d.turn()


def test_a_fan_out_runs_its_items_and_collects_in_item_order() -> None:
    d = fan(3, max_parallel=2)

    assert ["each[0]", "each[1]"] == d.running()
    assert (10, 1) == (d.run.scope("each[1]")["item"], d.run.scope("each[1]")["index"])
    d.complete("each[1]", "b")
    assert ["each[0]", "each[2]"] == d.running()
    d.complete("each[2]", "c").complete("each[0]", "a")
    assert ["a", "b", "c"] == d.run.scope("after")["steps"]["each"]["output"]
    assert d.complete("after").run.state == "COMPLETED"


def test_a_fan_out_over_nothing_completes_at_once() -> None:
    d = fan(0)

    assert ([], S.DONE) == (d.run.scope("after")["steps"]["each"]["output"], d.state("each"))


def test_an_item_is_retried_alone() -> None:
    d = fan(2, retry=RETRY)

    d.fail("each[0]", "timeout")

    assert (S.BACKOFF, S.STARTED) == (d.state("each[0]"), d.state("each[1]"))


def test_a_failing_item_fails_its_fan_out() -> None:
    d = fan(3)
    d.effect("each[0]", "e0")
    d.complete("each[0]")

    d.fail("each[1]")
    d.fail("each[2]")  # revoked

    assert (S.FAILED, ["e0"], "ROLLED_BACK") == (d.state("each"), d.undone(), d.run.state)
    assert [Interrupt("each[2]")] == list(dict.fromkeys(d.did(Interrupt)))


def test_a_tolerated_item_gives_null_and_is_named() -> None:
    d = fan(2, on_failure=OnFailure.CONTINUE)
    d.effect("each[0]", "e0")

    d.fail("each[0]").complete("each[1]", "b")

    assert ["e0"] == d.undone()
    each = d.run.scope("after")["steps"]["each"]
    assert {"output": [None, "b"], "errors": [{"index": 0, "code": "x.y"}]} == each


def nested(**more: Any) -> Driver:
    inner = workflow(
        step("read"), step("sum", "read"), name="inner", outputs={"n": "${steps.sum.output}"}
    )
    d = Driver(
        workflow(
            step("first"), step("sub", "first", workflow="inner@1", **more), step("last", "sub")
        ),
        workflows=[inner],
    ).turn()
    d.effect("first", "f1")
    return d.complete("first")


@pytest.mark.parametrize(
    ("more", "keeper"),
    [
        ({}, None),
        ({"on_failure": OnFailure.CONTINUE}, "sub"),
        ({"retry": attrs.evolve(RETRY, on=("any",))}, "sub"),
    ],
)
def test_a_scope_that_may_be_taken_back_alone_keeps_what_its_steps_changed(more, keeper) -> None:
    d = nested(**more)
    d.complete("sub.read")

    assert (None, keeper) == (d.run.keeper("first"), d.run.keeper("sub.read"))
    d.complete("sub.sum", 5)
    assert d.run.keeper("sub.read") is None


def test_a_sub_workflow_has_its_own_scope_and_one_undo_stack_with_its_parent() -> None:
    d = nested()

    assert ["sub.read"] == d.running()
    d.effect("sub.read", "r1")
    d.complete("sub.read")
    d.complete("sub.sum", 5)
    assert [S.DONE, S.STARTED] == [d.state("sub"), d.state("last")]
    d.fail("last")
    assert (["r1", "f1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_a_sub_workflow_sees_what_it_was_given_and_nothing_else() -> None:
    scope = nested().run.scope("sub.read")

    assert {"inputs": {}, "steps": {}, "run": {"id": "r1", "started_at": AT}} == scope


def test_a_failure_inside_is_decided_by_the_calling_step() -> None:
    d = nested(on_failure=OnFailure.CONTINUE)
    d.effect("sub.read", "r1")
    d.complete("sub.read")

    d.fail("sub.sum")

    assert (["r1"], S.TOLERATED, S.STARTED) == (d.undone(), d.state("sub"), d.state("last"))


def test_a_failing_scope_whose_step_says_rollback_ends_the_run() -> None:
    d = nested()
    d.effect("sub.read", "r1")

    d.fail("sub.read")

    assert (["r1", "f1"], S.FAILED, S.WAITING) == (d.undone(), d.state("sub"), d.state("sub.sum"))
    assert d.run.state == "ROLLED_BACK"


def test_a_retried_scope_is_taken_back_whole_and_runs_anew() -> None:
    d = nested(retry=attrs.evolve(RETRY, on=("any",)))
    d.effect("sub.read", "r1")
    d.complete("sub.read").fail("sub.sum")

    assert (["r1"], S.BACKOFF) == (d.undone(), d.state("sub"))
    d.wait()
    assert (["sub.read"], 2) == (d.running(), d.run.unit("sub.read").attempt)
    d.complete("sub.read").complete("sub.sum", 1).complete("last")
    assert d.run.state == "COMPLETED"


def test_a_fan_out_of_sub_workflows_has_items_with_steps() -> None:
    inner = workflow(step("read"), name="inner")
    d = Driver(
        workflow(step("each", foreach="${inputs.of}", workflow="inner@1")), workflows=[inner]
    )
    d.lists["each"] = [1, 2]
    d.turn()

    assert ["each[0].read", "each[1].read"] == d.running()
    d.effect("each[0].read", "e0")
    d.complete("each[0].read").fail("each[1].read")
    assert (["e0"], S.FAILED, S.DONE) == (d.undone(), d.state("each"), d.state("each[0]"))


# ---- what a failure may not do -------------------------------------------------------------------
def test_a_step_that_could_not_begin_is_not_tried_again_whatever_its_class() -> None:
    d = Driver(workflow(step("a", retry=attrs.evolve(RETRY, on=("any",)))))

    d.fold(d.failure_of("a", "unavailable")).turn()

    assert ([], S.FAILED, "ROLLED_BACK") == (d.did(Schedule), d.state("a"), d.run.state)


def test_an_attempt_that_cannot_be_taken_back_whole_is_left_whole_where_the_run_stops() -> None:
    d = driver(step("a", retry=RETRY, on_failure=OnFailure.STOP))
    d.effect("a", "mail", undo={"none": "a mail is gone"})
    d.effect("a", "e1")

    d.fail("a", "timeout")

    assert ("FAILED", [], 2) == (d.run.state, d.undone(), d.facts[-1].standing)


def test_a_retry_is_for_the_classes_it_names() -> None:
    d = driver(step("a", retry=attrs.evolve(RETRY, on=("unavailable",))))

    d.fail("a", "timeout")

    assert ([], "ROLLED_BACK") == (d.did(Schedule), d.run.state)


def test_what_fails_while_its_run_ends_is_not_tolerated() -> None:
    d = driver(step("a", on_failure=OnFailure.CONTINUE), step("b"))

    d.fail("b").fail("a")

    assert (S.FAILED, "ROLLED_BACK") == (d.state("a"), d.run.state)


def test_an_item_with_residue_ends_the_run_though_its_fan_out_would_go_on() -> None:
    d = fan(2, on_failure=OnFailure.CONTINUE)
    d.effect("each[0]", "e0")
    d.undos["e0"] = ["conflict", "conflict"]

    d.fail("each[0]")

    assert Phase.DRAINING is d.run.phase
    d.fail("each[1]")
    assert ("FAILED", S.WAITING) == (d.run.state, d.state("after"))


def test_a_failure_deep_inside_stops_the_run_at_once_and_is_named_as_it_was() -> None:
    d = nested()

    d.fold(d.failure_of("sub.read"))

    assert Phase.DRAINING is d.run.phase
    d.turn()
    assert ["sub.read failed"] * 2 == [
        fact.err.msg for fact in d.facts if isinstance(fact, StepFailed)
    ]
    assert "sub.read failed" == d.facts[-1].err.msg


def test_a_person_who_has_a_doubtful_step_taken_back_overrules_its_stop() -> None:
    d = driver(step("a"), step("b", "a", on_failure=OnFailure.STOP))
    d.effect("a", "a1")
    d.complete("a").intend("b", "b1")
    d.sees["b1"] = "unknown"
    d.crash().turn()
    assert S.IN_DOUBT is d.state("b")

    d.fail("b", "resolved", resolved_by="person:lin")

    assert (["b1", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_an_effect_taken_back_draws_nobody_into_a_rewind() -> None:
    """One changed the resource after another, and was undone since."""
    retry = attrs.evolve(RETRY, on=("any",))
    d = driver(step("a"), step("b", retry=retry), step("c", "a"))
    d.effect("a", "a1", on="f")
    d.complete("a")
    d.effect("b", "b1", on="f")
    d.fail("b", "timeout").wait()
    d.complete("b").complete("c")

    d.resume("rollback", to="a", inclusive=True)

    assert (S.DONE, S.READY) == (d.state("b"), d.state("a"))


def test_a_rewind_takes_back_the_newest_end_first() -> None:
    d = driver(step("x"), step("a", "x"), step("b", "x"))
    d.complete("x")
    d.effect("a", "a1")
    d.effect("b", "b1")
    d.complete("b").complete("a")

    d.resume("rollback", to="x")

    assert ["a1", "b1"] == d.undone()


def test_a_retry_names_its_step() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.complete("a")

    with pytest.raises(EngineError):
        d.resume("retry")

    assert ([], "COMPLETED") == (d.undone(), d.run.state)


def test_a_cancel_that_keeps_turns_no_stop_into_a_rollback() -> None:
    d = driver(step("a", on_failure=OnFailure.STOP), step("b"))
    d.effect("b", "b1")

    d.fail("a").cancel("keep").complete("b")

    assert ("FAILED", []) == (d.run.state, d.undone())


def test_a_cancel_during_a_rollback_does_not_rename_its_cause() -> None:
    d = driver(step("a"), step("b"))
    d.effect("b", "b1")

    d.fail("a").cancel().complete("b")

    assert ["failure"] == [fact.cause for fact in d.facts if isinstance(fact, UndoStarted)]


# ---- saga ----------------------------------------------------------------------------------------
def test_when_a_step_fails_nothing_new_starts_and_late_finishers_are_taken_back_too() -> None:
    d = driver(step("a"), step("b"), step("c", "b"))
    d.effect("b", "b1")

    d.fail("a")

    assert (Phase.DRAINING, [Interrupt("b")]) == (d.run.phase, d.did(Interrupt)[:1])
    d.complete("b")
    assert (["b1"], S.WAITING, "ROLLED_BACK") == (d.undone(), d.state("c"), d.run.state)


def test_wait_lets_parallel_branches_end() -> None:
    d = driver(step("a"), step("b"), in_flight=InFlight.WAIT)

    d.fail("a")

    assert ([], S.STARTED) == (d.did(Interrupt), d.state("b"))


def test_a_step_revoked_by_a_stop_does_not_turn_it_into_a_rollback() -> None:
    d = driver(step("a", on_failure=OnFailure.STOP), step("b"))
    d.effect("b", "b1")

    d.fail("a").fail("b", "refused")

    assert ("FAILED", []) == (d.run.state, d.undone())


def test_a_waiting_retry_ends_when_the_run_stops() -> None:
    d = driver(step("a", retry=RETRY), step("b"))

    d.fail("a", "timeout").fail("b")

    assert (S.FAILED, "ROLLED_BACK") == (d.state("a"), d.run.state)


def test_an_undo_at_work_ends_before_the_whole_is_taken_back() -> None:
    d = driver(step("a", retry=RETRY), step("b"))
    d.effect("a", "a1")
    d.effect("a", "a2")
    d.undos["a2"] = ["hangs"]
    d.fail("a", "timeout").fail("b")

    assert (Phase.DRAINING, S.CLEARING) == (d.run.phase, d.state("a"))
    d.fold(UndoApplied(step="a", effect="a2")).turn()
    assert (["a2", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_an_undo_is_tried_five_times_and_then_unwinding_goes_on() -> None:
    d = driver(step("a"), step("b", "a"))
    d.effect("a", "a1")
    d.complete("a")
    d.effect("b", "b1")
    d.undos["b1"] = ["failed"] * 9
    d.fail("b")

    waits = []
    while d.run.phase is not Phase.CLOSED:
        waits.append(decide(d.run, d.now, 9).wake_at_us - d.now)
        d.wait()

    assert [1_000_000, 2_000_000, 4_000_000, 8_000_000] == waits
    assert (["b1"] * 5 + ["a1"], "FAILED") == (d.undone(), d.run.state)
    assert ["b1"] == [residue.effect for residue in d.facts[-1].residue]


def test_a_retried_undo_in_a_clearing_step_waits_for_its_time() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "a1")
    d.undos["a1"] = ["failed"]
    d.fail("a", "timeout")

    assert S.CLEARING is d.state("a")
    d.wait()
    assert (S.BACKOFF, ["a1", "a1"]) == (d.state("a"), d.undone())


def test_below_a_residue_on_the_same_resource_nothing_is_attempted() -> None:
    d = driver(step("a"), step("b", "a"), step("c", "b"))
    d.effect("a", "a1", on="fs/out")
    d.effect("a", "a2", on="fs/other")
    d.complete("a")
    d.effect("b", "b1", on="fs/out/x.txt")
    d.undos["b1"] = ["conflict"]

    d.complete("b").fail("c")

    assert (["b1", "a2"], "FAILED") == (d.undone(), d.run.state)
    assert ("blocked_by", "conflict") == (d.run.item("a1").cause, d.run.item("b1").cause)


def test_an_effect_nobody_would_want_back_leaves_no_item() -> None:
    d = driver(step("a"))
    d.effect("a", "e1", undo={})

    assert (d.fail("a").run.state, d.run.items) == ("ROLLED_BACK", [])


def test_an_effect_that_failed_leaves_nothing_and_a_partial_one_is_taken_back() -> None:
    d = driver(step("a"))
    for name, applied in (("no", "no"), ("half", "partial")):
        d.intend("a", name)
        d.fold(EffectFailed(step="a", attempt=1, effect=name, err=ERR, applied=applied))

    d.fail("a")

    assert (["half"], E.NOTHING) == (d.undone(), d.item("no"))


def test_refused_effects_and_reads_change_nothing() -> None:
    d = driver(step("a"))

    d.fold(EffectRefused(step="a", attempt=1, type="fs.write", target="x", code="effect.late"))
    d.fold(EffectApplied(step="a", attempt=1, effect="r", type="fs.read", target="y"))

    assert ([], 4) == (d.run.items, d.run.next_rseq)


def test_cancel_takes_everything_back_and_keep_leaves_it() -> None:
    for mode, ends in (("rollback", ("ROLLED_BACK", ["a1"])), ("keep", ("FAILED", []))):
        d = driver(step("a"), step("b", "a"))
        d.effect("a", "a1")
        d.complete("a").cancel(mode).fail("b", "refused")

        assert (d.run.state, d.undone()) == ends
        assert d.run.failure.code == "run.cancelled"


def test_a_cancel_before_the_first_effect_is_rolled_back() -> None:
    d = Driver(workflow(step("a")))

    assert d.cancel().run.state == "ROLLED_BACK"


def test_a_cancel_may_turn_keep_into_rollback_and_never_back() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")

    d.cancel("keep").cancel("rollback").cancel("keep").fail("a", "refused")

    assert ("ROLLED_BACK", ["a1"]) == (d.run.state, d.undone())


def test_a_cancel_while_unwinding_changes_nothing_and_of_a_closed_run_is_illegal() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.undos["a1"] = ["hangs"]
    d.fail("a").cancel()
    assert d.run.phase is Phase.UNWINDING
    d.fold(UndoApplied(step="a", effect="a1")).turn()

    with pytest.raises(EngineError) as caught:
        d.cancel()
    assert caught.value.code == "decider.illegal_event"
    with pytest.raises(RunError) as refused:
        d.run.require("cancel")
    assert (refused.value.code, refused.value.exit_code) == ("run.illegal_state", 8)


def test_a_held_run_starts_nothing_forward_or_back() -> None:
    d = driver(step("a"), step("b", "a"), step("c"))
    d.effect("a", "a1")
    d.pause()

    assert ("PAUSED", 2) == (d.run.state, d.run.in_flight)
    d.complete("a").fail("c")
    assert ("PAUSED", S.VOID, []) == (d.run.state, d.state("b"), d.undone())
    assert {"resume"} == d.run.actions()
    d.resume()
    assert (["a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_due_retries_wait_while_a_run_is_held() -> None:
    d = driver(step("a", retry=RETRY))
    d.fail("a", "timeout").pause()
    d.now += 10**9

    assert ((), None) == (d.turn() and decide(d.run, d.now, 9).commands, None)
    assert d.resume().state("a") is S.STARTED


def test_nothing_that_starts_is_accepted_while_a_run_is_held() -> None:
    d = Driver(workflow(step("a")))
    d.pause()

    with pytest.raises(EngineError, match="nothing may start"):
        d.fold(StepStarted(step="a", attempt=1))
    assert not wants(d.run, Admit("a", 1, 0), 0)


def test_a_pause_that_only_says_what_it_waits_for_holds_nothing() -> None:
    d = asking()

    d.pause("handshake").grant("a")

    assert d.state("a") is S.STARTED


def test_a_cancel_lifts_a_persons_hold_but_not_a_stop() -> None:
    for cause, state in (("operator", "ROLLED_BACK"), ("stop", "PAUSED")):
        d = Driver(workflow(step("a")))
        assert d.pause(cause).cancel().run.state == state


def test_an_expired_run_is_rolled_back() -> None:
    d = asking()
    d.run.opened = opened(expires_us=5_000)
    d.now = 4_999
    assert decide(d.run, d.now, 1).wake_at_us == 5_000

    d.wait()

    assert [Cancel("expiry")] == d.did(Cancel)
    assert ("ROLLED_BACK", "run.expired") == (d.run.state, d.run.failure.code)


def test_expiry_of_a_held_run_is_noted_and_acts_on_resume() -> None:
    d = driver(step("a"), expires_us=5_000)
    d.effect("a", "a1")
    d.pause().complete("a")
    d.now = 9_000

    d.turn()
    assert ("PAUSED", [Cancel("expiry")], []) == (d.run.state, d.did(Cancel), d.undone())
    d.resume()
    assert (["a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_a_rollback_of_a_completed_run_takes_it_back() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.complete("a")
    assert {"rollback", "retry"} == d.run.actions()

    d.resume("rollback")

    assert (["a1"], "ROLLED_BACK") == (d.undone(), d.run.state)
    assert ["run.resumed", "undo.started", "undo.applied", "run.closed"] == d.kinds(6)


def test_another_rollback_retries_only_the_residue() -> None:
    d = driver(step("a"), step("b", "a"))
    d.effect("a", "a1")
    d.effect("a", "a2")
    d.undos["a1"] = ["conflict"]
    d.complete("a").fail("b")
    assert (["a2", "a1"], "FAILED") == (d.undone(), d.run.state)

    d.resume("rollback")

    assert (["a2", "a1", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_what_is_irreversible_remains_in_every_rollback() -> None:
    d = driver(step("a"))
    d.effect("a", "a1", on="fs/x")
    d.effect("a", "mail", on="fs/x/y", undo={"none": "sent"})
    d.complete("a").resume("rollback")
    assert ("FAILED", []) == (d.run.state, d.undone())

    d.resume("rollback")

    assert ("FAILED", []) == (d.run.state, d.undone())
    assert 2 == len(d.did(Leave))


def test_after_its_undo_data_is_gone_a_run_cannot_be_rolled_back() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.complete("a")
    d.fold(UndoDiscarded(cause="retention"))

    assert (E.GONE, set()) == (d.item("a1"), d.run.actions())
    for verb in ("rollback", "retry"):
        with pytest.raises(UndoError) as refused:
            d.run.require(verb)
        assert "undo.discarded" == refused.value.code
    assert "what run r1 did" in illegal(d, RunResumed(mode="rollback"))


def test_discarding_names_the_effects_it_is_about() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.effect("a", "a2")

    d.complete("a").fold(UndoDiscarded(cause="quota", effects=("a1",)))

    assert (E.GONE, E.APPLIED) == (d.item("a1"), d.item("a2"))


# ---- partial rollback and retry ------------------------------------------------------------------
def diamond() -> Driver:
    d = driver(step("a"), step("b", "a"), step("c", "a"), step("d", "b"))
    for path in ("a", "b", "c", "d"):
        d.effect(path, f"{path}1")
        d.complete(path)
    return d


def test_a_rollback_to_a_step_undoes_what_depends_on_it_and_pauses() -> None:
    d = diamond()
    assert d.run.state == "COMPLETED"

    d.resume("rollback", to="b")

    assert (["d1"], "PAUSED") == (d.undone(), d.run.state)
    assert (S.READY, 1, S.DONE) == (d.state("d"), d.run.unit("d").epoch, d.state("c"))
    d.resume()
    assert [Admit("d", 2, 1)] == d.did(Admit)[-1:]
    assert d.complete("d").run.state == "COMPLETED"


def test_an_inclusive_rollback_undoes_the_step_too() -> None:
    d = diamond()

    d.resume("rollback", to="b", inclusive=True)

    assert (["d1", "b1"], S.WAITING, S.READY) == (d.undone(), d.state("d"), d.state("b"))


def test_a_partial_rollback_takes_along_who_changed_the_same_resource_later() -> None:
    d = driver(step("a"), step("b", "a"), step("c"), step("e", "c"))
    d.effect("b", "b1", on="fs/out/x") if d.complete("a") else None
    d.complete("b")
    d.effect("c", "c1", on="fs/out")
    d.complete("c")
    d.effect("e", "e1")
    d.complete("e")

    d.resume("rollback", to="a")

    assert (["e1", "c1", "b1"], "PAUSED") == (d.undone(), d.run.state)


def test_a_partial_rollback_takes_along_who_changed_something_below_it_later() -> None:
    d = driver(step("a"), step("b", "a"), step("c"))
    d.complete("a")
    d.effect("b", "b1", on="fs/out")
    d.complete("b")
    d.effect("c", "c1", on="fs/out/x")
    d.complete("c")

    d.resume("rollback", to="a")

    assert (["c1", "b1"], "PAUSED") == (d.undone(), d.run.state)


def test_a_partial_rollback_with_residue_ends_failed() -> None:
    d = diamond()
    d.undos["d1"] = ["conflict"]

    d.resume("rollback", to="b")

    assert d.run.state == "FAILED"


def test_the_rest_of_a_partly_rolled_back_run_can_be_rolled_back() -> None:
    d = diamond()

    d.resume("rollback", to="b").resume("rollback")

    assert (["d1", "c1", "b1", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


def test_a_retry_takes_back_the_set_and_runs_it_forward_in_a_new_epoch() -> None:
    d = diamond()

    d.resume("retry", from_="b")

    assert (["d1", "b1"], ["b"], "RUNNING") == (d.undone(), d.running(), d.run.state)
    assert (1, 2) == (d.run.unit("b").epoch, d.run.unit("b").attempt)
    d.complete("b").complete("d")
    assert d.run.state == "COMPLETED"


def test_a_retry_after_a_rollback_runs_everything_that_does_not_stand() -> None:
    d = driver(step("a"), step("b", "a"), step("c", "a"))
    d.effect("a", "a1")
    d.complete("a")
    d.effect("c", "c1")
    d.complete("c").fail("b")
    assert d.run.state == "ROLLED_BACK"

    d.resume("retry", from_="b")

    assert ["a"] == d.running()
    d.complete("a").complete("b").complete("c")
    assert "COMPLETED" == d.run.state


def test_a_retry_inside_a_scope_reopens_it() -> None:
    d = nested()
    d.complete("sub.read", "x").complete("sub.sum").complete("last")

    d.resume("retry", from_="sub.sum")

    assert (S.STARTED, ["sub.sum"], S.WAITING) == (d.state("sub"), d.running(), d.state("last"))
    d.complete("sub.sum").complete("last")
    assert d.run.state == "COMPLETED"


def test_a_retry_of_a_scope_runs_all_of_it_anew() -> None:
    d = nested()
    d.effect("sub.read", "r1")
    d.complete("sub.read").complete("sub.sum").complete("last")

    d.resume("retry", from_="sub")

    assert (["r1"], ["sub.read"]) == (d.undone(), d.running())
    assert (1, 1) == (d.run.unit("sub.read").epoch, d.run.unit("sub.sum").epoch)


def test_a_retry_reopens_scopes_that_failed_at_their_own_end_though_all_inside_stands() -> None:
    """Their outputs could not be evaluated; nothing inside is rewound."""
    inner = workflow(step("read"), name="inner")
    outer = workflow(step("deep", workflow="inner@1"), name="outer")
    stop = OnFailure.STOP
    d = Driver(
        workflow(step("sub", workflow="outer@1", on_failure=stop), step("last", "sub")),
        workflows=[inner, outer],
    ).turn()
    d.effect("sub.deep.read", "r1")
    read, deep = (
        StepCompleted(step="sub.deep.read", attempt=1, dur_us=0, output=1),
        d.failure_of("sub.deep"),
    )
    d.fold(read, deep).turn()
    assert ("FAILED", S.FAILED, S.FAILED) == (d.run.state, d.state("sub"), d.state("sub.deep"))

    d.resume("retry", from_="last")

    assert (S.DONE, S.DONE, ["last"]) == (d.state("sub.deep"), d.state("sub"), d.running())
    assert ([], "COMPLETED") == (d.undone(), d.complete("last").run.state)


def test_a_retry_of_a_scope_that_never_began_runs_it() -> None:
    inner = workflow(step("read"), name="inner")
    d = Driver(
        workflow(step("first"), step("sub", "first", workflow="inner@1"), step("last", "sub")),
        workflows=[inner],
    ).turn()
    d.fold(StepCompleted(step="first", attempt=1, dur_us=0), d.failure_of("sub")).turn()
    assert ("ROLLED_BACK", S.FAILED) == (d.run.state, d.state("sub"))

    d.resume("retry", from_="last")

    assert ["sub.read"] == d.running()
    assert "COMPLETED" == d.complete("sub.read").complete("last").run.state


def test_a_scope_that_is_open_in_a_paused_run_can_be_run_anew() -> None:
    d = nested()
    d.effect("sub.read", "r1")
    d.pause().complete("sub.read")
    assert ("PAUSED", S.STARTED) == (d.run.state, d.state("sub"))

    d.resume("retry", from_="sub")

    assert (["r1"], ["sub.read"]) == (d.undone(), d.running())
    assert "COMPLETED" == d.complete("sub.read").complete("sub.sum").complete("last").run.state


def test_what_failed_in_a_scope_that_is_open_in_a_paused_run_runs_again_too() -> None:
    inner = workflow(step("p"), step("q"), name="inner", in_flight=InFlight.WAIT)
    goes_on = OnFailure.CONTINUE
    d = Driver(
        workflow(step("sub", workflow="inner@1", on_failure=goes_on), step("last", "sub")),
        workflows=[inner],
    ).turn()
    d.fail("sub.p").pause().complete("sub.q")
    assert ("PAUSED", S.STARTED, S.FAILED) == (d.run.state, d.state("sub"), d.state("sub.p"))

    d.resume("retry", from_="last")

    assert ["sub.p"] == d.running()
    assert "COMPLETED" == d.complete("sub.p").complete("last").run.state


def test_what_failed_first_inside_a_scope_stays_its_reason_when_a_doubt_is_rolled_back() -> None:
    d = nested()
    d.intend("sub.read", "r1")
    d.sees["r1"] = "unknown"
    d.crash().turn()
    assert S.IN_DOUBT is d.state("sub.read")

    d.fail("sub.read", resolved_by="person:lin", err=Failure("x.doubt", "taken back"))

    scope = next(f for f in d.facts if isinstance(f, StepFailed) and f.step == "sub")
    assert ("x.doubt", "x.doubt") == (scope.err.code, d.run.failure.code)


def test_a_retry_of_one_item_runs_only_that_one() -> None:
    d = fan(3)
    for n in range(3):
        d.complete(f"each[{n}]", n)
    d.complete("after")

    d.fold(RunResumed(mode="retry", from_="each[1]"))

    assert {"inputs", "arguments", "output"} == {value.kind for value in d.run.unloaded()}
    assert ["each[1]"] == d.turn().running()
    d.complete("each[1]", 9)
    assert S.STARTED is d.state("after")


def test_a_retry_with_residue_of_its_own_ends_failed() -> None:
    d = diamond()
    d.undos["d1"] = ["conflict"]

    d.resume("retry", from_="d")

    assert d.run.state == "FAILED"


def test_a_cancel_while_a_retry_takes_back_rolls_back_the_whole() -> None:
    d = diamond()
    d.undos["d1"] = ["hangs"]

    d.resume("retry", from_="b").cancel()
    assert d.run.phase is Phase.DRAINING
    d.fold(UndoApplied(step="d", effect="d1")).turn()

    assert (["d1", "c1", "b1", "a1"], "ROLLED_BACK") == (d.undone(), d.run.state)


REWINDS: list[tuple[Any, dict[str, Any], list[str]]] = [
    ("rollback", {}, []),
    ("rollback", {"to": "b"}, ["d"]),
    ("rollback", {"to": "b", "inclusive": True}, ["b", "d"]),
    ("rollback", {"item": "c1"}, []),
    ("retry", {"from_": "b"}, ["b", "d"]),
]


@pytest.mark.parametrize(("mode", "asked", "again"), REWINDS)
def test_what_a_rollback_or_retry_would_do_is_what_it_does(mode, asked, again) -> None:
    d = diamond()

    would = foresee(d.run, RunResumed(mode=mode, **asked))

    assert ("COMPLETED", []) == (d.run.state, d.undone())
    assert again == [unit.path for unit in would.again]
    assert ((), ()) == (would.stays, would.twice)
    d.resume(mode, **asked)
    assert d.undone() == [item.effect for item in would.undo] != []
    assert again == [u.path for u in d.run.units[1:] if u.epoch == 1]


def test_what_stays_in_the_world_would_happen_twice() -> None:
    d = driver(step("a"), step("b", "a"))
    d.effect("a", "a1")
    d.effect("a", "a2", undo={"none": "it is sent"})
    d.complete("a")
    d.effect("b", "b1")
    d.complete("b")
    d.undos["b1"] = ["conflict"]
    d.resume("rollback")
    assert "FAILED" == d.run.state

    would = foresee(d.run, RunResumed(mode="retry", from_="b"))

    assert ["b1", "a2"] == sorted((item.effect for item in would.twice), reverse=True)
    assert ["a", "b"] == [unit.path for unit in would.again]


def test_what_nothing_can_take_back_stays_and_happens_twice() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.effect("a", "a2", undo={"none": "it is sent"})
    d.complete("a")

    would = foresee(d.run, RunResumed(mode="retry", from_="a"))

    assert ["a1"] == [item.effect for item in would.undo]
    assert ["a2"] == [item.effect for item in would.stays]
    assert would.stays == would.twice


def test_what_is_not_possible_cannot_be_foreseen() -> None:
    with pytest.raises(RunError, match="cannot retry"):
        foresee(driver(step("a")).run, RunResumed(mode="retry", from_="a"))


def test_a_retry_of_an_unknown_step_or_of_one_at_work_is_refused() -> None:
    d = diamond()
    with pytest.raises(EngineError, match="has no step zzz"):
        d.resume("retry", from_="zzz")
    waiting = asking(step("a"), step("b", "a"))
    with pytest.raises(EngineError, match="cannot retry"):
        waiting.resume("retry", from_="a")


def test_a_run_reopened_by_a_person_expires_no_more() -> None:
    d = driver(step("a"), expires_us=5_000)
    d.complete("a")
    d.now = 9_000

    d.resume("retry", from_="a")

    assert (["a"], []) == (d.running(), d.did(Cancel))


# ---- in doubt: after a crash ---------------------------------------------------------------------
def test_a_step_cut_off_before_any_effect_runs_again_without_spending_an_attempt() -> None:
    d = driver(step("a"))

    d.crash().turn()

    assert ([Rerun("a", 1, 0)], S.STARTED) == (d.did(Rerun), d.state("a"))
    assert (1, 1) == (d.run.unit("a").attempt, d.run.unit("a").starts)
    assert d.complete("a").run.state == "COMPLETED"


def test_an_idempotent_step_runs_again_with_its_effects() -> None:
    d = driver(step("a", capability="do.again@1"))
    d.effect("a", "e1")
    d.intend("a", "e2")

    d.crash().turn()

    assert ([Rerun("a", 1, 0)], [], []) == (d.did(Rerun), d.did(Inspect), d.undone())


def test_what_was_intended_is_inspected_and_when_nothing_came_about_it_runs_again() -> None:
    d = driver(step("a"))
    d.intend("a", "e1")

    d.crash().turn()

    assert [Inspect("e1", "a"), Rerun("a", 1, 0)] == d.commands[1:]
    assert d.item("e1") is E.NOTHING
    d.effect("a", "e1")
    assert d.item("e1") is E.APPLIED


def test_what_came_about_is_taken_back_before_it_runs_again() -> None:
    d = driver(step("a"))
    d.effect("a", "e1")
    d.intend("a", "e2")
    d.sees["e2"] = "applied"

    d.crash().turn()

    assert (["e2", "e1"], [Rerun("a", 1, 0)]) == (d.undone(), d.did(Rerun))


def test_an_effect_done_again_after_a_crash_is_taken_back_before_what_was_done_earlier() -> None:
    d = driver(step("a"))
    d.effect("a", "e1", on="x")
    d.intend("a", "e2", on="x")
    d.crash().turn()
    assert ["e1"] == d.undone()

    d.effect("a", "e1~1", on="x")
    d.effect("a", "e2", on="x")
    d.fail("a").turn()

    assert ["e1", "e2", "e1~1"] == d.undone()


def test_what_cannot_be_taken_back_cleanly_fails_the_step() -> None:
    d = driver(step("a"))
    d.effect("a", "e1")
    d.undos["e1"] = ["conflict", "conflict"]

    d.crash().turn()

    assert ([], S.FAILED, "FAILED") == (d.did(Rerun), d.state("a"), d.run.state)
    assert d.run.failure.code == "step.interrupted"


@pytest.mark.parametrize("seen", ["applied", "unknown"])
def test_what_nobody_can_take_back_or_say_is_in_doubt(seen: str) -> None:
    d = driver(step("a"))
    d.intend("a", "e1", undo={"none": "sent"} if seen == "applied" else None)
    d.sees["e1"] = seen

    d.crash().turn()

    assert [Doubt("a", 1, ("e1",), (seen,))] == d.did(Doubt)
    assert (S.IN_DOUBT, "PAUSED") == (d.state("a"), d.run.state)
    assert "resolve" in d.run.actions()


def doubtful(*more: StepSpec) -> Driver:
    d = driver(step("a"), *more)
    d.effect("a", "e0")
    d.intend("a", "e1")
    d.sees["e1"] = "unknown"
    return d.crash().turn()


def test_a_person_says_it_was_applied() -> None:
    d = doubtful()

    d.complete("a", resolved_by="person:lin")

    assert (E.APPLIED, "COMPLETED", 2) == (d.item("e1"), d.run.state, d.run.standing)


def test_a_person_says_it_was_not_applied_and_it_runs_again() -> None:
    d = doubtful()

    d.fold(StepRetryScheduled(step="a", attempt=2, due_us=d.now, resolved_by="person:lin")).turn()

    assert (E.NOTHING, ["e0"], S.STARTED) == (d.item("e1"), d.undone(), d.state("a"))
    assert d.run.unit("a").attempt == 2


def test_a_person_has_it_rolled_back() -> None:
    d = doubtful(step("b", on_failure=OnFailure.STOP))

    d.fail("a", resolved_by="person:lin").fail("b", "refused")

    assert (["e1", "e0"], "ROLLED_BACK") == (d.undone(), d.run.state)


@pytest.mark.parametrize("way", ["complete", "fail"])
def test_only_a_person_resolves_a_doubt(way: str) -> None:
    d = doubtful()

    with pytest.raises(EngineError, match="only a person"):
        getattr(d, way)("a")
    with pytest.raises(EngineError, match="only a person"):
        d.fold(StepRetryScheduled(step="a", attempt=2, due_us=0))


def test_a_doubt_keeps_a_stopping_run_from_unwinding() -> None:
    d = doubtful(step("b"))

    d.fail("b")

    assert (Phase.DRAINING, "PAUSED") == (d.run.phase, d.run.state)
    d.fold(StepRetryScheduled(step="a", attempt=2, due_us=0, resolved_by="person:lin")).turn()
    assert (S.FAILED, ["e0"], "ROLLED_BACK") == (d.state("a"), d.undone(), d.run.state)


def test_a_step_cut_off_while_its_run_stops_is_inspected_and_never_run_again() -> None:
    d = driver(step("a", capability="do.again@1"), step("b"))
    d.intend("a", "e1")
    d.sees["e1"] = "applied"
    d.fail("b")

    d.crash().turn()

    assert ([], ["e1"], "ROLLED_BACK") == (d.did(Rerun), d.undone(), d.run.state)


def test_the_third_recovery_without_a_new_record_pauses_the_run() -> None:
    d = driver(step("a"))

    for _ in range(3):
        d.crash().turn()

    assert ([Pause("crash_loop", ("a",))], "PAUSED") == (d.did(Pause), d.run.state)
    assert 2 == len(d.did(Rerun))
    d.crash().turn()
    d.resume()
    assert (3, "RUNNING") == (len(d.did(Rerun)), d.run.state)


def read(path: str, name: str) -> EffectApplied:
    return EffectApplied(step=path, attempt=1, effect=name, type="fs.read", target="x")


@pytest.mark.parametrize("how", ["intended", "applied", "read", "refused"])
def test_to_come_further_between_recoveries_is_progress(how: str) -> None:
    d = driver(step("a", capability="do.again@1"))

    for n in range(5):
        d.fold(*(read("a", f"r{n}/{m}") for m in range(n)))
        match how:
            case "intended":
                d.intend("a", f"e{n}")
            case "applied":
                d.effect("a", f"e{n}")
            case "read":
                d.fold(read("a", f"e{n}"))
            case "refused":
                d.fold(EffectRefused(step="a", attempt=1, type="net", target="x", code="x.y"))
        d.crash().turn()

    assert ([], 5) == (d.did(Pause), len(d.did(Rerun)))


@pytest.mark.parametrize("capability", ["do.it@1", "do.again@1"])
def test_a_step_that_dies_after_its_first_effects_each_time_is_in_a_crash_loop(
    capability: str,
) -> None:
    d = driver(step("a", capability=capability))

    for n in range(3):
        d.fold(read("a", f"r{n}"))
        d.effect("a", f"e{n}")
        d.crash().turn()

    assert ([Pause("crash_loop", ("a",))], 2) == (d.did(Pause), len(d.did(Rerun)))
    assert ([] if capability == "do.again@1" else ["e0", "e1"]) == d.undone()


def test_what_recovery_finds_is_no_progress() -> None:
    d = driver(step("a"))

    for n in range(3):
        d.intend("a", f"e{n}")
        d.sees[f"e{n}"] = "applied"
        d.crash().turn()

    assert [Pause("crash_loop", ("a",))] == d.did(Pause)


def test_another_attempt_may_recover_as_often_as_the_first() -> None:
    d = driver(step("a", retry=RETRY))
    d.fold(*(read("a", f"r{n}") for n in range(4)))
    d.crash().turn().crash().turn()
    d.fail("a", "timeout").wait()

    d.fold(attrs.evolve(read("a", "s"), attempt=2))
    d.crash().turn().crash().turn()

    assert ([], S.STARTED) == (d.did(Pause), d.state("a"))


@given(st.lists(st.integers(0, 4), max_size=12), st.sampled_from(["do.it@1", "do.again@1"]))
def test_a_step_is_recovered_until_it_came_no_further_three_times_and_not_once_more(
    reaches: list[int], capability: str
) -> None:
    d, furthest, since = driver(step("a", capability=capability)), 0, 0
    for n, reach in enumerate(reaches):
        for m in range(reach):
            d.effect("a", f"e{n}/{m}")
        furthest, since = (reach, 1) if reach > furthest else (furthest, since + 1)
        d.crash().turn()
        if since == 3:
            break

    assert (since == 3) is (d.run.hold == "crash_loop")
    if d.run.hold:
        d.resume()
    assert (S.STARTED, True) == (d.state("a"), len(d.did(Rerun)) <= len(reaches))


def test_an_undo_cut_off_is_repeated_and_counts_as_a_try() -> None:
    d = driver(step("a"))
    d.effect("a", "a1")
    d.undos["a1"] = ["hangs"] * 9

    d.fail("a")
    for _ in range(5):
        d.crash().turn()

    assert [1, 2, 3, 4, 5] == [command.try_ for command in d.did(TakeBack)]
    assert [("crash_loop", "FAILED")] == [(left.cause, d.run.state) for left in d.did(Leave)]


def test_an_undo_cut_off_in_a_clearing_step_is_repeated() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "a1")
    d.undos["a1"] = ["hangs"]

    d.fail("a", "timeout").crash().turn()

    assert (["a1", "a1"], S.BACKOFF) == (d.undone(), d.state("a"))


def test_an_effect_whose_end_nobody_knows_is_inspected_before_the_unit_is_undone() -> None:
    d = driver(step("a"))
    d.effect("a", "e1")
    d.intend("a", "e2")
    d.sees["e2"] = "applied"

    d.fail("a")

    assert ([Inspect("e2", "a")], ["e2", "e1"]) == (d.did(Inspect), d.undone())


def test_an_effect_that_stays_unknown_after_a_failure_is_in_doubt() -> None:
    d = driver(step("a"))
    d.intend("a", "e1")
    d.fold(EffectFailed(step="a", attempt=1, effect="e1", err=ERR, applied="unknown"))
    d.sees["e1"] = "unknown"

    d.fail("a")

    assert (S.IN_DOUBT, E.INTENDED) == (d.state("a"), d.item("e1"))


def test_after_a_replay_the_run_names_the_values_it_needs() -> None:
    d = driver(step("a"), step("b", with_={"x": "${steps.a.output}", "y": "${inputs.z}"}))
    d.complete("a", {"n": 1})
    for index, fact in enumerate(d.facts):
        bare = {"inputs": None} if index == 0 else {"output": None, "arguments": None}
        known = attrs.fields_dict(type(fact))
        d.facts[index] = attrs.evolve(fact, **{k: v for k, v in bare.items() if k in known})

    d.crash()

    needed = {(value.path, value.kind): value for value in d.run.unloaded()}
    assert {("", "inputs"): 0, ("a", "output"): 2} == {k: v.rseq for k, v in needed.items()}
    d.run.supply(needed["a", "output"], {"n": 1})
    d.run.supply(needed["", "inputs"], {"z": 2})
    assert ((), {"n": 1}) == (d.run.unloaded(), d.run.scope("b")["steps"]["a"]["output"])


# ---- what is illegal -----------------------------------------------------------------------------
def illegal(d: Driver, fact: Fact) -> str:
    before = summary(d.run)
    with pytest.raises(EngineError) as caught:
        d.fold(fact)
    assert "decider.illegal_event" == caught.value.code
    assert before == summary(d.run)
    return str(caught.value)


def test_a_run_begins_with_its_opening() -> None:
    plan = driver(step("a")).plan

    for facts in ([], [StepStarted(step="a", attempt=1)]):
        with pytest.raises(EngineError, match=r"begins with run\.opened"):
            replay(plan, "r1", facts, started_at=AT)


def test_a_second_opening_and_unknown_steps_are_illegal() -> None:
    d = driver(step("a"))

    assert "is open" in illegal(Driver(workflow(step("a"))), opened())
    assert "no such step" in illegal(d, StepStarted(step="zzz", attempt=1))
    assert "no such step" in illegal(d, StepStarted(step="", attempt=1))


@pytest.mark.parametrize(
    ("fact", "why"),
    [
        (StepStarted(step="a", attempt=2), "attempt 2 follows 1"),
        (StepStarted(step="b", attempt=1), "does not follow WAITING"),
        (StepCompleted(step="a", attempt=2, dur_us=0), "attempt 1 is the current one"),
        (StepCompleted(step="a", attempt=1, epoch=1, dur_us=0), "epoch 0"),
        (StepRetryScheduled(step="a", attempt=2, due_us=0), "does not follow STARTED"),
        (StepSkipped(step="b", cause="need"), "does not follow WAITING"),
        (UndoStarted(step="a", effect="zzz", strategy="s", try_=1, cause="x"), "no effect zzz"),
        (UndoStarted(step="a", effect="e1", strategy="s", try_=1, cause="x"), "not the turn"),
        (UndoApplied(step="a", effect="e1"), "does not follow APPLIED"),
        (UndoFailed(step="a", effect="e1", err=ERR), "not the turn"),
        (EffectFailed(step="a", attempt=1, effect="e1", err=ERR), "does not follow APPLIED"),
        (RunClosed(state="COMPLETED", count=1, dur_us=0), "cannot end COMPLETED"),
        (RunClosed(state="ROLLED_BACK", count=1, dur_us=0), "cannot end ROLLED_BACK"),
        (RunResumed(mode="forward"), "cannot resume"),
        (RunResumed(mode="rollback"), "cannot rollback"),
        (UndoDiscarded(cause="quota"), "is forward"),
    ],
)
def test_what_the_table_lacks_is_illegal_and_changes_nothing(fact: Fact, why: str) -> None:
    d = driver(step("a"), step("b", "a"))
    d.effect("a", "e1")
    d.effect("a", "e2")

    assert why in illegal(d, fact)


def test_containers_end_only_when_what_is_inside_has() -> None:
    d = fan(2)
    started = StepStarted(step="x", attempt=1, arguments=[])

    assert "have not ended" in illegal(d, StepCompleted(step="each", attempt=1, dur_us=0))
    assert "have not ended" in illegal(d, d.failure_of("each"))
    other = Driver(workflow(step("x", foreach="${inputs.of}")))
    assert "a length" in illegal(other, started)


def test_a_withdrawal_while_the_run_goes_on_is_illegal() -> None:
    d = asking()
    fact = HandshakeExpired(step="a", req="hs_1", version=1, digest=D, cause="withdrawn")

    assert "the run goes on" in illegal(d, fact)


def test_an_undo_out_of_turn_is_illegal() -> None:
    d = driver(step("a"))
    d.effect("a", "e1")
    d.effect("a", "e2")
    d.undos["e2"] = ["hangs"]
    d.fail("a")

    first = UndoStarted(step="a", effect="e1", strategy="s", try_=1, cause="failure")
    assert "not the turn of e1" in illegal(d, first)
    assert "at work" in illegal(d, attrs.evolve(first, effect="e2"))


def test_an_item_taken_back_is_never_applied_again() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "e1")
    d.fail("a", "timeout").wait()
    intent = EffectIntended(
        step="a",
        attempt=2,
        effect="e1",
        type="fs.write",
        target="x",
        request=D,
        undo={"strategy": "s"},
    )

    assert "does not follow UNDONE" in illegal(d, intent)


def test_what_takes_an_effect_back_is_intended_only_while_it_is_taken_back_and_makes_no_item() -> (
    None
):
    d = driver(step("a"))
    d.effect("a", "e1")
    d.effect("a", "e2")
    d.undos["e2"] = ["hangs"]
    of_undo = EffectIntended(
        step="a",
        attempt=1,
        effect="e2-undo/0",
        type="fs.write",
        target="x",
        request=D,
        undo={"strategy": "s"},
    )
    assert "e2 is not being taken back" in illegal(d, of_undo)
    d.fail("a")

    d.fold(of_undo)
    assert ["e1", "e2"] == [item.effect for item in d.run.items]
    assert "e1 is not being taken back" in illegal(d, attrs.evolve(of_undo, effect="e1-undo/0"))
    assert "zzz is not being taken back" in illegal(d, attrs.evolve(of_undo, effect="zzz-undo/0"))


def test_a_failing_record_of_a_clearing_step_needs_something_that_remains() -> None:
    d = driver(step("a", retry=RETRY))
    d.effect("a", "e1")
    d.undos["e1"] = ["failed"]
    d.fail("a", "timeout")

    assert "nothing of the attempt remains" in illegal(d, d.failure_of("a"))
    early = StepRetryScheduled(step="a", attempt=2, due_us=0)
    assert "no further attempt is due" in illegal(d, early)
    assert "attempt 7 follows 1" in illegal(d, attrs.evolve(early, attempt=7))


def test_a_skip_names_its_true_cause() -> None:
    d = Driver(workflow(step("a")))

    assert "need is not why" in illegal(d, StepSkipped(step="a", cause="need"))


# ---- laws ----------------------------------------------------------------------------------------
def summary(run: Run) -> dict[str, Any]:
    """Everything that may differ between two runs and matters, without values kept in memory."""

    def plain(of: Any) -> Any:
        if isinstance(of, list):
            return [plain(one) for one in of]
        named = of.path if isinstance(of, Unit) else of.effect if isinstance(of, Item) else of
        return fields(named) if isinstance(named, Unwind) else named

    def fields(of: Any) -> dict[str, Any]:
        names = [a.name for a in attrs.fields(type(of)) if a.name not in {"step", "record"}]
        return {name: plain(getattr(of, name)) for name in names}

    return {
        "units": [fields(unit) for unit in run.units],
        "items": [fields(item) for item in run.items],
        "of": (run.phase, run.hold, run.ending, run.cause, run.closed, run.next_rseq),
        "counts": dict(run.counts),
        "item_counts": dict(run.item_counts),
        "containers": run.containers,
        "ready": sorted(run.ready),
        "alarms": sorted(run.alarms),
        "duties": list(run.duties),
        "interrupts": list(run.interrupts),
        "outputs": sorted(run.outputs),
    }


GOOD = {S.DONE, S.TOLERATED, S.SKIPPED}
ENDED = GOOD | {S.FAILED, S.VOID}
BEGUN = set(S) - ENDED - {S.WAITING, S.READY}
IN_WORLD = {E.INTENDED, E.APPLIED, E.UNDOING, E.RESIDUE, E.GONE}

#: Moves that follow from other facts: of needs, items, the container or the run.
DERIVED: frozenset[tuple[Any, Any]] = frozenset(
    {
        (S.WAITING, S.READY),  # the last need ended
        (S.READY, S.VOID),  # the run, or the scope, stops
        (S.GRANTED, S.VOID),  # the same, and there is no request to close
        (S.BACKOFF, S.FAILED),  # the same: no further attempt
        (S.CLEARING, S.FAILED),  # the same; or inspected, and no retry is left
        (S.CLEARING, S.TOLERATED),  # all of it is taken back
        (S.CLEARING, S.BACKOFF),  # the same, and a person has set the time
        *((state, S.WAITING) for state in S),  # run.resumed, or a new attempt of the scope
        (S.FAILED, S.STARTED),  # run.resumed: a container that steps of the set stand in
        (S.DONE, S.STARTED),
        (E.INTENDED, E.APPLIED),  # the step completed, or a person said so
        (E.INTENDED, E.NOTHING),  # a person said so
        *((state, E.GONE) for state in E),  # undo.discarded
    }
)


def view(run: Run) -> Any:
    """What a mirror that never recovers must agree on with the engine."""
    units = [(u.path, u.state, u.attempt, u.starts, u.epoch, u.reruns) for u in run.units[1:]]
    items = [(i.effect, i.state, i.order, i.tries, i.cause) for i in run.items]
    return units, items, run.phase, run.hold, run.ending, run.closed, run.next_rseq


def rescan(run: Run) -> None:
    """Count everything anew, the naive way, and compare."""
    units = run.units[1:]
    assert +Counter(run.counts) == Counter(u.state for u in units)
    assert +Counter(run.item_counts) == Counter(item.state for item in run.items)
    unloaded = {(value.path, value.kind) for value in run.unloaded()}
    open_ = [u for u in run.units if isinstance(u, Container) and u.state is S.STARTED]
    assert run.containers == len(open_) - 1
    for container in open_:
        inner, children = container, container.children
        assert inner.active == sum(child.state in BEGUN for child in children)
        if container.is_fanout:
            begun = [c for c in children[: inner.count] if c.state in BEGUN | {S.READY}]
            is_rewound = any(child.epoch for child in units)  # items are reopened side by side
            assert len(begun) <= container.step.spec.max_parallel or is_rewound
            now = children[: inner.next_item]
            assert inner.pending == inner.count - sum(c.state in GOOD for c in now)
            continue
        assert inner.pending == sum(child.state not in GOOD for child in children)
        if run.phase is Phase.CLOSED:
            continue
        for child, plan in zip(children, run.block_of(container).steps, strict=True):
            needs = [children[need] for need in plan.needs]
            is_free = all(need.state in GOOD for need in needs)
            assert is_free or child.state not in BEGUN | {S.READY}, "started before its needs"
            assert not (is_free and child.state is S.WAITING and not child.is_doomed)
            users = [c for c in children if child.ordinal in c.step.uses]
            if (
                child.state is S.DONE
                and not isinstance(child, Container)
                and any(u.state not in ENDED for u in users)
            ):
                known = run.outputs.get(child.index) == f"out {child.path}"
                assert known or (child.path, "output") in unloaded


class Watch:
    """Folds what a `Driver` folds into a mirror, and holds both against the laws."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self.mirror = open_run(driver.plan, "r1", driver.facts[0], started_at=AT)
        self.fold = driver.fold
        driver.fold = self.watched  # the driver has one door for facts
        self.order: tuple[int, int] | None = None

    def watched(self, *facts: Fact) -> Driver:
        for fact in facts:
            run = self.driver.run
            before = {u.path: u.state for u in run.units}
            items = {i.effect: i.state for i in run.items}
            if isinstance(fact, StepStarted | UndoStarted):
                assert run.hold is None
                assert run.phase is not Phase.CLOSED
            if isinstance(fact, StepStarted):
                assert run.phase in (Phase.OPEN, Phase.FORWARD)
            self.unwinds(run, fact)
            self.fold(fact)
            evolve(self.mirror, fact)
            assert view(run) == view(self.mirror)
            self.moves(run, fact, before, items)
            rescan(run)
            self.ends(run, fact)
        return self.driver

    def unwinds(self, run: Run, fact: Fact) -> None:
        """Undo goes against the order in which units ended; an item is undone once."""
        match fact:
            case UndoStarted(effect=effect) if run.phase is Phase.UNWINDING:
                item = run.item(effect)
                assert self.order is None or (item.order, item.index) <= self.order
                self.order = (item.order, item.index)
            case UndoApplied(effect=effect):
                done = [f for f in self.driver.facts if isinstance(f, UndoApplied)]
                assert effect not in {f.effect for f in done}
            case RunResumed() | RunCancelRequested() | StepFailed():
                self.order = None
            case _:
                pass

    def moves(self, run: Run, fact: Fact, before: Any, items: Any) -> None:
        """Each state moved as the table says for this fact, or as a derived move."""
        pairs = [(before[u.path], u.state) for u in run.units if u.path in before]
        pairs += [(items[i.effect], i.state) for i in run.items if i.effect in items]
        for old, new in pairs:
            named = new in TRANSITIONS[old].get(type(fact), ())
            derived = (old, new) in DERIVED or new is S.READY  # that is by way of WAITING
            assert old is new or named or derived, (fact, old, new)

    def story(self) -> str:
        """Give the run's facts, shortly."""
        names = [getattr(f, "effect", getattr(f, "step", "")) for f in self.driver.facts]
        return " ".join(f"{f.kind}:{n}" for f, n in zip(self.driver.facts, names, strict=True))

    def ends(self, run: Run, fact: Fact) -> None:
        if not isinstance(fact, RunClosed):
            return
        remains = any(item.state in IN_WORLD for item in run.items)
        if run.ending == "rollback":
            assert (fact.state == "ROLLED_BACK") is not remains
        if fact.state == "COMPLETED":
            open_: list[Any] = [run.root]
            while open_:
                for child in open_.pop().children:
                    assert child.state in GOOD or child.path.endswith("]")
                    assert not child.is_taken_back, (child.path, self.story())
                    is_open = isinstance(child, Container) and child.state is S.DONE
                    open_ += [child] if is_open else []


INNER = workflow(step("p"), step("q", with_={"x": "${steps.p.output}"}, retry=RETRY), name="in")
names = st.sampled_from(["timeout", "error", "refused"])


@st.composite
def workflows(draw: Any) -> WorkflowSpec:
    steps = []
    for n in range(draw(st.integers(1, 6))):
        needs = [
            Need(f"s{m}", even_if_skipped=draw(st.booleans()))
            for m in range(n)
            if draw(st.integers(0, 2)) == 0
        ]
        reads = {f"x{m}": f"${{steps.s{m}.output}}" for m in range(n) if draw(st.booleans())}
        more: dict[str, Any] = {
            "with_": reads,
            "on_failure": draw(st.sampled_from([None, *OnFailure])),
            "retry": draw(st.sampled_from([Retry(), RETRY])),
        }
        match draw(st.sampled_from(["call", "call", "again", "scope", "each", "scopes"])):
            case "again":
                more["capability"] = "do.again@1"
            case "scope":
                more["workflow"] = "in@1"
            case "each":
                more |= {"foreach": "${inputs.of}", "max_parallel": 2}
            case "scopes":
                more |= {"foreach": "${inputs.of}", "workflow": "in@1", "max_parallel": 1}
        steps.append(step(f"s{n}", *needs, **more))
    return workflow(*steps, in_flight=draw(st.sampled_from(list(InFlight))))


class Chance:
    """Plays people, handlers, strategies and crashes."""

    def __init__(self, data: Any, driver: Driver) -> None:
        self.data, self.d, self.effects = data, driver, 0

    def pick(self, *options: Any) -> Any:
        return self.data.draw(st.sampled_from(options))

    def happens(self, one_in: int) -> bool:
        return self.data.draw(st.integers(1, one_in)) == one_in

    def scripts(self) -> None:
        """Prepare what the next commands meet."""
        d = self.d
        for unit in d.run.units[1:]:
            if unit.state in (S.READY, S.WAITING):
                d.asks.discard(unit.path)
                if self.happens(6):
                    d.asks.add(unit.path)
                if unit.attempt == 0 and unit.step.kind == "call" and self.happens(10):
                    d.skips.add(unit.path) if not unit.path.endswith("]") else None
            if unit.step.kind == "fanout":
                d.lists.setdefault(unit.path, [1] * self.pick(0, 1, 3))
        for item in d.run.items:
            ends = self.pick(
                "applied", "applied", "applied", "conflict", "failed", "final", "hangs"
            )
            d.undos.setdefault(item.effect, []).append(ends)
            d.sees[item.effect] = self.pick("applied", "not_applied", "partial", "unknown")

    def act(self) -> None:
        """Let one thing happen."""
        d = self.d
        self.scripts()
        match self.pick("turn", "turn", "work", "work", "work", "person", "time", "crash"):
            case "turn":
                d.turn()
            case "work":
                self.work()
            case "person":
                self.person()
            case "time":
                if decide(d.run, d.now, 1).wake_at_us is not None:
                    d.wait()
            case "crash":
                d.crash()

    def work(self) -> None:
        """A handler does something, or an undo that hung comes back."""
        d = self.d
        for item in d.run.items:
            if item.state is E.UNDOING and not item.is_lost:
                d.fold(UndoApplied(step=item.unit.path, effect=item.effect))
                return
        running = [p for p in d.running() if d.run.unit(p).unwind is None]
        if not running:
            return
        path = self.pick(*running)
        match self.pick("effect", "effect", "intend", "complete", "complete", "fail"):
            case "effect" | "intend" as how:
                self.effects += 1
                undo = self.pick(*[{"strategy": "s"}] * 6, {"none": "gone"}, {})
                name, on = f"e{self.effects}", f"fs/{self.pick('x', 'x/y', 'z', 'w')}"
                d.intend(path, name, on=on, undo=undo)
                if how == "effect":
                    d.apply(path, name)
            case "complete":
                d.complete(path, f"out {path}")
            case "fail":
                d.fail(path, self.data.draw(names))

    def person(self) -> None:
        d, run = self.d, self.d.run
        for unit in run.units[1:]:
            if unit.state is S.ASKED and self.happens(2):
                match self.pick("grant", "drift"):
                    case "grant":
                        d.fold(
                            HandshakeGranted(step=unit.path, version=2, digest=D, req=unit.request)
                        )
                    case "drift" if not unit.is_doomed:
                        d.expire(unit.path, "drift")
                return
        legal = sorted(run.actions())
        if not legal or not self.happens(2):
            return
        match self.pick(*legal):
            case "pause":
                d.fold(RunPaused(cause=self.pick("operator", "stop")))
            case "resume":
                d.fold(RunResumed(mode="forward"))
            case "cancel":
                d.fold(RunCancelRequested(via="x", mode=self.pick("rollback", "keep")))
            case "resolve":
                self.resolve()
            case mode:
                self.rewind(mode)

    def rewind(self, mode: Any) -> None:
        paths = [None, *(u.path for u in self.d.run.units[1:])]
        path = self.pick(*paths)
        if mode == "retry":
            fact = RunResumed(mode="retry", from_=path or paths[-1])
        else:
            fact = RunResumed(mode="rollback", to=path, inclusive=self.happens(2))
        before = summary(self.d.run)
        try:
            evolve(copy.deepcopy(self.d.run), fact)
        except EngineError:
            assert before == summary(self.d.run)
        else:
            self.d.fold(fact)

    def resolve(self) -> None:
        d = self.d
        doubtful = next(u for u in d.run.units[1:] if u.state is S.IN_DOUBT)
        by = {"resolved_by": "person:lin"}
        match self.pick("applied", "not_applied", "roll_back"):
            case "applied":
                d.complete(doubtful.path, f"out {doubtful.path}", **by)
            case "not_applied":
                due = StepRetryScheduled(
                    step=doubtful.path, attempt=doubtful.attempt + 1, due_us=d.now, **by
                )
                d.fold(due)
            case "roll_back":
                d.fail(doubtful.path, **by)

    def go_to_the_end(self) -> None:
        """Every step does something or nothing, ends well or fails, until the run is closed."""
        d = self.d
        while not d.run.closed:
            for unit in d.run.units[1:]:
                if unit.step.kind == "fanout":
                    d.lists.setdefault(unit.path, [1] * self.pick(0, 1, 3))
            d.turn()
            if running := d.running():
                path = self.pick(*running)
                for _ in range(self.pick(0, 1, 1, 2)):
                    self.effects += 1
                    d.effect(path, f"e{self.effects}", on=f"fs/{self.pick('x', 'x/y', 'z', 'w')}")
                if self.happens(5):
                    d.fail(path, self.data.draw(names))
                else:
                    d.complete(path, f"out {path}")
            elif not d.run.closed:
                d.wait()

    def finish(self) -> None:
        """Everybody does their part now: the run has to end."""
        d = self.d
        for _ in range(400):
            d.undos, d.asks = {}, set()
            d.turn()
            if d.run.closed:
                return
            self.help()
        pytest.fail(f"never ended: {d.states()} {d.run.phase} {d.commands[-5:]}")

    def help(self) -> None:
        d = self.d
        hung = [i for i in d.run.items if i.state is E.UNDOING]
        asked = [u for u in d.run.units[1:] if u.state is S.ASKED]
        if d.run.hold:
            d.fold(RunResumed(mode="forward"))
        elif hung:
            d.fold(UndoApplied(step=hung[0].unit.path, effect=hung[0].effect))
        elif running := d.running():
            d.complete(running[0], f"out {running[0]}")
        elif asked:
            d.fold(HandshakeGranted(step=asked[0].path, version=2, digest=D, req=asked[0].request))
        elif d.run.counts[S.IN_DOUBT]:
            self.resolve()
        else:
            stuck = (d.states(), d.run.phase, [fact.kind for fact in d.facts[-12:]])
            assert decide(d.run, d.now, 1).wake_at_us is not None, stuck
            d.wait()


@given(workflows(), st.data())
def test_any_run_obeys_the_laws(spec: WorkflowSpec, data: Any) -> None:
    d = Driver(spec, workflows=[INNER])
    Watch(d)
    chance = Chance(data, d)
    for _ in range(data.draw(st.integers(5, 60))):
        chance.act()
    chance.finish()


# ---- laws of a rewind ----------------------------------------------------------------------------
def inside(unit: Unit) -> list[Container]:
    """Give the containers around a unit, the run itself not among them."""
    found = []
    while unit.parent.index:
        unit = unit.parent
        found.append(unit)
    return found


def is_reopened(unit: Unit) -> bool:
    """Whether steps in it can be rewound without all of it."""
    open_ = (S.STARTED, S.DONE, S.FAILED)
    return isinstance(unit, Container) and unit.is_open and unit.state in open_


def lies_on(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def dependents(unit: Unit) -> Iterable[Unit]:
    for one in (unit, *inside(unit)):
        siblings = [] if one.parent.is_fanout else one.parent.children
        yield from (s for s in siblings if one.ordinal in (*s.step.needs, *s.step.uses))


def not_standing(run: Run) -> Iterable[Unit]:
    for unit in run.units[1:]:
        is_seen = all(is_reopened(a) or a.state is S.STARTED for a in inside(unit))
        is_gone = unit.state in (S.FAILED, S.VOID) or (unit.state is S.DONE and unit.is_taken_back)
        if is_seen and is_gone and not is_reopened(unit):
            yield unit


def drawn_in(run: Run, unit: Unit) -> Iterable[Unit]:
    """Give what cannot stand once *unit* is taken back."""
    yield from dependents(unit)
    yield from unit.children if isinstance(unit, Container) else ()
    pairs = product(unit.in_state(E.APPLIED), run.items)
    for item, later in pairs:
        is_later = later.state is E.APPLIED and later.order > item.order
        if is_later and any(lies_on(*claims) for claims in product(item.claims, later.claims)):
            yield later.unit


def rewound(run: Run, top: Unit, *, inclusive: bool) -> set[str]:
    """Give the paths of what a rewind to *top* has to choose: grow a set until it is closed."""
    chosen: dict[str, Unit] = {}
    new = [*([top] if inclusive else dependents(top)), *not_standing(run)]
    while new:
        for unit in new:
            whole = unit
            for around in inside(unit):
                whole = whole if is_reopened(around) else around
            chosen[whole.path] = whole
        found = [one for unit in tuple(chosen.values()) for one in drawn_in(run, unit)]
        new = [one for one in found if one.path not in chosen and not is_inside(one, chosen)]
    return set(chosen)


def is_inside(unit: Unit, chosen: Iterable[str]) -> bool:
    """Whether it stands for a container that is chosen."""
    return any(not is_reopened(around) and around.path in chosen for around in inside(unit))


@given(workflows(), st.data())
def test_a_rewind_takes_back_and_runs_again_exactly_what_it_has_to(
    spec: WorkflowSpec, data: Any
) -> None:
    d = Driver(spec, workflows=[INNER])
    watch, chance = Watch(d), Chance(data, d)
    chance.go_to_the_end()
    run, mode = d.run, chance.pick("retry", "rollback")
    assume(mode in run.actions())
    top = run.unit(chance.pick(*(unit.path for unit in run.units[1:])))
    inclusive = mode == "retry" or chance.happens(2)
    expected = rewound(run, top, inclusive=inclusive)
    epochs = {u.path: u.epoch for u in run.units[1:]}
    begun = {u.path for u in run.units[1:] if u.state not in (S.WAITING, S.READY)}
    items = [i for i in run.items if i.state is E.APPLIED and i.unit.path in expected]
    items.sort(key=lambda item: (item.order, item.index), reverse=True)
    before = len(d.undone())

    more = {"from_": top.path} if mode == "retry" else {"to": top.path, "inclusive": inclusive}
    d.fold(RunResumed(mode=mode, by="person:lin", **more))
    again = {u.path for u in run.units[1:] if u.epoch > epochs.get(u.path, 0)}
    assert expected & begun == again, (top.path, watch.story())
    d.turn()

    assert [item.effect for item in items] == d.undone()[before:]
    assert mode == "retry" or run.state == "PAUSED"
    chance.finish()
    assert "COMPLETED" == run.closed


# ---- costs ---------------------------------------------------------------------------------------
def chain(count: int) -> WorkflowSpec:
    return workflow(
        *(
            step(f"s{n}", with_={"x": f"${{steps.s{n - 1}.output}}"} if n else {})
            for n in range(count)
        )
    )


def wide(count: int) -> WorkflowSpec:
    return workflow(*(step(f"s{n}") for n in range(count)))


def gathered(count: int) -> WorkflowSpec:
    ends = step("end", *(f"s{n}" for n in range(count)))
    return workflow(*(step(f"s{n}") for n in range(count)), ends)


def layers(count: int) -> WorkflowSpec:
    names = [[f"s{n}_{m}" for m in range(10)] for n in range(count // 10)]
    return workflow(
        *(step(name, *(names[n - 1] if n else ())) for n, row in enumerate(names) for name in row)
    )


def skipping(count: int) -> WorkflowSpec:
    return workflow(step("s0"), *(step(f"s{n}", "s0") for n in range(1, count)))


def listed(count: int) -> WorkflowSpec:
    return workflow(step("each", foreach="${inputs.of}", max_parallel=count))


def drive(spec: WorkflowSpec, count: int, *, fails: bool | None) -> Run:
    """Run *spec* with one effect a step, to its end, or until the last one fails and back."""
    d = Driver(spec)
    run, facts = d.run, 0
    while run.phase is not Phase.CLOSED:
        for command in decide(run, 0, 32 - run.calls).commands:
            match command:
                case Expand():
                    evolve(run, StepStarted(step=command.step, attempt=1, items=count))
                case Admit() if fails is None:
                    evolve(run, StepSkipped(step=command.step, cause="when"))
                case Admit():
                    d.fold(d.start_of(command))
                    d.effect(command.step, command.step)
                    facts += 1
                    if fails and facts == count:
                        evolve(run, d.failure_of(command.step))
                    else:
                        evolve(run, StepCompleted(step=command.step, attempt=1, dur_us=0, output=1))
                case TakeBack(item=effect, step=path):
                    evolve(
                        run,
                        UndoStarted(
                            step=path, effect=effect, strategy="s", try_=1, cause="failure"
                        ),
                    )
                    evolve(run, UndoApplied(step=path, effect=effect))
                case _:
                    d.carry_out(command)
    return run


def work(shape: Callable[[int], WorkflowSpec], count: int, *, fails: bool | None) -> int:
    """Count the calls of functions that a run of *count* steps makes, compiling included."""
    calls = 0

    def note(_: Any, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    spec = shape(count)
    sys.setprofile(note)
    try:
        drive(spec, count, fails=fails)
    finally:
        sys.setprofile(None)
    return calls


@pytest.mark.parametrize("fails", [False, True], ids=["forward", "and back"])
@pytest.mark.parametrize("shape", [chain, wide, gathered, layers, listed])
def test_a_step_costs_the_same_in_a_large_run_as_in_a_small_one(
    shape: Callable[[int], WorkflowSpec], *, fails: bool
) -> None:
    small, large = work(shape, 100, fails=fails) / 100, work(shape, 1_000, fails=fails) / 1_000

    assert large < 1.2 * small


def test_skipping_many_steps_costs_each_the_same() -> None:
    small, large = work(skipping, 100, fails=None) / 100, work(skipping, 2_000, fails=None) / 2_000

    assert large < 1.2 * small


def test_a_chain_of_50_000_steps_compiles_runs_and_unwinds() -> None:
    needs = workflow(*(step(f"s{n}", *([f"s{n - 1}"] if n else ())) for n in range(50_000)))

    assert drive(needs, 50_000, fails=True).state == "ROLLED_BACK"

"""A turn of a run: ask the decider, do what it says, until it says nothing more.

No transition is decided here.  Each command is answered by its accepting fact in the same turn, so
none is decided twice; what takes time (a handler, an undo, a policy) records its fact when it ends
and starts the next turn.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, assert_never

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
from awe_core.decider import Kind, decide, wants
from awe_core.engine.steps import Steps, truthy
from awe_core.engine.undoing import Undoing
from awe_core.errors import AweError, EngineError, WorkflowError
from awe_core.events import (
    Failure,
    HandshakeExpired,
    RunCancelRequested,
    RunClosed,
    RunPaused,
    StepCompleted,
    StepFailed,
    StepInDoubt,
    StepRetryScheduled,
    StepSkipped,
    StepStarted,
    UndoFailed,
)
from awe_core.invoke import fault_of

if TYPE_CHECKING:
    from awe_core.commands import Command
    from awe_core.decider import PlanStep
    from awe_core.engine.active import ActiveRun
    from awe_core.engine.parts import Parts
    from awe_core.engine.plans import Plans
    from awe_core.values import Json

COMMANDS_A_TURN = 32  #: so that a run of 10,000 steps does not starve a call of one


class Turns:
    """Drives runs, one turn at a time."""

    def __init__(self, parts: Parts, plans: Plans) -> None:
        """Drive with *parts*."""
        self._parts = parts
        self._plans = plans
        self._steps = Steps(parts, self.turn)
        self._undoing = Undoing(parts, self.turn)

    def turn(self, active: ActiveRun) -> None:
        """Do what the decider says now; schedule the next turn if more is to be done or due."""
        if active.failed is not None:
            return
        try:
            done = self._decided(active)
        except AweError as error:
            active.give_up(error)
            return
        self._show(active)
        if done >= COMMANDS_A_TURN:
            asyncio.get_running_loop().call_soon(self.turn, active)

    def _decided(self, active: ActiveRun) -> int:
        done = 0
        while done < COMMANDS_A_TURN:
            now = self._parts.clock_us()
            room = self._parts.settings.max_steps_in_flight - len(active.open_steps)
            decision = decide(active.run, now, max(0, room) + len(active.judging))
            fresh = [c for c in decision.commands if not active.is_under_way(c)]
            if not fresh:
                active.wake_at(decision.wake_at_us, self.turn)
                return done
            for command in fresh:
                if wants(active.run, command, now):
                    self._perform(active, command)
                done += 1
        return done

    def _perform(self, active: ActiveRun, command: Command) -> None:  # noqa: C901, PLR0912 - one table
        match command:
            case Admit():
                self._steps.admit(active, command)
            case Expand():
                self._expand(active, command)
            case Finish():
                self._finish(active, command)
            case Skip(step=step):
                active.record(StepSkipped(step=step, cause="need"))
            case Schedule():
                active.record(self._scheduled(command))
            case Withdraw():
                self._withdraw(active, command)
            case Interrupt(step=step):
                active.interrupt(step)
            case Inspect():
                self._undoing.inspect(active, command)
            case TakeBack():
                self._undoing.take_back(active, command)
            case Leave():
                active.record(
                    UndoFailed(
                        step=command.step,
                        effect=command.item,
                        err=Failure(f"undo.{command.cause}", command.why),
                        cause=command.cause,
                    )
                )
            case Cancel(cause=cause):
                active.record(RunCancelRequested(via="engine", mode="rollback", cause=cause))
            case Pause(cause=cause, steps=steps):
                active.record(RunPaused(cause=cause, steps=steps))
            case Rerun():
                self._steps.rerun(active, command)
            case Doubt():
                active.record(_doubt(command, active.inspected))
            case Close():
                self._close(active, command)
            case _:
                assert_never(command)

    # ---- containers ----------------------------------------------------------------------------
    def _expand(self, active: ActiveRun, command: Expand) -> None:
        unit = active.run.unit(command.step)
        step = unit.step
        if step is None:
            raise EngineError("engine.defect", run=active.run_id, why="a run is no step")
        admit = Admit(command.step, command.attempt, command.epoch)
        try:
            scope = active.run.scope(command.step)
            when = active.run.when(command.step)
            if when is not None and not truthy(when.evaluate(scope)):
                active.record(
                    StepSkipped(step=command.step, cause="when", epoch=command.epoch or None)
                )
                return
            if step.kind is Kind.FANOUT and step.foreach is not None:
                inside = _items(step.foreach.evaluate(scope), command.step)
                items, called = len(inside), None
            else:
                inside = self._inputs(step, step.with_.evaluate(scope))
                items, called = None, step.spec.workflow
        except AweError as error:
            self._steps.fail(active, admit, error)
            return
        active.record(
            StepStarted(
                step=command.step,
                attempt=command.attempt,
                epoch=command.epoch or None,
                items=items,
                scope=called,
                arguments=inside,
            )
        )

    def _inputs(self, step: PlanStep, given: Json) -> Json:
        """Check what a sub-workflow is given against its own inputs."""
        if step.block is None:
            return given
        return self._plans.inputs(step.block.spec).apply(given, side="input")

    def _finish(self, active: ActiveRun, command: Finish) -> None:
        path, run = command.step, active.run
        unit = run.unit(path)
        epoch = unit.epoch or None
        failure, class_ = command.failure, command.class_ or "error"
        output: Json = None
        if failure is None:
            try:
                output = self._collected(active, path)
            except AweError as error:
                fault = fault_of(error)
                failure, class_ = fault.failure, fault.class_
        if failure is not None:
            failed = StepFailed(
                step=path, attempt=command.attempt, epoch=epoch, err=failure, class_=class_
            )
            active.record(failed)
            return
        active.record(
            StepCompleted(step=path, attempt=command.attempt, epoch=epoch, dur_us=0, output=output)
        )

    @staticmethod
    def _collected(active: ActiveRun, path: str) -> Json:
        """The output of a fan-out (its items') or of a scope (its ``outputs``)."""
        unit = active.run.unit(path)
        if unit.step.kind is Kind.FANOUT:
            return active.run.collected(path)
        return active.run.block_of(unit).outputs.evaluate(active.run.inside(path))

    # ---- the rest ------------------------------------------------------------------------------
    def _scheduled(self, command: Schedule) -> StepRetryScheduled:
        delay = secrets.randbelow(command.base_us + 1) if command.is_jittered else command.base_us
        due = self._parts.clock_us() + delay
        return StepRetryScheduled(step=command.step, attempt=command.attempt, due_us=due)

    def _withdraw(self, active: ActiveRun, command: Withdraw) -> None:
        unit = active.run.unit(command.step)
        request = self._parts.ledger.of_step(active.run_id, command.step)
        self._parts.ledger.close(command.request)
        self._parts.ledger.drop(active.run_id, command.step)
        active.record(
            HandshakeExpired(
                step=command.step,
                req=command.request,
                version=unit.version,
                digest="" if request is None else request.digest,
                cause=command.cause,
            )
        )

    def _close(self, active: ActiveRun, command: Close) -> None:
        """Record the run's end; its result leaves only when that is durable."""
        output, state, failure = None, command.state, command.failure
        run = active.run
        if state == "COMPLETED":
            output = run.plan.root.outputs.evaluate(run.inside(""))
        now = self._parts.clock_us()
        active.record(
            RunClosed(
                state=state,
                count=active.run.next_rseq + 1,
                dur_us=max(0, now - active.opened_us),
                residue=command.residue,
                standing=command.standing,
                err=failure,
                output=output,
            )
        )

    async def _settled(self, active: ActiveRun) -> None:
        await active.barrier()
        active.settle()

    def _show(self, active: ActiveRun) -> None:
        """Keep the projection of the run in step with what is shown, and wake who waits for it."""
        if active.changed():
            self._parts.journal.append((), (active.row(),))
            if active.is_settled:
                active.spawn(self._settled(active))


def _doubt(command: Doubt, inspected: dict[str, str]) -> StepInDoubt:
    return StepInDoubt(
        step=command.step,
        attempt=command.attempt,
        effects=command.effects,
        inspect={effect: inspected.get(effect, "applied") for effect in command.effects},
    )


def _items(found: Json, step: str) -> list[Json]:
    if not isinstance(found, list):
        raise WorkflowError("workflow.foreach_no_list", step=step, found=type(found).__name__)
    return found

"""A turn of a run: ask the decider, do what it says, until it says nothing more.

No transition is decided here.  Each command is answered by its accepting fact in the same turn, so
none is decided twice; what takes time (a handler, an undo, a policy) runs in a task, records its
fact when it ends and takes the next turn.  One of the steps that such a turn starts goes on in the
same task: a workflow without branches costs one task.
"""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from typing import TYPE_CHECKING, assert_never

from awe_core import commands, events
from awe_core.decider import Kind, decide, wants
from awe_core.decider.table import ItemState
from awe_core.engine import steps, undoing
from awe_core.errors import AweError, WorkflowError
from awe_core.invoke import fault_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from awe_core.engine.active import ActiveRun, OpenStep
    from awe_core.engine.plans import Plans
    from awe_core.values import Json

_BEGIN = (commands.Admit, commands.Expand, commands.Skip)  #: what a queued run waits with
COMMANDS_A_TURN = 32  #: so that a run of 10,000 steps does not starve a call of one


class Turns:
    """Drives runs, one turn at a time."""

    def __init__(self, plans: Plans) -> None:
        """*plans* know the inputs of sub-workflows."""
        self._plans = plans
        self.is_over = False  #: what is under way ends on the record, and nothing begins

    def turn(self, active: ActiveRun) -> None:
        """Do what the decider says now, from outside the run's tasks."""
        self._decided(active)
        started, active.started = active.started, []
        self._begin(active, started)
        if active.has_news:
            active.spawn(active.tell())

    async def _drive(
        self, active: ActiveRun, work: Callable[[], Coroutine[None, None, None]] | None
    ) -> None:
        """Do *work*, take a turn, and go on with one step that it started."""
        task = asyncio.current_task()
        while work is not None:
            await work()
            self._decided(active)
            work, started, active.started = None, active.started, []
            if active.owes_barrier and (started or not active.has_news):  # telling waits for one
                active.owes_barrier = False
                await active.barrier()
            if started and task is not None and not task.cancelling():
                work = partial(steps.run, active, started.pop(0))
            self._begin(active, started)
            if active.has_news and work is not None:
                active.spawn(active.tell())
            elif active.has_news:
                await active.tell()

    def _begin(self, active: ActiveRun, started: list[OpenStep]) -> None:
        for step in started:
            self._beside(active, partial(steps.run, active, step))

    def _beside(self, active: ActiveRun, work: Callable[[], Coroutine[None, None, None]]) -> None:
        active.spawn(self._drive(active, work))

    def _decided(self, active: ActiveRun) -> None:
        """Carry commands out until none is left, or leave the rest to another turn."""
        if active.failed is not None or active.is_stopped or self.is_over:
            return
        done, rests, due_us, admission = 0, False, None, active.parts.admission
        try:
            while done < COMMANDS_A_TURN:
                now = active.now_us()
                room = admission.room(active) + len(active.judging)
                decision = decide(active.run, now, room)
                fresh = [c for c in decision.commands if not active.is_under_way(c)]
                if admission.is_queued(active.run_id):
                    fresh = [c for c in fresh if type(c) not in _BEGIN]
                if not fresh:
                    due_us = decision.wake_at_us
                    active.wake_at(due_us, self.turn)
                    rests = not decision.commands and _only_waits(active, room)
                    break
                for n, command in enumerate(fresh):
                    if not n or wants(active.run, command, now):  # the first was just decided
                        self._perform(active, command)
                done += len(fresh)
        except AweError as error:
            active.give_up(error)
            return
        active.show(rests=rests, due_us=due_us if rests else None)
        admission.update(active)
        if done >= COMMANDS_A_TURN:
            asyncio.get_running_loop().call_soon(self.turn, active)

    def _perform(self, active: ActiveRun, command: commands.Command) -> None:  # noqa: C901, PLR0912 - one table
        match command:
            case commands.Admit():
                asking = steps.admit(active, command)
                if asking is not None:
                    self._beside(active, asking)
            case commands.Expand():
                self._expand(active, command)
            case commands.Finish():
                _finish(active, command)
            case commands.Skip(step=step):
                active.record(events.StepSkipped(step=step, cause="need"))
            case commands.Schedule():
                active.record(_scheduled(active, command))
            case commands.Withdraw():
                _withdraw(active, command)
            case commands.Interrupt(step=step):
                active.interrupt(step)
            case commands.Inspect(item=item):
                active.inspecting.add(item)
                self._beside(active, partial(undoing.inspect, active, command))
            case commands.TakeBack():
                undoing.start(active, command)
                if active.run.hold is None:
                    self._beside(active, partial(undoing.take_back, active, command))
            case commands.Leave():
                active.record(_left(command))
            case commands.Cancel(cause=cause):
                active.record(events.RunCancelRequested(via="engine", mode="rollback", cause=cause))
            case commands.Pause(cause=cause, steps=held):
                active.record(events.RunPaused(cause=cause, steps=held))
            case commands.Rerun():
                steps.rerun(active, command)
            case commands.Doubt():
                active.record(_doubt(active, command))
            case commands.Close():
                active.record(_closed(active, command))
                if active.parts.settings.drops_completed and command.state == "COMPLETED":
                    active.spawn(active.parts.retention.discard(active.run_id, "success"))
            case _:
                assert_never(command)

    def _expand(self, active: ActiveRun, command: commands.Expand) -> None:
        """Open a fan-out with its items, or a sub-workflow with its checked inputs."""
        step = steps.planned(active, command.step)
        admit = commands.Admit(command.step, command.attempt, command.epoch)
        items = called = None
        try:
            if steps.is_held_back(active, admit):
                return
            scope = active.run.scope(command.step)
            if steps.is_left_out(active, admit, scope):
                return
            if step.kind is Kind.FANOUT and step.foreach is not None:
                most = active.parts.settings.limits.foreach_items
                inside = _items(step.foreach.evaluate(scope), command.step, most)
                items = len(inside)
            else:
                inside, called = step.with_.evaluate(scope), step.spec.workflow
                if step.block is not None:
                    inside = self._plans.inputs(step.block.spec).apply(inside, side="input")
        except AweError as error:
            steps.fail(active, admit, error)
            return
        active.record(
            events.StepStarted(
                step=command.step,
                attempt=command.attempt,
                epoch=command.epoch or None,
                items=items,
                scope=called,
                arguments=inside,
            )
        )


def _only_waits(active: ActiveRun, room: int) -> bool:
    """Whether nothing of a run without commands is at work here, or would be if there were room."""
    run = active.run
    is_starved = not room and bool(run.ready or run.duties or run.backoffs)
    is_at_work = run.calls or run.item_counts[ItemState.UNDOING] or is_starved
    return not (is_at_work or run.closed or active.dry)


def _items(found: Json, step: str, most: int) -> list[Json]:
    if not isinstance(found, list):
        raise WorkflowError("workflow.foreach_no_list", step=step, found=type(found).__name__)
    if len(found) > most:
        code, what = "workflow.too_large", "items"
        raise WorkflowError(code, workflow=step, found=len(found), what=what, most=most)
    return found


def _finish(active: ActiveRun, command: commands.Finish) -> None:
    """Record the end of a fan-out or scope, with its items' outputs or its ``outputs``."""
    path, attempt = command.step, command.attempt
    unit = active.run.unit(path)
    epoch = unit.epoch or None
    failure, class_ = command.failure, command.class_ or "error"
    output: Json = None
    is_unknown = active.dry is not None and path in active.dry.unknown
    if failure is None and not is_unknown:
        try:
            if unit.step.kind is Kind.FANOUT:
                output = active.run.collected(path)
            else:
                output = active.run.block_of(unit).outputs.evaluate(active.run.inside(path))
        except AweError as error:
            fault = fault_of(error)
            failure, class_ = fault.failure, fault.class_
    active.record(
        events.StepCompleted(step=path, attempt=attempt, epoch=epoch, dur_us=0, output=output)
        if failure is None
        else events.StepFailed(step=path, attempt=attempt, epoch=epoch, err=failure, class_=class_)
    )


def _withdraw(active: ActiveRun, command: commands.Withdraw) -> None:
    ledger = active.parts.ledger
    request = ledger.of_step(active.run_id, command.step)
    ledger.close(command.request)
    ledger.drop(active.run_id, command.step)
    active.record(
        events.HandshakeExpired(
            step=command.step,
            req=command.request,
            version=active.run.unit(command.step).version,
            digest="" if request is None else request.digest,
            cause=command.cause,
        )
    )


def _scheduled(active: ActiveRun, command: commands.Schedule) -> events.StepRetryScheduled:
    delay = secrets.randbelow(command.base_us + 1) if command.is_jittered else command.base_us
    return events.StepRetryScheduled(
        step=command.step, attempt=command.attempt, due_us=active.now_us() + delay
    )


def _left(command: commands.Leave) -> events.UndoFailed:
    err = events.Failure(f"undo.{command.cause}", command.why)
    return events.UndoFailed(step=command.step, effect=command.item, err=err, cause=command.cause)


def _doubt(active: ActiveRun, command: commands.Doubt) -> events.StepInDoubt:
    seen = tuple(active.inspected.get(effect, "applied") for effect in command.effects)
    return events.StepInDoubt(
        step=command.step, attempt=command.attempt, effects=command.effects, inspect=seen
    )


def _closed(active: ActiveRun, command: commands.Close) -> events.RunClosed:
    """The run's end; its result leaves only when that is durable."""
    run, output = active.run, None
    if command.state == "COMPLETED" and not (active.dry and active.dry.unknown):
        output = run.plan.root.outputs.evaluate(run.inside(""))
    return events.RunClosed(
        state=command.state,
        count=run.next_rseq + 1,
        dur_us=max(0, active.now_us() - active.opened_us),
        residue=command.residue,
        standing=command.standing,
        err=command.failure,
        output=output,
    )

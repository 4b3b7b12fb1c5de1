"""Admits steps: resolve, prepare, judge, start; and runs their handlers to a recorded end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from awe_core.commands import Admit, Rerun
from awe_core.context import Attempt
from awe_core.decider import step_key, wants
from awe_core.effects import StepBroker, StepRef
from awe_core.engine.active import OpenStep
from awe_core.errors import (
    AccessError,
    AweError,
    EngineError,
    JournalUnwritableError,
    PackError,
    TrustError,
)
from awe_core.events import (
    HandshakeRefused,
    HandshakeRequested,
    RunPaused,
    StepCompleted,
    StepFailed,
    StepSkipped,
    StepStarted,
    codec,
)
from awe_core.handshake import AskPeople, Grant, Refuse, ticket_of
from awe_core.invoke import fault_of
from awe_core.journal import SeqOf, Upsert

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.decider import PlanStep
    from awe_core.engine.active import ActiveRun
    from awe_core.engine.parts import Parts
    from awe_core.events import ConfirmationRequest
    from awe_core.handshake import Judged, Ticket
    from awe_core.invoke import Prepared
    from awe_core.values import Json, JsonObject


class Steps:
    """The life of steps in this process."""

    def __init__(self, parts: Parts, turn: Callable[[ActiveRun], None]) -> None:
        """*turn* is called when a step's end was recorded."""
        self._parts = parts
        self._turn = turn

    # ---- admission -----------------------------------------------------------------------------
    def admit(self, active: ActiveRun, command: Admit) -> None:
        """Accept an `Admit` with one fact: skipped, failed, asked, refused or started."""
        step = _planned(active, command.step)
        when = active.run.when(command.step)
        try:
            scope = active.run.scope(command.step)
            if when is not None and not truthy(when.evaluate(scope)):
                active.record(_skipped(command))
                return
            prepared = self._parts.invoker.prepare(
                step.spec.target,
                step.with_.evaluate(scope),
                purpose="resume",
                confirm=step.confirm,
            )
            _check_pinned(active, prepared)
        except (AccessError, PackError, TrustError) as error:
            self._hold(active, command, error)
            return
        except AweError as error:
            self.fail(active, command, error)
            return
        active.prepared[command.step] = prepared
        ticket = self._parts.ledger.ticket(active.run_id, command.step)
        if ticket is not None and ticket.digest == prepared.digest:
            self._use(active, command, step, ticket)
        else:
            self._judge(active, command, step, replaces=ticket)

    def rerun(self, active: ActiveRun, command: Rerun) -> None:
        """Start again, as the same attempt, what a crash cut off; its approval covers it."""
        admit = Admit(command.step, command.attempt, command.epoch)
        step = _planned(active, command.step)
        try:
            prepared = self._parts.invoker.prepare(
                step.spec.target,
                step.with_.evaluate(active.run.scope(command.step)),
                purpose="resume",
                confirm=step.confirm,
            )
            _check_pinned(active, prepared)
        except (AccessError, PackError, TrustError) as error:
            self._hold(active, admit, error)
            return
        except AweError as error:
            self.fail(active, admit, error)
            return
        active.prepared[command.step] = prepared
        self._start(active, admit, step)

    @staticmethod
    def _hold(active: ActiveRun, command: Admit, error: AweError) -> None:
        """Hold the run: what may not go on now is no failure, and takes nothing back."""
        cause = "stop" if error.code == "handshake.stopped" else "pack"
        cause = "trust" if isinstance(error, TrustError) else cause
        reason = f"{error.code}: {error.summary}"
        active.record(RunPaused(cause=cause, steps=(command.step,), reason=reason))

    def fail(
        self,
        active: ActiveRun,
        command: Admit,
        error: BaseException,
        *,
        started_ns: int | None = None,
    ) -> None:
        """Record that a step failed, before its handler or in it."""
        fault = fault_of(error)
        active.record(
            StepFailed(
                step=command.step,
                attempt=command.attempt,
                epoch=command.epoch or None,
                err=fault.failure,
                class_=fault.class_,
                retry_after_us=fault.retry_after_us,
                dur_us=0 if started_ns is None else (time.monotonic_ns() - started_ns) // 1_000,
            )
        )

    def _judge(
        self, active: ActiveRun, command: Admit, step: PlanStep, *, replaces: Ticket | None
    ) -> None:
        parts, prepared = self._parts, active.prepared[command.step]
        now = parts.clock_us()
        request = parts.invoker.ask(
            prepared,
            active.actor,
            run=active.run_id,
            step=command.step,
            attempts=step.retry.attempts,
            now_us=now,
            limit_us=active.opened.expires_us,
            replaces=None if replaces is None else replaces.request,
        )
        facts = parts.invoker.facts(prepared, active.actor, now)
        chain = parts.invoker.handshake.chain
        if chain.is_pure:
            self._judged(active, command, step, request, chain.judge_now(request, facts))
            return

        async def ask() -> None:
            judged = await chain.judge(request, facts)
            active.judging.discard(command.step)
            if wants(active.run, command, self._parts.clock_us()):
                self._judged(active, command, step, request, judged)
                self._turn(active)

        active.judging.add(command.step)
        active.spawn(ask())

    def _judged(
        self,
        active: ActiveRun,
        command: Admit,
        step: PlanStep,
        request: ConfirmationRequest,
        judged: list[Judged],
    ) -> None:
        prepared = active.prepared[command.step]
        match self._parts.invoker.fold(prepared, judged):
            case Refuse(by=by):
                active.record(
                    HandshakeRefused(
                        step=command.step,
                        digest=request.digest,
                        policy=codec.to_json(by),
                        reason=by.reason,
                    )
                )
            case Grant(by=by):
                self._start(active, command, step, policy=codec.to_json(by))
            case AskPeople(requirements=requirements) as people:
                asked = attrs.evolve(
                    request,
                    requirements=requirements,
                    policies=tuple(one.record for one in judged),
                    expires_us=people.expires_us(request.opened_us, request.expires_us),
                )
                self._ask(active, command, asked, judged)

    def _ask(
        self,
        active: ActiveRun,
        command: Admit,
        request: ConfirmationRequest,
        judged: list[Judged],
    ) -> None:
        """Make the question durable; people see it only afterwards."""
        ledger = self._parts.ledger
        ledger.drop(active.run_id, command.step)
        active.record(
            HandshakeRequested(
                step=command.step,
                req=request.id,
                version=request.version,
                digest=request.digest,
                policies=tuple(codec.to_json(one.record) for one in judged),
                need=tuple(codec.to_json(one) for one in request.requirements),
                expires_us=request.expires_us,
                replaces=request.replaces,
                document=codec.to_json(request),
            )
        )
        ledger.ask(request)

    # ---- start and end -------------------------------------------------------------------------
    def _use(self, active: ActiveRun, command: Admit, step: PlanStep, ticket: Ticket) -> None:
        """Burn the ticket in the very transaction that starts the step."""
        try:
            self._parts.ledger.use(ticket, now_us=self._parts.clock_us())
        except AweError as error:
            self.fail(active, command, error)
            return
        row = (
            bytes.fromhex(ticket.nonce),
            ticket.request,
            ticket.digest,
            ticket.run,
            ticket.step,
            ticket.expires_us,
            SeqOf(0),
        )
        self._start(
            active,
            command,
            step,
            ticket=ticket_of(ticket.nonce),
            upserts=(Upsert("handshake_ticket", row),),
        )

    def _start(  # noqa: PLR0913 - how a start was allowed
        self,
        active: ActiveRun,
        command: Admit,
        step: PlanStep,
        *,
        policy: JsonObject | None = None,
        ticket: str | None = None,
        upserts: tuple[Upsert, ...] = (),
    ) -> None:
        prepared = active.prepared[command.step]
        key = step_key(active.run_id, command.step, command.epoch)
        timeout_us = min(step.timeout_us, prepared.spec.timeout_us)
        now = self._parts.clock_us()
        active.record(
            StepStarted(
                step=command.step,
                attempt=command.attempt,
                epoch=command.epoch or None,
                cap=prepared.spec.full_reference,
                pack=prepared.capability.pack,
                risk=prepared.spec.risk.value,
                effects=prepared.grant.as_json,
                executor=prepared.capability.executor,
                promises=self._parts.invoker.promises(prepared.capability.executor),
                digest=prepared.digest,
                ticket=ticket,
                policy=policy,
                idem=key,
                deadline_us=now + timeout_us,
                arguments=prepared.arguments,
            ),
            marks=prepared.marks,
            upserts=upserts,
        )
        broker = self._broker(active, command, key, prepared)
        attempt = Attempt(
            run_id=active.run_id,
            step=command.step,
            number=command.attempt,
            idempotency_key=key,
            deadline_us=now + timeout_us,
        )
        opened = OpenStep(broker)
        active.open_steps[command.step] = opened
        opened.task = active.spawn(self._run(active, command, prepared, attempt, timeout_us))

    def _broker(
        self, active: ActiveRun, command: Admit, key: str, prepared: Prepared
    ) -> StepBroker:
        ref = StepRef(
            path=command.step,
            attempt=command.attempt,
            epoch=command.epoch,
            key=key,
        )
        invoker = self._parts.invoker
        return StepBroker(
            active,
            ref,
            grant=prepared.grant,
            workspace=invoker.workspace,
            config=invoker.config_of(prepared.capability),
            is_synced=self._parts.settings.effects == "synced",
            undo=prepared.spec.undo,
        )

    async def _run(
        self,
        active: ActiveRun,
        command: Admit,
        prepared: Prepared,
        attempt: Attempt,
        timeout_us: int,
    ) -> None:
        """Run the handler and record its end, whatever it is; then let the run go on."""
        broker = active.open_steps[command.step].broker
        started = time.monotonic_ns()
        try:
            output = await self._parts.invoker.perform(
                prepared, broker, attempt, actor=active.actor, timeout_us=timeout_us
            )
        except JournalUnwritableError:
            active.open_steps.pop(command.step, None)
            raise
        except BaseException as error:  # noqa: BLE001 - a handler's end, whatever it is, is recorded
            self._ended(active, command)
            self.fail(active, command, error, started_ns=started)
        else:
            self._ended(active, command)
            active.record(
                StepCompleted(
                    step=command.step,
                    attempt=command.attempt,
                    epoch=command.epoch or None,
                    dur_us=(time.monotonic_ns() - started) // 1_000,
                    output=output,
                ),
                marks=prepared.capability.output.marks(output),
            )
            if self._parts.settings.barriers == "step":
                await active.barrier()
        self._turn(active)

    @staticmethod
    def _ended(active: ActiveRun, command: Admit) -> None:
        active.open_steps.pop(command.step).broker.close("the step has ended")


def _check_pinned(active: ActiveRun, prepared: Prepared) -> None:
    """A run goes on with the very bytes it was opened with, or it asks first."""
    found = prepared.capability.pack
    for pinned in active.opened.packs:
        if pinned.dist == found.dist and pinned.record != found.record:
            raise PackError(
                "pack.changed",
                run=active.run_id,
                distribution=found.dist,
                record=f"{pinned.version} ({pinned.record[:12]})",
                found=f"{found.version} ({found.record[:12]})",
            )


def _planned(active: ActiveRun, path: str) -> PlanStep:
    found = active.run.unit(path).step
    if found is None:
        raise EngineError("engine.defect", run=active.run_id, why=f"{path!r} is no step")
    return found


def _skipped(command: Admit) -> StepSkipped:
    return StepSkipped(step=command.step, cause="when", epoch=command.epoch or None)


def truthy(found: Json) -> bool:
    """JMESPath's truth: false, null and what is empty are not."""
    return found is not None and found is not False and found not in ("", [], {})

"""Handles of runs: what became of one, its events, and what may be asked of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from awe_core.engine import open_questions
from awe_core.engine.active import loaded
from awe_core.events import Decision, Failure, RunClosed, RunPaused
from awe_core.runtime.results import ItemView, RunResult, RunView, StepView

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from awe_core.engine import Reader, View
    from awe_core.events import Residue
    from awe_core.journal import Reading, SealedRecord
    from awe_core.runtime.runtime import AsyncRuntime
    from awe_core.values import Json

_POLL_S = 0.05  #: how often a reader of another process looks for news


class AsyncRunHandle:
    """One run, wherever it is driven."""

    def __init__(self, runtime: AsyncRuntime, run_id: str) -> None:
        """Name the run; nothing is read yet."""
        self._runtime = runtime
        self.run_id = run_id

    # ---- looking -------------------------------------------------------------------------------
    def _view(self) -> View:
        return self._runtime.reader.view(self.run_id)

    def status(self) -> RunView:
        """Fold the run's records into what a page about it shows."""
        found = self._view()
        run = found.run
        return RunView(
            run_id=run.id,
            workflow=f"{run.opened.workflow.id}@{run.opened.workflow.version}",
            state=run.state,
            phase=run.phase.value,
            actor=run.opened.by,
            opened_us=found.opened_us,
            closed_us=found.changed_us if run.closed else None,
            steps=tuple(
                StepView(step.path, step.state.value, _capability(found, step.path), step.attempt)
                for step in run.steps()
            ),
            items=tuple(
                ItemView(i.effect, i.unit.path, i.type, i.target, i.state.value) for i in run.items
            ),
            residue=run.residue(),
            standing=run.standing,
            waiting=tuple(r.id for r in open_questions(self._runtime.journal, found)),
            actions=tuple(sorted(run.actions())),
            error=_failure(found),
            output=_output(self._runtime.journal, found),
        )

    def result(self) -> RunResult:
        """What the run has come to so far, and what proves it."""
        return result_of(self._runtime.reader, self._runtime.journal, self.run_id)

    def residue(self) -> tuple[Residue, ...]:
        """What remains in the world after an incomplete rollback."""
        return self._view().run.residue()

    def undo_plan(self) -> tuple[ItemView, ...]:
        """What a rollback would take back, in the order it would."""
        standing = [item for item in self.status().items if item.state == "APPLIED"]
        return tuple(reversed(standing))

    async def wait(self, timeout: float | None = None) -> RunResult:  # noqa: ASYNC109 - the SDK's signature
        """Wait until the run has ended or waits for somebody.

        :raises TimeoutError: it goes on; the run is left alone
        """
        async with asyncio.timeout(timeout):
            await self._runtime.settle(self.run_id)
        return self.result()

    async def events(self, after: int = -1, *, follow: bool = True) -> AsyncIterator[SealedRecord]:
        """Give the run's records after position *after*; with *follow* until it has closed."""
        while True:
            row = self._runtime.journal.run_row(self.run_id)  # first, so that no end is missed
            is_open = row is not None and row["state"] in {"PENDING", "RUNNING", "PAUSED"}
            for record in self._runtime.journal.read(run=self.run_id, after_rseq=after):
                after = record.rseq if record.rseq is not None else after
                yield record
            if not follow or not is_open:
                return
            await asyncio.sleep(_POLL_S)

    # ---- asking --------------------------------------------------------------------------------
    async def pause(self, reason: str | None = None) -> None:
        """Hold the run: what runs ends, nothing new starts."""
        await self._runtime.control(self.run_id, "pause", reason=reason)

    async def resume(self, reason: str | None = None) -> None:
        """Let a held run go on."""
        await self._runtime.control(self.run_id, "resume", reason=reason)

    async def cancel(
        self, mode: Literal["rollback", "keep"] = "rollback", reason: str | None = None
    ) -> None:
        """End the run; take back what it did, or with ``keep`` leave it."""
        await self._runtime.control(self.run_id, "cancel", mode=mode, reason=reason)

    async def rollback(
        self, reason: str | None = None, *, to: str | None = None, inclusive: bool = False
    ) -> None:
        """Take back a run that ended or is paused, whole or down to a step."""
        await self._runtime.control(
            self.run_id, "rollback", to=to, inclusive=inclusive or None, reason=reason
        )

    async def retry(self, from_step: str, reason: str | None = None) -> None:
        """Take back what stands of a step and what depends on it, and run it again."""
        await self._runtime.control(self.run_id, "retry", **{"from": from_step}, reason=reason)

    async def resolve(
        self,
        step: str,
        outcome: Literal["applied", "not_applied", "roll_back"],
        *,
        output: Json = None,
        reason: str | None = None,
    ) -> None:
        """Say what became of a step in doubt."""
        await self._runtime.control(
            self.run_id, "resolve", step=step, outcome=outcome, output=output, reason=reason
        )

    async def approve(
        self, request: str, digest: str, version: int, reason: str | None = None
    ) -> None:
        """Say yes to exactly what was shown."""
        await self._decide(request, digest, version, "approve", reason)

    async def deny(
        self, request: str, digest: str, version: int, reason: str | None = None
    ) -> None:
        """Say no."""
        await self._decide(request, digest, version, "deny", reason)

    async def _decide(
        self,
        request: str,
        digest: str,
        version: int,
        verdict: Literal["approve", "deny"],
        reason: str | None,
    ) -> None:
        actor = self._runtime.actor
        await self._runtime.decide(
            Decision(
                request=request,
                version=version,
                digest=digest,
                verdict=verdict,
                by=str(actor),
                via=actor.via,
                assurance=actor.assurance,
                at_us=time.time_ns() // 1_000,
                reason=reason,
            )
        )


def result_of(reader: Reader, journal: Reading, run_id: str) -> RunResult:
    """Fold a run's records into what callers get of it."""
    found = reader.view(run_id)
    run = found.run
    return RunResult(
        run_id=run.id,
        state=run.state,
        output=_output(journal, found),
        error=_failure(found),
        residue=run.residue(),
        standing=run.standing,
        head=found.head,
        waiting=tuple(request.id for request in open_questions(journal, found)),
    )


def _output(journal: Reading, found: View) -> Json:
    for rseq in range(len(found.facts) - 1, -1, -1):
        fact = found.facts[rseq]
        if isinstance(fact, RunClosed):
            return None if fact.out is None else loaded(journal, found.run.id, rseq, "out")
    return None


def _closed(found: View) -> RunClosed | None:
    last = next((f for f in reversed(found.facts) if isinstance(f, RunClosed)), None)
    return last if found.run.closed else None


def _failure(found: View) -> Failure | None:
    """Why the run ended, or what holds it."""
    if (closed := _closed(found)) is not None:
        return closed.err
    if found.run.failure is not None or found.run.hold is None:
        return found.run.failure
    held = next((f for f in reversed(found.facts) if isinstance(f, RunPaused)), None)
    if held is None or held.reason is None or held.by is not None:
        return None
    code, _, message = held.reason.partition(": ")
    return Failure(code, message)


def _capability(found: View, path: str) -> str:
    return found.run.unit(path).step.spec.target

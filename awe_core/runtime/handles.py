"""Handles of runs: what became of one, its events, and what may be asked of it."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Literal

from awe_core.engine import wound_back
from awe_core.events import Decision
from awe_core.runtime.results import effect_of, foreseen, kept_of, result_of, view_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from awe_core.engine import View
    from awe_core.events import Residue
    from awe_core.events.confirmation import Verdict
    from awe_core.journal import SealedRecord
    from awe_core.runtime.results import Foreseen, ItemView, RunResult, RunView
    from awe_core.runtime.runtime import AsyncRuntime
    from awe_core.values import Json

_POLL_S = 0.05  #: how often a reader of another process looks for news
_OPEN = frozenset({"PENDING", "RUNNING", "PAUSED"})


class AsyncRunHandle:
    """One run, wherever it is driven."""

    def __init__(self, runtime: AsyncRuntime, run_id: str) -> None:
        """Name the run; nothing is read yet."""
        self._runtime = runtime
        self.run_id = run_id

    # ---- looking -------------------------------------------------------------------------------
    def status(self) -> RunView:
        """Fold the run's records into what a page about it shows."""
        reader = self._runtime.reader
        return view_of(reader.log_of(self.run_id), reader.view(self.run_id))

    def result(self) -> RunResult:
        """What the run has come to so far, and what proves it."""
        return result_of(self._runtime.reader, self.run_id)

    def residue(self) -> tuple[Residue, ...]:
        """What remains in the world after an incomplete rollback."""
        return self.status().residue

    def undo_plan(self) -> tuple[ItemView, ...]:
        """What a rollback would take back, in the order it would."""
        return tuple(item for item in reversed(self.status().items) if item.state == "APPLIED")

    def foresee(
        self,
        verb: Literal["rollback", "retry"],
        *,
        from_step: str | None = None,
        to: str | None = None,
        inclusive: bool = False,
        item: int | None = None,
    ) -> Foreseen:
        """Say what `rollback` or `retry` would take back, do again and leave; nothing is done.

        :raises RunError: as they do
        """
        found = self._runtime.reader.view(self.run_id)
        given = {"from": from_step, "to": to, "inclusive": inclusive, "item": _effect(found, item)}
        return foreseen(found, wound_back(verb, given, by=""))

    def earlier(self, item: int) -> bytes:
        """Give our earlier version of an effect that a rollback left to somebody else's change.

        :param item: its number in `status`
        """
        home = self._runtime.config.home
        return kept_of(home, self._runtime.reader.view(self.run_id), item)

    async def wait(self, timeout: float | None = None) -> RunResult:  # noqa: ASYNC109 - the SDK's signature
        """Wait until the run has ended or waits for somebody.

        :raises TimeoutError: it goes on; the run is left alone
        """
        if timeout is None:
            await self._runtime.settle(self.run_id)
        else:
            async with asyncio.timeout(timeout):
                await self._runtime.settle(self.run_id)
        return self.result()

    async def events(self, after: int = -1, *, follow: bool = True) -> AsyncIterator[SealedRecord]:
        """Give the run's records after position *after*; with *follow* until it has closed."""
        journal = self._runtime.journal
        while True:
            row = journal.run_row(self.run_id)  # first, so that no end is missed
            log = self._runtime.reader.log_of(self.run_id)
            for record in tuple(log.read(run=self.run_id, after_rseq=after)):
                after = after if record.rseq is None else record.rseq
                yield record
            if not follow or row is None or row["state"] not in _OPEN:
                return
            await asyncio.sleep(_POLL_S)

    # ---- asking: each returns once it is recorded -----------------------------------------------
    async def pause(self, reason: str | None = None) -> None:
        """Hold the run: what runs ends, nothing new starts."""
        await self._runtime.control(self.run_id, "pause", reason=reason)

    async def resume(self, reason: str | None = None, *, accept: Iterable[str] = ()) -> None:
        """Let a held run go on.

        :param accept: digests of pack records that it may go on with, beside those it was opened
            with; recorded
        """
        await self._runtime.control(self.run_id, "resume", reason=reason, accept=list(accept))

    async def cancel(
        self, mode: Literal["rollback", "keep"] = "rollback", reason: str | None = None
    ) -> None:
        """End the run; take back what it did, or with ``keep`` leave it."""
        await self._runtime.control(self.run_id, "cancel", mode=mode, reason=reason)

    async def rollback(
        self,
        reason: str | None = None,
        *,
        to: str | None = None,
        inclusive: bool = False,
        item: int | None = None,
    ) -> None:
        """Take back a run that ended or is paused, whole, down to a step, or one item of it."""
        one = None if item is None else _effect(self._runtime.reader.view(self.run_id), item)
        given = {"to": to, "inclusive": inclusive or None, "item": one, "reason": reason}
        await self._runtime.control(self.run_id, "rollback", **given)

    async def retry(self, from_step: str, reason: str | None = None) -> None:
        """Take back what stands of a step and what depends on it, and run it again.

        :raises RunError: ``run.repeats``: something stays and would happen twice; give a reason
        """
        given = {"from": from_step, "reason": reason}
        await self._runtime.control(self.run_id, "retry", **given)

    async def resolve(
        self,
        step: str,
        outcome: Literal["applied", "not_applied", "roll_back"],
        *,
        output: Json = None,
        reason: str | None = None,
    ) -> None:
        """Say what became of a step in doubt."""
        given = {"step": step, "outcome": outcome, "output": output, "reason": reason}
        await self._runtime.control(self.run_id, "resolve", **given)

    async def approve(
        self, request: str, digest: str, version: int, reason: str | None = None
    ) -> None:
        """Say yes to exactly what was shown."""
        await self.answer("approve", request, digest, version, reason)

    async def deny(
        self, request: str, digest: str, version: int, reason: str | None = None
    ) -> None:
        """Say no."""
        await self.answer("deny", request, digest, version, reason)

    async def answer(
        self, verdict: Verdict, request: str, digest: str, version: int, reason: str | None = None
    ) -> None:
        """Answer a request, naming exactly what was shown."""
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


def _effect(found: View, item: int | None) -> str | None:
    return None if item is None else effect_of(found, item).effect

"""Drops what was kept to take closed runs back, once its time is up or its room is needed.

Slots of an open run are never dropped.  That a closed one's are is the fact ``undo.discarded``,
durable before the files go; a crash in between leaves files that the next look drops.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias

from awe_core.decider import ItemState
from awe_core.engine.recording import draft
from awe_core.errors import AweError
from awe_core.events import UndoDiscarded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.engine.active import ActiveRun
    from awe_core.engine.parts import Parts
    from awe_core.engine.recovery import View
    from awe_core.journal import Journal, RunLog

_Cause: TypeAlias = Literal["success", "quota", "retention"]
_NAMED = 100  #: effects in one record; none stand for all
_STANDS = (ItemState.APPLIED, ItemState.RESIDUE)


class Retention:
    """What of the undo store belongs to runs that are over."""

    def __init__(
        self, parts: Parts, view: Callable[[str], View], active: Mapping[str, ActiveRun]
    ) -> None:
        """Look after the store of *parts*; *active* are the runs in memory."""
        self._parts, self._view, self._active = parts, view, active
        self._discarding = asyncio.Lock()  #: a second one would find the first's record not durable

    async def sweep(self) -> None:
        """Drop what is kept longer than ``undo.keep`` says; only old folders are asked about."""
        before_us = self._parts.clock_us() - self._parts.settings.undo_keep_us
        for changed_us, run in await self._folders():
            if changed_us > before_us:
                return
            row = self._parts.journal.run_row(run)
            if row and row["closed_us"] is not None and int(row["closed_us"]) <= before_us:
                await self.discard(run, "retention")

    async def make_room(self, needed: int) -> bool:
        """Drop the oldest closed runs for *needed* bytes, if ``undo.on_quota`` says so."""
        store = self._parts.undo.workspace.store
        may_go = self._parts.settings.evicts_closed and needed <= store.quota
        for _, run in await self._folders() if may_go else ():
            if store.used_bytes() + needed <= store.quota:
                break
            row = self._parts.journal.run_row(run)
            if row and row["closed_us"] is not None:
                await self.discard(run, "quota")
        return store.used_bytes() + needed <= store.quota

    async def discard(self, run: str, cause: _Cause) -> None:
        """Drop what is kept of *run*, unless it is open; on record where anything stands."""
        async with self._discarding:
            active = self._active.get(run)
            if active is not None and (active.failed or active.run.closed is None):
                return
            log = self._parts.logs.of(run) if active is None else active.log
            self._record(run, active, log, cause)
            await log.barrier()
            await self._parts.pool.run(partial(self._parts.undo.workspace.store.drop, run))

    def _record(
        self, run: str, active: ActiveRun | None, log: Journal | RunLog, cause: _Cause
    ) -> None:
        found = self._standing(run, active)
        if found is None:
            return
        effects = () if len(found) > _NAMED else found
        size = self._parts.undo.workspace.store.size(run)
        fact = UndoDiscarded(cause=cause, effects=effects, bytes=size)
        if active is not None:
            active.record(fact)
        elif (last := self._parts.logs.reading(run).last(run)) is not None:
            rseq = (last.rseq or 0) + 1
            log.append([draft(fact, run=run, rseq=rseq, level="metadata")])

    def _standing(self, run: str, active: ActiveRun | None) -> tuple[str, ...] | None:
        """Name what could have been taken back; None: nothing, empty: nobody can tell."""
        try:
            items = (active or self._view(run)).run.items
        except AweError:  # its workflow is gone
            last = self._parts.logs.reading(run).last(run)
            return None if last is None or last.kind == UndoDiscarded.kind else ()
        return tuple(item.effect for item in items if item.state in _STANDS) or None

    async def _folders(self) -> list[tuple[int, str]]:
        workspace = self._parts.undo.workspace
        if workspace.capture == "none":
            return []
        return await self._parts.pool.run(workspace.store.runs)

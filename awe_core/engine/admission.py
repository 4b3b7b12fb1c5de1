"""Which runs may begin and how many steps may be in flight: `engine.limits` and `concurrency`.

Rules: runs begin in the order in which they were opened, each as soon as its key is free and fewer
than ``active_runs`` move.  What waits stays PENDING, also over a restart: nothing is recorded of
it.  A run that has begun goes on, only its steps may have to wait.  A key is held until the run has
closed; that it waits for a person or a timer does not free it, for its effects stand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.decider.table import Phase
from awe_core.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.config.settings import Limits
    from awe_core.decider import Run
    from awe_core.engine.active import ActiveRun
    from awe_core.journal import Logs

_RETRY_AFTER_S = 1


@attrs.define(eq=False)
class _Lane:
    """Runs whose key is equal."""

    limit: int = 1
    holders: dict[str, None] = attrs.field(factory=dict)  #: open runs that may begin, or have
    behind: dict[str, ActiveRun] = attrs.field(factory=dict)  #: those that may not yet, in order


def key_of(run: Run) -> tuple[bytes, int] | None:
    """Give the key that a run holds until it has closed, and how many may hold it at a time.

    :raises ExpressionError: ``expression.failed``
    """
    root = run.plan.root
    if root.concurrency is None or root.spec.concurrency is None or run.closed:
        return None
    found = root.concurrency.evaluate({"inputs": run.arguments.get(0)})
    return canonical.value([root.spec.id, found]), root.spec.concurrency.limit


class Admission:
    """Hands out places to runs and steps, and takes them back."""

    def __init__(self, limits: Limits, turn: Callable[[ActiveRun], None]) -> None:
        """Give no more than *limits* say; who has waited gets a *turn*."""
        self._limits, self._turn = limits, turn
        self._queued: set[str] = set()  #: runs that may not begin yet
        self._ready: dict[str, ActiveRun] = {}  #: of these, those whose key is free, in order
        self._lanes: dict[bytes, _Lane] = {}
        self._lane_of: dict[str, bytes] = {}
        self._moving: set[str] = set()
        self._steps: dict[str, int] = {}  #: in flight, by run
        self._in_flight = 0
        self._starved: dict[str, ActiveRun] = {}  #: have steps that found no place, in order

    def check(self, logs: Logs) -> None:
        """Refuse one more run while too much waits already.

        :raises EngineError: ``engine.busy``
        """
        limits = self._limits
        for what, found, most in (
            ("runs that wait to begin", len(self._queued), limits.queued_submissions),
            ("records that are not durable", logs.queued, limits.uncommitted_records),
            ("bytes that are not durable", logs.queued_bytes, limits.uncommitted_bytes),
            ("open files", logs.open_files, logs.most_files),
        ):
            if found >= most:
                code, wait = "engine.busy", _RETRY_AFTER_S
                raise EngineError(code, what=what, found=found, most=most, retry_after=wait)

    def enter(self, active: ActiveRun) -> None:
        """Queue a run that has not begun; count one that has.  The caller gives it its turn."""
        run_id, lane = active.run_id, None
        if active.key is not None:
            self._lane_of[run_id], limit = active.key
            lane = self._lanes.setdefault(self._lane_of[run_id], _Lane())
            lane.limit = limit
        is_queued = active.run.phase is Phase.OPEN
        if is_queued:
            self._queued.add(run_id)
        if is_queued and lane and len(lane.holders) >= lane.limit:
            lane.behind[run_id] = active
            return
        if lane:
            lane.holders[run_id] = None
        if is_queued:
            self._ready[run_id] = active
            self._serve(entering=run_id)

    def close(self) -> None:
        """Let no further run begin."""
        self._limits = attrs.evolve(self._limits, active_runs=0)

    def is_queued(self, run_id: str) -> bool:
        """Whether the run may not begin yet."""
        return run_id in self._queued

    def owes_turn(self, run_id: str) -> bool:
        """Whether the run is going to get a turn from here."""
        return run_id in self._queued or run_id in self._starved

    def room(self, active: ActiveRun) -> int:
        """How many more steps the run may start now; one that finds no room is told later."""
        mine = len(active.open_steps)
        others = self._in_flight - self._steps.get(active.run_id, 0)
        shared = self._limits.steps_in_flight - others - mine
        if shared <= 0 and active.run.ready:
            self._starved[active.run_id] = active
        return max(0, min(self._limits.steps_in_flight_per_run - mine, shared))

    def update(self, active: ActiveRun) -> None:
        """Count anew what the run takes, and give away what it left."""
        run_id = active.run_id
        is_gone = active.failed is not None or active.is_stopped
        steps = 0 if is_gone else len(active.open_steps)
        self._in_flight += steps - self._steps.pop(run_id, 0)
        if steps:
            self._steps[run_id] = steps
        if active.run.closed:
            self._leave(run_id)
        if active.run.closed or is_gone:
            self._starved.pop(run_id, None)
        if is_gone or active.is_settled or run_id in self._queued:
            self._moving.discard(run_id)
        else:
            self._moving.add(run_id)
        self._serve()

    def _leave(self, run_id: str) -> None:
        """Forget a closed run, and let the next ones of its key come forward."""
        self._queued.discard(run_id)
        self._ready.pop(run_id, None)
        key = self._lane_of.pop(run_id, None)
        if key is None:
            return
        lane = self._lanes[key]
        lane.holders.pop(run_id, None)
        lane.behind.pop(run_id, None)
        while lane.behind and len(lane.holders) < lane.limit:
            next_id = next(iter(lane.behind))
            self._ready[next_id] = lane.behind.pop(next_id)
            lane.holders[next_id] = None
        if not lane.holders:
            del self._lanes[key]

    def _serve(self, *, entering: str | None = None) -> None:
        loop = asyncio.get_running_loop()
        while self._ready and len(self._moving) < self._limits.active_runs:
            run_id = next(iter(self._ready))
            active = self._ready.pop(run_id)
            self._queued.discard(run_id)
            self._moving.add(run_id)
            if run_id != entering:
                loop.call_soon(self._turn, active)
        if self._starved:
            free = max(0, self._limits.steps_in_flight - self._in_flight)
            for run_id in tuple(self._starved)[:free]:
                loop.call_soon(self._turn, self._starved.pop(run_id))

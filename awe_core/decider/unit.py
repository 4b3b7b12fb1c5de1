"""What a run is made of: units (steps and items of fan-outs) and their effects.

Rules: records for `Run` alone; nothing here decides.  Drivers and views only read them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from awe_core.decider.plan import Kind
from awe_core.decider.table import ItemState, StepState, direct

if TYPE_CHECKING:
    from awe_core.decider.plan import PlanStep
    from awe_core.events import Failure, Irreversible, UndoRecord


@direct
class Goal(StrEnum):
    """What follows when a unit's effects are inspected or taken back."""

    JUDGE = "judge"  #: inspected: retry, tolerate or fail
    RETRY = "retry"  #: the next attempt
    RERUN = "rerun"  #: the same attempt again, after a crash
    TOLERATE = "tolerate"  #: the run goes on without it
    RUN = "run"  #: the run ends
    PARTIAL = "partial"  #: the run waits for a person
    REDO = "redo"  #: the run goes forward again


@attrs.define(eq=False)
class Unwind:
    """Effects on their way back, strictly one after the other."""

    goal: Goal
    cause: str  #: of ``undo.started``
    queue: list[Item] = attrs.field(factory=list)  #: the next one last
    doubtful: list[Item] = attrs.field(factory=list)  #: to inspect before anything else
    blocked: dict[str, str] = attrs.field(factory=dict)  #: resource or what is above it → effect
    covered: dict[str, str] = attrs.field(factory=dict)  #: resource → effect
    remains: int = 0  #: items that could not be taken back
    next_due_us: int | None = None  #: a retry: a person has set the time
    is_inspected: bool = False  #: a rerun: its effects are known, `queue` is what to take back

    @property
    def is_clean(self) -> bool:
        """Whether everything of it is taken back, with nothing left."""
        return not (self.queue or self.remains)


@attrs.define(eq=False)
class Unit:
    """One step, or one item of a fan-out, with its effect items."""

    index: int
    path: str
    step: PlanStep
    ordinal: int  #: place in the block, or number of the item
    parent: Container = attrs.field(repr=False)
    state: StepState = StepState.WAITING
    epoch: int = 0
    attempt: int = 0  #: of the last start, from 1, counting on across epochs
    starts: int = 0  #: in this epoch
    reruns: int = 0  #: recoveries of this attempt without progress
    reach: int = 0  #: records of effects since its last start
    furthest: int = 0  #: most of them after any start of this attempt
    drifts: int = 0
    missing: int = 0  #: needs that have not ended
    readers: int = 0  #: units, and outputs of the block, that read its output
    is_need_skipped: bool = False
    is_taken_back: bool = False  #: effects of its last end were taken back, or remain
    request: str | None = None  #: the handshake that is open
    version: int = 0
    due_us: int | None = None  #: of its request, its next attempt, or its next try to undo
    failure: Failure | None = None
    class_: str = "error"
    retry_after_us: int | None = None
    started_rseq: int = 0  #: the record that holds its arguments
    ended_rseq: int = 0  #: the record that holds its output
    items: list[Item] = attrs.field(factory=list, repr=False)
    sealed: int = 0  #: how many of them had their place in the order of ends
    unwind: Unwind | None = attrs.field(default=None, repr=False)

    @property
    def is_doomed(self) -> bool:
        """Whether nothing new starts where it stands."""
        return self.parent.stops

    def went_on(self) -> None:
        """Note one more record of an effect since its last start, and whether that is progress.

        Progress is to come further than any start of this attempt came before, counted in records
        of effects: intended, ended, read, refused.  What recovery itself finds or takes back does
        not count, nor does doing once more what an earlier start had done: a step that dies after
        its first effect each time leaves records without end and comes no further.
        """
        self.reach += 1
        if self.reach > self.furthest:
            self.furthest, self.reruns = self.reach, 0

    def in_state(self, state: ItemState) -> list[Item]:
        """Give its effects that are in *state*, over all attempts, in the order of intent."""
        return [item for item in self.items if item.state is state]


@attrs.define(eq=False)
class Container(Unit):
    """A scope, a fan-out or the run itself, and what it holds inside."""

    children: list[Unit] = attrs.field(factory=list, repr=False)  #: by place, or by item
    pending: int = 0  #: children that have not ended well
    active: int = 0  #: children that have begun and not ended
    is_open: bool = False  #: its children are those of the last attempt, begun or not
    stops: bool = False  #: nothing new starts in it
    inner_failure: Failure | None = None  #: of the first child that failed
    inner_class: str = "error"
    count: int = 0  #: items of a fan-out
    next_item: int = 0  #: the first one never begun
    again: list[int] = attrs.field(factory=list)  #: heap of items to run anew
    in_flight: int = 0  #: items begun, at most `max_parallel`

    @property
    def is_fanout(self) -> bool:
        """Whether it holds items and not the steps of a workflow."""
        return self.step.kind is Kind.FANOUT

    @property
    def is_finished(self) -> bool:
        """Whether everything inside has ended, or has stopped for good."""
        is_over = not self.pending or (self.stops and not self.active)
        return is_over and self.state is StepState.STARTED


@attrs.define(eq=False)
class Item:
    """One effect that changes the world, and whether it still stands there."""

    index: int
    effect: str  #: ``run/step/attempt/n``
    unit: Unit = attrs.field(repr=False)
    attempt: int
    type: str
    target: str
    key: str | None
    claims: tuple[str, ...]  #: resources it changes
    strategy: str | None  #: None: irreversible
    reason: str  #: why it is irreversible, in the contract's words
    record: UndoRecord | Irreversible | None  #: None after a replay: read it from `record_rseq`
    record_rseq: int  #: the record whose payload holds the undo record
    state: ItemState = ItemState.INTENDED
    order: int = 0  #: rseq of its unit's end: the order of undo, reversed
    owner: Unit | None = attrs.field(default=None, repr=False)  #: who takes it back now
    tries: int = 0
    is_unknown: bool = False  #: inspected after a crash, and nobody can say
    is_lost: bool = False  #: a crash cut its undo off
    due_us: int | None = None
    cause: str = ""  #: why it remains: conflict, irreversible, blocked_by …
    why: str = ""  #: the same for people

"""What a run is made of: units (steps and items of fan-outs) and their effects.

Rules: records for `Run` alone, known inside by index; nothing here decides.  `Unit` and `Item` are
shown to drivers and views, which only read them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from awe_core.decider.plan import Kind
from awe_core.decider.table import ItemState, StepState

if TYPE_CHECKING:
    from awe_core.decider.plan import PlanStep
    from awe_core.events import Failure, Irreversible, UndoRecord


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
    queue: list[int] = attrs.field(factory=list)  #: items, the next one last
    doubtful: list[int] = attrs.field(factory=list)  #: items to inspect before anything else
    blocked: dict[str, str] = attrs.field(factory=dict)  #: resource or what is above it → effect
    covered: dict[str, str] = attrs.field(factory=dict)  #: resource → effect
    remains: int = 0  #: items that could not be taken back
    next_due_us: int | None = None  #: a retry: a person has set the time
    is_inspected: bool = False  #: a rerun: its effects are known, `queue` is what to take back


@attrs.define(eq=False)
class Inner:
    """What a scope, a fan-out or the run itself holds inside."""

    children: list[int] = attrs.field(factory=list)  #: by place in the block, or by item
    pending: int = 0  #: children that have not ended well
    active: int = 0  #: children that have begun and not ended
    is_open: bool = False  #: its children are those of the last attempt, begun or not
    is_doomed: bool = False  #: nothing new starts in it
    failure: Failure | None = None  #: of the first child that failed
    class_: str = "error"
    count: int = 0  #: items of a fan-out
    next_item: int = 0  #: the first one never begun
    again: list[int] = attrs.field(factory=list)  #: heap of items to run anew
    in_flight: int = 0  #: items begun, at most `max_parallel`


@attrs.define(eq=False)
class Unit:
    """One step, or one item of a fan-out, with its effect items."""

    index: int
    path: str
    step: PlanStep | None  #: None: the run itself
    parent: int
    ordinal: int  #: place in the block, or number of the item
    state: StepState = StepState.WAITING
    epoch: int = 0
    attempt: int = 0  #: of the last start, from 1, counting on across epochs
    starts: int = 0  #: in this epoch
    reruns: int = 0  #: recoveries of this attempt without a new record
    drifts: int = 0
    missing: int = 0  #: needs that have not ended
    readers: int = 0  #: units, and outputs of the block, that read its output
    is_need_skipped: bool = False
    is_taken_back: bool = False  #: effects of its last end were taken back, or remain
    request: str | None = None
    version: int = 0
    due_us: int | None = None  #: of its request, its next attempt, or its next try to undo
    failure: Failure | None = None
    class_: str = "error"
    retry_after_us: int | None = None
    started_rseq: int | None = None  #: the record that holds its arguments
    ended_rseq: int | None = None  #: the record that holds its output
    items: list[int] = attrs.field(factory=list)
    sealed: int = 0  #: how many of them had their place in the order of ends
    inner: Inner | None = None
    unwind: Unwind | None = None


@attrs.define(eq=False)
class Item:
    """One effect that changes the world, and whether it still stands there."""

    index: int
    effect: str  #: ``run/step/attempt/n``
    unit: int
    attempt: int
    type: str
    target: str
    request: str  #: digest of what was asked
    key: str | None
    claims: tuple[str, ...]  #: resources it changes
    strategy: str | None  #: None: irreversible
    reason: str  #: why it is irreversible, in the contract's words
    record: UndoRecord | Irreversible | None  #: None after a replay: read it from `record_rseq`
    record_rseq: int  #: the record whose payload holds the undo record
    state: ItemState = ItemState.INTENDED
    order: int = 0  #: rseq of its unit's end: the order of undo, reversed
    owner: int = -1  #: the unit that takes it back now
    tries: int = 0
    is_unknown: bool = False  #: inspected after a crash, and nobody can say
    due_us: int | None = None
    cause: str = ""  #: why it remains: conflict, irreversible, blocked_by …
    why: str = ""  #: the same for people


def inner_of(unit: Unit) -> Inner:
    """Give what *unit* holds inside; only containers are asked."""
    assert unit.inner is not None  # noqa: S101 - the caller looked at the kind
    return unit.inner


def unwind_of(unit: Unit) -> Unwind:
    """Give what *unit* takes back; only units that do are asked."""
    assert unit.unwind is not None  # noqa: S101 - the caller looked at the state
    return unit.unwind


def is_fanout(unit: Unit) -> bool:
    """Whether *unit* holds items and not the steps of a workflow."""
    return unit.step is not None and unit.step.kind is Kind.FANOUT

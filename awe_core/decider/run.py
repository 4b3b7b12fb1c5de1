"""`Run`: everything the decider knows of one run, folded from its facts.

Rules: the one mutable value below floor 4 (style.md, values); its driver alone holds it, and only
`fold`, `saga` and `rewind` write to it.  Unit 0 is the run itself.  Values are kept only while
something that has not ended reads them.  Heaps hold stale entries, which are dropped when they
surface.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.decider.table import ACTIVE, ENDED, ItemState, Phase, StepState
from awe_core.decider.unit import Container
from awe_core.errors import RunError, UndoError
from awe_core.events import Residue
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from awe_core.decider.plan import Block, Plan
    from awe_core.decider.unit import Item, Unit
    from awe_core.events import ClosedState, Failure, RunOpened
    from awe_core.expressions import Template
    from awe_core.values import Json, JsonObject


@attrs.frozen
class Unloaded:
    """A value that something unfinished reads, and that replay could not know."""

    path: str  #: of the step; ``""`` for the run
    kind: Literal["inputs", "arguments", "output"]
    rseq: int  #: the record whose payload holds it


_NO_STEPS = dict.fromkeys(StepState, 0)
_NO_ITEMS = dict.fromkeys(ItemState, 0)


def _top(run: Run) -> Container:
    top = Container(0, "", run.plan.top, 0, None, StepState.STARTED)  # type: ignore[arg-type]
    top.parent = top  # so that every unit has one
    return top


@attrs.define(eq=False)
class Run:
    """One run.  Make it with `open_run` or `replay`; change it with `evolve` alone."""

    plan: Plan
    id: str
    opened: RunOpened
    started_at: str  #: RFC 3339, for expressions
    phase: Phase = Phase.OPEN
    hold: str | None = None  #: why nothing goes on until somebody resumes it
    ending: Literal["rollback", "stop"] | None = None  #: what follows when it has drained
    cause: str = "failure"  #: of that: failure, cancelled, expiry, operator
    closed: ClosedState | None = None
    is_reopened: bool = False  #: by a person, after it had closed: it expires no more
    next_rseq: int = 1
    root: Container = attrs.field(default=attrs.Factory(_top, takes_self=True), init=False)
    units: list[Unit] = attrs.field(factory=list, init=False)
    items: list[Item] = attrs.field(factory=list, init=False)
    paths: dict[str, Unit] = attrs.field(factory=dict, init=False)
    effects: dict[str, Item] = attrs.field(factory=dict, init=False)
    counts: dict[StepState, int] = attrs.field(init=False)
    item_counts: dict[ItemState, int] = attrs.field(init=False)
    containers: int = attrs.field(default=0, init=False)  #: scopes and fan-outs STARTED
    outputs: dict[int, Json] = attrs.field(factory=dict, init=False)
    arguments: dict[int, Json] = attrs.field(factory=dict, init=False)  #: of open containers
    ready: list[int] = attrs.field(factory=list, init=False)  #: heap of calls to admit
    backoffs: list[tuple[int, int]] = attrs.field(factory=list, init=False)  #: heap of (due, unit)
    alarms: list[tuple[int, int]] = attrs.field(factory=list, init=False)  #: requests, undo retries
    duties: OrderedDict[int, None] = attrs.field(factory=OrderedDict, init=False)  #: units
    interrupts: OrderedDict[int, None] = attrs.field(factory=OrderedDict, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with the root alone."""
        self.counts, self.item_counts = _NO_STEPS.copy(), _NO_ITEMS.copy()
        self.units.append(self.root)
        self.paths[""] = self.root

    # ---- what drivers and views ask -------------------------------------------------------------
    @property
    def state(self) -> str:
        """The state that is shown: one of the six."""
        if self.closed:
            return self.closed
        counts = self.counts
        if self.hold or (
            (counts[StepState.ASKED] or counts[StepState.IN_DOUBT]) and not self._is_moving
        ):
            return "PAUSED"
        return "PENDING" if self.phase is Phase.OPEN else "RUNNING"

    @property
    def in_flight(self) -> int:
        """How many handlers run, and how many attempts are being cleared."""
        return self.calls + self.counts[StepState.CLEARING]

    @property
    def calls(self) -> int:
        """How many handlers run."""
        return self.counts[StepState.STARTED] - self.containers

    @property
    def _is_moving(self) -> bool:
        """Whether something is in flight, ready or due, so that nobody has to act."""
        begins = (StepState.READY, StepState.GRANTED, StepState.BACKOFF)
        is_due = self.in_flight or any(self.counts[state] for state in begins) or self.duties
        return bool(is_due or (self.root.unwind and self.root.unwind.queue))

    @property
    def failure(self) -> Failure | None:
        """Why the run is ending, or ended; None: it was not a failure."""
        return self.root.inner_failure

    @property
    def standing(self) -> int:
        """How many effects are in the world and could still be taken back."""
        counts = self.item_counts
        return counts[ItemState.APPLIED] + counts[ItemState.INTENDED] + counts[ItemState.UNDOING]

    @property
    def remains(self) -> bool:
        """Whether anything of the run is, or may be, in the world."""
        gone = self.item_counts[ItemState.RESIDUE] + self.item_counts[ItemState.GONE]
        return self.standing + gone > 0

    def residue(self) -> tuple[Residue, ...]:
        """Name each thing that a rollback left in the world, in the order it was done."""
        if not self.item_counts[ItemState.RESIDUE]:
            return ()
        return tuple(
            Residue(effect=item.effect, step=item.unit.path, what=item.target, why=item.why)
            for item in self.items
            if item.state is ItemState.RESIDUE
        )

    def steps(self) -> tuple[Unit, ...]:
        """Give every step and item that exists so far, in the order they came into being."""
        return tuple(self.units[1:])

    def actions(self) -> frozenset[str]:
        """Name what may be asked of the run now; a dry run can only be ended."""
        if self.opened.dry:
            return frozenset({"cancel"} if self.phase is not Phase.CLOSED else ())
        if self.phase is Phase.CLOSED:
            if self.item_counts[ItemState.GONE]:
                return frozenset()
            return frozenset({"retry", "rollback"} if self.remains else {"retry"})
        legal = {"resume" if self.hold else "pause"}
        if self.phase is not Phase.UNWINDING:
            legal.add("cancel")
        if self.counts[StepState.IN_DOUBT]:
            legal.add("resolve")
        is_forward = self.phase in (Phase.OPEN, Phase.FORWARD)
        if self.state == "PAUSED" and is_forward and not self.in_flight:
            legal |= {"rollback", "retry"}
        return frozenset(legal)

    def require(self, action: str) -> None:
        """Check that *action* is legal now.

        :raises RunError: ``run.illegal_state``, naming what is
        :raises UndoError: ``undo.discarded``: what stood in it can no longer be taken back
        """
        if self.item_counts[ItemState.GONE] and action in {"rollback", "retry"}:
            about = {"path": f"what run {self.id} did", "slot": "the undo store"}
            raise UndoError("undo.discarded", **about)
        if action not in (legal := self.actions()):
            raise RunError(
                "run.illegal_state",
                run=self.id,
                action=action,
                state=self.state,
                legal=", ".join(sorted(legal)) or "nothing",
            )

    def item(self, effect: str) -> Item:
        """Give the item of an effect id.

        :raises KeyError: the run has none
        """
        return self.effects[effect]

    def unit(self, path: str) -> Unit:
        """Give the step or item at *path*.

        :raises KeyError: none exists so far
        """
        return self.paths[path]

    # ---- values ---------------------------------------------------------------------------------
    def scope(self, path: str) -> dict[str, Json]:
        """Give what the templates of the step at *path* may read."""
        unit = self.paths[path]
        parent = unit.parent
        if not parent.is_fanout:
            return self._roots(parent, unit.step.uses)
        values = self.arguments.get(parent.index) or []
        item = values[unit.ordinal] if unit.ordinal < len(values) else None
        outer = self._roots(parent.parent, parent.step.uses)
        return outer | {"item": item, "index": unit.ordinal}

    def inside(self, path: str) -> dict[str, Json]:
        """Give what the ``outputs`` of the scope at *path* may read; ``""`` is the run."""
        container = self._container(path)
        return self._roots(container, self.block_of(container).output_uses)

    def collected(self, path: str) -> list[Json]:
        """Give the outputs of a fan-out's items in their order; None where one was tolerated."""
        fanout = self._container(path)
        return [self.outputs.get(child.index) for child in fanout.children[: fanout.count]]

    def when(self, path: str) -> Template | None:
        """Give the condition to evaluate before the step at *path* starts; once, when READY."""
        unit = self.paths[path]
        return unit.step.when if unit.state is StepState.READY and not unit.drifts else None

    def unloaded(self) -> tuple[Unloaded, ...]:
        """List the values to `supply` before templates are evaluated, after a replay or retry."""
        found = []
        for unit in self.units:
            if isinstance(unit, Container) and unit.state is StepState.STARTED:
                if unit.index not in self.arguments:
                    kind: Literal["arguments", "inputs"] = "arguments" if unit.index else "inputs"
                    found.append(Unloaded(unit.path, kind, unit.started_rseq))
            elif unit.readers and unit.state is StepState.DONE and unit.index not in self.outputs:
                found.append(Unloaded(unit.path, "output", unit.ended_rseq))
        return tuple(found)

    def supply(self, value: Unloaded, found: Json) -> None:
        """Put a value that was read from its payload where `scope` looks for it."""
        target = self.outputs if value.kind == "output" else self.arguments
        target[self.paths[value.path].index] = found

    def _container(self, path: str) -> Container:
        found = self.paths[path]
        if not isinstance(found, Container):
            raise KeyError(path)
        return found

    def _roots(self, scope: Container, uses: tuple[int, ...]) -> dict[str, Json]:
        used = [scope.children[index] for index in uses]
        return {
            "inputs": self.arguments.get(scope.index),
            "steps": {unit.step.spec.id: self._result(unit) for unit in used},
            "run": {"id": self.id, "started_at": self.started_at},
        }

    def _result(self, unit: Unit) -> JsonObject:
        result: JsonObject = {"output": self.outputs.get(unit.index)}
        if isinstance(unit, Container) and unit.is_fanout:
            result["errors"] = [
                {"index": child.ordinal, "code": child.failure.code}
                for child in unit.children
                if child.state is StepState.TOLERATED and child.failure
            ]
        return result

    # ---- what the decider's own modules ask -----------------------------------------------------
    def block_of(self, scope: Unit) -> Block:
        """Give the workflow that a scope, or the run, runs."""
        if scope.step.block is None:
            raise KeyError(scope.path)
        return scope.step.block

    def on_failure(self, unit: Unit) -> OnFailure:
        """Give what the final failure of *unit* does, the run's default applied."""
        default = OnFailure.ROLLBACK if self.opened.auto_rollback else OnFailure.STOP
        return unit.step.spec.on_failure or default

    def keeper(self, path: str) -> str | None:
        """Name the open scope around the unit at *path* that may be taken back alone, if any.

        What was changed in it must not be changed outside before it has ended: its undo would meet
        what came later, or come before what came later was taken back (ADR 0006).
        """
        scope = self.paths[path].parent
        while scope.index:
            is_alone = self.on_failure(scope) is OnFailure.CONTINUE or scope.step.retry.attempts > 1
            if is_alone and not scope.is_fanout and scope.state not in ENDED:
                return scope.path
            scope = scope.parent
        return None

    def move(self, unit: Unit, state: StepState) -> None:
        """Put *unit* into *state* and keep every count right."""
        before = unit.state
        self.counts[before] -= 1
        self.counts[state] += 1
        if isinstance(unit, Container):
            self.containers += (state is StepState.STARTED) - (before is StepState.STARTED)
        unit.parent.active += (state in ACTIVE) - (before in ACTIVE)
        unit.state = state

    def settle(self, item: Item, state: ItemState) -> None:
        """Put *item* into *state* and keep the counts right."""
        self.item_counts[item.state] -= 1
        self.item_counts[state] += 1
        item.state = state

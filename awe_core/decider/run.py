"""`Run`: everything the decider knows of one run, folded from its facts.

Rules: the one mutable value below floor 4 (style.md, values); its driver alone holds it, and only
`fold`, `saga` and `rewind` write to it.  Units are steps and items of fan-outs, known inside by
index and outside by path; unit 0 is the run itself.  Values are kept only while something that has
not ended reads them.  Heaps hold stale entries, which are dropped when they surface.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.decider.plan import Kind
from awe_core.decider.table import ACTIVE, ItemState, Phase, StepState
from awe_core.errors import RunError
from awe_core.events import Residue
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.decider.plan import Block, Plan
    from awe_core.decider.unit import Inner, Item, Unit
    from awe_core.events import ClosedState, Failure, RunOpened
    from awe_core.expressions import Template
    from awe_core.values import Json, JsonObject

ValueKind = Literal["inputs", "arguments", "output"]


@attrs.frozen
class StepView:
    """One step as status pages show it."""

    path: str
    state: StepState
    attempt: int
    epoch: int
    request: str | None  #: the handshake that is open
    due_us: int | None
    failure: Failure | None


@attrs.frozen
class Unloaded:
    """A value that something unfinished reads, and that replay could not know."""

    path: str  #: of the step; ``""`` for the run
    kind: ValueKind
    rseq: int  #: the record whose payload holds it


@attrs.define(eq=False)
class Run:
    """One run.  Make it with `Run.new` or `replay`; change it with `evolve` alone."""

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
    is_discarded: bool = False  #: its undo data is gone
    next_rseq: int = 0
    units: list[Unit] = attrs.field(factory=list, init=False)
    items: list[Item] = attrs.field(factory=list, init=False)
    paths: dict[str, int] = attrs.field(factory=dict, init=False)
    effects: dict[str, int] = attrs.field(factory=dict, init=False)
    counts: Counter[StepState] = attrs.field(factory=Counter, init=False)
    item_counts: Counter[ItemState] = attrs.field(factory=Counter, init=False)
    containers: int = attrs.field(default=0, init=False)  #: scopes and fan-outs STARTED
    outputs: dict[int, Json] = attrs.field(factory=dict, init=False)
    arguments: dict[int, Json] = attrs.field(factory=dict, init=False)  #: of open containers
    ready: list[int] = attrs.field(factory=list, init=False)  #: heap of calls to admit
    backoffs: list[tuple[int, int]] = attrs.field(factory=list, init=False)  #: heap of (due, unit)
    alarms: list[tuple[int, int]] = attrs.field(factory=list, init=False)  #: requests, undo retries
    duties: OrderedDict[int, None] = attrs.field(factory=OrderedDict, init=False)
    interrupts: OrderedDict[int, None] = attrs.field(factory=OrderedDict, init=False)
    lost: set[int] = attrs.field(factory=set, init=False)  #: items whose undo a crash cut off

    # ---- what drivers and views ask -------------------------------------------------------------
    @property
    def state(self) -> str:
        """The state that is shown: one of the six."""
        if self.closed:
            return self.closed
        if self.hold:
            return "PAUSED"
        waits = self.counts[StepState.ASKED] + self.counts[StepState.IN_DOUBT]
        if waits and not self.is_moving:
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
    def is_moving(self) -> bool:
        """Whether something is in flight, ready or due, so that nobody has to act."""
        begins = self.counts[StepState.READY] + self.counts[StepState.GRANTED]
        root = self.units[0].unwind
        return bool(
            self.in_flight
            or begins
            or self.counts[StepState.BACKOFF]
            or self.duties
            or (root and root.queue)
        )

    @property
    def failure(self) -> Failure | None:
        """Why the run is ending, or ended; None: it was not a failure."""
        return self.root.failure

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
        return tuple(
            Residue(
                effect=item.effect, step=self.units[item.unit].path, what=item.target, why=item.why
            )
            for item in self.items
            if item.state is ItemState.RESIDUE
        )

    def steps(self) -> tuple[StepView, ...]:
        """Show every step and item that exists so far, in the order they came into being."""
        return tuple(
            StepView(u.path, u.state, u.attempt, u.epoch, u.request, u.due_us, u.failure)
            for u in self.units[1:]
        )

    def actions(self) -> frozenset[str]:
        """Name what may be asked of the run now."""
        legal = set()
        if self.phase is Phase.CLOSED:
            legal.add("retry")
            if self.remains and not self.is_discarded:
                legal.add("rollback")
            return frozenset(legal)
        if self.phase is not Phase.UNWINDING:
            legal.add("cancel")
        legal.add("resume" if self.hold else "pause")
        if self.counts[StepState.IN_DOUBT]:
            legal.add("resolve")
        if self.state == "PAUSED" and self.is_quiet:
            legal |= {"rollback", "retry"}
        return frozenset(legal)

    def require(self, action: str) -> None:
        """Check that *action* is legal now.

        :raises RunError: ``run.illegal_state``, naming what is
        """
        if action not in (legal := self.actions()):
            raise RunError(
                "run.illegal_state",
                run=self.id,
                action=action,
                state=self.state,
                legal=", ".join(sorted(legal)) or "nothing",
            )

    @property
    def is_quiet(self) -> bool:
        """Whether a rewind may begin: it goes forward, and no handler or undo is at work."""
        return self.phase in (Phase.OPEN, Phase.FORWARD) and not self.in_flight

    def item(self, effect: str) -> Item:
        """Give the item of an effect id.

        :raises KeyError: the run has none
        """
        return self.items[self.effects[effect]]

    def items_of(self, path: str) -> tuple[Item, ...]:
        """Give the items of a step, over all attempts, in the order of intent."""
        return tuple(self.items[index] for index in self.unit(path).items)

    def unit(self, path: str) -> Unit:
        """Give the step or item at *path*.

        :raises KeyError: none exists so far
        """
        return self.units[self.paths[path]]

    # ---- values ---------------------------------------------------------------------------------
    def scope(self, path: str) -> dict[str, Json]:
        """Give what the templates of the step at *path* may read."""
        unit = self.unit(path)
        if unit.step is None:
            raise KeyError(path)
        parent = self.units[unit.parent]
        if parent.step is None or parent.step.kind is Kind.SCOPE:
            return self._roots(parent, unit.step.uses)
        values = self.arguments.get(parent.index) or []
        item = values[unit.ordinal] if unit.ordinal < len(values) else None
        outer = self._roots(self.units[parent.parent], parent.step.uses)
        return outer | {"item": item, "index": unit.ordinal}

    def inside(self, path: str) -> dict[str, Json]:
        """Give what the ``outputs`` of the scope at *path* may read; ``""`` is the run."""
        unit = self.unit(path)
        return self._roots(unit, self.block_of(unit).output_uses)

    def collected(self, path: str) -> list[Json]:
        """Give the outputs of a fan-out's items in their order; None where one was tolerated."""
        inner = self.unit(path).inner
        children = inner.children[: inner.count] if inner else []
        return [self.outputs.get(child) for child in children]

    def when(self, path: str) -> Template | None:
        """Give the condition to evaluate before the step at *path* starts; once, when READY."""
        unit = self.unit(path)
        is_first = unit.state is StepState.READY and not unit.drifts
        return unit.step.when if unit.step and is_first else None

    def unloaded(self) -> tuple[Unloaded, ...]:
        """List the values to `supply` before templates are evaluated, after a replay or retry."""
        found = []
        for unit in self.units:
            if unit.inner and unit.state is StepState.STARTED:
                if unit.index not in self.arguments:
                    kind: ValueKind = "arguments" if unit.index else "inputs"
                    found.append(Unloaded(unit.path, kind, unit.started_rseq or 0))
            elif unit.readers and unit.state is StepState.DONE and unit.index not in self.outputs:
                found.append(Unloaded(unit.path, "output", unit.ended_rseq or 0))
        return tuple(found)

    def supply(self, value: Unloaded, found: Json) -> None:
        """Put a value that was read from its payload where `scope` looks for it."""
        target = self.outputs if value.kind == "output" else self.arguments
        target[self.paths[value.path]] = found

    def _roots(self, container: Unit, uses: tuple[int, ...]) -> dict[str, Json]:
        children = container.inner.children if container.inner else []
        steps = self.block_of(container).steps
        return {
            "inputs": self.arguments.get(container.index),
            "steps": {steps[i].spec.id: self._result(self.units[children[i]]) for i in uses},
            "run": {"id": self.id, "started_at": self.started_at},
        }

    def _result(self, unit: Unit) -> JsonObject:
        result: JsonObject = {"output": self.outputs.get(unit.index)}
        if unit.step and unit.step.kind is Kind.FANOUT and unit.inner:
            result["errors"] = [
                {"index": child.ordinal, "code": child.failure.code}
                for child in self.children(unit)
                if child.state is StepState.TOLERATED and child.failure
            ]
        return result

    # ---- what the decider's own modules ask -----------------------------------------------------
    @property
    def root(self) -> Inner:
        """What the run holds inside."""
        inner = self.units[0].inner
        assert inner is not None  # noqa: S101 - `Run.new` makes it, nothing takes it away
        return inner

    def block_of(self, container: Unit) -> Block:
        """Give the workflow that a scope, or the run, runs."""
        block = container.step.block if container.step else self.plan.root
        if block is None:
            raise KeyError(container.path)
        return block

    def children(self, unit: Unit) -> Iterator[Unit]:
        """Walk what stands directly inside *unit*."""
        return (self.units[index] for index in (unit.inner.children if unit.inner else ()))

    def parent_of(self, unit: Unit) -> Inner:
        """Give the inside of the container that *unit* stands in."""
        inner = self.units[unit.parent].inner
        assert inner is not None  # noqa: S101 - units come into being inside containers only
        return inner

    def on_failure(self, unit: Unit) -> OnFailure:
        """Give what the final failure of *unit* does, the run's default applied."""
        own = unit.step.spec.on_failure if unit.step else None
        return own or (OnFailure.ROLLBACK if self.opened.auto_rollback else OnFailure.STOP)

    def move(self, unit: Unit, state: StepState) -> None:
        """Put *unit* into *state* and keep every count right."""
        self.counts[unit.state] -= 1
        self.counts[state] += 1
        if unit.inner is not None:
            self.containers += (state is StepState.STARTED) - (unit.state is StepState.STARTED)
        self.parent_of(unit).active += (state in ACTIVE) - (unit.state in ACTIVE)
        unit.state = state

    def settle(self, item: Item, state: ItemState) -> None:
        """Put *item* into *state* and keep the counts right."""
        self.item_counts[item.state] -= 1
        self.item_counts[state] += 1
        item.state = state

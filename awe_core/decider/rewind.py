"""What `run.resumed` does: go on, roll back a closed run, roll back to a step, retry from one.

A rewind chooses a set of units, takes back what of them stands, newest first, and lets them wait
again in a new epoch (30-engine, section 3).  The set of ``rollback --to STEP`` is what depends on
STEP, of ``retry --from STEP`` STEP too; of both also whatever failed or does not stand any more,
for a run that goes forward again has to end with every step standing.  Both are closed under
"depends on" and "changed the same resource later".  Everything here is linear in the run and asked
for by a person, so counts are made anew instead of being kept; scopes in a fan-out that are opened
again run side by side, whatever its ``max_parallel``.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify
from typing import TYPE_CHECKING

from awe_core.decider.claims import covering
from awe_core.decider.course import arrive, enlist, note_end, release, renew
from awe_core.decider.saga import advance, standing, stop_run, unwind_with
from awe_core.decider.table import ACTIVE, ENDED, GOOD, ItemState, Phase, StepState
from awe_core.decider.unit import Goal, Unwind, inner_of, is_fanout
from awe_core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.decider.run import Run
    from awe_core.decider.unit import Unit
    from awe_core.events import RunResumed

_KEPT = (ItemState.APPLIED, ItemState.NOTHING, ItemState.INTENDED)


def resume(run: Run, fact: RunResumed) -> None:
    """Fold *fact*.

    :raises RunError: ``run.illegal_state`` or ``run.unknown_step``; nothing was changed
    """
    step = fact.from_ if fact.mode == "retry" else fact.to
    if fact.mode == "forward":
        _require_hold(run)
        run.hold = None
        for unit in run.units:
            unit.reruns = 0
    elif fact.mode == "rollback" and step is None:
        run.require("rollback")
        _roll_back(run)
    else:
        run.require(fact.mode)
        chosen = selection(run, step or "", fact=fact)
        _rewind(run, chosen, Goal.REDO if fact.mode == "retry" else Goal.PARTIAL)


def _require_hold(run: Run) -> None:
    if not run.hold:
        run.require("resume")


def _roll_back(run: Run) -> None:
    run.hold = None
    if run.phase is not Phase.CLOSED:
        stop_run(run, "rollback", "operator", None)
        return
    root = run.units[0]
    run.phase, run.closed, run.ending, run.cause = Phase.UNWINDING, None, "rollback", "operator"
    run.root.is_doomed = True
    unwind_with(run, root, Unwind(Goal.RUN, "operator", standing(run, root)))
    advance(run, root)


def _rewind(run: Run, chosen: list[Unit], goal: Goal) -> None:
    items = sorted(
        (i for unit in chosen for i in unit.items if run.items[i].state is ItemState.APPLIED),
        key=lambda index: (run.items[index].order, index),
    )
    for unit in chosen:
        is_new = unit.state in (StepState.WAITING, StepState.READY)
        renew(run, unit)
        unit.epoch += not is_new
    _reopen(run, chosen)
    run.is_reopened |= run.phase is Phase.CLOSED
    run.hold, run.closed, run.ending = None, None, None
    run.phase = Phase.UNWINDING
    run.ready, run.cause = [], "operator"
    run.duties.clear()
    _recount(run)
    root = run.units[0]
    unwind_with(run, root, Unwind(goal, "retry" if goal is Goal.REDO else "operator", items))
    advance(run, root)


# ---- the set ------------------------------------------------------------------------------------
def selection(run: Run, path: str, *, fact: RunResumed) -> list[Unit]:
    """Give the units that *fact* rewinds, in the order they came into being.

    :raises RunError: there is no such step, or something of the set is at work or being asked
    """
    if not run.paths.get(path):
        raise RunError("run.unknown_step", run=run.id, step=path)
    chosen = _Choice(run)
    top = run.unit(path)
    if fact.mode == "retry" or fact.inclusive:
        chosen.add(top)
    else:
        chosen.add_dependents(top)
    for unit in _not_standing(run):
        chosen.add(unit)
    chosen.close()
    found = [run.units[index] for index in sorted(chosen.units)]
    busy = [
        u.path for u in found if u.state in ACTIVE and (u.inner is None or not u.inner.children)
    ]
    if busy:
        raise RunError(
            "run.illegal_state",
            run=run.id,
            action=fact.mode,
            state=run.state,
            legal=f"what {busy[0]} waits for has to end first",
        )
    return found


def _not_standing(run: Run) -> Iterable[Unit]:
    """Walk what has ended and is not, or not any more, what a finished run consists of."""
    open_ = [run.units[0]]
    while open_:
        for unit in run.children(open_.pop()):
            if unit.state in (StepState.SKIPPED, StepState.TOLERATED) or unit.state not in ENDED:
                open_ += [unit] if unit.state is StepState.STARTED and unit.inner else []
            elif _can_reopen(unit):
                open_.append(unit)
            elif unit.state is not StepState.DONE or unit.is_taken_back:
                yield unit


class _Choice:
    """A set of units that grows until it is closed."""

    def __init__(self, run: Run) -> None:
        """Choose nothing yet."""
        self.run = run
        self.units: set[int] = set()  #: never iterated unsorted
        self._touched: set[int] = set()
        self._new: deque[int] = deque()

    def add(self, unit: Unit) -> None:
        """Choose *unit*, or what it is inside of and cannot be reopened for it alone."""
        around = unit
        while around.parent > 0:
            around = self.run.units[around.parent]
            unit = unit if _can_reopen(around) else around
        if unit.index not in self.units:
            self.units.add(unit.index)
            self._new.append(unit.index)

    def add_dependents(self, unit: Unit) -> None:
        """Choose what depends on *unit*, here and around its containers."""
        while unit.index and unit.index not in self._touched:
            self._touched.add(unit.index)
            parent = self.run.units[unit.parent]
            if unit.step and not is_fanout(parent):
                for index, _ in unit.step.dependents:
                    self.add(self.run.units[inner_of(parent).children[index]])
            unit = parent

    def close(self) -> None:
        """Follow containers, dependents and shared resources until nothing is added."""
        later = _Later(self.run)
        while self._new:
            unit = self.run.units[self._new.popleft()]
            self.add_dependents(unit)
            for child in self.run.children(unit):
                self.add(child)
            for index in unit.items:
                if self.run.items[index].state is ItemState.APPLIED:
                    for changed in later.than(index):
                        self.add(self.run.units[changed])


class _Later:
    """Who changed a resource after an item did; each answer is given once."""

    def __init__(self, run: Run) -> None:
        """Note every standing item under its resources and all above them."""
        self._run = run
        self._at: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}
        for index in standing(run, run.units[0]):
            for claim in run.items[index].claims:
                self._at.setdefault(claim, []).append(index)
                for above in covering(claim):
                    self._below.setdefault(above, []).append(index)

    def than(self, index: int) -> list[int]:
        """Give the units that changed a resource of item *index* later."""
        item = self._run.items[index]
        lists = []
        for claim in item.claims:
            lists.append(self._below.get(claim, []))
            lists += [self._at.get(above, []) for above in covering(claim)]
        found = []
        for of in lists:
            while of and self._run.items[of[-1]].order > item.order:
                found.append(self._run.items[of.pop()].unit)
        return found


def _can_reopen(container: Unit) -> bool:
    is_open = container.inner is not None and container.inner.is_open
    return is_open and container.state in (StepState.STARTED, StepState.DONE, StepState.FAILED)


# ---- counts made anew ---------------------------------------------------------------------------
def _reopen(run: Run, chosen: list[Unit]) -> None:
    """Put containers around chosen units, and all with steps that never began, to STARTED."""
    inside = {unit.index for unit in chosen}
    run.root.is_doomed, run.root.failure = False, None
    for unit in chosen:
        parent = run.units[unit.parent]
        while parent.index and parent.index not in inside and parent.state in ENDED:
            _reopen_one(run, parent)
            parent = run.units[parent.parent]
    open_ = [run.units[0]]
    while open_:
        for unit in run.children(open_.pop()):
            if unit.index in inside or unit.inner is None:
                continue
            if unit.state is StepState.FAILED and _can_reopen(
                unit
            ):  # steps in it may never have begun
                _reopen_one(run, unit)
            if unit.state is StepState.STARTED:
                open_.append(unit)


def _reopen_one(run: Run, container: Unit) -> None:
    run.move(container, StepState.STARTED)
    inner = inner_of(container)
    inner.is_doomed, inner.failure = False, None
    container.failure = container.unwind = None


def _recount(run: Run) -> None:
    """Count what is missing, pending, active and read in every open container."""
    open_ = [run.units[0]]
    while open_:
        container = open_.pop()
        inner = inner_of(container)
        inner.is_doomed = False
        children = list(run.children(container))
        inner.active = sum(child.state in ACTIVE for child in children)
        if is_fanout(container):
            _recount_fanout(run, container, children[: inner.next_item])
        else:
            _recount_block(run, container, children)
        open_ += [c for c in children if c.inner is not None and c.state is StepState.STARTED]
        note_end(run, container)


def _recount_block(run: Run, container: Unit, children: list[Unit]) -> None:
    block = run.block_of(container)
    inner_of(container).pending = sum(child.state not in GOOD for child in children)
    for child in children:
        child.readers = 0
    for index in block.output_uses:
        children[index].readers += 1
    for child, step in zip(children, block.steps, strict=True):
        if child.state not in ENDED:
            for used in step.uses:
                children[used].readers += 1
        if child.state in (StepState.WAITING, StepState.READY):
            _recount_needs(run, child, [children[need] for need in step.needs])
        elif child.state is StepState.GRANTED:
            enlist(run, child)


def _recount_needs(run: Run, unit: Unit, needs: list[Unit]) -> None:
    unit.missing = sum(need.state not in GOOD for need in needs)
    unit.is_need_skipped = any(
        need.state is StepState.SKIPPED and (unit.ordinal, False) in need.step.dependents
        for need in needs
        if need.step
    )
    if unit.state is StepState.READY:
        enlist(run, unit)
    else:
        arrive(run, unit)


def _recount_fanout(run: Run, fanout: Unit, items: list[Unit]) -> None:
    inner = inner_of(fanout)
    inner.pending = inner.count - sum(item.state in GOOD for item in items)
    inner.again = [item.ordinal for item in items if item.state is StepState.WAITING]
    heapify(inner.again)
    inner.in_flight = inner.active + sum(item.state is StepState.READY for item in items)
    for item in items:
        item.readers = 1
        if item.state in (StepState.READY, StepState.GRANTED):
            enlist(run, item)
    release(run, fanout)

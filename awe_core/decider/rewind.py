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

from collections import defaultdict
from itertools import product
from typing import TYPE_CHECKING

import attrs

from awe_core.decider.claims import covering
from awe_core.decider.course import recount, renew
from awe_core.decider.saga import standing, stop_run, take_back
from awe_core.decider.table import ACTIVE, ENDED, ItemState, Phase, StepState
from awe_core.decider.unit import Container, Goal, Unwind
from awe_core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.decider.run import Run
    from awe_core.decider.unit import Item, Unit
    from awe_core.events import RunResumed


@attrs.frozen
class Foreseen:
    """What a rollback or a retry would do, were nothing to fail."""

    undo: tuple[Item, ...]  #: what it takes back, in this order
    stays: tuple[Item, ...]  #: what it would have to, and nothing can
    again: tuple[Unit, ...]  #: what begins anew; of a rollback: waits for a person to let it
    twice: tuple[Item, ...]  #: what stays in the world and happens once more, if the step does it


def foresee(run: Run, fact: RunResumed) -> Foreseen:
    """Say what *fact* would do to *run*, which stays as it is.

    :raises RunError: as `resume`
    """
    chosen, items = _meant(run, fact)
    inside = set(map(id, items))
    over = (ItemState.NOTHING, ItemState.UNDONE)
    left = [item for unit in chosen for item in unit.items if item.state not in over]
    return Foreseen(
        undo=tuple(item for item in reversed(items) if item.strategy),
        stays=tuple(item for item in reversed(items) if not item.strategy),
        again=tuple(unit for unit in chosen if not getattr(unit, "children", ())),
        twice=tuple(one for one in left if not one.strategy or id(one) not in inside),
    )


def resume(run: Run, fact: RunResumed) -> None:
    """Fold *fact*.

    :raises RunError: ``run.illegal_state`` or ``run.unknown_step``; nothing was changed
    """
    if fact.mode == "forward":
        if not run.hold:
            run.require("resume")
        run.hold = None
        for unit in run.units:
            unit.reruns = 0
        return
    chosen, items = _meant(run, fact)
    if fact.mode == "rollback" and fact.to is None:
        _roll_back(run, items)
    else:
        _rewind(run, chosen, items, fact)


def _meant(run: Run, fact: RunResumed) -> tuple[list[Unit], list[Item]]:
    """Give the units that *fact* rewinds, and the items it takes back, the newest last."""
    run.require(fact.mode)
    step = fact.from_ if fact.mode == "retry" else fact.to
    if fact.mode == "rollback" and step is None:
        return [], standing(run.root) if fact.item is None else [_alone(run, fact.item)]
    chosen = _selection(run, step or "", fact)
    items = [item for unit in chosen for item in unit.in_state(ItemState.APPLIED)]
    return chosen, sorted(items, key=lambda item: (item.order, item.index))


def _alone(run: Run, effect: str) -> Item:
    """Give the one item of a closed run to take back, unless its resources were changed later.

    :raises RunError: it does not stand, or something above it does
    """
    found, item = standing(run.root), run.effects.get(effect)
    why = "what stands in a closed run"
    if item is not None and item in found and run.phase is Phase.CLOSED:
        later = found[found.index(item) + 1 :]
        above = [one for one in later if any(map(_overlap, product(one.claims, item.claims)))]
        if not above:
            return item
        why = f"{above[-1].effect} first, which changed the same later"
    action = f"take {effect} back alone"
    raise RunError("run.illegal_state", run=run.id, action=action, state=run.state, legal=why)


def _overlap(claims: tuple[str, str]) -> bool:
    one, other = claims
    return one in covering(other) or other in covering(one)


def _roll_back(run: Run, items: list[Item]) -> None:
    run.hold = None
    if run.phase is not Phase.CLOSED:
        stop_run(run, "rollback", "operator", None)
        return
    run.phase, run.closed, run.ending, run.cause = Phase.UNWINDING, None, "rollback", "operator"
    run.root.stops = True
    take_back(run, run.root, Unwind(Goal.RUN, "operator", items))


def _rewind(run: Run, chosen: list[Unit], items: list[Item], fact: RunResumed) -> None:
    for unit in chosen:
        unit.epoch += unit.state not in (StepState.WAITING, StepState.READY)
        renew(run, unit)
    _reopen(run, chosen)
    run.is_reopened |= run.phase is Phase.CLOSED
    run.hold, run.closed, run.ending, run.cause = None, None, None, "operator"
    run.phase = Phase.UNWINDING
    run.ready.clear()
    run.duties.clear()
    open_ = [run.root]
    while open_:
        container = open_.pop()
        recount(run, container)
        open_ += _inside(container, StepState.STARTED)
    goal, cause = (Goal.REDO, "retry") if fact.mode == "retry" else (Goal.PARTIAL, "operator")
    take_back(run, run.root, Unwind(goal, cause, items))


def _inside(container: Container, *states: StepState) -> list[Container]:
    return [c for c in container.children if isinstance(c, Container) and c.state in states]


def _reopen(run: Run, chosen: list[Unit]) -> None:
    """Put containers around chosen units, and all with steps that never began, to STARTED."""
    run.root.stops, run.root.inner_failure = False, None
    inside = {unit.index for unit in chosen}
    for unit in chosen:
        parent = unit.parent
        while parent.index and parent.index not in inside and parent.state in ENDED:
            _reopen_one(run, parent)
            parent = parent.parent
    open_ = [run.root]
    while open_:
        for container in _inside(open_.pop(), StepState.STARTED, StepState.FAILED):
            if container.index in inside:
                continue
            if container.state is StepState.FAILED and container.is_open:
                _reopen_one(run, container)  # steps in it may never have begun
            if container.state is StepState.STARTED:
                open_.append(container)


def _reopen_one(run: Run, container: Container) -> None:
    run.move(container, StepState.STARTED)
    container.stops, container.inner_failure = False, None
    container.failure = container.unwind = None


# ---- the set ------------------------------------------------------------------------------------
def _selection(run: Run, path: str, fact: RunResumed) -> list[Unit]:
    """Give the units that *fact* rewinds, in the order they came into being.

    :raises RunError: there is no such step, or something of the set is at work or being asked
    """
    top = run.paths.get(path, run.root)
    if not top.index:
        raise RunError("run.unknown_step", run=run.id, step=path)
    chosen = _Choice(run)
    if fact.mode == "retry" or fact.inclusive:
        chosen.add(top)
    else:
        chosen.add_dependents(top)
    for unit in _not_standing(run):
        chosen.add(unit)
    chosen.close()
    found = [run.units[index] for index in sorted(chosen.units)]
    for unit in found:
        if unit.state in ACTIVE and not (isinstance(unit, Container) and unit.children):
            legal = f"what {unit.path} waits for has to end first"
            state = run.state
            code = "run.illegal_state"
            raise RunError(code, run=run.id, action=fact.mode, state=state, legal=legal)
    return found


def _can_reopen(container: Container) -> bool:
    states = (StepState.STARTED, StepState.DONE, StepState.FAILED)
    return container.is_open and container.state in states


def _not_standing(run: Run) -> Iterator[Unit]:
    """Walk what has ended and is not, or not any more, what a finished run consists of."""
    open_: list[Container] = [run.root]
    while open_:
        for unit in open_.pop().children:
            ended = unit.state in (StepState.DONE, StepState.FAILED, StepState.VOID)
            if isinstance(unit, Container) and _can_reopen(unit):
                open_.append(unit)
            elif ended and (unit.state is not StepState.DONE or unit.is_taken_back):
                yield unit


@attrs.define
class _Choice:
    """A set of units that grows until it is closed."""

    run: Run
    units: set[int] = attrs.field(factory=set)  #: never iterated unsorted
    _touched: set[int] = attrs.field(factory=set)
    _new: list[Unit] = attrs.field(factory=list)

    def add(self, unit: Unit) -> None:
        """Choose *unit*, or what it is inside of and cannot be reopened for it alone."""
        around = unit.parent
        while around.index:
            unit = unit if _can_reopen(around) else around
            around = around.parent
        if unit.index not in self.units:
            self.units.add(unit.index)
            self._new.append(unit)

    def add_dependents(self, unit: Unit) -> None:
        """Choose what depends on *unit*, here and around its containers."""
        while unit.index and unit.index not in self._touched:
            self._touched.add(unit.index)
            if not unit.parent.is_fanout:
                for index, _ in unit.step.dependents:
                    self.add(unit.parent.children[index])
            unit = unit.parent

    def close(self) -> None:
        """Follow containers, dependents and shared resources until nothing is added."""
        later = _Later(self.run)
        for unit in self._new:  # grows while it is walked
            self.add_dependents(unit)
            for child in unit.children if isinstance(unit, Container) else ():
                self.add(child)
            for item in unit.in_state(ItemState.APPLIED):
                for changed in later.than(item):
                    self.add(changed)


class _Later:
    """Who changed a resource after an item did; each answer is given once."""

    def __init__(self, run: Run) -> None:
        """Note every standing item under its resources and all above them."""
        self._at: dict[str, list[Item]] = defaultdict(list)
        self._below: dict[str, list[Item]] = defaultdict(list)
        for item in standing(run.root):
            for claim in item.claims:
                self._at[claim].append(item)
                for above in covering(claim):
                    self._below[above].append(item)

    def than(self, item: Item) -> Iterator[Unit]:
        """Give the units that changed a resource of *item* later."""
        for claim in item.claims:
            for of in (self._below[claim], *(self._at[above] for above in covering(claim))):
                while of and of[-1].order > item.order:
                    yield of.pop().unit

"""The course of a unit: it comes into being, becomes ready, ends, and tells who waited for it.

Rules: an end touches the unit, what depends on it and its container, nothing else.  A container's
children come into being when it starts, a fan-out's items when they are let in.  When it starts,
or is started again by a rewind, everything in it is counted anew (`recount`).
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from awe_core.decider.plan import Kind
from awe_core.decider.table import ACTIVE, ENDED, GOOD, StepState
from awe_core.decider.unit import Container, Unit

if TYPE_CHECKING:
    from awe_core.decider.plan import PlanStep
    from awe_core.decider.run import Run


# ---- units begin --------------------------------------------------------------------------------
def open_container(run: Run, container: Container, items: int | None = None) -> None:
    """Let the steps of a scope, or the first of a fan-out's *items*, come into being."""
    container.count, container.next_item, container.is_open = items or 0, 0, True
    container.inner_failure, container.inner_class = None, "error"
    if not container.is_fanout:
        for ordinal, step in enumerate(run.block_of(container).steps):
            _prepare(run, container, step, ordinal)
    recount(run, container)


def _prepare(run: Run, parent: Container, step: PlanStep, ordinal: int) -> Unit:
    """Make the child *ordinal* of a container, or make it as new for another attempt."""
    if ordinal == len(parent.children):
        if parent.is_fanout:
            path = f"{parent.path}[{ordinal}]"
        else:
            path = f"{parent.path}.{step.spec.id}" if parent.path else step.spec.id
        make = Unit if step.kind is Kind.CALL else Container
        unit = make(len(run.units), path, step, ordinal, parent)
        run.units.append(unit)
        run.paths[path] = unit
        run.counts[unit.state] += 1
        parent.children.append(unit)
    else:
        unit = parent.children[ordinal]
        renew(run, unit)
    unit.epoch = max(unit.epoch, parent.epoch)
    return unit


def renew(run: Run, unit: Unit) -> None:
    """Forget how the last attempts ended; items, attempt and epoch stay."""
    run.move(unit, StepState.WAITING)
    unit.starts = unit.reruns = unit.drifts = 0
    unit.is_need_skipped = unit.is_taken_back = False
    unit.request = unit.due_us = unit.failure = unit.unwind = None
    run.outputs.pop(unit.index, None)
    run.duties.pop(unit.index, None)
    if isinstance(unit, Container):
        unit.is_open = False


def recount(run: Run, container: Container) -> None:
    """Count what is pending, active, missing and read inside, and let begin what may."""
    container.stops = False
    container.active = sum(child.state in ACTIVE for child in container.children)
    if container.is_fanout:
        _recount_items(run, container)
    else:
        _recount_steps(run, container)
    note_end(run, container)


def _recount_items(run: Run, fanout: Container) -> None:
    begun = fanout.children[: fanout.next_item]
    fanout.pending = fanout.count - sum(item.state in GOOD for item in begun)
    fanout.again = [item.ordinal for item in begun if item.state is StepState.WAITING]
    heapify(fanout.again)
    is_ready = [item for item in begun if item.state is StepState.READY]
    fanout.in_flight = fanout.active + len(is_ready)
    for item in begun:
        item.readers = 1
        if item.state in (StepState.READY, StepState.GRANTED):
            enlist(run, item)
    _let_in(run, fanout)


def _recount_steps(run: Run, scope: Container) -> None:
    children, block = scope.children, run.block_of(scope)
    scope.pending = sum(child.state not in GOOD for child in children)
    for child in children:
        child.readers = 0
    for index in block.output_uses:
        children[index].readers += 1
    for child in children:
        if child.state not in ENDED:
            for used in child.step.uses:
                children[used].readers += 1
        if child.state in (StepState.WAITING, StepState.READY):
            child.missing, child.is_need_skipped = 0, False
            for need in child.step.needs:
                needed = children[need]
                child.missing += needed.state not in GOOD
                if needed.state is StepState.SKIPPED:
                    is_strict = (child.ordinal, False) in needed.step.dependents
                    child.is_need_skipped = child.is_need_skipped or is_strict
        if child.state in (StepState.READY, StepState.GRANTED):
            enlist(run, child)
        else:
            arrive(run, child)


def _let_in(run: Run, fanout: Container) -> None:
    """Let items begin while fewer than ``max_parallel`` are in flight."""
    step = fanout.step
    while step.item and fanout.in_flight < max(1, step.spec.max_parallel) and not fanout.stops:
        if fanout.again:
            ordinal = heappop(fanout.again)
        elif fanout.next_item < fanout.count:
            ordinal = fanout.next_item
            fanout.next_item += 1
        else:
            return
        fanout.in_flight += 1
        item = _prepare(run, fanout, step.item, ordinal)
        item.readers, item.missing = 1, 0
        arrive(run, item)


def arrive(run: Run, unit: Unit) -> None:
    """Make *unit* ready if it is time: all needs ended, its container goes on."""
    if unit.state is StepState.WAITING and not unit.missing and not unit.is_doomed:
        run.move(unit, StepState.READY)
        enlist(run, unit)


def enlist(run: Run, unit: Unit) -> None:
    """Let `decide` see that *unit* may be started, expanded or skipped."""
    if unit.is_need_skipped or isinstance(unit, Container):
        run.duties[unit.index] = None
    else:
        heappush(run.ready, unit.index)


# ---- units end ----------------------------------------------------------------------------------
def end(run: Run, unit: Unit, state: StepState) -> None:
    """End *unit*: give it its place in the order of ends, and tell who waited for it."""
    run.move(unit, state)
    unit.ended_rseq = run.next_rseq
    for item in unit.items[unit.sealed :]:
        item.order = run.next_rseq
    unit.sealed = len(unit.items)
    unit.unwind = unit.due_us = unit.request = None
    run.interrupts.pop(unit.index, None)
    run.duties.pop(unit.index, None)
    if isinstance(unit, Container):
        run.arguments.pop(unit.index, None)
        for child in unit.children:
            child.readers = 0
            run.outputs.pop(child.index, None)
    parent = unit.parent
    parent.pending -= state in GOOD
    if not parent.is_fanout:
        _tell(run, parent.children, unit)
    else:
        parent.in_flight -= 1
        if state in GOOD:
            _let_in(run, parent)
    note_end(run, parent)


def _tell(run: Run, siblings: list[Unit], unit: Unit) -> None:
    for used in unit.step.uses:
        read = siblings[used]
        read.readers -= 1
        if not read.readers:
            run.outputs.pop(read.index, None)
    if unit.state in GOOD:
        for index, even_if_skipped in unit.step.dependents:
            dependent = siblings[index]
            dependent.missing -= 1
            dependent.is_need_skipped |= unit.state is StepState.SKIPPED and not even_if_skipped
            arrive(run, dependent)


def note_end(run: Run, container: Container) -> None:
    """Let `decide` finish *container* if nothing in it can go on."""
    if container.index and container.is_finished:
        run.duties[container.index] = None

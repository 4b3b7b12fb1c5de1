"""The course of a unit: it comes into being, becomes ready, ends, and tells who waited for it.

Rules: an end touches the unit, what depends on it and its container, nothing else.  A container's
children come into being when it starts, a fan-out's items when they are let in.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from awe_core.decider.plan import Kind
from awe_core.decider.table import GOOD, StepState
from awe_core.decider.unit import Inner, Unit, inner_of, is_fanout

if TYPE_CHECKING:
    from awe_core.decider.plan import PlanStep
    from awe_core.decider.run import Run


# ---- units begin --------------------------------------------------------------------------------
def open_container(run: Run, unit: Unit, count: int) -> None:
    """Let the steps of a scope, or the first of the *count* items of a fan-out, come into being."""
    inner = inner_of(unit)
    inner.pending, inner.active, inner.in_flight = count, 0, 0
    inner.count, inner.next_item, inner.again = count, 0, []
    inner.is_open, inner.is_doomed = True, False
    inner.failure, inner.class_ = None, "error"
    if is_fanout(unit):
        release(run, unit)
    else:
        for step in run.block_of(unit).steps:
            prepare(run, unit, step, step.index)
        for child in list(run.children(unit)):
            arrive(run, child)
    note_end(run, unit)


def prepare(run: Run, parent: Unit, step: PlanStep, ordinal: int) -> Unit:
    """Make the child *ordinal* of a container, or make it as new for another attempt."""
    children = inner_of(parent).children
    if ordinal == len(children):
        inner = None if step.kind is Kind.CALL else Inner()
        place = f"{parent.path}[{ordinal}]" if is_fanout(parent) else step.spec.id
        path = place if is_fanout(parent) or not parent.path else f"{parent.path}.{place}"
        unit = Unit(len(run.units), path, step, parent.index, ordinal, inner=inner)
        run.units.append(unit)
        run.paths[path] = unit.index
        run.counts[unit.state] += 1
        children.append(unit.index)
    unit = run.units[children[ordinal]]
    renew(run, unit)
    unit.epoch = max(unit.epoch, parent.epoch)
    unit.readers = 1 if is_fanout(parent) else step.readers
    unit.missing = 0 if is_fanout(parent) else len(step.needs)
    return unit


def renew(run: Run, unit: Unit) -> None:
    """Forget how the last attempts ended; items, attempt and epoch stay."""
    run.move(unit, StepState.WAITING)
    unit.starts = unit.reruns = unit.drifts = 0
    unit.is_need_skipped = unit.is_taken_back = False
    unit.request = unit.due_us = unit.failure = unit.unwind = None
    run.outputs.pop(unit.index, None)
    run.duties.pop(unit.index, None)
    if unit.inner is not None:
        unit.inner.is_open = False


def release(run: Run, fanout: Unit) -> None:
    """Let items begin while fewer than ``max_parallel`` are in flight."""
    inner, step = inner_of(fanout), fanout.step
    if step is None or step.item is None or inner.is_doomed:
        return
    while inner.in_flight < max(1, step.spec.max_parallel):
        if inner.again:
            ordinal = heappop(inner.again)
        elif inner.next_item < inner.count:
            ordinal = inner.next_item
            inner.next_item += 1
        else:
            return
        inner.in_flight += 1
        arrive(run, prepare(run, fanout, step.item, ordinal))


def arrive(run: Run, unit: Unit) -> None:
    """Make *unit* ready if it is time: all needs ended, its container goes on."""
    if unit.state is not StepState.WAITING or unit.missing or run.parent_of(unit).is_doomed:
        return
    run.move(unit, StepState.READY)
    enlist(run, unit)


def enlist(run: Run, unit: Unit) -> None:
    """Let `decide` see that *unit* may be started, expanded or skipped."""
    if unit.inner is not None or unit.is_need_skipped:
        oblige(run, unit)
    else:
        heappush(run.ready, unit.index)


def oblige(run: Run, unit: Unit) -> None:
    """Let `decide` look at *unit*, after all it has to look at already."""
    run.duties[unit.index] = None


# ---- units end ----------------------------------------------------------------------------------
def end(run: Run, unit: Unit, state: StepState) -> None:
    """End *unit*: give it its place in the order of ends, and tell who waited for it."""
    run.move(unit, state)
    unit.ended_rseq = run.next_rseq
    for index in unit.items[unit.sealed :]:
        run.items[index].order = run.next_rseq
    unit.sealed = len(unit.items)
    unit.unwind = unit.due_us = unit.request = None
    run.interrupts.pop(unit.index, None)
    run.duties.pop(unit.index, None)
    if unit.inner is not None:
        _forget_inside(run, unit)
    parent = run.units[unit.parent]
    inner = inner_of(parent)
    inner.pending -= state in GOOD
    if is_fanout(parent):
        inner.in_flight -= 1
        if state in GOOD:
            release(run, parent)
    elif unit.step is not None:
        _tell(run, inner, unit.step, state)
    note_end(run, parent)


def _forget_inside(run: Run, unit: Unit) -> None:
    run.arguments.pop(unit.index, None)
    for child in run.children(unit):
        child.readers = 0
        run.outputs.pop(child.index, None)


def _tell(run: Run, inner: Inner, step: PlanStep, state: StepState) -> None:
    for used in step.uses:
        read = run.units[inner.children[used]]
        read.readers -= 1
        if not read.readers:
            run.outputs.pop(read.index, None)
    if state not in GOOD:
        return
    for index, even_if_skipped in step.dependents:
        dependent = run.units[inner.children[index]]
        dependent.missing -= 1
        dependent.is_need_skipped |= state is StepState.SKIPPED and not even_if_skipped
        arrive(run, dependent)


def note_end(run: Run, container: Unit) -> None:
    """Let `decide` finish *container* if nothing in it can go on."""
    if container.index and is_finished(container):
        oblige(run, container)


def is_finished(container: Unit) -> bool:
    """Whether everything inside has ended, or has stopped for good."""
    inner = inner_of(container)
    stopped = inner.is_doomed and not inner.active
    return container.state is StepState.STARTED and (stopped or not inner.pending)

"""`decide`: what shall happen next, from the run, the time and the room alone.

Rules: it changes nothing and looks at heads, never at all steps; asked again before its commands
are accepted it gives the same ones.  Each unit, the run itself included, has at most one thing due
(`_due`), an interrupt aside.  At most `room` handlers are started and at most `BATCH` other
commands of each sort given at once; the driver folds their facts and asks again.  A held run moves
only with the time: questions and the run itself still expire.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core import commands
from awe_core.decider.saga import blocker, closing, failure_of, is_undoing
from awe_core.decider.table import ItemState, Phase, StepState
from awe_core.decider.unit import Container, Goal
from awe_core.errors import RunError
from awe_core.workflow import Jitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.decider.run import Run
    from awe_core.decider.unit import Item, Unit, Unwind

_T = TypeVar("_T", int, tuple[int, int])

BATCH = 32  #: commands of one sort in one decision
MOST_TRIES = 5  #: of one undo
MOST_RECOVERIES = 3  #: of a step without progress in between; the last of them pauses the run
_UNDO_BACKOFF_US, _UNDO_MAX_US = 1_000_000, 30_000_000


@attrs.frozen
class Decision:
    """What to do now, and when to ask again if nothing happens until then."""

    commands: tuple[commands.Command, ...]
    wake_at_us: int | None


_NOTHING = Decision((), None)


def decide(run: Run, now_us: int, room: int) -> Decision:
    """Say what shall happen next; *room* is how many more handlers may start.

    A command may be void once the facts of those before it are folded: ask `wants`.  A driver that
    is still at work on earlier ones adds those to *room* and leaves them out of the answer.
    """
    if run.phase is Phase.CLOSED:
        return _NOTHING
    wakes: list[int] = []
    found: list[commands.Command] = []
    of_run = _of_run(run, now_us, wakes)
    if type(of_run) is commands.Cancel:
        return Decision((of_run,), None)
    if run.alarms:
        found += _alarmed(run, now_us, wakes)
    if run.hold is None:
        _go_on(run, now_us, room, found, wakes)
        found += () if of_run is None else (of_run,)
    if not found and not wakes:
        return _NOTHING
    for command in found:
        if type(command) is commands.Pause:
            found = [command]
            break
    return Decision(tuple(found), min(wakes) if wakes else None)


def _go_on(
    run: Run, now_us: int, room: int, found: list[commands.Command], wakes: list[int]
) -> None:
    """Find what is due in a run that is not held."""
    if run.phase not in (Phase.FORWARD, Phase.OPEN):
        room = 0
    if run.interrupts:
        found += [
            commands.Interrupt(run.units[index].path) for index in islice(run.interrupts, BATCH)
        ]
    if run.duties and run.phase is not Phase.UNWINDING:
        room -= _dutiful(run, now_us, room, found)
    if run.backoffs:
        room -= _backed_off(run, now_us, room, found, wakes)
    if run.ready:
        _admit(run, now_us, room, found)


def wants(run: Run, command: commands.Command, now_us: int) -> bool:
    """Whether *command* is still what shall happen; ask before it is carried out or accepted."""
    if run.phase is Phase.CLOSED:
        return False
    match command:
        case commands.Interrupt(step=path):
            return run.hold is None and run.paths[path].index in run.interrupts
        case commands.Close() | commands.Cancel():
            return command == _of_run(run, now_us, [])
        case commands.Pause(steps=steps):
            due = _due(run, run.paths[steps[0]], now_us) if steps else _of_run(run, now_us, [])
            return command == due
        case commands.TakeBack(item=effect) | commands.Leave(item=effect):
            owner = run.effects[effect].owner
            if owner is None or not owner.index:
                return command == _of_run(run, now_us, [])
            return command == _due(run, owner, now_us)
        case _:
            return command == _due(run, run.paths[command.step], now_us)


# ---- the run ------------------------------------------------------------------------------------
def _of_run(run: Run, now_us: int, wakes: list[int]) -> commands.Command | None:
    """Give what is due for the run itself: its expiry, its own unwinding, its end."""
    root, expires_us = run.root, run.opened.expires_us
    if expires_us is not None and not root.stops and not run.is_reopened:
        if expires_us <= now_us:
            return commands.Cancel("expiry")
        wakes.append(expires_us)
    if run.hold is not None:
        return None
    unwind = root.unwind
    if unwind and unwind.queue:
        head = unwind.queue[-1]
        if head.due_us is not None and head.due_us > now_us:
            wakes.append(head.due_us)
            return None
        # an undo that a crash cut off ends also when the run began to stop meanwhile
        return _take_back(unwind) if run.phase is Phase.UNWINDING or head.is_lost else None
    if state := closing(run):
        return commands.Close(state, run.residue(), run.standing, run.failure)
    if unwind and run.phase is Phase.UNWINDING and unwind.goal is Goal.PARTIAL:
        return commands.Pause("operator", ())
    return None


# ---- heads --------------------------------------------------------------------------------------
def _in_order(heap: list[_T]) -> Iterator[_T]:
    """Walk a heap in order from its head without changing it, each entry once."""
    open_ = [(heap[0], 0)]
    before: _T | None = None
    while open_:
        entry, at = heappop(open_)
        if entry != before:
            yield entry
        before = entry
        for child in (2 * at + 1, 2 * at + 2):
            if child < len(heap):
                heappush(open_, (heap[child], child))


def _overdue(
    run: Run, heap: list[tuple[int, int]], now_us: int, wakes: list[int]
) -> Iterator[Unit]:
    """Give the units of a heap whose time has come; note when the next one's comes."""
    for due_us, index in _in_order(heap):
        unit = run.units[index]
        if unit.due_us != due_us or (unit.state is StepState.ASKED and unit.is_doomed):
            continue
        if due_us > now_us:
            wakes.append(due_us)
            return
        yield unit


def _alarmed(run: Run, now_us: int, wakes: list[int]) -> Iterator[commands.Command]:
    """Find requests nobody answered and undos to try again."""
    overdue = _overdue(run, run.alarms, now_us, wakes)
    live = (unit for unit in overdue if unit.state is not StepState.BACKOFF)
    return islice(filter(None, (_due(run, unit, now_us) for unit in live)), BATCH)


def _dutiful(run: Run, now_us: int, room: int, found: list[commands.Command]) -> int:
    """Find what is due beside the start of calls; give the room that it takes."""
    taken = 0
    for index in islice(run.duties, BATCH):
        command = _due(run, run.units[index], now_us)
        if type(command) is commands.Rerun:
            if taken >= room:
                continue
            taken += 1
        if command is not None:
            found.append(command)
    return taken


def _backed_off(
    run: Run, now_us: int, room: int, found: list[commands.Command], wakes: list[int]
) -> int:
    """Find attempts whose time has come; give the room that they take."""
    taken = 0
    for count, unit in enumerate(_overdue(run, run.backoffs, now_us, wakes)):
        is_call = not isinstance(unit, Container)
        if count >= BATCH or (is_call and taken >= room):
            break
        if unit.state is StepState.BACKOFF and (command := _due(run, unit, now_us)):
            taken += is_call
            found.append(command)
    return taken


def _admit(run: Run, now_us: int, room: int, found: list[commands.Command]) -> None:
    """Find what may start, in file order; a ready heap of one, the usual case, is not walked."""
    ready = run.ready
    for index in ready if len(ready) == 1 else _in_order(ready):
        if room <= 0:
            return
        if command := _due(run, run.units[index], now_us):
            found.append(command)
            room -= 1


# ---- one unit -----------------------------------------------------------------------------------
def _due(run: Run, unit: Unit, now_us: int) -> commands.Command | None:
    """Give the one thing that is due for *unit*."""
    state, path, is_doomed = unit.state, unit.path, unit.is_doomed
    if state is StepState.ASKED and not is_doomed:
        is_late = unit.due_us is not None and unit.due_us <= now_us
        return commands.Withdraw(path, unit.request or "", "timeout") if is_late else None
    if run.hold is not None:
        return None
    if state is StepState.READY or state is StepState.GRANTED or state is StepState.BACKOFF:
        if is_doomed:
            is_open = state is StepState.GRANTED
            return commands.Withdraw(path, unit.request or "", "withdrawn") if is_open else None
        return _admission(run, unit, now_us)
    if state is StepState.ASKED:
        return commands.Withdraw(path, unit.request or "", "withdrawn")
    if state is StepState.STARTED and isinstance(unit, Container):
        return _finish(run, unit) if unit.is_finished else None
    if unit.unwind is None:
        return None
    if state is StepState.STARTED:
        return _rerun(run, unit, unit.unwind)
    return _clearing(run, unit, unit.unwind) if state is StepState.CLEARING else None


def _admission(
    run: Run, unit: Unit, now_us: int
) -> commands.Admit | commands.Expand | commands.Skip | None:
    if run.phase is not Phase.FORWARD and run.phase is not Phase.OPEN:
        return None
    if unit.is_need_skipped:
        return commands.Skip(unit.path)
    if unit.state is StepState.BACKOFF and (unit.due_us is None or unit.due_us > now_us):
        return None
    kind = commands.Expand if isinstance(unit, Container) else commands.Admit
    return kind(unit.path, unit.attempt + 1, unit.epoch)


def _finish(run: Run, unit: Container) -> commands.Finish:
    if not unit.pending:
        return commands.Finish(unit.path, unit.attempt, None)
    stopped = failure_of(RunError("step.stopped", step=unit.path, run=run.id))
    return commands.Finish(unit.path, unit.attempt, unit.inner_failure or stopped, unit.inner_class)


def _rerun(run: Run, unit: Unit, unwind: Unwind) -> commands.Command | None:
    """Give the next step of the table "In doubt" for a call that a crash cut off."""
    stops = unit.is_doomed
    if not stops and unit.reruns >= MOST_RECOVERIES - 1:
        return commands.Pause("crash_loop", (unit.path,))
    again = commands.Rerun(unit.path, unit.attempt, unit.epoch)
    if not stops and unit.step.is_idempotent:
        return again
    if unwind.doubtful:
        return _inspect(unit, unwind)
    if is_undoing(unit):
        return _take_back(unwind)
    if stops or (unwind.remains and not unwind.queue):
        return _interrupted(run, unit)
    if not unwind.queue:
        return again
    if any(not item.strategy for item in unwind.queue):
        return _doubt(unit, unwind.queue)
    return _take_back(unwind)


def _interrupted(run: Run, unit: Unit, class_: str = "interrupted") -> commands.Finish:
    failure = failure_of(RunError("step.interrupted", step=unit.path, run=run.id))
    return commands.Finish(unit.path, unit.attempt, unit.failure or failure, class_)


def _clearing(run: Run, unit: Unit, unwind: Unwind) -> commands.Command | None:
    if unwind.doubtful:
        return _inspect(unit, unwind)
    if unwind.queue:
        return _take_back(unwind)
    if unwind.remains:
        return _interrupted(run, unit, unit.class_)
    return _schedule(unit) if unwind.goal is Goal.RETRY else None


def _schedule(unit: Unit) -> commands.Schedule:
    """Delay = min(max, backoff x factor^(n-1)) after the n-th start of this epoch."""
    retry = unit.step.retry
    delay: int | float = min(retry.backoff_us, retry.max_us)
    for _ in range(min(unit.starts - 1, 64)):
        delay = min(delay * retry.factor, retry.max_us)
    if unit.retry_after_us is not None:  # what the far side asked for is not shortened by a draw
        delay = max(delay, unit.retry_after_us)
    is_jittered = retry.jitter is Jitter.FULL and unit.retry_after_us is None
    return commands.Schedule(unit.path, unit.attempt + 1, int(delay), is_jittered=is_jittered)


def _inspect(unit: Unit, unwind: Unwind) -> commands.Inspect | commands.Doubt:
    item = unwind.doubtful[-1]
    return (
        _doubt(unit, unwind.doubtful)
        if item.is_unknown
        else commands.Inspect(item.effect, unit.path)
    )


def _doubt(unit: Unit, items: list[Item]) -> commands.Doubt:
    seen = tuple("applied" if i.state is ItemState.APPLIED else "unknown" for i in items)
    return commands.Doubt(unit.path, unit.attempt, tuple(i.effect for i in items), seen)


def _take_back(unwind: Unwind) -> commands.TakeBack | commands.Leave | None:
    item = unwind.queue[-1]
    path = item.unit.path
    if item.state is ItemState.UNDOING and not item.is_lost:
        return None
    if not item.strategy:
        return commands.Leave(item.effect, path, "irreversible", item.reason)
    if by := blocker(unwind, item):
        why = f"{by} was done later on the same resource and remains"
        return commands.Leave(item.effect, path, "blocked_by", why)
    if item.tries >= MOST_TRIES:
        return commands.Leave(
            item.effect, path, "crash_loop", f"its undo was cut off {item.tries} times"
        )
    try_ = item.tries + 1
    base_us = min(_UNDO_BACKOFF_US << (try_ - 1), _UNDO_MAX_US) if try_ < MOST_TRIES else None
    return commands.TakeBack(item.effect, path, try_, unwind.cause, base_us)

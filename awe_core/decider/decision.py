"""`decide`: what shall happen next, from the run, the time and the room alone.

Rules: it changes nothing and looks at heads, never at all steps; asked again before its commands
are accepted it gives the same ones.  At most `room` handlers are started and at most `BATCH` other
commands of each sort given at once; the driver folds their facts and asks again.  A held run moves
only with the time: questions and the run itself still expire.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.commands import (
    Admit,
    Cancel,
    Close,
    Doubt,
    Expand,
    Finish,
    Inspect,
    Interrupt,
    Leave,
    Pause,
    Rerun,
    Schedule,
    Skip,
    TakeBack,
    Withdraw,
)
from awe_core.decider.course import is_finished
from awe_core.decider.saga import blocker, closing, failure_of, is_undoing
from awe_core.decider.table import ItemState, Phase, StepState
from awe_core.decider.unit import Goal, unwind_of
from awe_core.errors import RunError
from awe_core.workflow import Jitter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.commands import Command
    from awe_core.decider.run import Run
    from awe_core.decider.unit import Unit, Unwind

_T = TypeVar("_T", int, tuple[int, int])

BATCH = 32  #: commands of one sort in one decision
MOST_TRIES = 5  #: of one undo
MOST_RECOVERIES = 3  #: of a step without a new record in between; the last of them pauses the run
_UNDO_BACKOFF_US, _UNDO_MAX_US = 1_000_000, 30_000_000
_FORWARD = (Phase.OPEN, Phase.FORWARD)
_ADMISSIBLE = (StepState.READY, StepState.GRANTED)


@attrs.frozen
class Decision:
    """What to do now, and when to ask again if nothing happens until then."""

    commands: tuple[Command, ...]
    wake_at_us: int | None


def decide(run: Run, now_us: int, room: int) -> Decision:
    """Say what shall happen next; *room* is how many more handlers may start.

    A command may be void once the facts of those before it are folded: ask `wants`.  A driver that
    is still at work on earlier ones adds those to *room* and leaves them out of the answer.
    """
    if run.phase is Phase.CLOSED:
        return Decision((), None)
    found: list[Command] = []
    wakes = [*_expiry(run, now_us, found)]
    if found:
        return Decision(tuple(found), None)
    wakes += _alarms(run, now_us, found)
    if run.hold is None:
        found += [Interrupt(run.units[i].path) for i in islice(run.interrupts, BATCH)]
        found += _duties(run, room)
        room -= sum(isinstance(command, Rerun) for command in found)
        wakes += _root(run, now_us, found)
        wakes += _admissions(run, now_us, found, room=room)
        found += _ending(run)
    pauses = [command for command in found if isinstance(command, Pause)]
    return Decision(tuple(pauses[:1] or found), min(wakes, default=None))


def wants(run: Run, command: Command, now_us: int) -> bool:
    """Whether *command* is still what shall happen; ask before it is carried out or accepted."""
    if run.phase is Phase.CLOSED:
        return False
    match command:
        case Cancel():
            found: list[Command] = []
            any(_expiry(run, now_us, found))
            return command in found
        case Withdraw(step=path, cause="timeout"):
            unit = run.unit(path)
            is_due = unit.due_us is not None and unit.due_us <= now_us
            return unit.state is StepState.ASKED and unit.request == command.request and is_due
        case _ if run.hold is not None:
            return False
        case Close() | Pause(cause="operator"):
            return command in _ending(run)
        case Pause(steps=steps):
            return all(command == _duty(run, run.unit(path)) for path in steps)
        case Admit(step=path) | Expand(step=path):
            return command == _admission(run, run.unit(path), now_us)
        case Interrupt(step=path):
            return run.paths[path] in run.interrupts
        case TakeBack(item=effect) | Leave(item=effect) | Inspect(item=effect):
            item = run.item(effect)
            owner = run.units[item.owner if item.owner >= 0 else item.unit]
            owner = run.units[item.unit] if isinstance(command, Inspect) else owner
            return command == (_duty(run, owner) if owner.index else _head(run, now_us))
        case _:
            return command == _duty(run, run.unit(command.step))


# ---- time ---------------------------------------------------------------------------------------
def _expiry(run: Run, now_us: int, found: list[Command]) -> Iterator[int]:
    expires_us = run.opened.expires_us
    if expires_us is None or run.root.is_doomed or run.is_reopened:
        return
    if expires_us <= now_us:
        found.append(Cancel("expiry"))
    else:
        yield expires_us


def _alarms(run: Run, now_us: int, found: list[Command]) -> Iterator[int]:
    """Find requests nobody answered and undos to try again; give the time of the next."""
    for due_us, index in _in_order(run.alarms):
        unit = run.units[index]
        is_live = unit.due_us == due_us and unit.state is not StepState.BACKOFF
        if not is_live or (run.parent_of(unit).is_doomed and unit.state is StepState.ASKED):
            continue
        if due_us > now_us:
            yield due_us
            return
        if unit.state is StepState.ASKED:
            found.append(Withdraw(unit.path, unit.request or "", "timeout"))
        elif run.hold is None and (command := _duty(run, unit)):
            found.append(command)
        if len(found) >= BATCH:
            return


def _in_order(heap: list[_T]) -> Iterator[_T]:
    """Walk a heap in order from its head without changing it, each entry once."""
    open_ = [(heap[0], 0)] if heap else []
    before: _T | None = None
    while open_:
        entry, at = heappop(open_)
        if entry != before:
            yield entry
        before = entry
        for child in (2 * at + 1, 2 * at + 2):
            if child < len(heap):
                heappush(open_, (heap[child], child))


# ---- units --------------------------------------------------------------------------------------
def _duties(run: Run, room: int) -> Iterator[Command]:
    if run.phase is Phase.UNWINDING:
        return
    for index in islice(run.duties, BATCH):
        command = _duty(run, run.units[index])
        if isinstance(command, Rerun):
            room -= 1
        if command is not None and not (isinstance(command, Rerun) and room < 0):
            yield command


def _duty(run: Run, unit: Unit) -> Command | None:
    """Give what is due for *unit* beside its start."""
    match unit.state:
        case StepState.READY if unit.is_need_skipped:
            return Skip(unit.path)
        case StepState.READY | StepState.GRANTED if unit.inner is not None:
            return Expand(unit.path, unit.attempt + 1, unit.epoch)
        case StepState.ASKED | StepState.GRANTED if run.parent_of(unit).is_doomed:
            return Withdraw(unit.path, unit.request or "", "withdrawn")
        case StepState.STARTED if unit.inner is not None:
            return _finish(run, unit) if is_finished(unit) else None
        case StepState.STARTED if unit.unwind is not None:
            return _rerun(run, unit, unit.unwind)
        case StepState.CLEARING:
            return _clearing(run, unit, unwind_of(unit))
        case _:
            return None


def _finish(run: Run, unit: Unit) -> Finish:
    inner = unit.inner
    if inner is None or not inner.pending:
        return Finish(unit.path, unit.attempt, None)
    stopped = failure_of(RunError("step.stopped", step=unit.path, run=run.id))
    return Finish(unit.path, unit.attempt, inner.failure or stopped, inner.class_)


def _rerun(run: Run, unit: Unit, unwind: Unwind) -> Command | None:
    """Give the next step of the table "In doubt" for a call that a crash cut off."""
    stops = run.parent_of(unit).is_doomed
    if not stops and unit.reruns >= MOST_RECOVERIES - 1:
        return Pause("crash_loop", (unit.path,))
    again = Rerun(unit.path, unit.attempt, unit.epoch)
    if not stops and unit.step and unit.step.is_idempotent:
        return again
    if unwind.doubtful:
        return _inspect(run, unit, unwind)
    if is_undoing(run, unit):
        return _take_back(run, unwind)
    if stops or (unwind.remains and not unwind.queue):
        return _interrupted(run, unit)
    if not unwind.queue:
        return again
    if any(not run.items[index].strategy for index in unwind.queue):
        return _doubt(run, unit, unwind.queue)
    return _take_back(run, unwind)


def _interrupted(run: Run, unit: Unit) -> Finish:
    failure = failure_of(RunError("step.interrupted", step=unit.path, run=run.id))
    return Finish(unit.path, unit.attempt, unit.failure or failure, "interrupted")


def _clearing(run: Run, unit: Unit, unwind: Unwind) -> Command | None:
    if unwind.doubtful:
        return _inspect(run, unit, unwind)
    if unwind.queue:
        return _take_back(run, unwind)
    if unwind.remains:
        return attrs.evolve(_interrupted(run, unit), class_=unit.class_)
    return _schedule(unit) if unwind.goal is Goal.RETRY else None


def _schedule(unit: Unit) -> Schedule | None:
    """Delay = min(max, backoff x factor^(n-1)) after the n-th start of this epoch."""
    if unit.step is None:
        return None
    retry = unit.step.retry
    delay: int | float = min(retry.backoff_us, retry.max_us)
    for _ in range(min(unit.starts - 1, 64)):
        delay = min(delay * retry.factor, retry.max_us)
    if unit.retry_after_us is not None:  # what the far side asked for is not shortened by a draw
        delay = max(delay, unit.retry_after_us)
    is_jittered = retry.jitter is Jitter.FULL and unit.retry_after_us is None
    return Schedule(unit.path, unit.attempt + 1, int(delay), is_jittered=is_jittered)


def _inspect(run: Run, unit: Unit, unwind: Unwind) -> Inspect | Doubt:
    item = run.items[unwind.doubtful[-1]]
    if item.is_unknown:
        return _doubt(run, unit, unwind.doubtful)
    return Inspect(item.effect, unit.path)


def _doubt(run: Run, unit: Unit, indices: list[int]) -> Doubt:
    items = [run.items[index] for index in indices]
    seen = {i.effect: "applied" if i.state is ItemState.APPLIED else "unknown" for i in items}
    return Doubt(unit.path, unit.attempt, tuple(seen), seen)


def _take_back(run: Run, unwind: Unwind) -> Command | None:
    item = run.items[unwind.queue[-1]]
    path = run.units[item.unit].path
    if item.state is ItemState.UNDOING and item.index not in run.lost:
        return None
    if not item.strategy:
        return Leave(item.effect, path, "irreversible", item.reason)
    if by := blocker(unwind, item):
        why = f"{by} was done later on the same resource and remains"
        return Leave(item.effect, path, "blocked_by", why)
    if item.tries >= MOST_TRIES:
        return Leave(item.effect, path, "crash_loop", f"its undo was cut off {item.tries} times")
    try_ = item.tries + 1
    base_us = min(_UNDO_BACKOFF_US << (try_ - 1), _UNDO_MAX_US) if try_ < MOST_TRIES else None
    return TakeBack(item.effect, path, try_, unwind.cause, base_us)


# ---- the run ------------------------------------------------------------------------------------
def _root(run: Run, now_us: int, found: list[Command]) -> Iterator[int]:
    unwind = run.units[0].unwind
    if unwind and unwind.queue:
        due_us = run.items[unwind.queue[-1]].due_us
        if due_us is not None and due_us > now_us:
            yield due_us
        elif command := _head(run, now_us):
            found.append(command)


def _head(run: Run, now_us: int) -> Command | None:
    """Give what is due for the newest item of the run's own unwinding."""
    unwind = run.units[0].unwind
    if unwind is None or not unwind.queue:
        return None
    item = run.items[unwind.queue[-1]]
    is_cut_off = item.index in run.lost  # also when the run began to stop meanwhile
    if item.due_us is not None and item.due_us > now_us:
        return None
    return _take_back(run, unwind) if run.phase is Phase.UNWINDING or is_cut_off else None


def _admissions(run: Run, now_us: int, found: list[Command], *, room: int) -> Iterator[int]:
    if run.phase not in _FORWARD:
        return
    due = 0
    for due_us, index in _in_order(run.backoffs):
        unit = run.units[index]
        if unit.state is not StepState.BACKOFF or unit.due_us != due_us:
            continue
        if due_us > now_us:
            yield due_us
            break
        if due >= BATCH or (unit.inner is None and room <= 0):
            break
        room -= unit.inner is None
        due += 1
        found += filter(None, [_admission(run, unit, now_us)])
    for index in _in_order(run.ready):
        if room <= 0:
            break
        if command := _admission(run, run.units[index], now_us):
            room -= 1
            found.append(command)


def _admission(run: Run, unit: Unit, now_us: int) -> Admit | Expand | None:
    is_due = unit.state in _ADMISSIBLE or (
        unit.state is StepState.BACKOFF and unit.due_us is not None and unit.due_us <= now_us
    )
    stops = run.phase not in _FORWARD or run.parent_of(unit).is_doomed
    if not is_due or stops or unit.is_need_skipped:
        return None
    kind = Admit if unit.inner is None else Expand
    return kind(unit.path, unit.attempt + 1, unit.epoch)


def _ending(run: Run) -> list[Command]:
    if state := closing(run):
        return [Close(state, run.residue(), run.standing, run.failure)]
    unwind = run.units[0].unwind
    if run.phase is Phase.UNWINDING and unwind and unwind.goal is Goal.PARTIAL and not unwind.queue:
        return [Pause("operator", ())]
    return []

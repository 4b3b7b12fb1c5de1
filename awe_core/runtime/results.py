"""What a run left, as callers get it: read from the journal, never from an engine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.capability import UndoCompensate
from awe_core.decider import ItemState, foresee
from awe_core.engine import open_questions
from awe_core.engine.active import loaded
from awe_core.engine.compensating import COMPENSATE
from awe_core.errors import HandshakePendingError, RunError, RunNotCompletedError, UndoError
from awe_core.events import Failure, RunClosed, RunPaused, UndoConflict, decode
from awe_core.workspace.store import split

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.decider import Item, Run
    from awe_core.engine import Reader, View
    from awe_core.events import Residue, RunResumed
    from awe_core.journal import Reading
    from awe_core.values import Json, JsonObject


@attrs.frozen
class RunResult:
    """The state of a run that ended or waits, and what proves it."""

    run_id: str
    state: str  #: COMPLETED, FAILED, ROLLED_BACK; PAUSED when it waits for somebody
    output: Json
    error: Failure | None
    residue: tuple[Residue, ...]
    standing: int  #: effects in the world that could still be taken back
    head: str  #: chain position that proves it: ``seq:hash`` of the last record
    waiting: tuple[str, ...] = ()  #: open requests, when PAUSED

    @property
    def is_completed(self) -> bool:
        """Whether the run did all it was asked to."""
        return self.state == "COMPLETED"

    def unwrap(self) -> Json:
        """Give the output, or raise.

        :raises RunNotCompletedError: with this result as its attribute ``result``
        :raises HandshakePendingError: a person has to answer first
        """
        if self.is_completed:
            return self.output
        if self.waiting:
            raise HandshakePendingError("handshake.pending", request=self.waiting[0])
        failure = self.error
        raise RunNotCompletedError(
            "run.not_completed",
            run=self.run_id,
            ended=self.state,
            result=self,
            details=[] if failure is None else [f"{failure.code}: {failure.msg}"],
        )

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` and other channels show."""
        found = attrs.asdict(self)
        return {"run": found.pop("run_id"), **found}


@attrs.frozen
class StepView:
    """One step as people see it."""

    path: str
    state: str
    capability: str
    attempt: int


@attrs.frozen
class ItemView:
    """One effect of a run, and whether it is still in the world."""

    number: int  #: in the order in which they were done, from 1
    effect: str
    step: str
    type: str
    target: str
    state: str
    undo: str  #: the strategy, the call that takes it back, or why nothing can


@attrs.frozen
class Foreseen:
    """What a rollback or a retry would do, were nothing to fail."""

    undo: tuple[ItemView, ...]  #: what it takes back, in this order
    stays: tuple[ItemView, ...]  #: what it would have to, and nothing can
    again: tuple[str, ...]  #: steps that begin anew; of a rollback: wait for a person to let them
    twice: tuple[ItemView, ...]  #: what stays in the world and happens once more


@attrs.frozen
class RunView:
    """Everything about one run, folded from its records."""

    run_id: str
    workflow: str
    dry: bool  #: nothing of it was done
    state: str
    phase: str
    in_flight: int  #: steps at work, also while it is paused
    actor: str
    opened_us: int
    closed_us: int | None
    steps: tuple[StepView, ...]
    items: tuple[ItemView, ...]
    residue: tuple[Residue, ...]
    standing: int
    waiting: tuple[str, ...]  #: ids of open requests
    actions: tuple[str, ...]  #: what is legal now
    error: Failure | None
    output: Json


@attrs.frozen
class RunRow:
    """One line of a listing."""

    run_id: str
    workflow: str
    state: str
    actor: str
    opened_us: int
    changed_us: int
    residue: int
    dry: bool = attrs.field(converter=bool)  #: a dry run: nothing of it was done


def result_of(reader: Reader, run: str) -> RunResult:
    """Say what became of a run: by the record that closed it, or else by all of them."""
    journal = reader.log_of(run)
    last = journal.last(run)
    closed = decode(last.event) if last is not None and last.kind == RunClosed.kind else None
    if last is not None and isinstance(closed, RunClosed):
        output = None if closed.out is None else loaded(journal, run, last.rseq or 0, "out")
        head = f"{last.seq}:{last.hash.hex()}"
        return RunResult(
            run, closed.state, output, closed.err, closed.residue, closed.standing, head
        )
    found = reader.view(run)
    seen = view_of(journal, found)
    return RunResult(
        run,
        seen.state,
        seen.output,
        seen.error,
        seen.residue,
        seen.standing,
        found.head,
        seen.waiting,
    )


def view_of(journal: Reading, found: View) -> RunView:
    """Show a run that was folded from its records."""
    run, opened = found.run, found.run.opened
    closings = [n for n, fact in enumerate(found.facts) if isinstance(fact, RunClosed)]
    closed = found.facts[closings[-1]] if closings else None
    has_output = isinstance(closed, RunClosed) and closed.out is not None
    asked = open_questions(journal, run.id, enumerate(found.facts))
    return RunView(
        run_id=run.id,
        workflow=f"{opened.workflow.id}@{opened.workflow.version}",
        dry=bool(opened.dry),
        state=run.state,
        phase=run.phase.value,
        in_flight=run.in_flight,
        actor=opened.by,
        opened_us=found.opened_us,
        closed_us=found.changed_us if run.closed else None,
        steps=tuple(
            StepView(
                step.path, step.state.value, run.unit(step.path).step.spec.target, step.attempt
            )
            for step in run.steps()
        ),
        items=tuple(_seen(run).values()),
        residue=run.residue(),
        standing=run.standing,
        waiting=tuple(request.id for request in asked),
        actions=tuple(sorted(run.actions())),
        error=closed.err if run.closed and isinstance(closed, RunClosed) else _held(found),
        output=loaded(journal, run.id, closings[-1], "out") if has_output else None,
    )


def foreseen(found: View, fact: RunResumed) -> Foreseen:
    """Show what *fact* would do.

    :raises RunError: ``run.illegal_state``, ``run.unknown_step``
    """
    would, seen = foresee(found.run, fact), _seen(found.run)
    return Foreseen(
        undo=tuple(seen[item.effect] for item in would.undo),
        stays=tuple(seen[item.effect] for item in would.stays),
        again=tuple(unit.path for unit in would.again),
        twice=tuple(seen[item.effect] for item in would.twice),
    )


def _seen(run: Run) -> dict[str, ItemView]:
    return {
        i.effect: ItemView(n, i.effect, i.unit.path, i.type, i.target, i.state.value, _undo_of(i))
        for n, i in enumerate(run.items, 1)
    }


def _undo_of(item: Item) -> str:
    """Say how an item is taken back, or why it cannot be."""
    if item.state is ItemState.GONE:
        return "can no longer be taken back"
    undo = item.unit.step.undo
    if isinstance(undo, UndoCompensate) and item.strategy == COMPENSATE:
        return f"{COMPENSATE}: {undo.compensate.capability}"
    return item.strategy or f"none: {item.reason}"


def kept_of(home: Path, found: View, number: int) -> bytes:
    """Give the version of before that a conflict left in the undo store.

    :raises UndoError: ``undo.discarded`` when there is none
    """
    item = effect_of(found, number)
    conflicts = (one for one in reversed(found.facts) if isinstance(one, UndoConflict))
    slot = next((one.kept for one in conflicts if one.effect == item.effect and one.kept), "")
    path = home.joinpath("undo", *split(slot)) if slot else home
    if not path.is_file():
        raise UndoError("undo.discarded", path=item.target, slot=slot or item.effect)
    return path.read_bytes()


def effect_of(found: View, number: int) -> Item:
    """Give the item that people call by *number*.

    :raises RunError: ``run.unknown_item``
    """
    if not 0 < number <= len(found.run.items):
        raise RunError("run.unknown_item", run=found.run.id, item=number)
    return found.run.items[number - 1]


def _held(found: View) -> Failure | None:
    """Say what holds an open run, if that is a fault and no person's wish."""
    if found.run.failure is not None or found.run.hold is None:
        return found.run.failure
    held = next((fact for fact in reversed(found.facts) if isinstance(fact, RunPaused)), None)
    if held is None or held.reason is None or held.by is not None:
        return None
    code, _, message = held.reason.partition(": ")
    return Failure(code, message)

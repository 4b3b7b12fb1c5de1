"""What a run left, as callers get it: read from the journal, never from an engine's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import HandshakePendingError, RunNotCompletedError

if TYPE_CHECKING:
    from awe_core.events import Failure, Residue
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
        return {
            "run": self.run_id,
            "state": self.state,
            "output": self.output,
            "error": None if self.error is None else attrs.asdict(self.error),
            "residue": [attrs.asdict(one) for one in self.residue],
            "standing": self.standing,
            "head": self.head,
            "waiting": list(self.waiting),
        }


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

    effect: str
    step: str
    type: str
    target: str
    state: str


@attrs.frozen
class RunView:
    """Everything about one run, folded from its records."""

    run_id: str
    workflow: str
    state: str
    phase: str
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

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        return attrs.asdict(self)


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

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        return attrs.asdict(self)

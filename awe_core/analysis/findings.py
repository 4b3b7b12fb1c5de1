"""What the analysis has to say: findings, each with its level and the sentence of its code."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from awe_core.decider import Faults
from awe_core.errors import AweError, WorkflowError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.documents import Parsed
    from awe_core.values import JsonObject


class Level(StrEnum):
    """What a finding means for the load: stop, show, tell."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


@attrs.frozen
class Finding:
    """One thing found, in the words of the catalogue."""

    level: Level
    step: str | None  #: the step it is about; None: the workflow
    error: AweError = attrs.field(eq=False, repr=False)  #: what a load that stops raises
    accepted: str | None = None  #: the reason it was accepted with

    @property
    def code(self) -> str:
        """``workflow.…``, ``saga.…`` or ``expression.…``."""
        return self.error.code

    @property
    def message(self) -> str:
        """One sentence, with the place."""
        return self.error.summary

    def as_json(self) -> JsonObject:
        """Give the form that ``check --json`` and the approval page show."""
        return {
            "code": self.code,
            "level": self.level.value,
            "step": self.step,
            "message": self.message,
            "details": list(self.error.details),
            "next": self.error.hint,
            "accepted": self.accepted,
        }


def refuse(findings: Iterable[Finding], *, strict: bool = False) -> None:
    """Raise the first finding that stops a load; under *strict* also warnings not accepted.

    :raises AweError: with the finding's code
    """
    for finding in findings:
        stops = finding.level is Level.ERROR or (strict and finding.level is Level.WARNING)
        if stops and finding.accepted is None:
            raise finding.error


@attrs.frozen
class Report(Faults):
    """Collects the findings of one workflow, with places."""

    parsed: Parsed | None = None  #: for lines; None: the workflow was not read from a file
    found: list[Finding] = attrs.field(factory=list)

    def where(self, step: int | None, *inside: str | int) -> str:
        """Name a place: ``file:line:column``, or workflow, step and field."""
        if self.parsed is None:
            return super().where(step, *inside)
        at = inside if step is None else ("steps", step, *inside)
        line, column = self.parsed.position_of(at)
        return f"{self.parsed.file}:{line}:{column}"

    def fault(self, step: int | None, error: AweError) -> None:
        """Note an error."""
        self.add(Level.ERROR, step, error)

    @property
    def is_sound(self) -> bool:
        """Whether no error was found."""
        return all(finding.level is not Level.ERROR for finding in self.found)

    def says(
        self,
        level: Level,
        code: str,
        step: int | None,
        /,
        *inside: str | int,
        details: Iterable[str] = (),
        **attributes: object,
    ) -> None:
        """Note the finding *code* about a step, or a place inside it."""
        named = {} if step is None else {"step": self.spec.steps[step].id}
        at: dict[str, Any] = {"where": self.where(step, *inside), **named, **attributes}
        self.add(level, step, WorkflowError(code, details=details, **at))

    def add(self, level: Level, step: int | None, error: AweError) -> None:
        """Note a finding; errors cannot be accepted."""
        spec = None if step is None else self.spec.steps[step]
        accepted = {**self.spec.accept, **(spec.accept if spec else {})}.get(error.code)
        reason = None if level is Level.ERROR else accepted
        self.found.append(Finding(level, spec.id if spec else None, error, reason))

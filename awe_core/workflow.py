"""What a workflow says: `WorkflowSpec`, a graph of steps, and the values it is made of.

Rules: values only, already checked one by one (`documents`); whether the steps fit together is for
`analysis` and the decider's plan.  Durations are integer microseconds; expressions and templates
are the raw JSON people wrote (`expressions` compiles them).
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.compensation import UndoCompensate
    from awe_core.values import Json, JsonObject


class OnFailure(StrEnum):
    """What a step's final failure does to its run."""

    ROLLBACK = "rollback"
    STOP = "stop"
    CONTINUE = "continue"


class InFlight(StrEnum):
    """What happens to parallel branches when one fails."""

    CANCEL = "cancel"
    WAIT = "wait"


class StepConfirm(StrEnum):
    """How much confirming a step asks for; it may only tighten its contract's."""

    POLICY = "policy"
    ALWAYS = "always"


class PlanConfirm(StrEnum):
    """Whether people approve the workflow call by call, or its recorded dry run as a whole."""

    POLICY = "policy"
    PLAN = "plan"


class Jitter(StrEnum):
    """Whether a retry's delay is drawn from [0, delay] or taken whole."""

    FULL = "full"
    NONE = "none"


@attrs.frozen
class Need:
    """A step that must have ended first."""

    step: str
    even_if_skipped: bool = False


@attrs.frozen
class Retry:
    """How often and when a step is tried again: ``min(max, backoff * factor^(n-1))``."""

    attempts: int = 1  #: starts of the handler, the first included
    backoff_us: int = 1_000_000
    factor: int | float = 2
    max_us: int = 30_000_000
    jitter: Jitter = Jitter.FULL
    on: tuple[str, ...] = ("timeout", "unavailable")  #: also ``rate_limited`` and ``any``


@attrs.frozen
class Concurrency:
    """Runs whose key is equal wait for each other."""

    key: Json  #: an expression
    limit: int = 1


@attrs.frozen
class StepSpec:
    """One step: a call of a capability or of another workflow (exactly one of the two is set)."""

    id: str
    capability: str | None = None  #: ``id@major``
    workflow: str | None = None  #: ``id@major``
    with_: Json = attrs.field(factory=dict)  #: arguments, templates not yet compiled
    needs: tuple[Need, ...] = ()  #: order beyond what references imply
    when: Json = None  #: an expression; null: always
    foreach: Json = None  #: an expression that gives a list; null: no fan-out
    max_parallel: int = 4  #: items in flight
    retry: Retry = Retry()
    timeout_us: int | None = None  #: of one attempt; None: the contract's
    confirm: StepConfirm = StepConfirm.POLICY
    on_failure: OnFailure | None = None  #: None: the workflow's default
    compensation: UndoCompensate | None = None  #: instead of the step's own undo
    accept: Mapping[str, str] = attrs.field(factory=dict)  #: finding: reason
    temporal: JsonObject | None = None  #: placement; the embedded engine ignores it

    @property
    def target(self) -> str:
        """What is called, as ``id@major``."""
        return self.capability or self.workflow or ""


@attrs.frozen(kw_only=True)
class WorkflowSpec:
    """A graph of steps with typed inputs, and how it behaves when one fails."""

    id: str
    version: str
    summary: str
    description: str = ""
    inputs: JsonObject = attrs.field(factory=lambda: {"type": "object"})  #: JSON Schema
    outputs: Json = attrs.field(factory=dict)  #: name: template; of a call, its one template
    enable_auto_rollback: bool = True  #: False: a step's ``on_failure`` defaults to stop
    expires_us: int | None = None  #: an open run older than this is rolled back
    in_flight: InFlight = InFlight.CANCEL
    concurrency: Concurrency | None = None
    confirm: PlanConfirm = PlanConfirm.POLICY
    steps: tuple[StepSpec, ...]
    accept: Mapping[str, str] = attrs.field(factory=dict)  #: finding: reason, for all steps
    temporal: JsonObject | None = None

    @property
    def major(self) -> int:
        """The part of the version that callers pin."""
        return int(self.version.partition(".")[0])

    @property
    def reference(self) -> str:
        """``id@major``, as steps and facades name it."""
        return f"{self.id}@{self.major}"

    @property
    def full_reference(self) -> str:
        """``id@1.0.0``, as the log names it."""
        return f"{self.id}@{self.version}"

    def on_failure_of(self, step: StepSpec) -> OnFailure:
        """Give what *step*'s failure does, the workflow's default applied."""
        default = OnFailure.ROLLBACK if self.enable_auto_rollback else OnFailure.STOP
        return step.on_failure or default

"""What shall happen next, in the imperative: the decider's answers to its driver.

Every command but `Interrupt` has an accepting fact that the driver folds in the same turn, so none
is decided twice (30-engine, section 1).  ``step`` is a path, ``item`` an effect id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from awe_core.events import ClosedState, Failure, Residue


@attrs.frozen
class Admit:
    """Resolve the step's arguments, validate, pass the gate, ask the policies, and start it."""

    step: str
    attempt: int
    epoch: int


@attrs.frozen
class Skip:
    """Record that the step does not run because a need was skipped."""

    step: str


@attrs.frozen
class Expand:
    """Evaluate the fan-out's list, or open the scope of a sub-workflow."""

    step: str
    attempt: int
    epoch: int


@attrs.frozen
class Rerun:
    """Start again, as the same attempt and with the same keys, a step that a crash cut off."""

    step: str
    attempt: int
    epoch: int


@attrs.frozen
class Doubt:
    """Record that a person has to say what became of a step that a crash cut off."""

    step: str
    attempt: int
    effects: tuple[str, ...]
    inspect: tuple[str, ...]  #: of each of them: applied (and not to be taken back), unknown


@attrs.frozen
class Finish:
    """Record the end of a fan-out or scope whose units have ended, or of a call that cannot go on.

    The latter was cut off by a crash while its run stops, or something of it could not be taken
    back.
    """

    step: str
    attempt: int
    failure: Failure | None  #: None: completed
    class_: str | None = None


@attrs.frozen
class Schedule:
    """Draw the jitter in [0, base_us] (or take base_us whole) and record when to try again."""

    step: str
    attempt: int  #: the next one
    base_us: int
    is_jittered: bool


@attrs.frozen
class Withdraw:
    """Close the request of a step that nobody has to answer any more."""

    step: str
    request: str
    cause: Literal["withdrawn", "timeout"]


@attrs.frozen
class Interrupt:
    """Revoke the step's context; its own end follows."""

    step: str


@attrs.frozen
class Inspect:
    """Ask the undo strategy what the world looks like: applied or not."""

    item: str
    step: str


@attrs.frozen
class TakeBack:
    """Barrier, then undo the effect."""

    item: str
    step: str
    try_: int
    cause: str
    retry_base_us: int | None  #: to draw the next try from, should this one fail; None: the last


@attrs.frozen
class Leave:
    """Record as residue, untouched, an effect that cannot be taken back."""

    item: str
    step: str
    cause: str  #: irreversible, blocked_by, crash_loop
    why: str


@attrs.frozen
class Cancel:
    """Record that the run's own time has passed."""

    cause: Literal["expiry"]


@attrs.frozen
class Pause:
    """Record that the run waits for somebody."""

    cause: str
    steps: tuple[str, ...]


@attrs.frozen
class Close:
    """Record the run's end."""

    state: ClosedState
    residue: tuple[Residue, ...]
    standing: int
    failure: Failure | None


Command: TypeAlias = (
    Admit
    | Skip
    | Expand
    | Rerun
    | Doubt
    | Finish
    | Schedule
    | Withdraw
    | Interrupt
    | Inspect
    | TakeBack
    | Leave
    | Cancel
    | Pause
    | Close
)

"""Facts of handshakes: a step asks, and people or policies answer."""

from __future__ import annotations

from heapq import heappush
from typing import TYPE_CHECKING

from awe_core.decider.course import end, enlist
from awe_core.decider.legality import asked, refuse, unit_of
from awe_core.decider.saga import failure_of
from awe_core.decider.steps import begin, turn_away
from awe_core.decider.table import StepState
from awe_core.errors import HandshakeRefusedError

if TYPE_CHECKING:
    from awe_core.decider.run import Run
    from awe_core.events import (
        HandshakeExpired,
        HandshakeGranted,
        HandshakeRefused,
        HandshakeRequested,
        HandshakeVoted,
    )

_MOST_DRIFTS = 3  #: the last of them fails the step


def requested(run: Run, fact: HandshakeRequested) -> None:
    """Let a step wait for people."""
    unit = unit_of(run, fact)
    begin(run)
    unit.request, unit.version, unit.due_us = fact.req, fact.version, fact.expires_us
    if unit.state is not StepState.ASKED:
        run.move(unit, StepState.ASKED)
    heappush(run.alarms, (fact.expires_us, unit.index))


def voted(run: Run, fact: HandshakeVoted) -> None:
    """Note a vote short of the quorum."""
    asked(run, fact).version = fact.version


def granted(run: Run, fact: HandshakeGranted) -> None:
    """Let a step be started."""
    unit = unit_of(run, fact)
    if unit.state is StepState.ASKED and fact.req != unit.request:
        refuse(run, fact, f"the open request is {unit.request}")
    begin(run)
    unit.version, unit.due_us = fact.version, None
    run.move(unit, StepState.GRANTED)
    if not run.parent_of(unit).is_doomed:
        enlist(run, unit)


def refused(run: Run, fact: HandshakeRefused) -> None:
    """End a step that may not begin."""
    unit = unit_of(run, fact)
    if fact.req is not None and unit.request not in (None, fact.req):
        refuse(run, fact, f"the open request is {unit.request}")
    by = fact.by or (fact.policy or {}).get("name") or "a policy"
    target = unit.step.spec.target if unit.step else ""
    error = HandshakeRefusedError(
        "handshake.denied", by=by, capability=target, step=unit.path, run=run.id
    )
    unit.failure, unit.class_ = failure_of(error), "refused"
    turn_away(run, unit)


def expired(run: Run, fact: HandshakeExpired) -> None:
    """Ask anew, or end the step: nobody answered, or it is not wanted any more."""
    unit = asked(run, fact)
    stops = run.parent_of(unit).is_doomed
    if fact.cause == "withdrawn" and not stops:
        refuse(run, fact, "the run goes on")
    is_too_late = fact.cause == "timeout" and unit.state is StepState.ASKED
    if stops and not is_too_late:
        unit.request = unit.due_us = None
        end(run, unit, StepState.VOID)
        return
    unit.drifts += fact.cause != "timeout"
    if is_too_late or unit.drifts >= _MOST_DRIFTS:
        code = "handshake.expired" if is_too_late else "handshake.drift"
        error = HandshakeRefusedError(code, request=fact.req, step=unit.path, run=run.id)
        unit.failure, unit.class_ = failure_of(error), "refused"
        turn_away(run, unit)
        return
    unit.request = unit.due_us = None
    run.move(unit, StepState.READY)
    enlist(run, unit)

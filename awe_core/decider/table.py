"""The one table of the run machine: from each state, which fact leads to which states.

Rules: what is absent is illegal.  Where a fact can lead to several states, the plan decides which.
Moves without a record of their own (a step gets ready when its last need has ended) follow in
`course` and `saga`.  Effects that leave no item (reads, refusals, what nobody would want back) are
facts that change nothing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from awe_core import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.events import Fact


_E = TypeVar("_E", bound=StrEnum)


def direct(states: type[_E]) -> type[_E]:
    """Make reading a member a plain lookup; before Python 3.12 it calls a property, 0.3 µs (m)."""
    for member in states:
        type.__setattr__(states, member.name, member)
    return states


@direct
class StepState(StrEnum):
    """Where a step, or an item of a fan-out, stands."""

    WAITING = "WAITING"  #: for its needs
    READY = "READY"
    ASKED = "ASKED"  #: a person has to answer
    GRANTED = "GRANTED"  #: somebody said yes; not yet used
    STARTED = "STARTED"
    CLEARING = "CLEARING"  #: an attempt failed; its effects are inspected or taken back
    BACKOFF = "BACKOFF"  #: the next attempt has its time
    IN_DOUBT = "IN_DOUBT"  #: a person has to say what happened
    DONE = "DONE"
    TOLERATED = "TOLERATED"  #: failed, taken back, and the run goes on
    SKIPPED = "SKIPPED"
    FAILED = "FAILED"
    VOID = "VOID"  #: the run stopped before it began


@direct
class ItemState(StrEnum):
    """Where an effect that can, or could, be taken back stands."""

    INTENDED = "INTENDED"
    APPLIED = "APPLIED"
    NOTHING = "NOTHING"  #: it did not come about
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"
    RESIDUE = "RESIDUE"  #: it remains in the world
    GONE = "GONE"  #: what could take it back was discarded


@direct
class Phase(StrEnum):
    """Where a run stands."""

    OPEN = "open"  #: no step has begun
    FORWARD = "forward"
    DRAINING = "draining"  #: nothing new starts, what is in flight ends
    UNWINDING = "unwinding"
    CLOSED = "closed"


State: TypeAlias = StepState | ItemState | Phase

#: Ended in a way that lets dependents begin.
GOOD = frozenset({StepState.DONE, StepState.TOLERATED, StepState.SKIPPED})
ENDED = GOOD | {StepState.FAILED, StepState.VOID}
#: Begun and not ended.
ACTIVE = frozenset(StepState) - ENDED - {StepState.WAITING, StepState.READY}

_S, _I, _P = StepState, ItemState, Phase
_FAILS = (_S.FAILED, _S.TOLERATED, _S.CLEARING)  # the last: of an idempotent step, kept so far
_OPEN = {
    events.RunPaused: (),
    events.RunResumed: (),
    events.RunCancelRequested: (),
    events.RunClosed: (_P.CLOSED,),
}
_ALLOWED = {  # of a step that has not begun
    events.StepStarted: (_S.STARTED,),
    events.HandshakeRequested: (_S.ASKED,),  # of GRANTED: drift found at use
    events.HandshakeRefused: _FAILS,
    events.StepFailed: _FAILS,
}
_UNANSWERED = (_S.READY, *_FAILS, _S.VOID)  # drift · timeout, third drift · withdrawn

TRANSITIONS: Mapping[State, Mapping[type[Fact], tuple[State, ...]]] = {
    **{state: {} for state in (*StepState, *ItemState)},
    _S.READY: {
        **_ALLOWED,
        events.HandshakeGranted: (_S.GRANTED,),  # a standing grant answered
        events.StepSkipped: (_S.SKIPPED,),
    },
    _S.ASKED: {
        events.HandshakeRequested: (_S.ASKED,),  # a new preview or a successor
        events.HandshakeVoted: (_S.ASKED,),
        events.HandshakeGranted: (_S.GRANTED,),
        events.HandshakeRefused: _FAILS,
        events.HandshakeExpired: _UNANSWERED,
    },
    _S.GRANTED: {**_ALLOWED, events.HandshakeExpired: _UNANSWERED},
    _S.STARTED: {
        events.StepStarted: (_S.STARTED,),  # run again after a crash: the same attempt
        events.StepCompleted: (_S.DONE,),
        events.StepFailed: _FAILS,
        events.StepInDoubt: (_S.IN_DOUBT,),
        events.EffectIntended: (_S.STARTED,),
    },
    _S.CLEARING: {
        events.StepRetryScheduled: (_S.BACKOFF,),
        events.StepFailed: (_S.FAILED,),  # something of the attempt remains
        events.StepInDoubt: (_S.IN_DOUBT,),
    },
    _S.BACKOFF: {**_ALLOWED, events.HandshakeGranted: (_S.GRANTED,)},
    _S.IN_DOUBT: {
        events.StepCompleted: (_S.DONE,),
        events.StepFailed: (_S.FAILED,),
        events.StepRetryScheduled: (_S.BACKOFF, _S.CLEARING, _S.FAILED),
    },
    _I.INTENDED: {
        events.EffectApplied: (_I.APPLIED,),
        events.EffectFailed: (_I.NOTHING, _I.APPLIED, _I.INTENDED),  # no · partial · nobody knows
    },
    _I.APPLIED: {
        events.EffectApplied: (_I.APPLIED,),  # repeated: answered from the log
        events.UndoStarted: (_I.UNDOING,),
        events.UndoFailed: (_I.RESIDUE,),  # irreversible, blocked, not allowed: not attempted
    },
    _I.NOTHING: {events.EffectIntended: (_I.INTENDED,)},
    _I.UNDOING: {
        events.UndoStarted: (_I.UNDOING,),  # again after a crash, with the same key
        events.UndoApplied: (_I.UNDONE,),
        events.UndoConflict: (_I.RESIDUE,),
        events.UndoFailed: (_I.APPLIED, _I.RESIDUE),  # has a due time · final
    },
    _I.RESIDUE: {
        events.UndoStarted: (_I.UNDOING,),  # a new rollback
        events.UndoFailed: (_I.RESIDUE,),
    },
    **dict.fromkeys(Phase, _OPEN),
    _P.CLOSED: {
        events.RunResumed: (_P.UNWINDING, _P.FORWARD),
        events.UndoDiscarded: (_P.CLOSED,),
    },
}

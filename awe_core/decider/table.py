"""The one table of the run machine: from each state, which fact leads to which states.

Rules: what is absent is illegal.  Where a fact can lead to several states, the plan decides which.
Moves without a record of their own (a step gets ready when its last need has ended) follow in
`course` and `saga`.  Effects that leave no item (reads, refusals, what nobody would want back) are
facts that change nothing.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from awe_core import events

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.events import Fact


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


class ItemState(StrEnum):
    """Where an effect that can, or could, be taken back stands."""

    INTENDED = "INTENDED"
    APPLIED = "APPLIED"
    NOTHING = "NOTHING"  #: it did not come about
    UNDOING = "UNDOING"
    UNDONE = "UNDONE"
    RESIDUE = "RESIDUE"  #: it remains in the world
    GONE = "GONE"  #: what could take it back was discarded


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
_ENDS = {
    events.RunPaused: (),
    events.RunResumed: (),
    events.RunCancelRequested: (),
    events.RunClosed: (_P.CLOSED,),
}

TRANSITIONS: Mapping[State, Mapping[type[Fact], tuple[State, ...]]] = MappingProxyType(
    {
        _S.WAITING: {},
        _S.READY: {
            events.StepStarted: (_S.STARTED,),
            events.HandshakeRequested: (_S.ASKED,),
            events.HandshakeGranted: (_S.GRANTED,),  # a standing grant answered
            events.StepSkipped: (_S.SKIPPED,),
            events.HandshakeRefused: _FAILS,
            events.StepFailed: _FAILS,
        },
        _S.ASKED: {
            events.HandshakeRequested: (_S.ASKED,),  # a new preview or a successor
            events.HandshakeVoted: (_S.ASKED,),
            events.HandshakeGranted: (_S.GRANTED,),
            events.HandshakeRefused: _FAILS,
            events.HandshakeExpired: (
                _S.READY,
                *_FAILS,
                _S.VOID,
            ),  # drift · timeout, third drift · withdrawn
        },
        _S.GRANTED: {
            events.StepStarted: (_S.STARTED,),
            events.HandshakeRequested: (_S.ASKED,),  # drift found at use
            events.HandshakeRefused: _FAILS,
            events.HandshakeExpired: (_S.READY, *_FAILS, _S.VOID),
            events.StepFailed: _FAILS,
        },
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
        _S.BACKOFF: {
            events.StepStarted: (_S.STARTED,),
            events.HandshakeRequested: (_S.ASKED,),  # the approval did not cover this attempt
            events.HandshakeGranted: (_S.GRANTED,),
            events.HandshakeRefused: _FAILS,
            events.StepFailed: _FAILS,
        },
        _S.IN_DOUBT: {
            events.StepCompleted: (_S.DONE,),
            events.StepFailed: (_S.FAILED,),
            events.StepRetryScheduled: (_S.BACKOFF, _S.CLEARING, _S.FAILED),
        },
        **{ended: {} for ended in (_S.DONE, _S.TOLERATED, _S.SKIPPED, _S.FAILED, _S.VOID)},
        _I.INTENDED: {
            events.EffectApplied: (_I.APPLIED,),
            events.EffectFailed: (
                _I.NOTHING,
                _I.APPLIED,
                _I.INTENDED,
            ),  # no · partial · nobody knows
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
        _I.UNDONE: {},
        _I.GONE: {},
        _P.OPEN: _ENDS,
        _P.FORWARD: _ENDS,
        _P.DRAINING: _ENDS,
        _P.UNWINDING: _ENDS,
        _P.CLOSED: {
            events.RunResumed: (_P.UNWINDING, _P.FORWARD),
            events.UndoDiscarded: (_P.CLOSED,),
        },
    }
)

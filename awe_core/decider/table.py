"""The one table of the run machine: from each state, which fact leads to which states.

Rules: all state moves of steps, items and the run follow this table; what is absent is illegal.
Where a fact can lead to several states, `fold` and `saga` choose by the plan; a move that no record
of its own stands for is listed in `DERIVED`.  Effects that leave no item (reads,
refusals, what nobody would want back) are facts that change nothing.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, TypeAlias

from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    HandshakeExpired,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeRequested,
    HandshakeVoted,
    RunCancelRequested,
    RunClosed,
    RunPaused,
    RunResumed,
    StepCompleted,
    StepFailed,
    StepInDoubt,
    StepRetryScheduled,
    StepSkipped,
    StepStarted,
    UndoApplied,
    UndoConflict,
    UndoDiscarded,
    UndoFailed,
    UndoStarted,
)

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
_ENDS = {RunPaused: (), RunResumed: (), RunCancelRequested: (), RunClosed: (_P.CLOSED,)}

TRANSITIONS: Mapping[State, Mapping[type[Fact], tuple[State, ...]]] = MappingProxyType(
    {
        _S.WAITING: {},
        _S.READY: {
            StepStarted: (_S.STARTED,),
            HandshakeRequested: (_S.ASKED,),
            HandshakeGranted: (_S.GRANTED,),  # a standing grant answered
            StepSkipped: (_S.SKIPPED,),
            HandshakeRefused: _FAILS,
            StepFailed: _FAILS,
        },
        _S.ASKED: {
            HandshakeRequested: (_S.ASKED,),  # a new preview or a successor
            HandshakeVoted: (_S.ASKED,),
            HandshakeGranted: (_S.GRANTED,),
            HandshakeRefused: _FAILS,
            HandshakeExpired: (
                _S.READY,
                *_FAILS,
                _S.VOID,
            ),  # drift · timeout, third drift · withdrawn
        },
        _S.GRANTED: {
            StepStarted: (_S.STARTED,),
            HandshakeRequested: (_S.ASKED,),  # drift found at use
            HandshakeRefused: _FAILS,
            HandshakeExpired: (_S.READY, *_FAILS, _S.VOID),
            StepFailed: _FAILS,
        },
        _S.STARTED: {
            StepStarted: (_S.STARTED,),  # run again after a crash: the same attempt
            StepCompleted: (_S.DONE,),
            StepFailed: _FAILS,
            StepInDoubt: (_S.IN_DOUBT,),
            EffectIntended: (_S.STARTED,),
        },
        _S.CLEARING: {
            StepRetryScheduled: (_S.BACKOFF,),
            StepFailed: (_S.FAILED,),  # something of the attempt remains
            StepInDoubt: (_S.IN_DOUBT,),
        },
        _S.BACKOFF: {
            StepStarted: (_S.STARTED,),
            HandshakeRequested: (_S.ASKED,),  # the approval did not cover this attempt
            HandshakeGranted: (_S.GRANTED,),
            HandshakeRefused: _FAILS,
            StepFailed: _FAILS,
        },
        _S.IN_DOUBT: {
            StepCompleted: (_S.DONE,),
            StepFailed: (_S.FAILED,),
            StepRetryScheduled: (_S.BACKOFF, _S.CLEARING, _S.FAILED),
        },
        **{ended: {} for ended in (_S.DONE, _S.TOLERATED, _S.SKIPPED, _S.FAILED, _S.VOID)},
        _I.INTENDED: {
            EffectApplied: (_I.APPLIED,),
            EffectFailed: (_I.NOTHING, _I.APPLIED, _I.INTENDED),  # no · partial · nobody knows
        },
        _I.APPLIED: {
            EffectApplied: (_I.APPLIED,),  # repeated: answered from the log
            UndoStarted: (_I.UNDOING,),
            UndoFailed: (_I.RESIDUE,),  # irreversible, blocked, not allowed: not attempted
        },
        _I.NOTHING: {EffectIntended: (_I.INTENDED,)},
        _I.UNDOING: {
            UndoStarted: (_I.UNDOING,),  # again after a crash, with the same key
            UndoApplied: (_I.UNDONE,),
            UndoConflict: (_I.RESIDUE,),
            UndoFailed: (_I.APPLIED, _I.RESIDUE),  # has a due time · final
        },
        _I.RESIDUE: {
            UndoStarted: (_I.UNDOING,),  # a new rollback
            UndoFailed: (_I.RESIDUE,),
        },
        _I.UNDONE: {},
        _I.GONE: {},
        _P.OPEN: _ENDS,
        _P.FORWARD: _ENDS,
        _P.DRAINING: _ENDS,
        _P.UNWINDING: _ENDS,
        _P.CLOSED: {RunResumed: (_P.UNWINDING, _P.FORWARD), UndoDiscarded: (_P.CLOSED,)},
    }
)

#: Moves that follow from other facts: of needs, items, the container or the run.
DERIVED: frozenset[tuple[State, State]] = frozenset(
    {
        (_S.WAITING, _S.READY),  # the last need ended
        (_S.READY, _S.VOID),  # the run, or the scope, stops
        (_S.GRANTED, _S.VOID),  # the same, and there is no request to close
        (_S.BACKOFF, _S.FAILED),  # the same: no further attempt
        (_S.CLEARING, _S.FAILED),  # the same; or inspected, and no retry is left
        (_S.CLEARING, _S.TOLERATED),  # all of it is taken back
        (_S.CLEARING, _S.BACKOFF),  # the same, and a person has set the time
        *((state, _S.WAITING) for state in _S),  # run.resumed, or a new attempt of the scope
        (_S.FAILED, _S.STARTED),  # run.resumed: a container that steps of the set stand in
        (_S.DONE, _S.STARTED),
        (_I.INTENDED, _I.APPLIED),  # the step completed, or a person said so
        (_I.INTENDED, _I.NOTHING),  # a person said so
        *((state, _I.GONE) for state in _I),  # undo.discarded
        *((before, after) for before in _P for after in _P if before is not after),
    }
)

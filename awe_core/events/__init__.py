"""Facts: what happened, in the past tense, and what they are made of.

A fact is written once as a record of the log and folded by the decider; `encode` and `decode` are
the only way between the two.  Nothing here knows how a fact comes to be or what follows from it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, get_args

from awe_core import canonical
from awe_core.errors import JournalError
from awe_core.events import codec
from awe_core.events.confirmation import (
    ASSURANCES,
    Answer,
    Approve,
    Ask,
    ConfirmationRequest,
    Decision,
    Deny,
    Facts,
    PolicyAnswer,
    Requirement,
    Verdict,
    Vote,
)
from awe_core.events.facts import (
    ClosedState,
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    Fact,
    HandshakeExpired,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeRequested,
    HandshakeVoted,
    RunCancelRequested,
    RunClosed,
    RunOpened,
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
from awe_core.events.parts import (
    Actor,
    Assurance,
    Failure,
    Irreversible,
    ManifestRef,
    PackRef,
    Residue,
    UndoRecord,
    Value,
    WorkflowRef,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

__all__ = [
    "ASSURANCES",
    "FACTS",
    "Actor",
    "Answer",
    "Approve",
    "Ask",
    "Assurance",
    "ClosedState",
    "ConfirmationRequest",
    "Decision",
    "Deny",
    "EffectApplied",
    "EffectFailed",
    "EffectIntended",
    "EffectRefused",
    "Fact",
    "Facts",
    "Failure",
    "HandshakeExpired",
    "HandshakeGranted",
    "HandshakeRefused",
    "HandshakeRequested",
    "HandshakeVoted",
    "Irreversible",
    "ManifestRef",
    "PackRef",
    "PolicyAnswer",
    "Requirement",
    "Residue",
    "RunCancelRequested",
    "RunClosed",
    "RunOpened",
    "RunPaused",
    "RunResumed",
    "StepCompleted",
    "StepFailed",
    "StepInDoubt",
    "StepRetryScheduled",
    "StepSkipped",
    "StepStarted",
    "UndoApplied",
    "UndoConflict",
    "UndoDiscarded",
    "UndoFailed",
    "UndoRecord",
    "UndoStarted",
    "Value",
    "Verdict",
    "Vote",
    "WorkflowRef",
    "decode",
    "encode",
]

_NONE: Mapping[str, str] = MappingProxyType({})
_LEVEL = 2  #: of an event in its line

#: Record kind → fact class.
FACTS: dict[str, type[Fact]] = {kind.kind: kind for kind in get_args(Fact)}


def encode(fact: Fact, *, run: str, rseq: int, values: Mapping[str, str] = _NONE) -> bytes:
    """Write *fact* as the event of record number *rseq* of *run*.

    A text from outside that the log cannot hold is replaced, never a reason to stop.

    :param values: further members, as canonical text: what `redaction` says of the fact's values
    :raises CanonicalError: ``canonical.too_large``; ``canonical.domain`` for keys no line can hold
    """
    common = {"kind": f'"{fact.kind}"', "rseq": str(rseq), "run": f'"{run}"'}
    text = codec.to_text(fact, _LEVEL, {**common, **values})
    return canonical.sized(text.encode("utf-8", "replace"))


def decode(event: JsonObject) -> Fact:
    """Read the fact of an event; values that stand in payloads are None until somebody loads them.

    :raises JournalError: ``journal.record`` for what no run of ours has written: an unknown kind, a
        missing field, a value of another type
    """
    try:
        return codec.from_json(FACTS[event["kind"]], event)
    except (KeyError, TypeError, ValueError) as error:
        raise JournalError(
            "journal.record",
            run=event.get("run"),
            rseq=event.get("rseq"),
            kind=event.get("kind"),
            reason=f"{type(error).__name__} {error}",
        ) from None

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
from awe_core.events.confirmation import ASSURANCES as ASSURANCES
from awe_core.events.confirmation import Answer as Answer
from awe_core.events.confirmation import Approve as Approve
from awe_core.events.confirmation import Ask as Ask
from awe_core.events.confirmation import ConfirmationRequest as ConfirmationRequest
from awe_core.events.confirmation import Decision as Decision
from awe_core.events.confirmation import Deny as Deny
from awe_core.events.confirmation import Facts as Facts
from awe_core.events.confirmation import PolicyAnswer as PolicyAnswer
from awe_core.events.confirmation import Requirement as Requirement
from awe_core.events.confirmation import Verdict as Verdict
from awe_core.events.confirmation import Vote as Vote
from awe_core.events.facts import ClosedState as ClosedState
from awe_core.events.facts import EffectApplied as EffectApplied
from awe_core.events.facts import EffectFailed as EffectFailed
from awe_core.events.facts import EffectIntended as EffectIntended
from awe_core.events.facts import EffectRefused as EffectRefused
from awe_core.events.facts import Fact as Fact
from awe_core.events.facts import HandshakeExpired as HandshakeExpired
from awe_core.events.facts import HandshakeGranted as HandshakeGranted
from awe_core.events.facts import HandshakeRefused as HandshakeRefused
from awe_core.events.facts import HandshakeRequested as HandshakeRequested
from awe_core.events.facts import HandshakeVoted as HandshakeVoted
from awe_core.events.facts import RunCancelRequested as RunCancelRequested
from awe_core.events.facts import RunClosed as RunClosed
from awe_core.events.facts import RunOpened as RunOpened
from awe_core.events.facts import RunPaused as RunPaused
from awe_core.events.facts import RunResumed as RunResumed
from awe_core.events.facts import StepCompleted as StepCompleted
from awe_core.events.facts import StepFailed as StepFailed
from awe_core.events.facts import StepInDoubt as StepInDoubt
from awe_core.events.facts import StepRetryScheduled as StepRetryScheduled
from awe_core.events.facts import StepSkipped as StepSkipped
from awe_core.events.facts import StepStarted as StepStarted
from awe_core.events.facts import UndoApplied as UndoApplied
from awe_core.events.facts import UndoConflict as UndoConflict
from awe_core.events.facts import UndoDiscarded as UndoDiscarded
from awe_core.events.facts import UndoFailed as UndoFailed
from awe_core.events.facts import UndoStarted as UndoStarted
from awe_core.events.parts import Actor as Actor
from awe_core.events.parts import Assurance as Assurance
from awe_core.events.parts import Failure as Failure
from awe_core.events.parts import Irreversible as Irreversible
from awe_core.events.parts import ManifestRef as ManifestRef
from awe_core.events.parts import PackRef as PackRef
from awe_core.events.parts import Residue as Residue
from awe_core.events.parts import UndoRecord as UndoRecord
from awe_core.events.parts import Value as Value
from awe_core.events.parts import WorkflowRef as WorkflowRef

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

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

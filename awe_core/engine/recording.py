"""From facts to records: the event's bytes, and the values it commits to.

A fact carries its values in memory; what is written is a descriptor in the line and a payload
beside it (60-audit, section 7).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.canonical import fragment
from awe_core.events import (
    EffectApplied,
    EffectIntended,
    Fact,
    HandshakeGranted,
    HandshakeRequested,
    RunClosed,
    RunOpened,
    StepCompleted,
    StepStarted,
    UndoRecord,
    encode,
)
from awe_core.journal import Draft
from awe_core.redaction import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from awe_core.journal import PayloadDraft
    from awe_core.redaction import Mark
    from awe_core.values import Json

_LEVEL = 4  #: of what stands in `undo`
_ALL = (("", "secret"),)  #: nothing of the value is shown
_OF_OTHERS = (("/payload", "secret"),)


def draft(  # noqa: PLR0913 - a fact, where it stands, and what is known of its value
    fact: Fact,
    *,
    run: str,
    rseq: int,
    level: str,
    marks: Sequence[Mark] = (),
    body: bytes | None = None,
) -> Draft:
    """Write *fact* as record *rseq* of *run*.

    :param marks: pointers into the arguments, inputs or output that it carries
    :param body: the canonical form of these, where the caller has it already
    """
    values: dict[str, str] = {}
    payloads: list[PayloadDraft] = []
    for part, value, marked in _values(fact, marks):
        text, payload = describe(value, part=part, marks=marked, level=level, body=body)
        payloads.append(payload)
        if part == "undo":
            text = f'{{"rec":{text},"strategy":{fragment(value["strategy"], _LEVEL)}}}'
        values[part] = text
    event = encode(fact, run=run, rseq=rseq, values=values)
    return Draft(event, run, rseq, fact.kind, tuple(payloads))


def _hidden(strategy: str) -> Sequence[Mark]:
    """Only of the core's file strategies it is known that a payload holds no argument."""
    return () if strategy.startswith("fs.") else _OF_OTHERS


def _values(fact: Fact, marks: Sequence[Mark]) -> Iterator[tuple[str, Json, Sequence[Mark]]]:
    """Name the values that *fact* carries, and what of them is not shown."""
    match fact:
        case StepStarted(arguments=arguments) if arguments is not None:
            yield "in", arguments, marks
        case StepCompleted(output=output):
            yield "out", output, marks
        case EffectIntended(record=UndoRecord(strategy=strategy, payload=payload)):
            yield "undo", {"strategy": strategy, "payload": payload}, _hidden(strategy)
        case EffectApplied(record=UndoRecord(strategy=strategy, payload=payload)):
            yield "rec", {"strategy": strategy, "payload": payload}, _hidden(strategy)
        case RunOpened(inputs=inputs, document=document):
            yield "in", inputs, marks
            if document is not None:
                yield "spec", document, ()
        case RunClosed(output=output) if output is not None:
            yield "out", output, marks
        case HandshakeRequested(document=document):
            yield "request", document, ()
        case HandshakeGranted(nonces=nonces) if nonces:
            yield "nonces", nonces, _ALL
        case _:
            pass

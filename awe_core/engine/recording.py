"""From facts to records: the event's bytes, and the values it commits to.

A fact carries its values in memory; what is written is a descriptor in the line and a payload
beside it (60-audit, section 7).  `restore` is the way back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import CanonicalError
from awe_core.events import (
    EffectApplied,
    EffectIntended,
    Fact,
    HandshakeGranted,
    HandshakeRequested,
    Irreversible,
    RunClosed,
    RunOpened,
    StepCompleted,
    StepStarted,
    UndoRecord,
    decode,
    encode,
)
from awe_core.journal import Draft
from awe_core.redaction import describe

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from awe_core.journal import PayloadDraft, SealedRecord
    from awe_core.redaction import Mark
    from awe_core.values import Json, JsonObject


def draft(fact: Fact, *, run: str, rseq: int, level: str, marks: Sequence[Mark] = ()) -> Draft:  # noqa: C901 - one table
    """Write *fact* as record *rseq* of *run*."""
    event = encode(fact, run=run, rseq=rseq)
    payloads: list[PayloadDraft] = []

    def commit(key: str, value: Json, *, marked: Sequence[Mark] = ()) -> None:
        event[key], payload = describe(value, part=key, marks=marked, level=level)
        payloads.append(payload)

    match fact:
        case StepStarted(arguments=arguments) if arguments is not None:
            commit("in", arguments, marked=marks)
        case StepCompleted(output=output):
            commit("out", output, marked=marks)
        case EffectIntended(record=UndoRecord() as record):
            descriptor, payload = describe(attrs.asdict(record), part="undo", marks=(), level=level)
            event["undo"] = {"strategy": record.strategy, "rec": descriptor}
            payloads.append(payload)
        case EffectApplied(record=UndoRecord() as record):
            commit("rec", attrs.asdict(record))
        case RunOpened(inputs=inputs, document=document):
            commit("in", inputs, marked=marks)
            if document is not None:
                commit("spec", document)
        case RunClosed(output=output) if output is not None:
            commit("out", output, marked=marks)
        case HandshakeRequested(document=document):
            commit("request", document)
        case HandshakeGranted(nonces=nonces) if nonces:
            event["nonces"], payload = describe(
                list(nonces), part="nonces", marks=(("", "secret"),), level=level
            )
            payloads.append(payload)
        case _:
            pass
    return Draft(_line(event), run, rseq, fact.kind, tuple(payloads))


def _line(event: JsonObject) -> bytes:
    """Encode; a text from outside that the log cannot hold is replaced, never a reason to stop."""
    try:
        return canonical.line(event)
    except CanonicalError:
        return canonical.line(_scrubbed(event))


def _scrubbed(value: Json) -> Json:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case list() | tuple():
            return [_scrubbed(one) for one in value]
        case dict():
            return {str(key): _scrubbed(one) for key, one in value.items()}
        case float():
            return repr(value)
        case _:
            return value


def restore(  # noqa: C901 - one table
    record: SealedRecord, payload: Callable[[str, int, str], Json]
) -> Fact:
    """Read the fact of a record, with the values that a replay needs."""
    fact = decode(record.event)
    rseq = record.rseq or 0

    def value(part: str) -> Json:
        return payload(record.run, rseq, part)

    match fact:
        case RunOpened(spec=None):
            return attrs.evolve(fact, inputs=value("in"))
        case RunOpened():
            return attrs.evolve(fact, inputs=value("in"), document=value("spec"))
        case StepStarted(items=int()):
            return attrs.evolve(fact, arguments=value("in"))
        case StepCompleted():
            return attrs.evolve(fact, output=value("out"))
        case EffectIntended(undo={"rec": _}):
            return attrs.evolve(fact, record=_undo_record(value("undo")))
        case EffectIntended(undo={"none": str(why)}):
            return attrs.evolve(fact, record=Irreversible(why))
        case EffectApplied(rec=found) if found is not None:
            return attrs.evolve(fact, record=_undo_record(value("rec")))
        case HandshakeRequested():
            return attrs.evolve(fact, document=value("request"))
        case HandshakeGranted():
            return attrs.evolve(fact, nonces=tuple(value("nonces") or ()))
        case _:
            return fact


def _undo_record(found: Json) -> UndoRecord | None:
    return None if found is None else UndoRecord(found["strategy"], found["payload"])

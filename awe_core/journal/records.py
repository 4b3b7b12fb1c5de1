"""What goes into the journal and what comes out of it.

A `Draft` is a fact on its way in: it has no number yet.  A `SealedRecord` is a committed one.
"""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import attrs

from awe_core import canonical
from awe_core.journal.chain import ZERO_HASH, event_bytes

if TYPE_CHECKING:
    from awe_core.values import JsonObject


@attrs.frozen
class PayloadDraft:
    """A value that the engine needs again; the store encrypts it at commit."""

    part: str  #: which value of the record: ``in``, ``out``, ``undo`` …
    digest: str  #: c = SHA-256(salt ‖ body), lower-case hex
    salt: bytes = attrs.field(repr=False)  #: 32 random bytes
    body: bytes = attrs.field(repr=False)  #: `canonical.value` of the value, in the clear


@attrs.frozen
class Draft:
    """A record on its way into the log."""

    event: bytes = attrs.field(repr=False)  #: `canonical.line` of the event, by its producer
    run: str  #: run id, empty outside runs
    rseq: int | None  #: position in the run, None outside runs
    kind: str  #: ``noun.verb``, as in the event
    payloads: tuple[PayloadDraft, ...] = ()


@attrs.frozen
class SeqOf:
    """Stands, in the values of an `Upsert`, for the seq that a draft of the same append gets."""

    draft: int = 0  #: index among the drafts of the append


@attrs.frozen
class Upsert:
    """One row of a projection, written in the same transaction as the records beside it.

    A handshake ticket that was consumed never changes again: consuming it twice fails the commit.
    """

    table: str  #: run, submission, handshake_ticket, mark, sink
    values: tuple[object, ...] = attrs.field(repr=False)  #: all columns in order; may hold `SeqOf`


#: What one `append` queued: it is never split between two transactions.
Entry = tuple[tuple[Draft, ...], tuple[Upsert, ...]]


@attrs.frozen
class Head:
    """Where a log ends."""

    size: int = 0  #: number of records
    hash: bytes = ZERO_HASH  #: of the last record


@attrs.frozen
class SealedRecord:
    """A committed record."""

    log: str  #: the log's id, 32 lower-case hex digits
    seq: int
    run: str  #: empty outside runs
    rseq: int | None
    kind: str
    ts: int  #: the writer's wall clock in µs; informative, it may go back
    hash: bytes = attrs.field(repr=False)  #: SHA-256(0x00 ‖ line)
    line: bytes = attrs.field(repr=False)  #: the record itself, without LF

    @cached_property
    def event(self) -> JsonObject:
        """The event, parsed when first asked for."""
        parsed: JsonObject = json.loads(event_bytes(self.line))
        return parsed


class LogSigner(Protocol):
    """Holds the key of a log and signs checkpoints; a key file, a device or a service."""

    @property
    def public(self) -> bytes:
        """The Ed25519 public key, 32 bytes."""
        ...

    def sign(self, text: bytes, /) -> bytes:
        """Give the Ed25519 signature over *text*, 64 bytes."""
        ...


class Acknowledger(Protocol):
    """Whoever else must hold a record before a barrier lets anything act: the required sinks."""

    def committed(self, size: int, /) -> None:
        """Hear that the log has *size* records now; on the writer's thread, so never block."""
        ...

    def riders(self) -> Entry:
        """Give what shall ride in the transaction that is just being made."""
        ...

    def is_required(self) -> bool:
        """Tell whether barriers have to wait at all."""
        ...

    async def acknowledged(self, size: int, /) -> None:
        """Return once all required sinks hold *size* records.

        :raises AuditError: ``audit.sink_unavailable`` when one of them stays silent
        """
        ...


def draft_of(event: JsonObject) -> Draft:
    """Make the draft of a record outside runs."""
    return Draft(canonical.line(event), "", None, event["kind"])

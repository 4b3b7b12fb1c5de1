"""Records for people: which ones, and each in one line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.journal import Reading, SealedRecord

_COMMON = {"kind", "run", "rseq", "step", "by", "trace"}
_MAX_TEXT = 200


@attrs.frozen
class Filter:
    """Which records to show; None and empty mean all."""

    run: str | None = None
    kinds: frozenset[str] = frozenset()  #: ``noun.verb``, or ``noun.*``
    by: str | None = None  #: the actor, as the records write it
    since_us: int | None = None
    start: int = 0  #: first seq
    stop: int | None = None  #: seq behind the last one


@attrs.frozen
class Shown:
    """One record in the words of a table."""

    seq: int
    time: str  #: RFC 3339, UTC, to the millisecond
    kind: str
    run: str
    step: str
    by: str
    text: str  #: the fields that are the kind's own, cut


def matching(journal: Reading, wanted: Filter) -> Iterator[SealedRecord]:
    """Give the records that *wanted* names, oldest first."""
    groups = tuple(kind[:-1] for kind in wanted.kinds if kind.endswith(".*"))
    exact = None if groups or not wanted.kinds else wanted.kinds
    for record in journal.read(
        run=wanted.run, after=wanted.start - 1, before=wanted.stop, kinds=exact
    ):
        is_kind = not groups or record.kind in wanted.kinds or record.kind.startswith(groups)
        is_late = wanted.since_us is None or record.ts >= wanted.since_us
        if is_kind and is_late and wanted.by in (None, record.event.get("by")):
            yield record


def row(record: SealedRecord) -> Shown:
    """Put a record into one line; what strangers wrote has no control characters in it."""
    event = record.event
    own = {key: value for key, value in event.items() if key not in _COMMON}
    text = json.dumps(own, sort_keys=True)
    at = datetime.fromtimestamp(record.ts / 1_000_000, UTC)
    return Shown(
        seq=record.seq,
        time=at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z",
        kind=record.kind,
        run=record.run,
        step=str(event.get("step", "")),
        by=str(event.get("by", "")),
        text=text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…",
    )

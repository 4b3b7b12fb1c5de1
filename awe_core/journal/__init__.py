"""The journal: the append-only, hash-chained log that is both run state and audit trail.

One SQLite file, one transaction for everything, one writing process.  A record is the bytes of its
line; every index and projection can be made anew from them.  What the values behind the records
were lies in encrypted payloads beside them.

=============  ==========================================================================
`records`      what goes in and what comes out
`chain`        the bytes of a line, and the rules it must keep; `tree`: the Merkle tree over
               them; `notes`: checkpoints
`writer`       `Journal`: append, barrier, commit; `committing`: one transaction; `pace`: on a
               thread; `reading`: `JournalReader`
`isolated`     `Logs`: which log a run lies in
`lock`         who owns the home
=============  ==========================================================================

It does not know what events mean, when to wait for durability, or who may read.
"""

from __future__ import annotations

from awe_core.journal.committing import Counters
from awe_core.journal.database import Durability
from awe_core.journal.isolated import Isolation, Logs, Readings, RunLog
from awe_core.journal.lock import Owner, OwnerLock, owner_of
from awe_core.journal.reading import JournalReader, Reading
from awe_core.journal.records import (
    Acknowledger,
    Draft,
    Head,
    LogSigner,
    PayloadDraft,
    SealedRecord,
    SeqOf,
    Upsert,
    draft_of,
)
from awe_core.journal.writer import Commit, Journal

__all__ = [
    "Acknowledger",
    "Commit",
    "Counters",
    "Draft",
    "Durability",
    "Head",
    "Isolation",
    "Journal",
    "JournalReader",
    "LogSigner",
    "Logs",
    "Owner",
    "OwnerLock",
    "PayloadDraft",
    "Reading",
    "Readings",
    "RunLog",
    "SealedRecord",
    "SeqOf",
    "Upsert",
    "draft_of",
    "owner_of",
]

"""How a log begins, and how it goes on: what `Journal.open` does before its first record."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AuditError
from awe_core.journal import chain, keys, notes, opening
from awe_core.journal.payloads import PayloadStore
from awe_core.journal.reading import Reading, read_log_id
from awe_core.journal.records import Head
from awe_core.journal.sealing import Sealer
from awe_core.journal.tree import Frontier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.journal.records import LogSigner
    from awe_core.values import JsonObject

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@attrs.frozen
class Start:
    """Where the writer begins."""

    home: Path
    sealer: Sealer
    origin: str
    signed: int  #: size of the newest checkpoint
    fields: JsonObject  #: of ``log.opened``
    is_new: bool

    def begun(self) -> None:
        """Hear that the first record is durable."""
        if self.is_new:
            keys.begin(self.home, log=self.sealer.log)


class _Opened(Reading):
    """A journal that is being checked and has no writer yet."""

    def __init__(self, home: Path, db: sqlite3.Connection, log: str) -> None:
        self.home, self.log, self._db, self._payloads = home, log, db, None


def start(
    home: Path,
    db: sqlite3.Connection,
    *,
    signer: LogSigner,
    origin: str,
    anchors: Sequence[Path],
) -> Start:
    """Check the log that is there, or begin one where there is none.

    :raises AuditError: as `opening.check`; ``audit.truncated`` where a log was begun and is gone
    """
    log = read_log_id(db)
    if not log:
        return _begin(home, signer=signer, origin=origin, anchors=anchors)
    found = opening.check(_Opened(home, db, log), public=signer.public, anchors=anchors)
    payloads = PayloadStore(home, log, keys.PayloadKeys.load(home, log=log))
    sealer = Sealer(log, payloads, found.head, found.frontier, found.last_ts_us)
    fields = {**_process(), "clean": found.is_clean}
    return Start(home, sealer, found.origin, found.signed, fields, is_new=False)


def _begin(home: Path, *, signer: LogSigner, origin: str, anchors: Sequence[Path]) -> Start:
    lost = [f"log {log}" for log in keys.begun_logs(home)]
    lost += [f"anchor {anchor}" for anchor in anchors if anchor.exists()]
    if lost:
        raise AuditError(
            "audit.truncated", where="the journal", seq=0, expected=lost[-1], found="no record"
        )
    log = os.urandom(16).hex()
    payloads = PayloadStore(home, log, keys.PayloadKeys.create(home, log=log))
    name = f"{origin}/{log}"
    fields: JsonObject = {
        **_process(),
        "clean": True,
        "hash": "sha256",
        "mac_kid": payloads.keys.kid,
        "origin": name,
        "prev_log": None,
        "scope": {"id": log, "type": "workspace"},
        "vkey": str(notes.VerifierKey(name, signer.public)),
    }
    sealer = Sealer(log, payloads, Head(0, chain.ZERO_HASH), Frontier(), 0)
    return Start(home, sealer, name, 0, fields, is_new=True)


def _process() -> JsonObject:
    return {"boot": _boot(), "pid": os.getpid(), "sqlite": sqlite3.sqlite_version}


def _boot() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"

"""``journal.db``: its tables word for word, connections, and the one transaction that writes.

``log`` is the truth; all but ``payload`` is projection.  ``run``, ``rseq``, ``kind``, ``ts`` and
``hash`` of ``log`` are an untrusted index over ``body``.  The triggers guard against accidents
only: who can write the file can drop them.

Every pragma is read back: a build or a file system that ignores one is refused, not hoped for.
Nothing in the process may open the file by other means while a connection is open: closing a second
descriptor drops SQLite's own locks (POSIX).
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from awe_core.errors import JournalError
from awe_core.journal.records import Head

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.journal.sealing import Batch

Durability = Literal["full", "normal"]

FILE = "journal.db"

#: Nobody else writes; this only covers a backup that is just starting.
_BUSY_S = 0.25

_APPLICATION_ID = 0x41574531
_USER_VERSION = 1

#: What SQLite says of a disk without room, the shared memory of the WAL included.
FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})

_PRAGMAS: Mapping[str, int | str] = {
    "journal_mode": "wal",
    "wal_autocheckpoint": 0,
    "secure_delete": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
}

TABLES = (
    (
        "CREATE TABLE log(seq INTEGER PRIMARY KEY, run TEXT NOT NULL, rseq INTEGER,"
        " kind TEXT NOT NULL, ts INTEGER NOT NULL,"
        " hash BLOB NOT NULL CHECK(length(hash)=32), body BLOB NOT NULL) STRICT"
    ),
    "CREATE INDEX log_run ON log(run, rseq)",
    "CREATE TRIGGER log_keep_u BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'append only'); END",
    "CREATE TRIGGER log_keep_d BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'append only'); END",
    (
        "CREATE TABLE payload(id INTEGER PRIMARY KEY, seq INTEGER NOT NULL, part TEXT NOT NULL,"
        " run TEXT NOT NULL, digest BLOB NOT NULL, size INTEGER NOT NULL, kid TEXT, nonce BLOB,"
        " body BLOB, file TEXT) STRICT"
    ),
    "CREATE UNIQUE INDEX payload_part ON payload(seq, part)",
    "CREATE INDEX payload_run ON payload(run, digest)",
    (
        "CREATE TABLE checkpoint(size INTEGER PRIMARY KEY, ts INTEGER NOT NULL, note TEXT NOT NULL,"
        " frontier BLOB NOT NULL) STRICT"
    ),
    (
        "CREATE TABLE sink(name TEXT PRIMARY KEY, acked INTEGER NOT NULL, hash BLOB,"
        " state TEXT NOT NULL, error TEXT, since INTEGER) STRICT"
    ),
    (
        "CREATE TABLE run(id TEXT PRIMARY KEY, workflow TEXT, version TEXT, state TEXT, phase TEXT,"
        " actor TEXT, opened_us INT, changed_us INT, closed_us INT, expires_us INT, due_us INT,"
        " waiting TEXT, residue INT, last_rseq INT) STRICT"
    ),
    "CREATE INDEX run_state ON run(state, changed_us, id)",
    "CREATE INDEX run_due ON run(due_us)",
    "CREATE TABLE submission(key TEXT PRIMARY KEY, digest BLOB, run TEXT) STRICT",
    (
        "CREATE TABLE handshake_ticket(nonce BLOB PRIMARY KEY, request TEXT, digest TEXT, run TEXT,"
        " step TEXT, expires_us INTEGER, consumed_by_seq INTEGER UNIQUE) STRICT"
    ),
    "CREATE TABLE mark(deployment TEXT PRIMARY KEY, body BLOB NOT NULL) STRICT",
)

RUN_COLUMNS = (
    "id", "workflow", "version", "state", "phase", "actor", "opened_us", "changed_us",
    "closed_us", "expires_us", "due_us", "waiting", "residue", "last_rseq",
)  # fmt: skip

_LOG = "INSERT INTO log(seq, run, rseq, kind, ts, hash, body) VALUES (?,?,?,?,?,?,?)"
_PAYLOAD = (
    "INSERT INTO payload(seq, part, run, digest, size, kid, nonce, body, file)"
    " VALUES (?,?,?,?,?,?,?,?,?)"
)
_CHECKPOINT = "INSERT OR REPLACE INTO checkpoint(size, ts, note, frontier) VALUES (?,?,?,?)"

#: How each projection is written.  A ticket is updated by its own key only: ``OR REPLACE`` would
#: let a second consumer of one record push the first one's row out.
UPSERTS = {
    "run": "INSERT OR REPLACE INTO run VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
    "submission": "INSERT OR REPLACE INTO submission VALUES (?,?,?)",
    "handshake_ticket": (
        "INSERT INTO handshake_ticket VALUES (?,?,?,?,?,?,?) ON CONFLICT(nonce) DO UPDATE SET"
        " request=excluded.request, digest=excluded.digest, run=excluded.run, step=excluded.step,"
        " expires_us=excluded.expires_us, consumed_by_seq=excluded.consumed_by_seq"
        " WHERE handshake_ticket.consumed_by_seq IS NULL"
    ),
    "mark": "INSERT OR REPLACE INTO mark VALUES (?,?)",
    "sink": "INSERT OR REPLACE INTO sink VALUES (?,?,?,?,?,?)",
}


class HeadMovedError(sqlite3.OperationalError):
    """Somebody wrote beside us, or we did not see our own commit return."""

    def __str__(self) -> str:
        return "the log does not end where this process left it"


class TicketSpentError(sqlite3.IntegrityError):
    """A ticket was to be consumed that already is."""

    def __str__(self) -> str:
        return "a handshake ticket is already used up"


def connect_writer(home: Path, *, durability: Durability) -> sqlite3.Connection:
    """Open the journal of *home* for writing, and make it where there is none.

    :raises JournalError: ``journal.newer``, ``journal.foreign``, ``journal.pragma``,
        ``journal.unreadable``
    """
    file = home / FILE
    if not file.exists():
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    pragmas = {**_PRAGMAS, "synchronous": 2 if durability == "full" else 1}
    if sys.platform == "darwin":
        pragmas["checkpoint_fullfsync"] = 1
    try:
        return _connect(file, "mode=rw", pragmas, make=_create)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", None) in FULL:
            raise
        raise unreadable(file, error) from error


@cache
def template() -> bytes:
    """Give the bytes of a journal without records: copying them is cheaper than making tables."""
    with tempfile.TemporaryDirectory(prefix="awe-") as folder:
        db = connect_writer(Path(folder), durability="normal")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        db.close()
        return Path(folder, FILE).read_bytes()


def connect_reader(home: Path) -> sqlite3.Connection:
    """Open the journal of *home* for reading; it cannot write, and cannot even checkpoint.

    :raises JournalError: as `connect_writer`; ``journal.wal_unread``
    """
    file = home / FILE
    if not file.is_file():
        raise JournalError("journal.missing", home=str(home))
    pragmas = {"trusted_schema": 0, "cell_size_check": 1, "query_only": 1}
    try:
        return _connect(file, "mode=ro", pragmas)
    except sqlite3.Error as error:
        # A read-only medium has no place for the shared memory of the WAL.  Where there is a WAL,
        # reading without it would leave out acknowledged records and not say so; where somebody
        # may write, there may be one in a moment.
        wal = file.with_name(f"{FILE}-wal")
        if os.access(home, os.W_OK):
            raise unreadable(file, error) from error
        if wal.exists() and wal.stat().st_size:
            raise JournalError("journal.wal_unread", path=str(file), reason=str(error)) from error
    try:
        return _connect(file, "immutable=1", pragmas)
    except sqlite3.Error as error:
        raise unreadable(file, error) from error


def read_head(db: sqlite3.Connection) -> Head:
    """Read where the log ends, inside a transaction or outside."""
    row = db.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(row[0] + 1, row[1])


def transact(db: sqlite3.Connection, batch: Batch, *, head: Head, note: str | None) -> None:
    """Commit *batch* behind *head*, with the checkpoint over it if there is a *note*.

    :raises sqlite3.Error: nothing was changed
    """
    db.execute("BEGIN IMMEDIATE")
    try:
        if read_head(db) != head:
            raise HeadMovedError  # noqa: TRY301 - inside, so that it rolls back
        db.executemany(_LOG, batch.rows)
        if batch.payloads:
            db.executemany(_PAYLOAD, batch.payloads)
        for table, rows in batch.upserts.items():
            if db.executemany(UPSERTS[table], rows.values()).rowcount != len(rows):
                raise TicketSpentError  # noqa: TRY301 - as above
        if note is not None:
            end = batch.end
            row = (end.head.size, end.ts_us, note, b"".join(end.frontier.peaks))
            db.execute(_CHECKPOINT, row)
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def touch(db: sqlite3.Connection) -> None:
    """Write and flush something that changes nothing.

    :raises sqlite3.Error: the file takes no more
    """
    db.execute(f"PRAGMA user_version={_USER_VERSION}")


def _connect(
    file: Path,
    mode: str,
    pragmas: Mapping[str, int | str],
    *,
    make: Callable[[sqlite3.Connection], None] = lambda _: None,
) -> sqlite3.Connection:
    """Open *file*, closed again whatever fails; *make* the tables where there are none."""
    db = sqlite3.connect(
        f"file:{quote(str(file))}?{mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_version(db, file)
        set_pragmas(db, pragmas)
        if _pragma(db, "application_id") != _APPLICATION_ID:
            make(db)
        if "query_only" in pragmas:
            db.execute("SELECT seq FROM log LIMIT 1").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection, file: Path) -> None:
    application = _pragma(db, "application_id")
    version = _pragma(db, "user_version")
    found = {row[0] for row in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if application != _APPLICATION_ID and (application or found):
        raise JournalError("journal.foreign", path=str(file))
    if isinstance(version, int) and version > _USER_VERSION:
        raise JournalError("journal.newer", path=str(file), found=version, known=_USER_VERSION)
    if found and found != set(TABLES):  # a trigger or a view by hand could rewrite what is read
        odd = min(found ^ set(TABLES), key=len)
        raise JournalError("journal.schema", path=str(file), details=[odd[:200]])


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES:
        db.execute(statement)
    db.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={_USER_VERSION}")
    db.execute("COMMIT")


def set_pragmas(db: sqlite3.Connection, wanted: Mapping[str, int | str]) -> None:
    """Set pragmas and read each one back.

    :raises JournalError: ``journal.pragma``
    """
    for name, value in wanted.items():
        db.execute(f"PRAGMA {name}={value}").fetchall()
        found = _pragma(db, name)
        if found != value:
            raise JournalError("journal.pragma", pragma=name, expected=value, found=found)


def _pragma(db: sqlite3.Connection, name: str) -> object:
    row = db.execute(f"PRAGMA {name}").fetchone()
    return row[0] if row else None


def unreadable(file: Path, error: sqlite3.Error) -> JournalError:
    """Say that SQLite cannot read *file*."""
    return JournalError("journal.unreadable", path=str(file), reason=str(error))

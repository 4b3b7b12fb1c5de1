"""Connections to ``journal.db``: one that writes, any number that read.

Every pragma is read back: a build or a file system that ignores one is refused, not hoped for.
Nothing in the process may open the file by other means while a connection is open: closing a second
descriptor drops SQLite's own locks (POSIX).
"""

from __future__ import annotations

import os
import sqlite3
import sys
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from awe_core.errors import JournalError
from awe_core.journal.schema import APPLICATION_ID, TABLES, USER_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

Durability = Literal["full", "normal"]

FILE = "journal.db"

#: Nobody else writes; this only covers a backup that is just starting.
_BUSY_S = 0.25

_PRAGMAS: Mapping[str, int | str] = {
    "journal_mode": "wal",
    "wal_autocheckpoint": 0,
    "secure_delete": 1,
    "trusted_schema": 0,
    "cell_size_check": 1,
}


def connect_writer(home: Path, *, durability: Durability) -> sqlite3.Connection:
    """Open the journal of *home* for writing, and make it where there is none.

    :raises JournalError: ``journal.newer``, ``journal.foreign``, ``journal.pragma``,
        ``journal.unreadable``
    """
    file = home / FILE
    if not file.exists():
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    try:
        db = sqlite3.connect(file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _check_version(db, file)
            _set(db, {**_PRAGMAS, "synchronous": 2 if durability == "full" else 1})
            if sys.platform == "darwin":
                _set(db, {"checkpoint_fullfsync": 1})
            _create(db)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise _unreadable(file, error) from error
    return db


def connect_reader(home: Path) -> sqlite3.Connection:
    """Open the journal of *home* for reading; it cannot write, and cannot even checkpoint.

    :raises JournalError: as `connect_writer`
    """
    file = home / FILE
    if not file.is_file():
        raise JournalError("journal.missing", home=str(home))
    try:
        return _connect_uri(file, "mode=ro")
    except sqlite3.Error:
        pass  # a read-only medium has no place for the shared memory of the WAL
    try:
        return _connect_uri(file, "immutable=1")
    except sqlite3.Error as error:
        raise _unreadable(file, error) from error


def _connect_uri(file: Path, mode: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"file:{quote(str(file))}?{mode}",
        uri=True,
        timeout=_BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_version(db, file)
        _set(db, {"trusted_schema": 0, "cell_size_check": 1, "query_only": 1})
        db.execute("SELECT seq FROM log LIMIT 1").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def _check_version(db: sqlite3.Connection, file: Path) -> None:
    application = _pragma(db, "application_id")
    version = _pragma(db, "user_version")
    is_empty = not db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
    if application != APPLICATION_ID and not (application == 0 and is_empty):
        raise JournalError("journal.foreign", path=str(file))
    if isinstance(version, int) and version > USER_VERSION:
        raise JournalError("journal.newer", path=str(file), found=version, known=USER_VERSION)
    if not is_empty:
        _check_schema(db, file)


def _check_schema(db: sqlite3.Connection, file: Path) -> None:
    """Compare the schema text: a trigger or a view added by hand could rewrite what is read."""
    rows = db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid")
    found = {row[0] for row in rows}
    if found != set(TABLES):
        odd = min(found ^ set(TABLES), key=len)
        raise JournalError("journal.schema", path=str(file), details=[odd[:200]])


def _create(db: sqlite3.Connection) -> None:
    if _pragma(db, "application_id") == APPLICATION_ID:
        return
    db.execute("BEGIN IMMEDIATE")
    for statement in TABLES:
        db.execute(statement)
    db.execute(f"PRAGMA application_id={APPLICATION_ID}")
    db.execute(f"PRAGMA user_version={USER_VERSION}")
    db.execute("COMMIT")


def _set(db: sqlite3.Connection, wanted: Mapping[str, int | str]) -> None:
    for name, value in wanted.items():
        db.execute(f"PRAGMA {name}={value}").fetchall()
        found = _pragma(db, name)
        if found != value:
            raise JournalError("journal.pragma", pragma=name, expected=value, found=found)


def _pragma(db: sqlite3.Connection, name: str) -> object:
    row = db.execute(f"PRAGMA {name}").fetchone()
    return row[0] if row else None


def _unreadable(file: Path, error: sqlite3.Error) -> JournalError:
    return JournalError("journal.unreadable", path=str(file), reason=str(error))

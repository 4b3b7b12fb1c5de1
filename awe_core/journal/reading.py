"""Reading a journal: committed records by page, payloads, projections.

`Reading` is what the writer and the readers share.  Nothing here holds a statement open between two
pages: an open one would keep the WAL from being checkpointed.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from awe_core.errors import AuditError, JournalError
from awe_core.journal import chain
from awe_core.journal.database import FILE, RUN_COLUMNS, connect_reader, unreadable
from awe_core.journal.payloads import Payloads
from awe_core.journal.records import Head, SealedRecord

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from awe_core.values import JsonObject

_RECORDS = "SELECT seq, run, rseq, kind, ts, hash, body FROM log"
_PAGE = 512
_HASHES = 4096


class Reading:
    """The reading half of a journal."""

    def __init__(self, home: Path, db: sqlite3.Connection, *, host: Reading | None = None) -> None:
        """Read through *db*.

        :param host: the workspace's log, whose payload key a log beside it shares
        :raises AuditError: ``audit.not_canonical`` when record 0 is no record
        """
        self.home = home  #: the deployment's folder
        self._db, self._shares = db, host
        self._reading = db
        self._payloads: Payloads | None = None
        self.log = ""  #: the log's id; empty when there is no record yet
        for (line,) in self.rows("SELECT body FROM log WHERE seq=0"):
            found = chain.log_id(line)
            if found is None:
                expected = "a record of version 1"
                raise AuditError(
                    "audit.not_canonical", **chain.at("the journal", 0, expected, "other bytes")
                )
            self.log = found

    def head(self) -> Head:
        """Say where the log ends now."""
        row = self._one("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1")
        return Head() if row is None else Head(row[0] + 1, row[1])

    def read(  # noqa: PLR0913 - each is an independent filter
        self,
        *,
        run: str | None = None,
        after: int = -1,
        after_rseq: int = -1,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> Iterator[SealedRecord]:
        """Give committed records, oldest first.

        :param run: only this run's; then *after_rseq* and the order are the run's own
        :param after: only records with a greater seq
        :param kinds: only records of these kinds
        :param limit: at most so many
        :param before: only records with a smaller seq
        """
        key = "seq" if run is None else "rseq"
        where, values = [f"{key} > ?"], [after if run is None else after_rseq]
        filters: list[tuple[str, object]] = [("run = ?", run), ("seq < ?", before)]
        if run is not None and after >= 0:
            filters.append(("seq > ?", after))
        given = [(text, value) for text, value in filters if value is not None]
        if kinds is not None:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
        where += [text for text, _ in given]
        fixed = [*(sorted(kinds) if kinds is not None else ()), *(value for _, value in given)]
        sql = f"{_RECORDS} WHERE {' AND '.join(where)} ORDER BY {key} LIMIT ?"
        at, left = values[0], limit
        while left is None or left > 0:
            page = _PAGE if left is None else min(_PAGE, left)
            rows = self._asked(sql, (at, *fixed, page))
            for row in rows:
                yield SealedRecord(self.log, *row)
            if len(rows) < page:
                return
            at, left = rows[-1][0 if run is None else 2], None if left is None else left - page

    def record(self, seq: int) -> SealedRecord | None:
        """Give one record by its number."""
        return next(self.read(after=seq - 1, before=seq + 1), None)

    def last(self, run: str) -> SealedRecord | None:
        """Give the newest record of a run."""
        row = self._one(f"{_RECORDS} WHERE run=? ORDER BY rseq DESC LIMIT 1", run)
        return None if row is None else SealedRecord(self.log, *row)

    def payload(
        self, run: str, rseq: int | None, part: str, *, seq: int | None = None
    ) -> bytes | None:
        """Give the canonical value behind a record; None when it is gone or never was.

        :param rseq: the record's position in its run; None outside runs, then give *seq*
        :raises AuditError: ``audit.payload``, ``audit.payload_missing``, ``audit.keys_missing``
        """
        sql = (
            "SELECT seq, part, run, digest, size, kid, nonce, body, file FROM payload"
            " WHERE seq=coalesce(?, (SELECT min(seq) FROM log WHERE run=? AND rseq IS ?))"
            " AND part=? AND run=?"
        )
        row = self._one(sql, seq, run, rseq, part, run)
        if row is None:
            return None
        return self.keys().open(row, rseq=rseq)

    def keys(self) -> Payloads:
        """Give what opens the payloads of this log.

        :raises AuditError: ``audit.keys_missing``
        """
        if self._payloads is None:
            if self._shares is not None:
                self._payloads = self._shares.keys().of(self.log)
            else:
                self._payloads = Payloads.load(self.home, log=self.log)
        return self._payloads

    def payload_rows(self) -> Iterator[tuple[int, str, str, int | None]]:
        """Name every payload there is: seq, part, run, rseq; in order of seq."""
        sql = (
            "SELECT p.seq, p.part, p.run, l.rseq FROM payload p LEFT JOIN log l ON l.seq=p.seq"
            " WHERE (p.seq, p.part) > (?, ?) ORDER BY p.seq, p.part LIMIT ?"
        )
        rows: list[tuple[int, str, str, int | None]] = [(-1, "", "", None)]
        while rows:
            rows = self.rows(sql, (*rows[-1][:2], _PAGE))
            yield from rows

    def run_row(self, run: str) -> JsonObject | None:
        """Give the projection of one run."""
        return next(iter(self._run_rows("id = ?", [run], 1)), None)

    def run_rows(
        self,
        *,
        state: str | Collection[str] | None = None,
        due_before_us: int | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> list[JsonObject]:
        """List runs by id, keyset-paged: pass the last id as *after*."""
        where, values = ["id > ?"], [after, due_before_us]
        if due_before_us is not None:
            where.append("due_us <= ?")
        if state is not None:
            states = [state] if isinstance(state, str) else sorted(state)
            where.append(f"state IN ({','.join('?' * len(states))})")
            values += states
        return self._run_rows(" AND ".join(where), [v for v in values if v is not None], limit)

    def submission(self, key: str) -> tuple[bytes, str] | None:
        """Give (digest, run) of what was submitted under an idempotency key."""
        return self._one("SELECT digest, run FROM submission WHERE key=?", key)

    def mark(self, deployment: str) -> bytes | None:
        """Give what the deployment's last seen manifest left behind."""
        row = self._one("SELECT body FROM mark WHERE deployment=?", deployment)
        return None if row is None else bytes(row[0])

    def checkpoints(self) -> list[tuple[int, str]]:
        """Give (size, note) of every checkpoint, oldest first."""
        return self.rows("SELECT size, note FROM checkpoint ORDER BY size")

    def newest_note(self) -> tuple[int, str] | None:
        """Give (size, note) of the newest checkpoint."""
        return self._one("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")

    def hashes(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Give the leaf hashes of records *start* to *stop*, from the index column."""
        sql = "SELECT hash FROM log WHERE seq >= ? AND seq < ? ORDER BY seq"
        stop = self.head().size if stop is None else stop
        for at in range(start, stop, _HASHES):
            yield from (row[0] for row in self.rows(sql, (at, min(stop, at + _HASHES))))

    def sinks(self) -> dict[str, tuple[int, bytes | None, str]]:
        """Give (acked, hash, state) of every sink this log has known."""
        return {row[0]: row[1:] for row in self.rows("SELECT name, acked, hash, state FROM sink")}

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[Any]:
        """Run a query over the projections; one that would write is refused.

        :raises JournalError: ``journal.unreadable``
        """
        if not sql.lstrip().upper().startswith("SELECT"):
            raise JournalError(
                "journal.unreadable", path=str(self.home), reason="only SELECT can be asked here"
            )
        return self._asked(sql, parameters)

    def _one(self, sql: str, *parameters: object) -> Any | None:  # noqa: ANN401 - columns vary
        return next(iter(self._asked(sql, parameters)), None)

    def _asked(self, sql: str, parameters: tuple[object, ...]) -> list[Any]:
        try:
            return self._reading.execute(sql, parameters).fetchall()
        except sqlite3.DatabaseError as error:  # a damaged page, a disk that fails
            raise unreadable(self.home / FILE, error) from error

    def _run_rows(self, where: str, values: list[Any], limit: int) -> list[JsonObject]:
        sql = f"SELECT {','.join(RUN_COLUMNS)} FROM run WHERE {where} ORDER BY id LIMIT ?"  # noqa: S608 - own text
        return [
            dict(zip(RUN_COLUMNS, row, strict=True)) for row in self.rows(sql, (*values, limit))
        ]


def check_id(found: Reading, log: str) -> None:
    """Refuse another log than the one that a record names.

    :raises AuditError: ``audit.log_id``
    """
    if found.log != log:
        given = f"log {found.log}" if found.log else "no record"
        raise AuditError("audit.log_id", **chain.at(str(found.home), 0, f"log {log}", given))


class JournalReader(Reading):
    """A journal that another process owns, or that nobody does: reading only."""

    def __init__(self, home: Path, *, host: Reading | None = None) -> None:
        """Open the journal of *home*.

        :param host: as `Reading`
        :raises JournalError: ``journal.missing``, ``journal.newer``, ``journal.foreign``,
            ``journal.schema``, ``journal.unreadable``
        """
        db = connect_reader(Path(home))
        try:
            super().__init__(Path(home), db, host=host)
        except BaseException:
            db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

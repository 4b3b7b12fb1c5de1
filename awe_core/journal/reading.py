"""Reading a journal: committed records by page, payloads, projections.

`Reading` is what the writer and the readers share.  Nothing here holds a statement open between two
pages: an open one would keep the WAL from being checkpointed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from awe_core.errors import AuditError, JournalError
from awe_core.journal import chain
from awe_core.journal.database import connect_reader
from awe_core.journal.keys import PayloadKeys
from awe_core.journal.payloads import PayloadStore
from awe_core.journal.records import Head, SealedRecord
from awe_core.journal.schema import RUN_COLUMNS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterator

    from awe_core.values import JsonObject

_PAGE = 512
_COLUMNS = "seq, run, rseq, kind, ts, hash, body"


class Reading:
    """The reading half of a journal."""

    home: Path  #: the deployment's folder
    log: str  #: the log's id
    _db: sqlite3.Connection
    _payloads: PayloadStore | None

    def head(self) -> Head:
        """Say where the log ends now."""
        return read_head(self._db)

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
        log = self.log
        for row in self._rows(run, after, after_rseq, kinds=kinds, limit=limit, before=before):
            yield SealedRecord(log, *row)

    def lines(self, run: str, *, after_rseq: int = -1) -> Iterator[tuple[int, str, int, bytes]]:
        """Give (rseq, kind, ts, event bytes) of a run's records: the fast way to fold a run."""
        event_bytes = chain.event_bytes
        for row in self._rows(run, -1, after_rseq):
            yield row[2], row[3], row[4], event_bytes(row[6])

    def record(self, seq: int) -> SealedRecord | None:
        """Give one record by its number."""
        return next(self.read(after=seq - 1, before=seq + 1), None)

    def payload(
        self, run: str, rseq: int | None, part: str, *, seq: int | None = None
    ) -> bytes | None:
        """Give the canonical value behind a record; None when it is gone or never was.

        :param rseq: the record's position in its run; None outside runs, then give *seq*
        :raises AuditError: ``audit.payload``, ``audit.payload_missing``, ``audit.keys_missing``
        """
        if seq is None:
            found = self._db.execute(
                "SELECT seq FROM log WHERE run=? AND rseq IS ? ORDER BY seq LIMIT 1", (run, rseq)
            ).fetchone()
            if found is None:
                return None
            seq = found[0]
        row = self._db.execute(
            "SELECT seq, part, run, digest, size, kid, nonce, body, file FROM payload"
            " WHERE seq=? AND part=? AND run=?",
            (seq, part, run),
        ).fetchone()
        return None if row is None else self._store().open(row, rseq=rseq)

    def payload_rows(self) -> Iterator[tuple[int, str, str, int | None]]:
        """Name every payload there is: seq, part, run, rseq; in order of seq."""
        after = (-1, "")
        while True:
            rows = self._db.execute(
                "SELECT p.seq, p.part, p.run, l.rseq FROM payload p LEFT JOIN log l ON l.seq=p.seq"
                " WHERE (p.seq, p.part) > (?, ?) ORDER BY p.seq, p.part LIMIT ?",
                (*after, _PAGE),
            ).fetchall()
            yield from rows
            if len(rows) < _PAGE:
                return
            after = rows[-1][0], rows[-1][1]

    def run_row(self, run: str) -> JsonObject | None:
        """Give the projection of one run."""
        rows = self._run_rows("id=?", [run], 1)
        return rows[0] if rows else None

    def run_rows(
        self,
        *,
        state: str | Collection[str] | None = None,
        due_before_us: int | None = None,
        after: str = "",
        limit: int = 1000,
    ) -> list[JsonObject]:
        """List runs by id, keyset-paged: pass the last id as *after*."""
        where, parameters = ["id > ?"], [after]
        if state is not None:
            states = [state] if isinstance(state, str) else sorted(state)
            where.append(f"state IN ({','.join('?' * len(states))})")
            parameters += states
        values: list[object] = list(parameters)
        if due_before_us is not None:
            where.append("due_us <= ?")
            values.append(due_before_us)
        return self._run_rows(" AND ".join(where), values, limit)

    def submission(self, key: str) -> tuple[bytes, str] | None:
        """Give (digest, run) of what was submitted under an idempotency key."""
        return self._one("SELECT digest, run FROM submission WHERE key=?", key)

    def ticket(self, nonce: bytes) -> JsonObject | None:
        """Give a handshake ticket by its nonce; ``consumed_by_seq`` is None until it is used."""
        names = "request, digest, run, step, expires_us, consumed_by_seq"
        row = self._one(f"SELECT {names} FROM handshake_ticket WHERE nonce=?", nonce)  # noqa: S608 - constant
        return None if row is None else dict(zip(names.split(", "), row, strict=True))

    def mark(self, deployment: str) -> bytes | None:
        """Give what the deployment's last seen manifest left behind."""
        row = self._one("SELECT body FROM mark WHERE deployment=?", deployment)
        return None if row is None else bytes(row[0])

    def checkpoints(self) -> list[tuple[int, str]]:
        """Give (size, note) of every checkpoint, oldest first."""
        return self._db.execute("SELECT size, note FROM checkpoint ORDER BY size").fetchall()

    def newest_note(self) -> tuple[int, str] | None:
        """Give (size, note) of the newest checkpoint."""
        return self._one("SELECT size, note FROM checkpoint ORDER BY size DESC LIMIT 1")

    def hashes(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Give the leaf hashes of records *start* to *stop*, from the index column."""
        at, stop = start, self.head().size if stop is None else stop
        while at < stop:
            rows = self._db.execute(
                "SELECT hash FROM log WHERE seq >= ? AND seq < ? ORDER BY seq",
                (at, min(stop, at + 4096)),
            ).fetchall()
            if not rows:
                return
            yield from (row[0] for row in rows)
            at += len(rows)

    def sinks(self) -> dict[str, tuple[int, bytes | None, str]]:
        """Give (acked, hash, state) of every sink this log has known."""
        rows = self._db.execute("SELECT name, acked, hash, state FROM sink").fetchall()
        return {name: (acked, last, state) for name, acked, last, state in rows}

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """Run a query over the projections; one that would write is refused.

        :raises JournalError: ``journal.unreadable``
        """
        if not sql.lstrip().upper().startswith("SELECT"):
            raise JournalError(
                "journal.unreadable", path=str(self.home), reason="only SELECT can be asked here"
            )
        return self._db.execute(sql, parameters).fetchall()

    def _one(self, sql: str, *parameters: object) -> Any | None:  # noqa: ANN401 - columns vary
        return self._db.execute(sql, parameters).fetchone()

    def _run_rows(self, where: str, values: list[object], limit: int) -> list[JsonObject]:
        rows = self._db.execute(
            f"SELECT {','.join(RUN_COLUMNS)} FROM run WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608 - own text
            (*values, limit),
        ).fetchall()
        return [dict(zip(RUN_COLUMNS, row, strict=True)) for row in rows]

    def _store(self) -> PayloadStore:
        if self._payloads is None:
            self._payloads = PayloadStore(
                self.home, self.log, PayloadKeys.load(self.home, log=self.log)
            )
        return self._payloads

    def _rows(  # noqa: PLR0913 - as `read`
        self,
        run: str | None,
        after: int,
        after_rseq: int,
        *,
        kinds: Collection[str] | None = None,
        limit: int | None = None,
        before: int | None = None,
    ) -> Iterator[tuple[Any, ...]]:
        column, at = ("rseq", after_rseq) if run is not None else ("seq", after)
        where: list[str] = [f"{column} > ?"]
        fixed: list[object] = []
        if run is not None:
            where.append("run = ?")
            fixed.append(run)
            if after >= 0:
                where.append("seq > ?")
                fixed.append(after)
        if before is not None:
            where.append("seq < ?")
            fixed.append(before)
        if kinds is not None:
            where.append(f"kind IN ({','.join('?' * len(kinds))})")
            fixed += sorted(kinds)
        sql = f"SELECT {_COLUMNS} FROM log WHERE {' AND '.join(where)} ORDER BY {column} LIMIT ?"  # noqa: S608 - own text
        key = 2 if run is not None else 0
        while limit is None or limit > 0:
            page = _PAGE if limit is None else min(_PAGE, limit)
            rows = self._db.execute(sql, (at, *fixed, page)).fetchall()
            yield from rows
            if len(rows) < page:
                return
            at, limit = rows[-1][key], None if limit is None else limit - page


class JournalReader(Reading):
    """A journal that another process owns, or that nobody does: reading only."""

    def __init__(self, home: Path) -> None:
        """Open the journal of *home*.

        :raises JournalError: ``journal.missing``, ``journal.newer``, ``journal.foreign``,
            ``journal.schema``, ``journal.unreadable``
        """
        self.home = Path(home)
        self._db = connect_reader(self.home)
        self._payloads = None
        self.log = read_log_id(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def read_head(db: sqlite3.Connection) -> Head:
    """Read where the log ends, inside a transaction or outside."""
    row = db.execute("SELECT seq, hash FROM log ORDER BY seq DESC LIMIT 1").fetchone()
    return Head(0, chain.ZERO_HASH) if row is None else Head(row[0] + 1, row[1])


def read_log_id(db: sqlite3.Connection) -> str:
    """Read the log's id out of record 0; empty when there is no record yet.

    :raises AuditError: ``audit.not_canonical`` when record 0 is no record
    """
    row = db.execute("SELECT body FROM log WHERE seq=0").fetchone()
    if row is None:
        return ""
    found = chain.log_id(row[0])
    if found is None:
        raise AuditError(
            "audit.not_canonical",
            where="the journal",
            seq=0,
            expected="a record of version 1",
            found="other bytes",
        )
    return found

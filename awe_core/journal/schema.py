"""The tables of a journal, word for word.  ``log`` is the truth; all but ``payload`` is projection.

``run``, ``rseq``, ``kind``, ``ts`` and ``hash`` of ``log`` are an untrusted index over ``body``.
The triggers guard against accidents only: who can write the file can drop them.
"""

from __future__ import annotations

APPLICATION_ID = 0x41574531
USER_VERSION = 1

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

INSERT_LOG = "INSERT INTO log(seq, run, rseq, kind, ts, hash, body) VALUES (?,?,?,?,?,?,?)"
INSERT_PAYLOAD = (
    "INSERT INTO payload(seq, part, run, digest, size, kid, nonce, body, file)"
    " VALUES (?,?,?,?,?,?,?,?,?)"
)
INSERT_CHECKPOINT = "INSERT OR REPLACE INTO checkpoint(size, ts, note, frontier) VALUES (?,?,?,?)"

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

"""Payloads: the values behind the records, encrypted, in rows or (above 1 MiB) files; their keys.

::

    payload = AES-256-GCM(DEK, salt ‖ canonical value), bound to its log, run, record and part
    DEK     = HKDF-SHA256(k_log, info "awe-payload/1" ‖ run)
    mac     = HMAC-SHA256(HKDF-SHA256(k_log, info "awe-mac/1"), canonical value)

The record holds only c = SHA-256(salt ‖ value): with the salt gone it tells nothing.  ``k_log`` is
wrapped by a master key in a file of its own: ``keys/payload.db`` alone opens nothing, and a backup
without ``keys/master.key`` holds only ciphertext.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import stat
from contextlib import contextmanager
from hashlib import sha256
from json.encoder import encode_basestring
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from awe_core.errors import AuditError
from awe_core.journal.chain import at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from awe_core.journal.records import Draft, PayloadDraft

#: A larger payload lies in a file of its own.
MAX_ROW_BYTES = 1024 * 1024

_KEY_BYTES = 32
_SALT_BYTES = 32
_NONCE_BYTES = 12

#: Runs whose derived key is kept at hand.
_REMEMBERED = 1024

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log_key(log TEXT PRIMARY KEY, kid TEXT NOT NULL,"
    " nonce BLOB NOT NULL, wrapped BLOB NOT NULL, is_begun INTEGER NOT NULL) STRICT"
)

#: The columns of ``payload`` behind its id.
Row = tuple[int, str, str, bytes, int, str, bytes, bytes | None, str | None]


class Payloads:
    """Seals and opens the payloads of one log.  `create` and `load` are the ways to one."""

    def __init__(self, home: Path, log: str, *, kid: str, key: bytes) -> None:
        self.row_bytes = MAX_ROW_BYTES  #: a larger value lies in a file of its own
        self.kid = kid  #: names the key in records and rows; says nothing about it
        self._home, self._log, self._key = home, log, key
        self._mac_key = _derive(key, info=b"awe-mac/1")
        self._ciphers: dict[str, AESGCM] = {}

    @classmethod
    def create(cls, home: Path, *, log: str) -> Payloads:
        """Make the key of a new log, durable when this returns."""
        folder = home / "keys"
        folder.mkdir(mode=0o700, exist_ok=True)
        if not (folder / "master.key").exists():
            write_new(folder / "master.key", os.urandom(_KEY_BYTES).hex().encode() + b"\n")
        key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
        kid = sha256(b"awe-kid/1" + _derive(key, info=b"awe-kid/1")).hexdigest()[:8]
        wrapped = AESGCM(_master(folder, log)).encrypt(nonce, key, _binding(log))
        if not (folder / "payload.db").exists():
            write_new(folder / "payload.db", b"")
        with _key_file(home) as db:
            db.execute("INSERT INTO log_key VALUES (?,?,?,?,0)", (log, kid, nonce, wrapped))
        sync_folder(folder)
        return cls(home, log, kid=kid, key=key)

    @classmethod
    def load(cls, home: Path, *, log: str) -> Payloads:
        """Unwrap the key of *log*.

        :raises AuditError: ``audit.keys_missing`` when a file, the row or the right master is gone
        """
        folder = home / "keys"
        if not (folder / "payload.db").exists():
            raise _missing(folder, log, "payload.db is not there")
        sql = "SELECT kid, nonce, wrapped FROM log_key WHERE log=?"
        with _key_file(home) as db:
            row = db.execute(sql, (log,)).fetchone()
        if row is None:
            raise _missing(folder, log, "payload.db has no key of this log")
        kid, nonce, wrapped = row
        try:
            key = AESGCM(_master(folder, log)).decrypt(nonce, wrapped, _binding(log))
        except InvalidTag:
            raise _missing(folder, log, "master.key does not open payload.db") from None
        return cls(home, log, kid=kid, key=key)

    def of(self, log: str) -> Payloads:
        """Give what seals and opens for a log beside this one: the same key, bound to that log."""
        beside = Payloads(self._home, log, kid=self.kid, key=self._key)
        beside.row_bytes = self.row_bytes
        return beside

    def mac(self, canonical_value: bytes) -> str:
        """Commit to a value so that equal ones are seen and guesses cannot be tested."""
        return f"{self.kid}:{hmac.new(self._mac_key, canonical_value, sha256).hexdigest()}"

    def seal(self, numbered: Sequence[tuple[int, Draft, PayloadDraft]]) -> list[Row]:
        """Encrypt payloads into their rows; a large one lies durable in its file by then.

        :param numbered: seq, draft and payload
        """
        nonces = os.urandom(_NONCE_BYTES * len(numbered))  # one call: a system call costs a record
        rows: list[Row] = []
        for index, (seq, draft, payload) in enumerate(numbered):
            nonce = nonces[_NONCE_BYTES * index : _NONCE_BYTES * (index + 1)]
            bound = self._bound(payload.part, draft.run, draft.rseq)
            clear = payload.salt + payload.body
            body: bytes | None = self._cipher(draft.run).encrypt(nonce, clear, bound)
            file, size = None, len(payload.body)
            if size > self.row_bytes and body is not None:
                self._write(payload.digest, body)
                body, file = None, payload.digest
            digest = bytes.fromhex(payload.digest)
            rows.append((seq, payload.part, draft.run, digest, size, self.kid, nonce, body, file))
        return rows

    def open(self, row: Row, *, rseq: int | None) -> bytes:
        """Give the canonical value of a row.

        :raises AuditError: ``audit.payload`` when it is not what the record commits to,
            ``audit.payload_missing`` when its file is gone
        """
        seq, part, run, digest, _, _, nonce, body, file = row
        if file is not None:
            body = self._read(file, seq)
        try:
            bound = self._bound(part, run, rseq)
            clear = self._cipher(run).decrypt(nonce, body or b"", bound)
        except InvalidTag:
            raise _damaged(seq, part, "a payload sealed by this log's key") from None
        if sha256(clear).digest() != digest:
            raise _damaged(seq, part, f"c = {digest.hex()}")
        return clear[_SALT_BYTES:]

    def _cipher(self, run: str) -> AESGCM:
        found = self._ciphers.get(run)
        if found is None:
            if len(self._ciphers) >= _REMEMBERED:
                self._ciphers.clear()
            key = _derive(self._key, info=b"awe-payload/1" + run.encode())
            found = self._ciphers[run] = AESGCM(key)
        return found

    def _bound(self, part: str, run: str, rseq: int | None) -> bytes:
        """Write ``canonical.line({"log":L,"part":…,"rseq":…,"run":…})``, its form being known."""
        number = "null" if rseq is None else rseq
        part, run = encode_basestring(part), encode_basestring(run)
        return f'{{"log":"{self._log}","part":{part},"rseq":{number},"run":{run}}}'.encode()

    def _write(self, name: str, body: bytes) -> None:
        folder = self._home / "payloads"
        folder.mkdir(mode=0o700, exist_ok=True)
        write_new(folder / name, body)
        sync_folder(folder)

    def _read(self, name: str, seq: int) -> bytes:
        if len(name) != 2 * _SALT_BYTES or not name.isalnum():
            raise _damaged(seq, "file", "a file named by its digest")
        try:
            return (self._home / "payloads" / name).read_bytes()
        except FileNotFoundError:
            where, found = f"payloads/{name}", "no such file"
            raise AuditError("audit.payload_missing", **at("the home", seq, where, found)) from None


def begin(home: Path, *, log: str) -> None:
    """Remember that *log* holds records now: from here on its absence is a loss, not a start."""
    with _key_file(home) as db:
        db.execute("UPDATE log_key SET is_begun=1 WHERE log=?", (log,))


def begun_logs(home: Path) -> tuple[str, ...]:
    """Name the logs that this home has begun, oldest first."""
    if not (home / "keys" / "payload.db").exists():
        return ()
    with _key_file(home) as db:
        db.execute(_SCHEMA)  # who died making the file left it empty
        rows = db.execute("SELECT log FROM log_key WHERE is_begun=1 ORDER BY rowid").fetchall()
    return tuple(row[0] for row in rows)


def write_new(path: Path, data: bytes) -> None:
    """Write a file for its owner only, whole or not at all; durable but for its name."""
    draft = path.with_name(f"{path.name}.new")
    flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(draft, flags, 0o600), "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)


def sync_folder(folder: Path) -> None:
    """Make the names in *folder* durable, where the platform can."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


@contextmanager
def _key_file(home: Path) -> Iterator[sqlite3.Connection]:
    file = home / "keys" / "payload.db"
    _refuse_shared(file)
    db = sqlite3.connect(file, isolation_level=None)
    try:
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA secure_delete=ON")
        db.execute(_SCHEMA)  # also where a crash left an empty file
        yield db
    finally:
        db.close()


def _derive(key: bytes, *, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(key)


def _master(folder: Path, log: str) -> bytes:
    file = folder / "master.key"
    try:
        _refuse_shared(file)
        key = bytes.fromhex(file.read_text().strip())
    except (FileNotFoundError, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        raise _missing(folder, log, "master.key is not there or not a key")
    return key


def _refuse_shared(file: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise AuditError("audit.keys_shared", file=str(file))


def _binding(log: str) -> bytes:
    return b"awe-key/1 " + log.encode()


def _missing(folder: Path, log: str, reason: str) -> AuditError:
    return AuditError("audit.keys_missing", folder=str(folder), log=log, reason=reason)


def _damaged(seq: int, part: str, expected: str) -> AuditError:
    return AuditError(
        "audit.payload", **at("the home", seq, expected, f"other bytes in part {part}")
    )

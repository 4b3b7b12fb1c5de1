"""Keys of payloads: one of the log, one a subject, wrapped by a master key in a file of its own.

::

    DEK = HKDF-SHA256(k_log ‖ k_s1 ‖ …, info "awe-payload/1" ‖ run)      subjects sorted by sid
    mac = HMAC-SHA256(HKDF-SHA256(k_log ‖ k_s1 ‖ …, info "awe-mac/1"), canonical value)

Erasing the key of any subject of a value erases the value.  ``keys/payload.db`` alone opens
nothing, and a backup without ``keys/master.key`` holds only ciphertext.
"""

from __future__ import annotations

import hmac
import os
import sqlite3
import stat
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from awe_core.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_KEY_BYTES = 32
_NONCE_BYTES = 12

#: Runs whose derived key is kept at hand.
_REMEMBERED = 1024

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS log_key(log TEXT PRIMARY KEY, kid TEXT NOT NULL,"
    " nonce BLOB NOT NULL, wrapped BLOB NOT NULL, is_begun INTEGER NOT NULL) STRICT"
)


class PayloadKeys:
    """The keys of one log, unwrapped."""

    def __init__(self, log_key: bytes, *, kid: str) -> None:
        """Take an unwrapped key; `create` and `load` get it from the files."""
        self.kid = kid  #: names the key in records and rows; says nothing about it
        self._log_key = log_key
        self._mac_key = derive(log_key, info=b"awe-mac/1")
        self._ciphers: dict[str, AESGCM] = {}

    @classmethod
    def create(cls, home: Path, *, log: str) -> PayloadKeys:
        """Make the key of a new log, durable when this returns."""
        folder = home / "keys"
        folder.mkdir(mode=0o700, exist_ok=True)
        master = _master(folder, may_create=True, log=log)
        key = os.urandom(_KEY_BYTES)
        kid = sha256(b"awe-kid/1" + derive(key, info=b"awe-kid/1")).hexdigest()[:8]
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = AESGCM(master).encrypt(nonce, key, _binding(log))
        with _database(folder / "payload.db", may_create=True) as db:
            db.execute("INSERT INTO log_key VALUES (?,?,?,?,0)", (log, kid, nonce, wrapped))
        _sync_folder(folder)
        return cls(key, kid=kid)

    @classmethod
    def load(cls, home: Path, *, log: str) -> PayloadKeys:
        """Unwrap the key of *log*.

        :raises AuditError: ``audit.keys_missing`` when a file, the row or the right master is gone
        """
        folder = home / "keys"
        if not (folder / "payload.db").exists():
            raise _missing(folder, log, "payload.db is not there")
        with _database(folder / "payload.db", may_create=False) as db:
            row = db.execute(
                "SELECT kid, nonce, wrapped FROM log_key WHERE log=?", (log,)
            ).fetchone()
        if row is None:
            raise _missing(folder, log, "payload.db has no key of this log")
        kid, nonce, wrapped = row
        try:
            key = AESGCM(_master(folder, may_create=False, log=log)).decrypt(
                nonce, wrapped, _binding(log)
            )
        except InvalidTag:
            raise _missing(folder, log, "master.key does not open payload.db") from None
        return cls(key, kid=kid)

    def cipher(self, run: str) -> AESGCM:
        """Give the cipher of a run's payloads; derived once a run."""
        found = self._ciphers.get(run)
        if found is None:
            if len(self._ciphers) >= _REMEMBERED:
                self._ciphers.clear()
            info = b"awe-payload/1" + run.encode()
            found = self._ciphers[run] = AESGCM(derive(self._log_key, info=info))
        return found

    def mac(self, canonical_value: bytes) -> str:
        """Commit to a value so that equal ones are seen and guesses cannot be tested."""
        return f"{self.kid}:{hmac.new(self._mac_key, canonical_value, sha256).hexdigest()}"


def derive(log_key: bytes, subject_keys: Sequence[bytes] = (), *, info: bytes) -> bytes:
    """Derive a key from the log's key and those of all subjects of a value, sorted by sid."""
    material = b"".join((log_key, *subject_keys))
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(material)


def begin(home: Path, *, log: str) -> None:
    """Remember that *log* holds records now: from here on its absence is a loss, not a start."""
    with _database(home / "keys" / "payload.db", may_create=False) as db:
        db.execute("UPDATE log_key SET is_begun=1 WHERE log=?", (log,))


def begun_logs(home: Path) -> tuple[str, ...]:
    """Name the logs that this home has begun, oldest first."""
    file = home / "keys" / "payload.db"
    if not file.exists():
        return ()
    with _database(file, may_create=False) as db:
        rows = db.execute("SELECT log FROM log_key WHERE is_begun=1 ORDER BY rowid").fetchall()
    return tuple(row[0] for row in rows)


class _database:  # noqa: N801 - used as a function: a connection that commits and closes
    """A short-lived connection to the key file."""

    def __init__(self, file: Path, *, may_create: bool) -> None:
        if may_create and not file.exists():
            os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        _refuse_shared(file)
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA secure_delete=ON")
        if may_create:
            self._db.execute(_SCHEMA)

    def __enter__(self) -> sqlite3.Connection:
        return self._db

    def __exit__(self, *_: object) -> None:
        self._db.close()


def _master(folder: Path, *, may_create: bool, log: str) -> bytes:
    file = folder / "master.key"
    if may_create and not file.exists():
        _create_master(file)
    try:
        _refuse_shared(file)
        key = bytes.fromhex(file.read_text().strip())
    except (FileNotFoundError, ValueError):
        raise _missing(folder, log, "master.key is not there or not a key") from None
    if len(key) != _KEY_BYTES:
        raise _missing(folder, log, "master.key is not there or not a key")
    return key


def _create_master(file: Path) -> None:
    descriptor = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with open(descriptor, "w") as out:  # noqa: PTH123 - a descriptor has no path
        out.write(os.urandom(_KEY_BYTES).hex() + "\n")
        out.flush()
        os.fsync(out.fileno())


def _refuse_shared(file: Path) -> None:
    if os.name == "posix" and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise AuditError("audit.keys_shared", file=str(file))


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def _binding(log: str) -> bytes:
    return b"awe-key/1 " + log.encode()


def _missing(folder: Path, log: str, reason: str) -> AuditError:
    return AuditError("audit.keys_missing", folder=str(folder), log=log, reason=reason)

"""Payloads: the values behind the records, encrypted, in rows or (above 1 MiB) files.

A payload is ``salt ‖ canonical value`` under AES-256-GCM, bound to its log, run, record and part.
The record holds only c = SHA-256(salt ‖ value): with the salt gone it tells nothing.
"""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING

import attrs
from cryptography.exceptions import InvalidTag

from awe_core import canonical
from awe_core.errors import AuditError

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.journal.keys import PayloadKeys
    from awe_core.journal.records import PayloadDraft

#: A larger payload lies in a file of its own.
MAX_ROW_BYTES = 1024 * 1024

_SALT_BYTES = 32
_NONCE_BYTES = 12

Row = tuple[int, str, str, bytes, int, str, bytes, "bytes | None", "str | None"]


@attrs.frozen
class PayloadStore:
    """Seals and opens the payloads of one log."""

    home: Path
    log: str
    keys: PayloadKeys

    def seal(self, payload: PayloadDraft, *, seq: int, run: str, rseq: int | None) -> Row:
        """Encrypt *payload* into its row; a large one lies durable in its file by then."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self.keys.cipher(run).encrypt(
            nonce, payload.salt + payload.body, self._binding(payload.part, run, rseq)
        )
        digest, size, kid = bytes.fromhex(payload.digest), len(payload.body), self.keys.kid
        if size <= MAX_ROW_BYTES:
            return (seq, payload.part, run, digest, size, kid, nonce, sealed, None)
        self._write(payload.digest, sealed)
        return (seq, payload.part, run, digest, size, kid, nonce, None, payload.digest)

    def open(self, row: Row, *, rseq: int | None) -> bytes:
        """Give the canonical value of a row.

        :raises AuditError: ``audit.payload`` when it is not what the record commits to,
            ``audit.payload_missing`` when its file is gone
        """
        seq, part, run, digest, _, _, nonce, body, file = row
        if file is not None:
            body = self._read(file, seq)
        try:
            clear = self.keys.cipher(run).decrypt(
                nonce, body or b"", self._binding(part, run, rseq)
            )
        except InvalidTag:
            raise _damaged(seq, part, "a payload sealed by this log's key") from None
        if sha256(clear).digest() != digest:
            raise _damaged(seq, part, f"c = {digest.hex()}")
        return clear[_SALT_BYTES:]

    def _binding(self, part: str, run: str, rseq: int | None) -> bytes:
        return canonical.line({"log": self.log, "part": part, "rseq": rseq, "run": run})

    def _write(self, name: str, body: bytes) -> None:
        folder = self.home / "payloads"
        folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0)
        with open(os.open(folder / name, flags, 0o600), "wb") as out:  # noqa: PTH123 - a descriptor
            out.write(body)
            out.flush()
            os.fsync(out.fileno())
        if os.name == "posix":
            descriptor = os.open(folder, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def _read(self, name: str, seq: int) -> bytes:
        if len(name) != 2 * _SALT_BYTES or not name.isalnum():
            raise _damaged(seq, "file", "a file named by its digest")
        try:
            return (self.home / "payloads" / name).read_bytes()
        except FileNotFoundError:
            raise AuditError(
                "audit.payload_missing",
                where="the home",
                seq=seq,
                expected=f"payloads/{name}",
                found="no such file",
            ) from None


def _damaged(seq: int, part: str, expected: str) -> AuditError:
    return AuditError(
        "audit.payload",
        where="the home",
        seq=seq,
        expected=expected,
        found=f"other bytes in part {part}",
    )

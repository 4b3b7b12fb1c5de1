"""Compiled code of approved sources, kept between processes and trusted only when authentic.

Why not ``__pycache__``: with intact sources, ordinary import can still run other code from bytecode
files.  Here an entry is ``HMAC-SHA256 ‖ code``; the HMAC under a key of this host covers the
interpreter's magic number, the optimisation level, the digest of the source, its path and the code,
and is checked **before** anything is unmarshalled.  Whatever is wrong with an entry or its folder,
the source is compiled instead: the cache saves time and decides nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import importlib.util
import marshal
import os
import secrets
import sys
from types import CodeType
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from pathlib import Path

_KEY_BYTES = 32
_MAC_BYTES = 32
_FLAGS = os.O_CLOEXEC if hasattr(os, "O_CLOEXEC") else 0
_READ = os.O_RDONLY | _FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS


@attrs.frozen
class CodeCache:
    """A folder of authentic code objects; without a folder it only compiles."""

    folder: Path | None = None  #: ``<home>/cache/code``, 0700
    key: bytes = attrs.field(default=b"", repr=False)  #: of this host, 32 random bytes

    @classmethod
    def at(cls, home: Path) -> CodeCache:
        """Open the cache of a home, or one that only compiles if the home cannot hold it."""
        folder = home / "cache" / "code"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            key = _host_key(folder / "host.key")
        except OSError:
            return cls()
        return cls(folder, key) if len(key) == _KEY_BYTES else cls()

    def code(self, source: bytes, path: str) -> CodeType:
        """Give the code of *source*, whose file name is *path*.

        :raises SyntaxError: as `compile` does
        """
        if self.folder is None:
            return _compiled(source, path)
        identity = _identity(source, path)
        entry = self.folder / (hashlib.sha256(identity).hexdigest() + ".code")
        kept = self._kept(entry, identity)
        if kept is not None:
            return kept
        code = _compiled(source, path)
        body = marshal.dumps(code)
        with contextlib.suppress(OSError):  # a cache that cannot be written is a slow one
            _replace(entry, self._mac(identity, body) + body)
        return code

    def _kept(self, entry: Path, identity: bytes) -> CodeType | None:
        try:
            kept = _read(entry)
        except OSError:
            return None
        mac, body = kept[:_MAC_BYTES], kept[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(identity, body)):
            return None
        code = marshal.loads(body)  # noqa: S302 - only what this host's key vouches for comes here
        return code if isinstance(code, CodeType) else None

    def _mac(self, identity: bytes, body: bytes) -> bytes:
        return hmac.digest(self.key, identity + body, "sha256")


def _identity(source: bytes, path: str) -> bytes:
    """What the code depends on; the parts before the path have fixed lengths, it has its own."""
    name = path.encode()
    return b"".join(
        (
            importlib.util.MAGIC_NUMBER,
            bytes([sys.flags.optimize]),
            hashlib.sha256(source).digest(),
            len(name).to_bytes(4, "big"),
            name,
        )
    )


def _compiled(source: bytes, path: str) -> CodeType:
    return compile(source, path, "exec", dont_inherit=True)


def _host_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, _CREATE, 0o600)
    except FileExistsError:
        return _read(path)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
        key = secrets.token_bytes(_KEY_BYTES)
        file.write(key)
    return key


def _read(path: Path) -> bytes:
    with open(os.open(path, _READ), "rb") as file:  # noqa: PTH123 - a descriptor has no path
        return file.read()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with open(os.open(temporary, _CREATE, 0o600), "wb") as file:  # noqa: PTH123 - see above
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

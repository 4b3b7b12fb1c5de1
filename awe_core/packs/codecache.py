"""What was made from approved bytes, kept between processes and trusted only when authentic.

Compiled code, and documents as parsed.  Why not ``__pycache__``: with intact sources, ordinary
import can still run other code from bytecode files.  Here an entry is ``HMAC-SHA256 ‖ body``; the
HMAC under a key of this host covers the interpreter's magic number, the optimisation level, our
version, what was made, the digest and path of the source and the body, and is checked **before**
anything is unmarshalled.  Whatever is wrong with an entry or its folder, it is made again: the
cache saves time and decides nothing.
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
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import CodeType

_T = TypeVar("_T")

_KEY_BYTES = 32
_MAC_BYTES = 32
_FLAGS = getattr(os, "O_CLOEXEC", 0)
_READ = os.O_RDONLY | _FLAGS | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS


@attrs.frozen
class CodeCache:
    """A folder of authentic entries; without a folder everything is made anew."""

    folder: Path | None = None  #: ``<home>/cache/code``, 0700
    key: bytes = attrs.field(default=b"", repr=False)  #: of this host, 32 random bytes
    made_by: str = ""  #: the version whose rules made the entries

    @classmethod
    def at(cls, home: Path, *, made_by: str = "") -> CodeCache:
        """Open the cache of a home, or one that keeps nothing if the home cannot hold it."""
        folder = home / "cache" / "code"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            key = _host_key(folder / "host.key")
        except OSError:
            return cls()
        return cls(folder, key, made_by) if len(key) == _KEY_BYTES else cls()

    def code(self, source: bytes, path: str) -> CodeType:
        """Give the code of *source*, whose file name is *path*.

        :raises SyntaxError: as `compile` does
        """
        return self.made("code", source, path, lambda: compile(source, path, "exec", 0, True))  # noqa: FBT003 - dont_inherit

    def made(self, what: str, source: bytes, path: str, make: Callable[[], _T]) -> _T:
        """Give what *make* makes of *source*: something that `marshal` can write."""
        if self.folder is None:
            return make()
        parts = (self.made_by, what, path)  # each with its own length
        names = b"".join(len(one.encode()).to_bytes(4, "big") + one.encode() for one in parts)
        head = importlib.util.MAGIC_NUMBER + bytes([sys.flags.optimize])
        identity = head + hashlib.sha256(source).digest() + names
        entry = self.folder / (hashlib.sha256(identity).hexdigest() + ".code")
        with contextlib.suppress(OSError):
            kept = _read(entry)
            mac, body = kept[:_MAC_BYTES], kept[_MAC_BYTES:]
            if hmac.compare_digest(mac, hmac.digest(self.key, identity + body, "sha256")):
                return cast("_T", marshal.loads(body))  # noqa: S302 - this host's key vouches for it
        made = make()
        body = marshal.dumps(cast("Any", made))
        with contextlib.suppress(OSError):  # a cache that cannot be written is a slow one
            _replace(entry, hmac.digest(self.key, identity + body, "sha256") + body)
        return made


NO_CACHE = CodeCache()


def _host_key(path: Path) -> bytes:
    try:
        descriptor = os.open(path, _CREATE, 0o600)
    except FileExistsError:
        return _read(path)
    with os.fdopen(descriptor, "wb") as file:
        key = secrets.token_bytes(_KEY_BYTES)
        file.write(key)
    return key


def _read(path: Path) -> bytes:
    with os.fdopen(os.open(path, _READ), "rb") as file:
        return file.read()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(temporary, _CREATE, 0o600), "wb") as file:
            file.write(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

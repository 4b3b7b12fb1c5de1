"""Keys that sign: files in PKCS#8 PEM, and what `devices` opens by a URI.

Rules: a key file is a regular file of ours with mode 0600, or it is refused; a new key is Ed25519
and never replaces an old one.  What the signed bytes mean is `trust`'s and the journal's affair.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from awe_core.errors import TrustError
from awe_core.signing.devices import open_device
from awe_core.trust import ECDSA_P256, ED25519, keyid_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.records import Digest
    from awe_core.trust import Signer

_MOST_BYTES = 16 * 1024
_OPEN = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


@attrs.frozen
class KeyFile:
    """A private key that was read; a `trust.Signer`, and the journal's signer of checkpoints."""

    keyid: Digest
    scheme: str
    public: bytes  #: raw: 32 bytes, or an uncompressed point of 65
    _key: Ed25519PrivateKey | EllipticCurvePrivateKey = attrs.field(repr=False, eq=False)

    @classmethod
    def of(cls, key: object) -> KeyFile | None:
        """Take a private key of the library; None: it is neither Ed25519 nor P-256."""
        if isinstance(key, Ed25519PrivateKey):
            scheme, public = ED25519, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        elif isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
            point = PublicFormat.UncompressedPoint
            scheme, public = ECDSA_P256, key.public_key().public_bytes(Encoding.X962, point)
        else:
            return None
        return cls(keyid_of(scheme, public), scheme, public, key)

    def sign(self, message: bytes, /) -> bytes:
        """Sign these exact bytes."""
        if isinstance(self._key, Ed25519PrivateKey):
            return self._key.sign(message)
        return self._key.sign(message, ECDSA(SHA256()))


def generate(file: Path, *, passphrase: str | None) -> KeyFile:
    """Make a new Ed25519 key, durable when this returns.

    :param passphrase: encrypts the file; None: its mode alone protects it
    :raises TrustError: ``signer.exists``
    """
    key = Ed25519PrivateKey.generate()
    protection = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise TrustError("signer.exists", file=str(file)) from None
    with os.fdopen(descriptor, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection))
        out.flush()
        os.fsync(out.fileno())
    return load(file, passphrase=passphrase)


def load(file: Path, *, passphrase: str | None) -> KeyFile:
    """Read a private key.

    :raises TrustError: ``signer.unavailable`` (missing, no key, wrong passphrase),
        ``signer.permissions``
    """
    data = _private_bytes(file)
    try:
        key = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except TypeError:
        why = "it has a passphrase" if passphrase is None else "it has no passphrase"
    except (ValueError, UnsupportedAlgorithm):
        why = "it is no private key in PEM, or the passphrase is another"
    else:
        if found := KeyFile.of(key):
            return found
        why = "it is neither Ed25519 nor P-256"
    raise TrustError("signer.unavailable", file=str(file), why=why)


def open_key(uri: str, *, passphrase: Callable[[str], str | None] | None) -> Signer:
    """Open a key: ``file:PATH`` or a bare path is a key file, another scheme is a device's.

    :param passphrase: asked for a secret, by what to call it, only where there is one
    :raises TrustError: ``signer.unavailable``, ``signer.permissions``, ``signer.refused``
    """
    if re.match(r"(?!file:)\w+:", uri):
        return open_device(uri, passphrase=passphrase)
    file = Path(uri.removeprefix("file:"))
    try:
        return load(file, passphrase=None)
    except TrustError as error:
        if error.attributes.get("why") != "it has a passphrase" or passphrase is None:
            raise
        if not (words := passphrase(f"passphrase of {file}")):
            raise
    return load(file, passphrase=words)


def log_key(home: Path, *, may_create: bool) -> KeyFile:
    """Give the key that signs the checkpoints of this home's log; raised as by `load`."""
    file = home / "keys" / "log.key"
    if may_create and not file.exists():
        draft = file.with_name("log.key.new")  # half a key would keep the home closed for ever
        draft.unlink(missing_ok=True)
        generate(draft, passphrase=None)
        draft.replace(file)
    return load(file, passphrase=None)


def person_key_file(home: Path, name: str) -> Path:
    """Name the file of a person's key in a development home."""
    return home / "keys" / "people" / f"{name}.pem"


def _private_bytes(file: Path) -> bytes:
    try:
        descriptor = os.open(file, _OPEN)
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise TrustError("signer.unavailable", file=str(file), why=why) from None
    with os.fdopen(descriptor, "rb") as opened:
        found = os.fstat(opened.fileno())
        mode, why = stat.S_IMODE(found.st_mode), ""
        if not stat.S_ISREG(found.st_mode):
            why = "it is no regular file"
        elif os.name == "posix" and mode & 0o077:
            why = f"its mode is {mode:04o}, so others can use it"
        elif os.name == "posix" and found.st_uid != os.geteuid():
            why = f"it belongs to user {found.st_uid}"
        if why:
            raise TrustError("signer.permissions", file=str(file), why=why)
        return opened.read(_MOST_BYTES)

"""Keys that stay where they are: in a PKCS#11 device, a cloud's key service, a Vault.

The road there is the signers of securesystemslib (extra ``signers``, imported on first use).
Rules: none of its verification is used; its key ids are not ours, so a key is known by its raw
public bytes; a signature leaves here only after `trust.holds` has taken it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
from cryptography.hazmat.primitives import serialization as forms

from awe_core.errors import TrustError
from awe_core.records import Key
from awe_core.trust import ECDSA_P256, ED25519, holds, keyid_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: What the library's `import_` takes: a URI names the private key, which does not give the public.
_IMPORTS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "awskms": lambda uri, _: (uri.path,),
    "azurekms": lambda uri, _: (uri.netloc.partition(".")[0], uri.path.split("/")[2]),
    "gcpkms": lambda uri, _: (uri.path,),
    "hsm": lambda uri, ask: (int(uri.path or 2), parse_qs(uri.query).get("label", [None])[0], ask),
    "hv": lambda uri, _: (uri.path.partition("/")[0],),
}


@attrs.frozen
class DeviceKey:
    """A key that signs elsewhere; a `trust.Signer`."""

    keyid: str
    scheme: str
    public: bytes
    uri: str
    _signer: Any = attrs.field(repr=False, eq=False)

    def sign(self, message: bytes, /) -> bytes:
        """Have these exact bytes signed; raises ``signer.refused``."""
        with _asking(self.uri):
            signature = bytes.fromhex(self._signer.sign(message).signature)
        key = Key(scheme=self.scheme, public=self.public.hex(), owner="signer", kind="person")
        if not holds(key, signature, message=message):
            raise TrustError("signer.refused", key=self.uri, why="its signature does not hold")
        return signature


def open_device(uri: str, *, passphrase: Callable[[str], str | None] | None) -> DeviceKey:
    """Open a key of a device or service; raised as by `open_key`."""
    parts = urlsplit(uri)
    if parts.scheme not in _IMPORTS:
        why = "keys of this kind hold no role; a sigstore identity can vouch for a wheel instead"
        raise TrustError("signer.unavailable", file=uri, why=why)
    try:
        from securesystemslib import signer  # noqa: PLC0415 - an extra
    except ImportError:
        why = "it takes pip install 'awe-core[signers]'"
        raise TrustError("signer.unavailable", file=uri, why=why) from None

    def ask(secret: str) -> str:
        if not (given := passphrase and passphrase(f"{secret} of {uri}")):
            raise TrustError("signer.unavailable", file=uri, why=f"it has a {secret}")
        return given

    kind: Any = signer.SIGNER_FOR_URI_SCHEME[parts.scheme]  # type: ignore[attr-defined]  # not marked as exported
    with _asking(uri):
        _, theirs = kind.import_(*_IMPORTS[parts.scheme](parts, ask))
        public = _raw(uri, theirs.scheme, theirs.keyval["public"])
        held = kind.from_priv_key_uri(uri, theirs, ask)
    return DeviceKey(keyid_of(theirs.scheme, public), theirs.scheme, public, uri, held)


def _raw(uri: str, scheme: str, text: str) -> bytes:
    if scheme == ED25519:
        return bytes.fromhex(text)
    if scheme != ECDSA_P256:
        raise TrustError("signer.unavailable", file=uri, why="it is neither Ed25519 nor P-256")
    key = forms.load_pem_public_key(text.encode())
    return key.public_bytes(forms.Encoding.X962, forms.PublicFormat.UncompressedPoint)


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    try:
        yield
    except TrustError:
        raise
    except Exception as error:
        why = f"{type(error).__name__} {error}"  # PKCS#11 errors have a name and no text
        if why.startswith("UnsupportedLibraryError"):  # a further extra of securesystemslib
            raise TrustError("signer.unavailable", file=uri, why=str(error)) from error
        raise TrustError("signer.refused", key=uri, why=why) from error

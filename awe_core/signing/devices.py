"""Keys that stay where they are: in a PKCS#11 device, a cloud's key service, a Vault.

The road there is the signers of securesystemslib (extra ``signers``, imported on first use), and
its URIs are ours.  Rules: none of its verification is used; its key ids are not ours, so a key is
known by its raw public bytes; a signature leaves here only after `trust.holds` has taken it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import attrs
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

from awe_core.errors import TrustError
from awe_core.records import Key
from awe_core.trust import ECDSA_P256, ED25519, holds, keyid_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.records import Digest

#: Schemes that people may try, and why no key behind them can hold a role.
_UNFIT = {
    "gnupg": "OpenPGP signs a framing of its own and not the bytes of a document",
    "sigstore": "an identity is no key; it can vouch for a wheel: awe packs propose --provenance",
    "tkey": "its keys are ML-DSA, and a role takes Ed25519 and P-256",
}


@attrs.frozen
class DeviceKey:
    """A key that signs elsewhere; a `trust.Signer`."""

    keyid: Digest
    scheme: str
    public: bytes  #: raw: 32 bytes, or an uncompressed point of 65
    uri: str
    _signer: Any = attrs.field(repr=False, eq=False)

    def sign(self, message: bytes, /) -> bytes:
        """Have these exact bytes signed.

        :raises TrustError: ``signer.refused``
        """
        try:
            signature = bytes.fromhex(self._signer.sign(message).signature)
        except TrustError:
            raise
        except Exception as error:
            raise _refused(self.uri, error) from error
        key = Key(scheme=self.scheme, public=self.public.hex(), owner="signer", kind="machine")
        if not holds(key, signature, message=message):
            why = "what it gave is no signature by the public key it names"
            raise TrustError("signer.refused", key=self.uri, why=why)
        return signature


def open_device(uri: str, *, passphrase: Callable[[str], str | None] | None) -> DeviceKey:
    """Open a key of a device or service; raised as by `open_key`."""
    scheme = urlsplit(uri).scheme
    if scheme in _UNFIT:
        raise _unavailable(uri, _UNFIT[scheme])
    try:
        from securesystemslib import signer  # noqa: PLC0415 - an extra
        from securesystemslib.exceptions import UnsupportedLibraryError  # noqa: PLC0415
    except ImportError:
        raise _unavailable(uri, "it takes pip install 'awe-core[signers]'") from None

    def ask(secret: str) -> str:
        if not (given := passphrase and passphrase(f"{secret} of {uri}")):
            raise _unavailable(uri, f"it has a {secret}")
        return given

    library: Any = signer  # it re-exports without saying so
    try:
        theirs = _public_key(library, uri, ask)
        scheme, public = _raw(uri, theirs)
        held = library.Signer.from_priv_key_uri(uri, theirs, ask)
    except TrustError:
        raise
    except UnsupportedLibraryError as error:
        raise _unavailable(uri, f"{error}; it takes pip install 'securesystemslib[…]'") from error
    except Exception as error:
        raise _refused(uri, error) from error
    return DeviceKey(keyid_of(scheme, public), scheme, public, uri, held)


def _public_key(library: Any, uri: str, ask: Callable[[str], str]) -> Any:  # noqa: ANN401 - theirs, and typed there without export
    """Ask the device or service for the public key; a URI names the private one alone."""
    parts = urlsplit(uri)
    match parts.scheme:
        case "hsm":
            number = int(parts.path) if parts.path else None
            label = parse_qs(parts.query).get("label", [None])[0]
            _, key = library.HSMSigner.import_(number, label, ask)
        case "awskms":
            _, key = library.AWSSigner.import_(parts.path)
        case "azurekms":  # azurekms://VAULT.vault.azure.net/keys/NAME/VERSION
            vault, name = parts.netloc.partition(".")[0], parts.path.split("/")[2]
            _, key = library.AzureSigner.import_(vault, name)
        case "gcpkms":
            _, key = library.GCPSigner.import_(parts.path)
        case "hv":  # hv:NAME/VERSION
            _, key = library.VaultSigner.import_(parts.path.partition("/")[0])
        case _:
            raise _unavailable(uri, "nothing here knows keys of this scheme")
    return key


def _raw(uri: str, key: Any) -> tuple[str, bytes]:  # noqa: ANN401 - the same
    """Give our scheme and encoding of a public key."""
    if key.scheme == ED25519:
        return ED25519, bytes.fromhex(key.keyval["public"])
    if key.scheme == ECDSA_P256:
        point = load_pem_public_key(key.keyval["public"].encode())
        if isinstance(point, EllipticCurvePublicKey) and isinstance(point.curve, SECP256R1):
            raw = point.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
            return ECDSA_P256, raw
    raise _unavailable(uri, "it is neither Ed25519 nor P-256")


def _unavailable(uri: str, why: str) -> TrustError:
    return TrustError("signer.unavailable", file=uri, why=why)


def _refused(uri: str, error: Exception) -> TrustError:
    why = f"{type(error).__name__} {error}".strip()  # PKCS#11 errors have a name and no text
    return TrustError("signer.refused", key=uri, why=why)

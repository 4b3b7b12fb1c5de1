"""From bytes to documents: canonical or refused, and named by what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core import canonical
from awe_core.errors import CanonicalError, TrustError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from awe_core.records import Digest, Key
    from awe_core.values import JsonObject


def parse(data: bytes, *, at: str) -> JsonObject:
    """Read canonical JSON.

    :raises TrustError: ``store.malformed``, ``store.not_canonical``, ``store.too_large``
    """
    try:
        return canonical.parse_document(data)
    except CanonicalError as error:
        if error.code == "canonical.too_large":
            size, limit = len(data), canonical.DOCUMENT_BYTES
            raise TrustError(
                "store.too_large", file=at, size_bytes=size, limit_bytes=limit
            ) from None
        if error.code == "canonical.not_canonical":
            raise TrustError("store.not_canonical", file=at) from None
        raise TrustError("store.malformed", where=at, why=error.summary) from None


def by_digest(store: Mapping[str, bytes], file: str, digest: Digest) -> bytes:
    """Give a file that is named by the digest of its bytes.

    :raises TrustError: ``store.no_file``, ``store.digest``
    """
    data = store.get(file)
    if data is None:
        raise TrustError("store.no_file", file=file)
    if canonical.sha256_hex(data) != digest:
        raise TrustError("store.digest", file=file)
    return data


def require(
    signed: Mapping[Digest, Key], role_keys: Collection[Digest], *, needed: int, role: str, at: str
) -> frozenset[str]:
    """Count distinct owners, never keys or signatures, and give them.

    :raises TrustError: ``trust.threshold``
    """
    owners = frozenset(key.owner for keyid, key in signed.items() if keyid in role_keys)
    if len(owners) < needed:
        raise TrustError(
            "trust.threshold",
            file=at,
            role=role,
            have=len(owners),
            need=needed,
            details=["signed by: " + (", ".join(sorted(owners)) or "nobody who counts")],
        )
    return owners

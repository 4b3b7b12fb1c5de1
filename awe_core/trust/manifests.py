"""The current manifest and what came before it: order, freshness, time.

Rules: the highest number is the current one, and if it does not hold nothing older is tried, for
falling back is a rollback.  The order is (root version, version); a mark bounds it from below.
Each manifest names the payload of the one before, which is walked back as far as the store goes
and at least to the mark, within one root version: a rotation starts the count anew and makes all
older manifests unusable.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core import canonical
from awe_core.errors import TrustError
from awe_core.records import Manifest, ManifestFacade, ManifestPack, timestamp
from awe_core.trust import dsse
from awe_core.trust.reading import parse, require

if TYPE_CHECKING:
    from awe_core.errors import AweError
    from awe_core.records import Digest, Root, Seconds
    from awe_core.trust.roots import Chain
    from awe_core.trust.verdict import Mark, Phase, StoreBytes

SKEW_S = 300  #: how far a clock may be off before it matters
DAY_S = 86_400
EXPIRY_CODES = frozenset({"trust.root_expired", "trust.expired", "trust.expires_soon"})

_FILE = re.compile(r"manifests/(\d{5})-(\d{7,15})\.dsse")


@attrs.frozen
class Issued:
    """A manifest that the release role has signed, and its past."""

    manifest: Manifest
    digest: Digest  #: of its payload
    releasers: frozenset[str]  #: owners whose release signatures hold
    past: tuple[tuple[Digest, Manifest], ...]  #: earlier ones of this root version, newest first


Entry: TypeAlias = ManifestPack | ManifestFacade


def histories(issued: Issued) -> dict[Digest, list[tuple[Digest, Entry]]]:
    """Give the entries of each record, newest first, each with the digest of its manifest."""
    found: dict[Digest, list[tuple[Digest, Entry]]] = {}
    for digest, manifest in ((issued.digest, issued.manifest), *issued.past):
        for entry in manifest.entries:
            found.setdefault(entry.record, []).append((digest, entry))
    return found


def manifest_file(root_version: int, version: int) -> str:
    """Name the file of a manifest in the store."""
    return f"manifests/{root_version:05d}-{version:07d}.dsse"


def newest(store: StoreBytes) -> tuple[int, int] | None:
    """Give the highest number in the store; None: there is no manifest at all."""
    names = (m for m in map(_FILE.fullmatch, store) if m)
    numbers = [(int(m[1]), int(m[2])) for m in names if manifest_file(int(m[1]), int(m[2])) == m[0]]
    return max(numbers, default=None)


def current(store: StoreBytes, chain: Chain, *, mark: Mark | None, now: Seconds) -> Issued | None:
    """Give the manifest in force; None where none was ever issued.

    :raises TrustError: whatever is wrong with it
    """
    number = newest(store)
    if number is None:
        _check_order((chain.current.version, 0), None, mark)
        return None
    file = manifest_file(*number)
    if number[0] != chain.current.version:
        _check_order(number, None, mark)
        raise TrustError(
            "trust.root_mismatch", what=file, made_for=number[0], current=chain.current.version
        )
    envelope = dsse.parse(store[file], "manifest", at=file)
    role = chain.current.roles["release"]
    signed = dsse.signers(envelope, chain.current.keys)
    releasers = require(signed, role.keys, needed=role.threshold, role="release", at=file)
    manifest = Manifest.from_json(parse(envelope.payload, at=file), at=file)
    digest = canonical.sha256_hex(envelope.payload)
    _check_name(manifest, number, chain, file=file)
    _check_order(number, digest, mark)
    _check_times(manifest, chain.current, now=now, file=file)
    past = _walk_back(store, manifest, mark)
    _check_succession(manifest, past, mark)
    return Issued(manifest, digest, releasers, past)


def phase(manifest: Manifest | None, root: Root, *, now: Seconds) -> Phase:
    """Tell the phase at *now*: the later one of the root's and the manifest's."""
    expires = min(root.expires, manifest.expires) if manifest else root.expires
    if now < expires:
        return "valid"
    return "grace" if now < expires + root.policy.grace_days * DAY_S else "expired"


def expiry_warnings(manifest: Manifest | None, root: Root, *, now: Seconds) -> tuple[AweError, ...]:
    """Say what has expired, and what will within ``warn_days``."""
    warn_s = root.policy.warn_days * DAY_S
    found: list[AweError] = []
    if now >= root.expires:
        found.append(TrustError("trust.root_expired", expires=timestamp(root.expires)))
    elif now >= root.expires - warn_s:
        found.append(
            TrustError(
                "trust.expires_soon",
                what="the root",
                expires=timestamp(root.expires),
                verb="rotate",
            )
        )
    if manifest is None:
        return tuple(found)
    if now >= manifest.expires:
        found.append(TrustError("trust.expired", expires=timestamp(manifest.expires)))
    elif now >= manifest.expires - min(warn_s, (manifest.expires - manifest.issued) // 2):
        found.append(
            TrustError(
                "trust.expires_soon",
                what="the manifest",
                expires=timestamp(manifest.expires),
                verb="renew",
            )
        )
    return tuple(found)


def _check_name(manifest: Manifest, number: tuple[int, int], chain: Chain, *, file: str) -> None:
    deployment = chain.current.deployment
    if manifest.deployment != deployment:
        raise TrustError(
            "trust.deployment", what=file, found=manifest.deployment, expected=deployment
        )
    if manifest.root_version != chain.current.version:
        raise TrustError(
            "trust.root_mismatch",
            what=file,
            made_for=manifest.root_version,
            current=chain.current.version,
        )
    if manifest.number != number:
        raise TrustError("trust.chain", what=file, why=f"it calls itself {_text(manifest.number)}")


def _check_order(number: tuple[int, int], digest: Digest | None, mark: Mark | None) -> None:
    if mark is None:
        return
    seen = (mark.root_version, mark.version)
    if number < seen:
        raise TrustError("trust.rollback", found=_text(number), seen=_text(seen))
    if number == seen and digest is not None and digest != mark.digest:
        details = [f"seen sha256 {mark.digest}", f"found sha256 {digest}"]
        raise TrustError("trust.equivocation", number=_text(number), details=details)


def _check_times(manifest: Manifest, root: Root, *, now: Seconds, file: str) -> None:
    if manifest.issued > now + SKEW_S:
        issued = timestamp(manifest.issued)
        raise TrustError("trust.from_future", what=file, issued=issued, now=timestamp(now))
    lifetime_s = manifest.expires - manifest.issued
    if not 0 < lifetime_s <= root.policy.manifest_days * DAY_S:
        why = f"it lives {lifetime_s} s; at most {root.policy.manifest_days} days are allowed"
        raise TrustError("trust.lifetime", what=file, why=why)


def _walk_back(
    store: StoreBytes, manifest: Manifest, mark: Mark | None
) -> tuple[tuple[Digest, Manifest], ...]:
    """Follow ``previous`` as far as the store goes; up to the mark it must go."""
    seen = mark.version if mark and mark.root_version == manifest.root_version else 0
    past: list[tuple[Digest, Manifest]] = []
    later = manifest
    while later.version > 1:
        version = later.version - 1
        file = manifest_file(later.root_version, version)
        if file not in store:
            if mark is not None and version >= seen:
                raise TrustError("store.gap", file=file)
            break
        payload = dsse.parse(store[file], "manifest", at=file).payload
        digest = canonical.sha256_hex(payload)
        if digest != later.previous:
            raise TrustError("trust.chain", what=file, why="the manifest after it follows another")
        if mark is not None and version == seen and digest != mark.digest:
            raise TrustError("trust.chain", what=file, why="it is not the one this home has seen")
        later = Manifest.from_json(parse(payload, at=file), at=file)
        past.append((digest, later))
    return tuple(past)


def _check_succession(
    manifest: Manifest, past: tuple[tuple[Digest, Manifest], ...], mark: Mark | None
) -> None:
    """Check what a manifest may not do to those before it."""
    later = manifest
    for _, earlier in past:
        if later.issued < earlier.issued:
            what = f"manifest {_text(later.number)}"
            raise TrustError("trust.chain", what=what, why="it was issued before its predecessor")
        later = earlier
    dropped = {record for _, earlier in past for record in earlier.denied}
    dropped = (dropped | (mark.denied if mark else frozenset())) - set(manifest.denied)
    if dropped:
        raise TrustError("trust.denied_dropped", count=len(dropped), details=sorted(dropped)[:20])


def _text(number: tuple[int, int]) -> str:
    return f"{number[0]}-{number[1]}"

"""The current manifest and what came before it: order, freshness, time.

Rules: the highest number is the current one, and if it does not hold nothing older is tried, for
falling back is a rollback.  The order is (root version, version); a mark bounds it from below.
Each manifest names the payload of the one before, which is walked back as far as the store goes
and at least to the mark, within one root version: a rotation starts the count anew and makes all
older manifests unusable.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import TrustError
from awe_core.records import Manifest, ManifestFacade, ManifestPack, timestamp
from awe_core.trust import dsse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.errors import AweError
    from awe_core.records import Digest, Key, Root, Seconds
    from awe_core.trust.roots import Chain
    from awe_core.trust.verdict import Mark, Phase, StoreBytes

SKEW_S = 300  #: how far a clock may be off before it matters
DAY_S = 86_400
EXPIRY_CODES = frozenset({"trust.root_expired", "trust.expired", "trust.expires_soon"})

_FILE = re.compile(r"manifests/(\d{5})-(\d{7,15})\.dsse")

Entry: TypeAlias = ManifestPack | ManifestFacade


@attrs.frozen
class Issued:
    """A manifest that the release role has signed, and its past."""

    manifest: Manifest
    digest: Digest  #: of its payload
    signers: Mapping[Digest, Key]  #: release keys whose signatures hold
    past: tuple[tuple[Digest, Manifest], ...] = ()  #: earlier ones of this root, newest first


def manifest_file(root_version: int, version: int) -> str:
    """Name the file of a manifest in the store."""
    return f"manifests/{root_version:05d}-{version:07d}.dsse"


def newest(store: StoreBytes) -> tuple[int, int] | None:
    """Give the highest number in the store; None: there is no manifest at all."""
    names = (m for m in map(_FILE.fullmatch, store) if m)
    numbers = [(int(m[1]), int(m[2])) for m in names if manifest_file(int(m[1]), int(m[2])) == m[0]]
    return max(numbers, default=None)


def read(store: StoreBytes, file: str, root: Root) -> Issued:
    """Read a manifest that the release role of *root* has signed.

    :raises TrustError: it is none, or lacks signatures
    """
    envelope = dsse.parse(store[file], "manifest", at=file)
    signers = envelope.require(root, "release")
    return Issued(envelope.document(Manifest), envelope.digest, signers)


def current(store: StoreBytes, chain: Chain, *, mark: Mark | None, now: Seconds) -> Issued | None:
    """Give the manifest in force; None where none was ever issued.

    :raises TrustError: whatever is wrong with it
    """
    number, root = newest(store), chain.current
    if number is None:
        _check_order((root.version, 0), None, mark)
        return None
    file = manifest_file(*number)
    if number[0] != root.version:
        _check_order(number, None, mark)
        raise chain.mismatch(number[0], at=file)
    found = read(store, file, root)
    manifest = found.manifest
    chain.check_made_here(manifest.deployment, at=file)
    if manifest.root_version != root.version:
        raise chain.mismatch(manifest.root_version, at=file)
    if manifest.number != number:
        raise TrustError("trust.chain", what=file, why=f"it calls itself {_text(manifest.number)}")
    _check_order(number, found.digest, mark)
    check_not_ahead(file, manifest.issued, now=now)
    lifetime_s, most = manifest.expires - manifest.issued, root.policy.manifest_days
    if not 0 < lifetime_s <= most * DAY_S:
        why = f"it lives {lifetime_s} s; at most {most} days are allowed"
        raise TrustError("trust.lifetime", what=file, why=why)
    found = attrs.evolve(found, past=_walk_back(store, manifest, mark))
    _check_succession(found, mark)
    return found


def phase(manifest: Manifest | None, root: Root, *, now: Seconds) -> Phase:
    """Tell the phase at *now*: the later one of the root's and the manifest's."""
    expires = min(root.expires, manifest.expires) if manifest else root.expires
    if now < expires:
        return "valid"
    return "grace" if now < expires + root.policy.grace_days * DAY_S else "expired"


def expiry_warnings(manifest: Manifest | None, root: Root, *, now: Seconds) -> list[AweError]:
    """Say what has expired, and what will within ``warn_days``."""
    warn_s = root.policy.warn_days * DAY_S
    ends = [("trust.root_expired", "the root", root.expires, warn_s, "rotate")]
    if manifest:
        early_s = min(warn_s, (manifest.expires - manifest.issued) // 2)
        ends.append(("trust.expired", "the manifest", manifest.expires, early_s, "renew"))
    found: list[AweError] = []
    for code, what, expires, early_s, verb in ends:
        when = timestamp(expires)
        if now >= expires:
            found.append(TrustError(code, expires=when))
        elif now >= expires - early_s:
            found.append(TrustError("trust.expires_soon", what=what, expires=when, verb=verb))
    return found


def check_not_ahead(what: str, issued: Seconds, *, now: Seconds) -> None:
    """Refuse what says it was made in the future.

    :raises TrustError: ``trust.from_future``
    """
    if issued > now + SKEW_S:
        made, clock = timestamp(issued), timestamp(now)
        raise TrustError("trust.from_future", what=what, issued=made, now=clock)


def _check_order(number: tuple[int, int], digest: Digest | None, mark: Mark | None) -> None:
    if mark is None:
        return
    seen = (mark.root_version, mark.version)
    if number < seen:
        raise TrustError("trust.rollback", found=_text(number), seen=_text(seen))
    if number == seen and digest is not None and digest != mark.digest:
        details = [f"seen sha256 {mark.digest}", f"found sha256 {digest}"]
        raise TrustError("trust.equivocation", number=_text(number), details=details)


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
        envelope = dsse.parse(store[file], "manifest", at=file)
        if envelope.digest != later.previous:
            raise TrustError("trust.chain", what=file, why="the manifest after it follows another")
        if mark is not None and version == seen and envelope.digest != mark.digest:
            raise TrustError("trust.chain", what=file, why="it is not the one this home has seen")
        later = envelope.document(Manifest)
        past.append((envelope.digest, later))
    return tuple(past)


def _check_succession(issued: Issued, mark: Mark | None) -> None:
    """Check what a manifest may not do to those before it."""
    line = [issued.manifest, *(manifest for _, manifest in issued.past)]
    for later, earlier in pairwise(line):
        if later.issued < earlier.issued:
            what = f"manifest {_text(later.number)}"
            raise TrustError("trust.chain", what=what, why="it was issued before its predecessor")
    dropped = set(mark.denied if mark else ()).union(*(each.denied for each in line[1:]))
    dropped -= set(issued.manifest.denied)
    if dropped:
        raise TrustError("trust.denied_dropped", count=len(dropped), details=sorted(dropped)[:20])


def _text(number: tuple[int, int]) -> str:
    return f"{number[0]}-{number[1]}"

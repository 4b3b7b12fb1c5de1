"""The chain of roots from the pinned one, and the current manifest with its past: order and time.

Rules (TUF specification, "key management and migration"): root 1 is the very payload that was
pinned; each further root carries the threshold of the root before **and** its own.  Nothing of a
document is parsed before the root in force has vouched for it.  The highest number is the current
one, and if it does not hold nothing older is tried, for falling back is a rollback.  Manifests are
ordered by (root version, version), bounded from below by the mark, and walked back by ``previous``
within one root version: a rotation starts the count anew and makes all older ones unusable.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import TrustError
from awe_core.records import Manifest, ManifestFacade, ManifestPack, Root, timestamp
from awe_core.trust import envelopes
from awe_core.trust.envelopes import check_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.errors import AweError
    from awe_core.records import Digest, Key, Seconds
    from awe_core.trust.verdict import Mark, Phase, StoreBytes

_ROOT = re.compile(r"root/(\d{5})\.dsse")


@attrs.frozen
class Chain:
    """All roots of a deployment, the current one last."""

    roots: tuple[Root, ...]
    digest: Digest  #: of the current root's payload
    every_key: dict[Digest, Key] = attrs.field(init=False)  #: of any root, also those that left

    @every_key.default
    def _every_key(self) -> dict[Digest, Key]:
        return {keyid: key for root in self.roots for keyid, key in root.keys.items()}

    @property
    def current(self) -> Root:
        """The root in force."""
        return self.roots[-1]

    def check_made_here(self, deployment: str, *, at: str) -> None:
        """Refuse a document that says it was made for another deployment.

        :raises TrustError: ``trust.deployment``
        """
        expected = self.current.deployment
        if deployment != expected:
            raise TrustError("trust.deployment", what=at, found=deployment, expected=expected)

    def mismatch(self, made_for: int, *, at: str) -> TrustError:
        """Say that *at* was made for another root than the current one."""
        current = self.current.version
        return TrustError("trust.root_mismatch", what=at, made_for=made_for, current=current)


def root_file(version: int) -> str:
    """Name the file of a root in the store."""
    return f"root/{version:05d}.dsse"


def newest_root(store: StoreBytes) -> int:
    """Give the highest version in the store; 0: there is no root."""
    return max((int(m[1]) for m in map(_ROOT.fullmatch, store) if m), default=0)


def walk(store: StoreBytes, *, pin: Digest, deployment: str) -> Chain:
    """Walk from the pin to the newest root."""
    newest = newest_root(store)
    if newest == 0:
        raise TrustError("store.missing", file=root_file(1))
    roots: list[Root] = []
    digest = pin
    for version in range(1, newest + 1):
        file = root_file(version)
        if file not in store:
            raise TrustError("trust.root_chain", file=file, why="it is missing")
        envelope = envelopes.parse(store[file], "trust-root", at=file)
        digest = envelope.digest
        if roots:
            envelope.require(roots[-1], "root")
        elif digest != pin:
            details = [f"pinned sha256 {pin}", f"found sha256 {digest}"]
            raise TrustError("trust.root_pin", file=file, details=details)
        root = envelope.document(Root)
        check_root(root, at=file)
        envelope.require(root, "root")
        if why := _misstep(roots[-1] if roots else None, root):
            raise TrustError("trust.root_chain", file=file, why=why)
        roots.append(root)
    chain = Chain(tuple(roots), digest)
    chain_of = chain.current.deployment
    if chain_of != deployment:
        raise TrustError("trust.deployment", what="the root", found=chain_of, expected=deployment)
    return chain


def people(root: Root, role: str) -> frozenset[str]:
    """Name the people who hold *role*; machines approve nothing."""
    found = (root.keys[keyid] for keyid in root.roles[role].keys)
    return frozenset(key.owner for key in found if key.kind == "person")


def check_root(root: Root, *, at: str) -> None:
    """Refuse a root whose members contradict each other or its environment.

    :raises TrustError: ``trust.root_key``, ``.root_threshold``, ``.root_policy``, ``.lifetime``
    """
    if root.expires <= root.issued:
        raise TrustError("trust.lifetime", what=at, why="it expires before it is issued")
    for keyid, key in root.keys.items():
        check_key(keyid, key)
        if keyid in root.retired:
            why = "it is in force and retired at once"
            raise TrustError("trust.root_key", keyid=keyid[:12], owner=key.owner, why=why)
    _check_roles(root)
    taken = [n for n in ("self_approval", "editable", "observe") if getattr(root.policy, n)]
    taken += ["inproc *"] if "*" in root.policy.inproc else []
    if root.environment == "prod" and taken:
        raise TrustError("trust.root_policy", taken=", ".join(taken))


def _check_roles(root: Root) -> None:
    needs = [(name, n) for rule in root.policy.approvals for name, n in rule.need.items()]
    for name in ("root", "release", *(name for name, _ in needs)):
        if name not in root.roles:
            raise TrustError("trust.root_threshold", role=name, why="the role is missing")
    for name, role in root.roles.items():
        if not root.keys.keys() >= set(role.keys):
            raise TrustError("trust.root_threshold", role=name, why="it names a key not listed")
    wanted = [(name, role.threshold, root.owners(name)) for name, role in root.roles.items()]
    for name, needed, owners in wanted + [(name, n, people(root, name)) for name, n in needs]:
        if needed > len(owners):
            why = f"it needs {needed} and has {len(owners)} that count"
            raise TrustError("trust.root_threshold", role=name, why=why)


def _misstep(before: Root | None, root: Root) -> str:
    if root.version != (before.version if before else 0) + 1:
        return f"it calls itself version {root.version}"
    for name in ("deployment", "environment") if before else ():
        if getattr(before, name) != getattr(root, name):
            return f"its {name} is another than before"
    is_older = before is not None and root.issued < before.issued
    return "it was issued before its predecessor" if is_older else ""


SKEW_S = 300  #: how far a clock may be off before it matters
DAY_S = 86_400
EXPIRY_CODES = frozenset({"trust.root_expired", "trust.expired", "trust.expires_soon"})

_MANIFEST = re.compile(r"manifests/(\d{5})-(\d{7,15})\.dsse")

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


def newest_manifest(store: StoreBytes) -> tuple[int, int] | None:
    """Give the highest number in the store; None: there is no manifest at all."""
    names = (m for m in map(_MANIFEST.fullmatch, store) if m)
    numbers = [(int(m[1]), int(m[2])) for m in names if manifest_file(int(m[1]), int(m[2])) == m[0]]
    return max(numbers, default=None)


def read_manifest(store: StoreBytes, file: str, root: Root) -> Issued:
    """Read a manifest that the release role of *root* has signed."""
    envelope = envelopes.parse(store[file], "manifest", at=file)
    signers = envelope.require(root, "release")
    return Issued(envelope.document(Manifest), envelope.digest, signers)


def current_manifest(
    store: StoreBytes, chain: Chain, *, mark: Mark | None, now: Seconds
) -> Issued | None:
    """Give the manifest in force; None where none was ever issued."""
    number, root = newest_manifest(store), chain.current
    if number is None:
        _check_order((root.version, 0), None, mark)
        return None
    file = manifest_file(*number)
    if number[0] != root.version:
        _check_order(number, None, mark)
        raise chain.mismatch(number[0], at=file)
    found = read_manifest(store, file, root)
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
    """Refuse what says it was made in the future."""
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
        envelope = envelopes.parse(store[file], "manifest", at=file)
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

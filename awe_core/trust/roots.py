"""The chain of roots: from the pinned one to the current one, in steps of exactly one.

Rules (TUF specification, "key management and migration"): root 1 is the very payload that was
pinned; each further root carries the threshold of the root before **and** its own; deployment and
environment never change.  Nothing of a root is parsed before the root in force has vouched for it.
What the members of a root say of each other is checked here too, so that no role is unsatisfiable
and no development freedom reaches production.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import TrustError
from awe_core.records import Root
from awe_core.trust import dsse
from awe_core.trust.keys import check_key

if TYPE_CHECKING:
    from awe_core.records import Digest, Key
    from awe_core.trust.verdict import StoreBytes

_FILE = re.compile(r"root/(\d{5})\.dsse")


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
    return max((int(m[1]) for m in map(_FILE.fullmatch, store) if m), default=0)


def walk(store: StoreBytes, *, pin: Digest, deployment: str) -> Chain:
    """Walk from the pin to the newest root.

    :raises TrustError: whatever is wrong with any of them; there is no falling back
    """
    newest = newest_root(store)
    if newest == 0:
        raise TrustError("store.missing", file=root_file(1))
    roots: list[Root] = []
    digest = pin
    for version in range(1, newest + 1):
        file = root_file(version)
        if file not in store:
            raise TrustError("trust.root_chain", file=file, why="it is missing")
        envelope = dsse.parse(store[file], "trust-root", at=file)
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

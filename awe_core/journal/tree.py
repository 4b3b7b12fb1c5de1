"""The Merkle tree over a log: RFC 9162 section 2.1, pure.

Leaves are the hashes of the records (`chain.leaf`); nothing here knows what a record is.

- ``Frontier`` grows by one leaf at a time and keeps at most log2 n hashes.
- ``Tree`` holds every leaf, for proofs.
- ``verify_inclusion`` checks a proof that comes from a stranger: bounded, never raises.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: A path through a tree of 2^63 leaves; a longer one is not a proof.
MAX_PATH = 63

HASH_BYTES = 32

EMPTY_ROOT = sha256(b"").digest()


def node(left: bytes, right: bytes) -> bytes:
    """Hash two subtrees into their parent."""
    return sha256(b"\x01" + left + right).digest()


@attrs.define
class Frontier:
    """The roots of the complete subtrees of a growing tree, largest first."""

    size: int = 0  #: leaves so far
    peaks: list[bytes] = attrs.field(factory=list)  #: one hash a set bit of `size`

    def append(self, leaf: bytes) -> None:
        """Add one leaf; amortised one hash."""
        size = self.size
        while size & 1:
            leaf = node(self.peaks.pop(), leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Add leaves in order."""
        for leaf in leaves:
            self.append(leaf)

    def root(self) -> bytes:
        """Give MTH of all leaves so far."""
        if not self.peaks:
            return EMPTY_ROOT
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node(peak, root)
        return root

    def copy(self) -> Frontier:
        """Give an independent frontier at the same size."""
        return Frontier(self.size, self.peaks.copy())

    @classmethod
    def decode(cls, size: int, encoded: bytes) -> Frontier | None:
        """Read joined `peaks`; None when they cannot be those of a tree of *size* leaves."""
        if size < 0 or len(encoded) != HASH_BYTES * size.bit_count():
            return None
        peaks = [encoded[at : at + HASH_BYTES] for at in range(0, len(encoded), HASH_BYTES)]
        return cls(size, peaks)


class Tree:
    """All subtrees over a fixed list of leaves, built once, for many proofs."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """Hash every level; a subtree without a sibling stands on the next level as it is."""
        self.size = len(leaves)
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            whole = len(below) & ~1
            above = [node(below[i], below[i + 1]) for i in range(0, whole, 2)]
            self._levels.append(above + below[whole:])

    def path(self, index: int) -> tuple[bytes, ...]:
        """Give the inclusion proof of leaf *index*."""
        if not 0 <= index < self.size:
            raise IndexError(index)
        siblings = ((level, (index >> height) ^ 1) for height, level in enumerate(self._levels))
        return tuple(level[at] for level, at in siblings if at < len(level))


def verify_inclusion(leaf: bytes, *, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Give the root that *path* leads to (RFC 9162 section 2.1.3.2), None when it is no proof."""
    if not 0 <= index < size or len(path) > MAX_PATH:
        return None
    first, last, root = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if first & 1 or first == last:
            root = node(sibling, root)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            root = node(root, sibling)
        first, last = first >> 1, last >> 1
    return root if last == 0 else None

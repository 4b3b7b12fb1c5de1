"""The tree is that of RFC 9162, by another road: the recursive definition itself."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core.journal.tree import EMPTY_ROOT, Frontier, Tree, verify_inclusion


def mth(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162 section 2.1.1, over leaf hashes."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def leaves_of(size: int) -> list[bytes]:
    return [sha256(b"%d" % i).digest() for i in range(size)]


@given(st.integers(0, 300))
def test_a_frontier_that_grew_leaf_by_leaf_has_the_root_of_the_definition(size):
    frontier = Frontier()
    frontier.extend(leaves_of(size))
    assert (frontier.size, frontier.root()) == (size, mth(leaves_of(size)))
    assert len(frontier.peaks) == size.bit_count()


@given(st.integers(0, 300))
def test_a_frontier_survives_its_own_encoding(size):
    frontier = Frontier()
    frontier.extend(leaves_of(size))
    assert Frontier.decode(size, b"".join(frontier.peaks)) == frontier


@pytest.mark.parametrize(("size", "encoded"), [(-1, b""), (3, bytes(32)), (1, b""), (0, b"x")])
def test_a_frontier_of_the_wrong_length_is_none(size, encoded):
    assert Frontier.decode(size, encoded) is None


@pytest.mark.parametrize("size", [*range(1, 18), 31, 32, 33, 64, 65])
def test_every_leaf_of_every_small_tree_has_a_proof_that_leads_to_the_root(size):
    leaves = leaves_of(size)
    tree = Tree(leaves)
    for index, leaf in enumerate(leaves):
        path = tree.path(index)
        assert verify_inclusion(leaf, index=index, size=size, path=path) == mth(leaves)


@given(st.integers(1, 200), st.data())
def test_every_leaf_of_a_tree_of_any_size_has_a_proof_that_leads_to_the_root(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    path = Tree(leaves).path(index)
    assert verify_inclusion(leaves[index], index=index, size=size, path=path) == mth(leaves)


@given(st.integers(1, 100), st.data())
def test_a_proof_of_another_leaf_index_or_path_does_not_lead_to_the_root(size, data):
    leaves = leaves_of(size)
    index = data.draw(st.integers(0, size - 1))
    path = Tree(leaves).path(index)
    root = mth(leaves)
    other = sha256(b"other").digest()
    assert verify_inclusion(other, index=index, size=size, path=path) != root
    assert verify_inclusion(leaves[index], index=index, size=size, path=(*path, other)) != root
    if path:
        assert verify_inclusion(leaves[index], index=index, size=size, path=path[:-1]) != root
        wrong = (index + 1) % size
        assert verify_inclusion(leaves[index], index=wrong, size=size, path=path) != root


@pytest.mark.parametrize(("index", "size"), [(-1, 4), (4, 4), (0, 0)])
def test_a_proof_outside_its_tree_is_none(index, size):
    assert verify_inclusion(bytes(32), index=index, size=size, path=()) is None


def test_a_path_longer_than_any_tree_is_none():
    assert verify_inclusion(bytes(32), index=0, size=2**62, path=(bytes(32),) * 64) is None


def test_a_path_for_a_leaf_that_is_not_there_is_refused():
    with pytest.raises(IndexError):
        Tree(leaves_of(3)).path(3)


def test_an_empty_tree_has_the_root_of_the_standard():
    assert Frontier().root() == EMPTY_ROOT == mth([])

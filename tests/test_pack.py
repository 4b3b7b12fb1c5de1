"""Packs and facades as values."""

from __future__ import annotations

from awe_core.pack import FacadeSpec


def test_a_facade_names_what_it_calls() -> None:
    over_workflow = FacadeSpec(id="a", summary="x", workflow="notes@1")
    over_capability = FacadeSpec(id="b", summary="x", capability="fs.read@1")

    assert (over_workflow.target, over_capability.target) == ("notes@1", "fs.read@1")

"""What ``pytest --awe-pack NAME`` runs: the suite for packs, with nothing to write."""

from __future__ import annotations

from awe_core.testing.conformance import PackConformance


class TestPack(PackConformance):
    """The pack that the option names."""

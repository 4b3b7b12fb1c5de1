"""One deployment with the standard library ACTIVE, for all tests of this distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from awe_core.testing import bench

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.testing import Bench

hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


@pytest.fixture(scope="session")
def _bench(tmp_path_factory) -> Iterator[Bench]:
    with bench(tmp_path_factory.mktemp("stdlib"), "awe-pack-stdlib") as found:
        yield found


@pytest.fixture
def stdlib(_bench) -> Bench:
    """The runtime over an empty workspace."""
    _bench.world.clear()
    return _bench

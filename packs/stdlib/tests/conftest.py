"""One deployment with the standard library ACTIVE, for all tests of this distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest

from awe_core.errors import AweError
from awe_core.testing import Bench, bench

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


class Library(Bench):
    """A bench with the words of these tests."""

    def output(self, capability: str, **arguments):
        """Call what must succeed and give its output."""
        _, result = self.call(capability, arguments)
        assert result.is_completed, result.error
        return result.output

    def failure(self, capability: str, **arguments) -> str:
        """Call what must fail and give the code."""
        try:
            _, result = self.call(capability, arguments)
        except AweError as error:
            return error.code
        assert result.error is not None, result.output
        return result.error.code


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> Iterator[Library]:
    """The runtime; for laws, which call it many times."""
    with bench(tmp_path_factory.mktemp("stdlib"), "awe-pack-stdlib") as found:
        yield Library(found.world, found.runtime)


@pytest.fixture
def stdlib(library) -> Library:
    """The runtime over an empty workspace."""
    library.world.clear()
    return library

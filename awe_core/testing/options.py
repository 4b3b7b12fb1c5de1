"""pytest's option ``--awe-pack NAME``; other suites pay nothing for it but this module."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.register_assert_rewrite("awe_core.testing.conformance")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Offer the option."""
    parser.getgroup("awe").addoption(
        "--awe-pack",
        metavar="NAME",
        help="run the conformance suite on the installed awe-pack-NAME",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Run the suite, unless the command line names tests of its own."""
    if config.getoption("--awe-pack") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [str(Path(__file__).with_name("pack_suite.py"))]

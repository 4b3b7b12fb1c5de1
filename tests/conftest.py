"""What every test here can have: the built packs, goldens, and a promise about what is tested."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

import awe_core

ROOT = Path(__file__).parent.parent

# Machines of a CI are slow at times; a law that needs long is found by the suite's timeout.
hypothesis.settings.register_profile("house", deadline=None)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-goldens",
        action="store_true",
        help="write tests/goldens/ from what came out; read the diff before you commit it",
    )


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001  pytest passes it by name
    """Refuse to run against the checkout inside tox: the built wheel is what users get."""
    place = Path(awe_core.__path__[0]).resolve()
    if "TOX_ENV_NAME" in os.environ and place.is_relative_to(ROOT) and ".tox" not in place.parts:
        pytest.exit(f"the tests would import the checkout ({place}), not the built wheel", 2)


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the folder with the wheel of every pack; tox has built them, else it is done here."""
    if built := os.environ.get("AWE_TEST_WHEELS"):
        return Path(built)
    target = tmp_path_factory.mktemp("wheels")
    packs = sorted(str(path.parent) for path in ROOT.glob("packs/*/pyproject.toml"))
    pip = [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(target), *packs], check=True)
    return target


class Golden:
    """Compares text with a file under ``tests/goldens/``, or writes it with --update-goldens."""

    def __init__(self, *, update: bool) -> None:
        self._update = update

    def check(self, name: str, actual: str) -> None:
        path = ROOT / "tests" / "goldens" / name
        if self._update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(actual, encoding="utf-8", newline="")
        assert path.read_text(encoding="utf-8") == actual


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    return Golden(update=request.config.getoption("--update-goldens"))

"""What every test here can have: the built packs, goldens, and a promise about what is tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

import awe_core

if TYPE_CHECKING:
    from collections.abc import Iterator

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


_PIN = "271828"
_SOFTHSM = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)


@pytest.fixture(scope="session")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Give the label of a PKCS#11 token: a P-256 key with id 2 and a P-384 key with id 3.

    The library reads its settings once a process, so there is one token for all tests.
    """
    pkcs11 = pytest.importorskip("pkcs11", reason="python-pkcs11 is not installed")
    pytest.importorskip("pkcs11.util.ec")
    library = next((path for path in _SOFTHSM if Path(path).exists()), None)
    command = shutil.which("softhsm2-util")
    if library is None or command is None:
        pytest.skip("SoftHSM is not installed (apt-get install softhsm2)")
    folder = tmp_path_factory.mktemp("softhsm")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\n")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        environment.setenv("PYKCS11LIB", library)
        words = ["--init-token", "--free", "--label", "tests", "--so-pin", _PIN, "--pin", _PIN]
        subprocess.run([command, *words], check=True, capture_output=True)
        token = pkcs11.lib(library).get_token(token_label="tests")  # noqa: S106 - a label
        with token.open(rw=True, user_pin=_PIN) as session:
            for number, curve in ((b"\2", "secp256r1"), (b"\3", "secp384r1")):
                named = pkcs11.util.ec.encode_named_curve_parameters(curve)
                about = {pkcs11.Attribute.EC_PARAMS: named}
                domain = session.create_domain_parameters(pkcs11.KeyType.EC, about, local=True)
                domain.generate_keypair(id=number, store=True)
        yield "tests"


@pytest.fixture
def device_pin() -> str:
    """Give the PIN of `device`."""
    return _PIN

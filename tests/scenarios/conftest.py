"""What the scenarios share: a deployment with the drills, and processes of their own to use it."""

from __future__ import annotations

import base64
import getpass
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from awe_core import signing
from awe_core.audit import parse_pins, verify_home
from awe_core.journal import JournalReader
from awe_core.runtime import Runtime
from awe_core.testing import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.audit import Report

HERE = Path(__file__).parent
_DRILL = "awe_pack_drill-0.1.0"
_CAPABILITIES = (
    *("fs_append_text", "fs_delete", "fs_make_dir", "fs_move", "fs_stat", "fs_write_text"),
    *("flow_approve", "flow_fail"),
)
_TAKEN = ("diffs.py", "files.py", "flow.py", *(f"contracts/{c}.yaml" for c in _CAPABILITIES))
_SETTINGS = """\
confirm:
  - policy: auto
    cells: {changes.high: approve, irreversible.medium: approve}
    accept_risk: the workspace is a test's own
"""


@attrs.frozen
class Place:
    """One deployment in a folder of its own."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "awe.yaml"

    @property
    def home(self) -> Path:
        return self.folder / ".awe"

    @property
    def work(self) -> Path:
        return self.folder / "work"

    def open(self, **more: Any) -> Any:
        return Runtime.open(self.file, **more)

    def tree(self) -> dict[str, bytes | None]:
        """Give every file of the workspace with its mode and bytes, and every folder.

        What AWE leaves of a probe when it dies in it is no handler's, and swept after a minute.
        """
        return {
            f"{path.relative_to(self.work)} {path.stat().st_mode:o}": path.read_bytes()
            if path.is_file()
            else None
            for path in sorted(self.work.rglob("*"))
            if not path.name.startswith(".awe-probe-")
        }

    def workflow(self, steps: str, *, head: str = "", name: str = "drill_flow") -> Path:
        """Write a workflow with inputs ``path`` and ``fifo``, and give its file."""
        path = self.folder / f"{name}.yaml"
        path.write_text(
            f"awe: workflow/v1\nid: {name}\nversion: 1.0.0\nsummary: A drill.\n"
            "inputs: {type: object, properties: {path: {type: string}, fifo: {type: string}}}\n"
            f"{head}steps:\n{steps}"
        )
        return path

    def fifo(self, name: str) -> Path:
        path = self.folder / name
        os.mkfifo(path)
        return path

    def token(self, name: str) -> str:
        path = self.folder / name
        path.touch()
        return str(path)

    def proof(self) -> Report:
        """Verify the log of the home, and every payload, by the key of the home."""
        public = base64.b64encode(b"\1" + signing.log_key(self.home, may_create=False).public)
        with JournalReader(self.home) as journal:
            return verify_home(
                journal, pins=parse_pins(f"drill/* {public.decode()}"), payloads=True
            )


@attrs.define
class Host:
    """Forks processes; each says what it has to say in its acks."""

    process: subprocess.Popen[str]

    def spawn(self, role: str, place: Place, **order: Any) -> int:
        acks = str(self.acks(place))
        return self._ask({"role": role, "file": str(place.file), "acks": acks, **order})

    def reap(self, pid: int) -> int:
        """Wait for a process; its exit code, or the negative number of the signal."""
        return self._ask({"role": "reap", "pid": pid})

    def run(self, role: str, place: Place, **order: Any) -> int:
        return self.reap(self.spawn(role, place, **order))

    def said(self, place: Place) -> list[dict[str, Any]]:
        """Give everything that the processes of *place* have said so far."""
        acks = self.acks(place)
        return [json.loads(line) for line in acks.read_text().splitlines()]

    @staticmethod
    def acks(place: Place) -> Path:
        return place.folder / "acks"

    def _ask(self, order: dict[str, Any]) -> int:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order, default=str) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def _drill_wheel(folder: Path, stdlib: Path) -> Path:
    """Build the wheel of the drills.

    It takes over what the scenarios need of the stdlib: a process that reads ten contracts
    instead of forty starts in a quarter of the time, and some hundred are started here.
    """
    wheel = folder / f"{_DRILL}-py3-none-any.whl"
    files = {
        str(path.relative_to(HERE)): path.read_bytes()
        for path in sorted((HERE / "awe_pack_drill").rglob("*.*"))
        if path.suffix in {".py", ".yaml"}
    }
    with zipfile.ZipFile(stdlib) as archive:
        for name in _TAKEN:
            data = archive.read(f"awe_pack_stdlib/{name}")
            files[f"awe_pack_drill/{name}"] = data.replace(b"awe_pack_stdlib", b"awe_pack_drill")
    info = f"{_DRILL}.dist-info"
    files[f"{info}/METADATA"] = b"Metadata-Version: 2.1\nName: awe-pack-drill\nVersion: 0.1.0\n"
    files[f"{info}/WHEEL"] = (
        b"Wheel-Version: 1.0\nGenerator: a test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    )
    files[f"{info}/entry_points.txt"] = b"[awe]\ndrill = awe_pack_drill\n"
    rows = [f"{name},sha256={_b64(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    with zipfile.ZipFile(wheel, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return wheel


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def founded(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Found a deployment once; each test gets a copy that was never opened."""
    folder = tmp_path_factory.mktemp("founded")
    drill = _drill_wheel(folder, next(wheels.glob("awe_pack_stdlib-*.whl")))
    with Deployment.create(
        folder / "deployment",
        [drill],
        people=(getpass.getuser(),),
        workspace="work",
        settings=_SETTINGS,
        name="drill",
    ) as founded:
        yield founded


@pytest.fixture(scope="session")
def place_of(founded: Deployment) -> Callable[[Path], Place]:
    return lambda folder: Place(founded.copy(folder).root)


@pytest.fixture
def place(place_of: Callable[[Path], Place], tmp_path: Path) -> Place:
    return place_of(tmp_path / "deployment")


@pytest.fixture(scope="session")
def host(founded: Deployment) -> Iterator[Host]:  # noqa: ARG001 - its packs are on the path
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, str(HERE / "host.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
    ) as process:
        yield Host(process)
        assert process.stdin is not None
        process.stdin.close()

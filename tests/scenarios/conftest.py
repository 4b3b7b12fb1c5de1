"""What the scenarios share: a deployment with the drills, and processes of their own to use it."""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from awe_core import signing
from awe_core.audit import parse_pins, verify_home
from awe_core.engine.active import loaded
from awe_core.journal import JournalReader
from awe_core.runtime import Runtime
from awe_core.testing import Deployment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from awe_core.audit import Report

HERE = Path(__file__).parent
_STRACE = shutil.which("strace") or ""
_DRILL = "awe_pack_drill-0.1.0"
_CAPABILITIES = (
    *(
        "fs_append_text",
        "fs_copy",
        "fs_delete",
        "fs_make_dir",
        "fs_move",
        "fs_stat",
        "fs_write_text",
    ),
    *("flow_approve", "flow_fail"),
)
_TAKEN = ("diffs.py", "files.py", "flow.py", *(f"contracts/{c}.yaml" for c in _CAPABILITIES))
_STEPS = """\
  - id: folder
    capability: fs.make_dir@1
    with: {path: out}
  - id: create
    capability: fs.write_text@1
    needs: [folder]
    with: {path: out/new.txt, text: "new\\n", mode: create}
  - id: replace
    capability: fs.write_text@1
    needs: [create]
    with: {path: old.txt, text: "replaced\\n", mode: replace}
  - id: append
    capability: fs.append_text@1
    needs: [replace]
    with: {path: log.txt, text: "second\\n"}
  - id: delete
    capability: fs.delete@1
    needs: [append]
    with: {path: doomed, recursive: true}
  - id: copy
    capability: fs.copy@1
    needs: [delete]
    with: {source: log.txt, target: out/copy.txt}
  - id: move
    capability: fs.move@1
    needs: [copy]
    with: {source: from.txt, target: out/to.txt}
"""
_FAIL = """\
  - id: fail
    capability: flow.fail@1
    needs: [move]
"""
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

    def leftovers(self) -> set[str]:
        """Name what lies in the home and belongs to nobody once every run has ended.

        A slot belongs to the intent that names it, until its effect is taken back.
        """
        slots: dict[str, str] = {}
        kept: set[str] = set()
        undone: list[str] = []
        with JournalReader(self.home) as workspace, contextlib.ExitStack() as stack:
            files = self.home.glob("logs/*/journal.db")  # none in what died while it was made
            beside = (JournalReader(file.parent, host=workspace) for file in files)
            for journal in (workspace, *map(stack.enter_context, beside)):
                for row in journal.read():
                    if row.kind == "effect.intended":
                        record: Any = loaded(journal, row.run, row.rseq, "undo")
                        slots[row.event["effect"]] = record["payload"].get("slot", "")
                        kept.add(slots[row.event["effect"]])
                    elif row.kind == "undo.applied":
                        undone.append(row.event["effect"])
                        kept.discard(slots[row.event["effect"]])
        assert len(set(undone)) == len(undone)  # each item once, ever
        store = self.home / "undo"
        found = {str(path.relative_to(store)) for path in store.glob("[!.]*/*")}
        return (found - kept) | {path.name for path in self.home.glob("*.part")}

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

    def traced(self, role: str, place: Place, *options: str, **order: Any) -> int:
        """As `run`, with ``strace`` attached from before the child opens anything."""
        gate = place.fifo(f"gate-{len(list(place.folder.glob('gate-*')))}")
        pid = self.spawn(role, place, gate=str(gate), **order)
        with subprocess.Popen(
            [_STRACE, "-f", *options, "-p", str(pid)], stderr=subprocess.PIPE, text=True
        ) as strace:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            gate.write_bytes(b"")
            assert "attached" in said, said + strace.stderr.read()
            strace.stderr.read()
        return self.reap(pid)

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


@attrs.frozen
class Drill:
    """One place, ready for a workflow that changes the world in every way."""

    place: Place
    host: Host

    def begin(self) -> dict[str, bytes | None]:
        """Make the world that the workflow changes, and give it."""
        work = self.place.work
        (work / "doomed" / "deep").mkdir(parents=True)
        for name in ("old.txt", "log.txt", "from.txt", "doomed/a.txt", "doomed/deep/b.txt"):
            (work / name).write_text(f"{name} as it was\n")
        return self.place.tree()

    def flow(self, *, fails: bool) -> str:
        """Write the workflow."""
        return str(self.place.workflow(_STEPS + _FAIL * fails))

    def check(self, before, after, *, is_tidy: bool = True) -> set[str]:
        """Everything that was submitted has ended, wholly or not at all, and it is proved.

        :param is_tidy: nothing may be left over; a power cut can bring back what was removed
        """
        said = self.host.said(self.place)
        assert [] == [one["died"] for one in said if "died" in one]
        with self.place.open(observer=True) as rt:
            states = {row.run_id: row.state for row in rt.runs()}
            views = [rt.attach(run).status() for run in states]
            assert states == {view.run_id: view.state for view in views}  # row and records agree
        for one in said:
            if one.get("state") == "OPENED":
                assert one["run"] in states  # acknowledged, so it is there
            elif "run" in one:
                assert one["state"] in {states[one["run"]], "COMPLETED"}, said
        assert [] == [one for view in views for one in view.residue]
        ended = set(states.values())
        expected = after if ended == {"COMPLETED"} else before
        assert expected == self.place.tree()
        assert not is_tidy or set() == self.place.leftovers()
        report = self.place.proof()
        assert ("verified", 0) == (report.verdict, report.open_runs), report.findings
        return ended


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


@pytest.fixture(scope="module")
def drill(
    host: Host,
    tmp_path_factory: pytest.TempPathFactory,
    place_of: Callable[[Path], Place],
    request: pytest.FixtureRequest,
) -> Callable[[], Drill]:
    """Give fresh places, one for each kill; a test may say what has a journal of its own."""

    def fresh() -> Drill:
        place = place_of(tmp_path_factory.mktemp("crash") / "deployment")
        if hasattr(request, "param"):
            with place.file.open("a") as settings:
                settings.write(f"engine: {{isolation: {request.param}}}\n")
        return Drill(place, host)

    return fresh


@pytest.fixture(scope="session")
def tracing() -> None:
    """Skip where no process may be traced."""
    if not _STRACE:
        pytest.skip("strace is not installed: what a process asks of the disk cannot be seen")
    tried = subprocess.run(
        [_STRACE, "-f", "-y", "-o", os.devnull, "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if tried.returncode:
        pytest.skip(f"no process may be traced here: {tried.stderr.strip()}")


@pytest.fixture
def each() -> Iterator[Callable[[object], AbstractContextManager[None]]]:
    """Try every case, and fail at the end with all that failed and what became of each."""
    failed: list[str] = []

    @contextlib.contextmanager
    def trying(case: object) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - told at the end
            failed.append(f"{case}: {type(error).__name__}: {error}"[:2000])

    yield trying
    assert not failed, "\n\n".join(failed)

"""Packs made for one test: their files, the wheel of them, and what an installer leaves behind.

Every module of such a pack writes a sentinel when it runs, so a test can see that nothing ran.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from awe_core.packs import (
    PinnedFinder,
    asked_for,
    discover,
    inspect_wheel,
    record_from_wheel,
    verify_installed,
)

CONTRACT = """\
awe: capability/v1
id: {name}.put
version: 1.2.0
summary: Put a text somewhere.
risk: low
input:
  type: object
  required: [text]
  properties:
    text: {{type: string}}
    times: {{type: integer, default: 1}}
output:
  type: object
  required: [text]
  properties:
    text: {{type: string}}
handler: {package}.work:put
"""
WORKFLOW = """\
awe: workflow/v1
id: {name}_twice
version: 1.0.0
summary: Put it twice.
inputs: {{type: object, properties: {{text: {{type: string}}}}}}
steps:
  - id: first
    capability: {name}.put@1
    with: {{text: "${{inputs.text}}"}}
"""
FACADE = """\
awe: facade/v1
id: {name}_entry
summary: Put a text.
exposes: {{workflow: {name}_twice@1}}
channels: [cli]
"""
PACK = """\
awe: pack/v1
name: {name}
publisher: Example
contracts: contracts/*.yaml
workflows: workflows/*.yaml
facades: facades/*.yaml
hooks: [awe_capabilities]
"""
INIT = """\
from awe_core.hookspecs import hookimpl

@hookimpl
def awe_capabilities():
    return ()
"""
WORK = """\
def put(ctx, *, text, times):
    return {"text": text * times}
"""

_count = itertools.count()


class Pack:
    """One pack in the making; change `files` before it is built."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"demo{next(_count)}"
        self.package = f"awe_pack_{self.name}"
        self.distribution = f"awe-pack-{self.name}"
        self.version = "1.0.0"
        self.sentinel = folder / "it ran"
        self.site = folder / "site-packages"
        self.entry_points = {"awe": {self.name: self.package}}
        words = {"name": self.name, "package": self.package}
        self.files: dict[str, str | bytes] = {
            f"{self.package}/__init__.py": INIT,
            f"{self.package}/work.py": WORK,
            f"{self.package}/pack.yaml": PACK.format(**words),
            f"{self.package}/contracts/put.yaml": CONTRACT.format(**words),
            f"{self.package}/workflows/twice.yaml": WORKFLOW.format(**words),
            f"{self.package}/facades/entry.yaml": FACADE.format(**words),
            f"{self.package}/data/note.txt": "approved\n",
        }

    @property
    def dist_info(self) -> str:
        return f"{self.package}-{self.version}.dist-info"

    @property
    def ran(self) -> bool:
        return self.sentinel.exists()

    def place(self, path: str) -> Path:
        return self.site / self.package / path

    def all_files(self) -> dict[str, bytes]:
        """The files with their sentinels, and the metadata."""
        noise = f"import pathlib as _p; _p.Path({str(self.sentinel)!r}).touch()\n"
        files = {
            path: noise + content if path.endswith(".py") and isinstance(content, str) else content
            for path, content in self.files.items()
        }
        groups = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in points.items())
            for group, points in self.entry_points.items()
        )
        files |= {
            f"{self.dist_info}/METADATA": (
                f"Metadata-Version: 2.1\nName: {self.distribution}\nVersion: {self.version}\n"
            ),
            f"{self.dist_info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            f"{self.dist_info}/entry_points.txt": groups,
        }
        return {p: c.encode() if isinstance(c, str) else c for p, c in files.items()}

    def build(
        self,
        *,
        filename: str | None = None,
        extra: dict[str, bytes] | None = None,
        lie: dict[str, bytes] | None = None,
    ) -> Path:
        """Make the wheel; *extra* is not listed in RECORD, *lie* replaces what RECORD lists."""
        files = self.all_files()
        record = "".join(f"{path},{listed(content)}\n" for path, content in files.items())
        record += f"{self.dist_info}/RECORD,,\n"
        path = self.folder / (filename or f"{self.package}-{self.version}-py3-none-any.whl")
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in {**files, **(lie or {}), **(extra or {})}.items():
                archive.writestr(name, content)
            archive.writestr(f"{self.dist_info}/RECORD", record)
        return path

    def zipped(self, files: dict[str, bytes], *, rows: str = "") -> Path:
        """A wheel of exactly these files, and a RECORD that agrees with them; *rows* follow."""
        record = "".join(f"{path},{listed(content)}\n" for path, content in files.items())
        path = self.folder / f"{self.package}-{self.version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            archive.writestr(
                f"{self.dist_info}/RECORD", f"{record}{self.dist_info}/RECORD,,\n{rows}"
            )
        return path

    def inspect(self, **how):
        return inspect_wheel(self.build(), **how)

    def record(self, **granted):
        """The record that grants what ``pack.yaml`` asks for."""
        report = self.inspect()
        proposal = asked_for(report, proposed_by="dave", reason="a test")
        for key, value in granted.items():
            object.__setattr__(proposal, key, value)
        return record_from_wheel(report, proposal)

    def install(self) -> Path:
        """Unpack the wheel as installers do: their own files, their own RECORD."""
        with zipfile.ZipFile(self.build()) as archive:
            archive.extractall(self.site)
        info = self.site / self.dist_info
        (info / "INSTALLER").write_text("pip\n")
        (info / "REQUESTED").write_text("")
        (info / "direct_url.json").write_text(json.dumps({"url": "file:///x", "archive_info": {}}))
        cached = self.place("__pycache__/work.cpython-311.pyc")
        cached.parent.mkdir()
        cached.write_bytes(b"whatever an installer compiled")
        with (info / "RECORD").open("a") as record:
            record.write(f"{self.package}/__pycache__/work.cpython-311.pyc,,\n")
            record.write(f"{self.dist_info}/INSTALLER,,\n")
        return self.site

    def found(self):
        here = discover([str(self.site)], also=[self.distribution])
        return next((one for one in here if one.name == self.distribution), None)

    def verified(self, **how):
        """Build, install and verify."""
        record = self.record()
        self.install()
        return verify_installed(record, self.found(), **how)


def listed(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(content)}"


@pytest.fixture
def pack(tmp_path):
    return Pack(tmp_path)


@pytest.fixture
def finder():
    """A finder that stands in ``sys.meta_path`` for this test, and leaves no module behind."""
    before = set(sys.modules)
    finder = PinnedFinder()
    finder.install()
    yield finder
    finder.uninstall()
    for name in set(sys.modules) - before:
        if name.startswith("awe_pack_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def pack_in():
    """Make a pack in a folder of a wider scope."""
    return Pack


def wheel_of(  # noqa: PLR0913 - what differs between dependencies
    folder, name, files=None, *, version="1.0", requires=(), tag="py3-none-any"
):
    """Make the wheel of a dependency; by default it is one package of its name."""
    info = f"{name}-{version}.dist-info"
    said = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nProvides-Extra: fast\n"
    said += "".join(f"Requires-Dist: {one}\n" for one in requires)
    files = {f"{name}/__init__.py": f"x = {name!r}\n"} if files is None else files
    files = {p: c.encode() if isinstance(c, str) else c for p, c in files.items()}
    files |= {f"{info}/METADATA": said.encode()}
    files |= {f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode()}
    path = folder / f"{name}-{version}-{tag}.whl"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for one, content in files.items():
            archive.writestr(one, content)
        record = "".join(f"{path},{listed(content)}\n" for path, content in files.items())
        archive.writestr(f"{info}/RECORD", f"{record}{info}/RECORD,,\n")
    return path


@pytest.fixture
def dependency(tmp_path):
    """Make the wheel of a dependency in the folder that ``propose --deps`` would be given."""
    return lambda *what, **how: wheel_of(tmp_path / "deps", *what, **how)


def _pip(wheels, prefix, *, compiled):
    bytecode = [] if compiled else ["--no-compile"]
    quiet = ["--quiet", "--disable-pip-version-check", "--no-warn-script-location"]
    return [sys.executable, "-m", "pip", "install", *quiet, *bytecode, "--prefix", prefix, *wheels]


def _uv(wheels, prefix, *, compiled):
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    uv = shutil.which("uv", path=beside) or pytest.skip("uv is not installed")
    bytecode = ["--compile-bytecode"] if compiled else []
    where = ["--quiet", "--no-cache", "--python", sys.executable, "--prefix", prefix]
    return [uv, "pip", "install", *where, *bytecode, *wheels]


@pytest.fixture(
    params=[(_pip, True), (_pip, False), (_uv, True), (_uv, False)],
    ids=["pip", "pip-without-bytecode", "uv-with-bytecode", "uv"],
)
def installer(request):
    """Install wheels below a prefix with a real installer, with and without bytecode."""
    command, compiled = request.param

    def install(prefix, *wheels):
        done = command([*map(str, wheels)], str(prefix), compiled=compiled)
        subprocess.run([*done, "--no-index", "--no-deps"], check=True)
        base = {"base": str(prefix), "platbase": str(prefix)}
        return Path(sysconfig.get_path("purelib", vars=base))

    return install

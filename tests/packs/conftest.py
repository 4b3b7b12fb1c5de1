"""Packs made for one test: their files, the wheel of them, and what an installer leaves behind.

Every module of such a pack writes a sentinel when it runs, so a test can see that nothing ran.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from awe_core.packs import (
    PinnedFinder,
    asked_for,
    discover,
    inspect_wheel,
    record_from_wheel,
    verify_installed,
)

if TYPE_CHECKING:
    from pathlib import Path

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

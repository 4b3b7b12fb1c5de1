"""Deployments of one test, and packs that do what a pack must not do.

Every module of such a pack writes a sentinel when it runs, so a test can see that nothing ran.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
import sys
import time
import zipfile
from typing import TYPE_CHECKING

import pytest

from awe_core.errors import AweError
from awe_core.testing import Deployment

if TYPE_CHECKING:
    from pathlib import Path

PACK = """\
awe: pack/v1
name: {name}
publisher: Example
contracts: contracts/*.yaml
facades: facades/*.yaml
executor: inproc
hooks: [awe_capabilities]
"""
INIT = """\
from awe_core import bind, hookimpl

@hookimpl
def awe_capabilities():
    return bind(__package__)
"""
PLAIN = """\
risk: low
input: {type: object, properties: {x: {type: integer, default: 0}}}
output: {type: object, properties: {x: {type: integer}}}
"""
_count = itertools.count()


class HostilePack:
    """A pack made for one test: *code* is its module; contracts and facades are added."""

    def __init__(self, folder: Path, name: str, code: str, *, version: str) -> None:
        self.folder = folder
        self.name = name
        self.package = f"awe_pack_{name}"
        self.distribution = f"awe-pack-{name}"
        self.version = version
        self.sentinel = folder / f"{name} ran"
        self.site = folder / "site-packages"
        self.subjects = ()
        noise = f"import pathlib as _p; _p.Path({str(self.sentinel)!r}).touch()\n"
        self.files = {
            f"{self.package}/__init__.py": noise + INIT,
            f"{self.package}/work.py": noise + code,
            f"{self.package}/pack.yaml": PACK.format(name=name),
        }

    def contract(self, name: str, text: str = PLAIN) -> HostilePack:
        """Add the capability ``PACK.NAME`` whose handler is ``work:NAME``."""
        head = f"awe: capability/v1\nid: {self.name}.{name}\nversion: 1.0.0\nsummary: Do it.\n"
        tail = f"handler: {self.package}.work:{name}\n"
        self.files[f"{self.package}/contracts/{name}.yaml"] = head + text + tail
        return self

    def facade(self, name: str, text: str) -> HostilePack:
        """Add the facade ``PACK_NAME``."""
        head = f"awe: facade/v1\nid: {self.name}_{name}\nsummary: Do it.\n"
        self.files[f"{self.package}/facades/{name}.yaml"] = head + text
        return self

    @property
    def ran(self) -> bool:
        return self.sentinel.exists()

    def place(self, path: str) -> Path:
        """Where a file of the package is installed."""
        return self.site / self.package / path

    def build(self) -> Path:
        """Make the wheel."""
        info = f"{self.package}-{self.version}.dist-info"
        said = f"Metadata-Version: 2.1\nName: {self.distribution}\nVersion: {self.version}\n"
        files = self.files | {
            f"{info}/METADATA": said,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": f"[awe]\n{self.name} = {self.package}\n",
        }
        record = "".join(f"{path},{_listed(text)}\n" for path, text in files.items())
        path = self.folder / f"{self.package}-{self.version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
            archive.writestr(f"{info}/RECORD", record + f"{info}/RECORD,,\n")
        return path

    def install(self) -> None:
        """Unpack the wheel where Python finds it, instead of the version that was there."""
        shutil.rmtree(self.site / self.package, ignore_errors=True)
        for old in self.site.glob(f"{self.package}-*.dist-info"):
            shutil.rmtree(old)
        with zipfile.ZipFile(self.build()) as archive:
            archive.extractall(self.site)


def _listed(text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(data)}"


class Site(Deployment):
    """A deployment whose people also stop packs."""

    def suspend(self, subjects) -> None:
        self._stop(self.governance.suspend, subjects)

    def revoke(self, subjects) -> None:
        self._stop(self.governance.revoke, subjects)

    def _stop(self, verb, subjects) -> None:
        key, now = self.key(self.people[-1]), int(time.time())
        verb(subjects[0], signer=key, reason="an alarm", now=now)


@pytest.fixture(autouse=True)
def _nothing_stays_imported():
    """Leave no module of a pack, no finder and no path entry to the next test."""
    modules, path, finders = set(sys.modules), list(sys.path), list(sys.meta_path)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        if name.startswith("awe_pack_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def _template(tmp_path_factory, wheels) -> Site:
    """One deployment with the stdlib ACTIVE, to be copied."""
    stdlib = next(wheels.glob("awe_pack_stdlib-*.whl"))
    return Site.create(tmp_path_factory.mktemp("template") / "site", [stdlib])


@pytest.fixture
def stdlib(tmp_path, _template) -> Site:
    """A deployment of one person with the stdlib ACTIVE; every pack may run in process."""
    return _template.copy(tmp_path / "site")


@pytest.fixture
def site(tmp_path) -> Site:
    """The same with nothing ACTIVE yet."""
    return Site.create(tmp_path / "bare")


@pytest.fixture
def hostile(tmp_path):
    """Make a pack of this test from the code of its module; it is not installed yet."""
    folder = tmp_path / "hostile"
    (folder / "site-packages").mkdir(parents=True)
    sys.path.append(str(folder / "site-packages"))

    def made(code: str, *, name: str | None = None, version: str = "1.0.0") -> HostilePack:
        return HostilePack(folder, name or f"evil{next(_count)}", code, version=version)

    return made


@pytest.fixture
def active(site, hostile):
    """Build a pack from code and contracts, install it and make it ACTIVE."""
    return _activating(site, hostile)


@pytest.fixture
def active_too(stdlib, hostile):
    """The same beside the stdlib."""
    return _activating(stdlib, hostile)


def _activating(site, hostile):
    def made(code: str, **contracts: str) -> HostilePack:
        pack = hostile(code)
        for name, text in contracts.items():
            pack.contract(name, text)
        pack.install()
        pack.subjects = site.add(pack.build())
        return pack

    return made


@pytest.fixture
def refused():
    """Give the error of an action; it says what to do next."""

    def checked(action, *arguments, **named) -> AweError:
        with pytest.raises(AweError) as caught:
            action(*arguments, **named)
        assert caught.value.hint
        return caught.value

    return checked

"""Deployments of one test, and packs that do what a pack must not do.

Every module of a fixture pack writes a sentinel when it runs, so a test can see that nothing ran.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path

import pytest

from awe_core.config import load_config
from awe_core.events import Actor
from awe_core.governance import StoreFolder, init_dev, load_person, subject_of
from awe_core.runtime import Runtime
from awe_core.runtime.deployment import governance_of, load
from awe_core.runtime.proposals import draft

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
_count = itertools.count()


class HostilePack:
    """A pack made for one test: *code* is its module, *contracts* and *facades* by file name."""

    def __init__(self, folder: Path, name: str, code: str, *, version: str = "1.0.0") -> None:
        self.folder = folder
        self.name = name
        self.package = f"awe_pack_{name}"
        self.distribution = f"awe-pack-{name}"
        self.version = version
        self.sentinel = folder / f"{name} ran"
        self.site = folder / "site-packages"
        words = {"name": name, "package": self.package}
        noise = f"import pathlib as _p; _p.Path({str(self.sentinel)!r}).touch()\n"
        self.files = {
            f"{self.package}/__init__.py": noise + INIT,
            f"{self.package}/work.py": noise + code,
            f"{self.package}/pack.yaml": PACK.format(**words),
        }

    def contract(self, name: str, text: str) -> HostilePack:
        """Add a capability ``NAME.<name>`` whose handler is ``work:<name>``."""
        head = f"awe: capability/v1\nid: {self.name}.{name}\nversion: 1.0.0\nsummary: Do it.\n"
        tail = f"handler: {self.package}.work:{name}\n"
        self.files[f"{self.package}/contracts/{name}.yaml"] = head + text + tail
        return self

    def facade(self, name: str, text: str) -> HostilePack:
        """Add a facade ``<pack>_<name>``."""
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
        files = self.files | {
            f"{info}/METADATA": (
                f"Metadata-Version: 2.1\nName: {self.distribution}\nVersion: {self.version}\n"
            ),
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
        """Unpack the wheel where Python finds it."""
        shutil.rmtree(self.site / self.package, ignore_errors=True)
        for old in self.site.glob(f"{self.package}-*.dist-info"):
            shutil.rmtree(old)
        with zipfile.ZipFile(self.build()) as archive:
            archive.extractall(self.site)


def _listed(text: str) -> str:
    data = text.encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    return f"sha256={digest},{len(data)}"


class Site:
    """One development deployment in a folder, and its people's keys."""

    def __init__(self, root: Path, people: tuple[str, ...]) -> None:
        self.root = root
        self.people = people
        self.home = root / ".awe"
        self.store = root / "governance"
        self.file = root / "awe.yaml"
        self.now = int(time.time()) - 5
        self.pin = ""

    def init(self, *, inproc: tuple[str, ...], settings: str = "") -> Site:
        self.pin = init_dev(
            StoreFolder(self.store),
            self.home,
            deployment="demo",
            people=self.people,
            now=self.now,
            inproc=inproc,
        )
        self.write(settings)
        return self

    def write(self, settings: str = "", *, pin: str | None = None) -> None:
        """Write ``awe.yaml``."""
        trust = f'trust: {{root_sha256: "{pin or self.pin}", store: governance, poll: 50ms}}\n'
        head = "awe: deployment/v1\nname: demo\nworkspace: .\nhome: .awe\n"
        self.file.write_text(head + trust + settings)

    def key(self, person: str):
        return load_person(self.home, person)

    @property
    def deployment(self):
        config = load_config(self.file, flags={}, environ={})
        return load(config, now_s=int(time.time()), mark=None)

    @property
    def governance(self):
        return governance_of(load_config(self.file, flags={}, environ={}))

    def propose(self, wheel: Path, *, by: str | None = None):
        """Propose a wheel; gives the subjects (the pack, then its facades)."""
        who = by or self.people[0]
        found = draft(self.deployment, wheel, proposed_by=who, reason="a test")
        return self.governance.propose(
            found.record, found.facades, signer=self.key(who), reason="a test", now=self.now
        )

    def approve(self, subjects, *, by: str | None = None) -> None:
        """Approve with enough people for every role the policy asks for."""
        for subject in subjects:
            wanted = ["reviewer"] if subject.record.kind == "facade" else ["reviewer", "security"]
            helpers = [one for one in self.people if len(self.people) == 1 or one != self.people[0]]
            for role, who in zip(wanted[: len(helpers)], itertools.cycle(helpers), strict=False):
                self.governance.approve(
                    subject, role=role, signer=self.key(by or who), reason="fine", now=self.now
                )

    def activate(self, subjects, *, at_once: bool = False) -> None:
        for subject in subjects:
            self.governance.activate(
                subject, signers=[self.key(self.people[0])], now=self.now, at_once=at_once
            )

    def add(self, wheel: Path):
        """Propose, approve and activate."""
        subjects = self.propose(wheel)
        self.approve(subjects)
        self.activate(subjects)
        return subjects

    def suspend(self, subjects) -> None:
        self.governance.suspend(
            subjects[0], signer=self.key(self.people[-1]), reason="wait", now=int(time.time())
        )

    def revoke(self, subjects) -> None:
        self.governance.revoke(
            subjects[0], signer=self.key(self.people[-1]), reason="bad", now=int(time.time())
        )

    def open(self, **how):
        """Open the runtime as the first person."""
        how.setdefault("actor", Actor.person(self.people[0]))
        return Runtime.open(self.file, **how)


@pytest.fixture(autouse=True)
def _no_module_stays():
    """Leave no module of a pack and no path entry to the next test."""
    before, path = set(sys.modules), list(sys.path)
    finders = list(sys.meta_path)
    yield
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - before:
        if name.startswith("awe_pack_"):
            del sys.modules[name]


@pytest.fixture(scope="session")
def _stdlib_site(tmp_path_factory, wheels) -> Path:
    """One deployment with the stdlib ACTIVE, to copy: making keys and statements takes a while."""
    root = tmp_path_factory.mktemp("template") / "site"
    root.mkdir()
    site = Site(root, ("ana",)).init(inproc=("*",))
    site.add(next(wheels.glob("awe_pack_stdlib-*.whl")))
    return root


@pytest.fixture
def site(tmp_path, _stdlib_site) -> Site:
    """A deployment of one person with the stdlib ACTIVE; every pack may run in process."""
    root = tmp_path / "site"
    shutil.copytree(_stdlib_site, root)
    found = Site(root, ("ana",))
    found.pin = load_config(found.file, flags={}, environ={}).trust.root_sha256 or ""
    return found


@pytest.fixture
def hostile(tmp_path):
    """Make a pack of this test from the code of its module; it is not installed yet."""
    folder = tmp_path / "hostile"
    (folder / "site-packages").mkdir(parents=True)
    sys.path.append(str(folder / "site-packages"))

    def made(code: str, *, name: str | None = None, version: str = "1.0.0") -> HostilePack:
        return HostilePack(folder, name or f"evil{next(_count)}x{os.getpid()}", code, version=version)

    return made


@pytest.fixture
def active(site, hostile):
    """Build a pack from code and contracts, install it and make it ACTIVE."""

    def made(code: str, **contracts: str) -> HostilePack:
        pack = hostile(code)
        for name, text in contracts.items():
            pack.contract(name, text)
        pack.install()
        pack.subjects = site.add(pack.build())
        return pack

    return made


@pytest.fixture
def people_site(tmp_path):
    """A deployment of three people, nothing ACTIVE."""
    root = tmp_path / "people"
    root.mkdir()
    return Site(root, ("dave", "lin", "mia")).init(inproc=("*",))


__all__ = ["HostilePack", "Site", "subject_of"]

"""A development deployment made for one test: root, keys, approvals, ACTIVE packs.

Everything goes the road it goes in production (drafted from wheels, proposed, approved by as many
people as the policy asks for, activated in a signed manifest), only the people are made up.

Rule: what is ACTIVE must also be installed.  A wheel that is not installed already is unpacked
beside the deployment and put on ``sys.path`` until `close`, which also forgets what was imported of
every pack, so that the next test begins as this one did.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

from awe_core import governance
from awe_core.config import load_config
from awe_core.errors import PackError
from awe_core.events import Actor
from awe_core.lifecycle import State
from awe_core.packs import discover, inspect_wheel, normalised, rebuild_wheel
from awe_core.runtime import Runtime
from awe_core.runtime import deployment as loading
from awe_core.runtime.proposals import draft
from awe_core.runtime.requests import default_actor
from awe_core.trust import needs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.governance import Governance, Subject
    from awe_core.runtime.waiting import Opener
    from awe_core.signing import KeyFile

_REASON = "a test"


@attrs.define(kw_only=True)
class Deployment:
    """One deployment in a folder; ``with`` closes it."""

    root: Path  #: the folder that holds ``awe.yaml``
    people: tuple[str, ...]  #: the first proposes, the others approve
    workspace: Path
    pin: str  #: digest of the root
    subjects: tuple[Subject, ...] = ()  #: what has been made ACTIVE here, in order
    _name: str = "demo"
    _now: int = attrs.field(factory=lambda: int(time.time()) - 5)
    _site: str | None = None

    @classmethod
    def create(  # noqa: PLR0913 - what differs between the deployments of tests
        cls,
        folder: Path,
        wheels: Iterable[Path | str] = (),
        *,
        people: Sequence[str] | Mapping[str, Sequence[str]] = ("ana",),
        workspace: str = ".",
        inproc: Sequence[str] = ("*",),
        settings: str = "",
        name: str = "demo",
    ) -> Deployment:
        """Make a deployment in *folder* (made if need be) with *wheels* ACTIVE.

        :param wheels: wheel files, or names of installed distributions; those that bring facades
            go last, since a facade must find what it exposes
        :param people: names, each with every role; or name → roles
        :param workspace: relative to *folder*
        :param inproc: distributions that may run in this process
        :param settings: more lines of ``awe.yaml``
        """
        root = folder.resolve()
        root.joinpath(workspace).mkdir(parents=True, exist_ok=True)
        made = cls(
            root=root,
            people=tuple(people),
            workspace=root.joinpath(workspace).resolve(),
            pin="",
            name=name,
        )
        made.pin = governance.init_dev(
            governance.StoreFolder(made.store),
            made.home,
            deployment=name,
            people=people,
            now=made._now,
            inproc=inproc,
        )
        made.configure(settings)
        for wheel in sorted(map(made._wheel, wheels), key=_brings_facades):
            made.add(wheel)
        return made

    def copy(self, folder: Path) -> Deployment:
        """Give the same deployment once more in *folder*: a hundred times faster than making it.

        Only of one that was not opened yet: a home and its log belong together with one place.
        """
        root = folder.resolve()
        shutil.copytree(self.root, root, symlinks=True)
        where = self.workspace.relative_to(self.root)
        return attrs.evolve(self, root=root, workspace=(root / where).resolve())

    # ---- where things are ----------------------------------------------------------------------
    @property
    def config(self) -> Path:
        """``awe.yaml``."""
        return self.root / "awe.yaml"

    @property
    def home(self) -> Path:
        """The folder of the deployment's own state."""
        return self.root / ".awe"

    @property
    def store(self) -> Path:
        """The folder of the governance documents."""
        return self.root / "governance"

    def configure(self, settings: str = "", *, pin: str | None = None) -> None:
        """Write ``awe.yaml``: the settings every deployment has, then *settings*."""
        where = self.workspace.relative_to(self.root).as_posix()
        self.config.write_text(
            f"awe: deployment/v1\nname: {self._name}\nworkspace: {where}\nhome: .awe\n"
            f'trust: {{root_sha256: "{pin or self.pin}", store: governance}}\n{settings}',
            encoding="utf-8",
        )

    # ---- governing -----------------------------------------------------------------------------
    def key(self, person: str) -> KeyFile:
        """Give a person's key."""
        return governance.load_person(self.home, person)

    @property
    def governance(self) -> Governance:
        """The store, and the verbs people use on it."""
        return loading.governance_of(load_config(self.config, flags={}, environ={}))

    def add(self, wheel: Path | str) -> tuple[Subject, ...]:
        """Install what is not installed, propose, approve and activate it.

        :returns: the pack, then its facades
        """
        subjects = self.propose(wheel)
        self.approve(subjects)
        self.activate(subjects)
        return subjects

    def propose(self, wheel: Path | str, *, by: str | None = None) -> tuple[Subject, ...]:
        """Propose a wheel with what its ``pack.yaml`` asks for."""
        who, path = by or self.people[0], self._wheel(wheel)
        self._install(path)
        here = loading.load(
            load_config(self.config, flags={}, environ={}), now_s=self._now, mark=None
        )
        made = draft(here, path, proposed_by=who, reason=_REASON)
        return here.governance.propose(
            *(made.record, made.facades, made.papers),
            signer=self.key(who),
            reason=_REASON,
            now=self._now,
        )

    def approve(self, subjects: Iterable[Subject], *, by: str | None = None) -> None:
        """Approve under every role the policy asks for, each by somebody else where it can be."""
        store = self.governance
        policy = store.verdict(now=self._now).root.policy
        helpers = self.people[1:] or self.people
        for subject in subjects:
            asked = sorted(needs(policy, subject.record).items())
            roles = [role for role, number in asked for _ in range(number)]
            for role, who in zip(roles, itertools.cycle([by] if by else helpers), strict=False):
                store.approve(
                    subject, role=role, signer=self.key(who), reason=_REASON, now=self._now
                )

    def activate(self, subjects: Iterable[Subject], *, at_once: bool = False) -> None:
        """Make approved records ACTIVE."""
        store, signers = self.governance, [self.key(self.people[0])]
        for subject in subjects:
            if store.find(subject.digest, now=self._now).state is not State.ACTIVE:
                store.activate(subject, signers=signers, now=self._now, at_once=at_once)
            self.subjects += (subject,)

    # ---- running -------------------------------------------------------------------------------
    def open(self, *, actor: Actor | None = None, **how: object) -> Opener:
        """Open the runtime, as the first of the people unless *actor* says otherwise.

        If that is the person who runs this process (`me`), the runtime knows it by itself;
        everybody else is only asserted, so their answers have the assurance ``relayed``.
        """
        if actor is None and self.people[0] != me():
            actor = Actor.person(self.people[0], via="sdk")
        return Runtime.open(self.config, actor=actor, **how)  # type: ignore[arg-type]  # passed on

    def close(self) -> None:
        """Take back what this deployment did to the process: path entry, imported packs."""
        if self._site in sys.path:
            sys.path.remove(self._site)
        tops = {top for one in self.subjects for top in getattr(one.record, "top_level", ())}
        for module in [name for name in sys.modules if name.partition(".")[0] in tops]:
            del sys.modules[module]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- wheels --------------------------------------------------------------------------------
    def _wheel(self, wheel: Path | str) -> Path:
        """Give the wheel file; that of an installed distribution is made again."""
        if isinstance(wheel, Path):
            return wheel
        found = next((one for one in discover() if one.name == normalised(wheel)), None)
        if found is None:
            raise PackError("pack.not_installed", distribution=wheel, version="any version")
        return rebuild_wheel(found, self.home / "wheels")

    def _install(self, wheel: Path) -> None:
        """Unpack *wheel* where Python finds it, unless its distribution is installed already."""
        name = normalised(wheel.name.partition("-")[0])
        if any(one.name == name for one in discover(also=[name])):
            return
        inspect_wheel(wheel)  # refuses a wheel whose files would lie somewhere else
        self._site = os.fspath(self.home / "site-packages")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self._site)
        if self._site not in sys.path:
            sys.path.append(self._site)


def me() -> str:
    """Give the id of the person who runs this process."""
    return default_actor().id


def _brings_facades(wheel: Path) -> bool:
    with zipfile.ZipFile(wheel) as archive:
        return any("/facades/" in name for name in archive.namelist())

"""What a pack says of itself: ``pack.yaml``, contracts, workflows, facades, read from bytes.

The same reading serves a wheel that is inspected and an installation that was verified; nothing is
imported for it.  What is wrong is collected, so that an author sees everything at once; whoever
needs it whole calls `Contents.checked`.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

import attrs

from awe_core import documents
from awe_core.capability import CapabilitySpec
from awe_core.documents.capabilities import capability
from awe_core.documents.packs import facade, pack
from awe_core.documents.workflows import workflow
from awe_core.errors import AweError, DocumentError, PackError
from awe_core.pack import FacadeSpec
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.documents import Parsed
    from awe_core.pack import PackSpec
    from awe_core.values import JsonObject

_Spec = TypeVar("_Spec", CapabilitySpec, WorkflowSpec, FacadeSpec)

PACK_FILE = "pack.yaml"


@attrs.frozen
class Written(Generic[_Spec]):
    """One document of a pack: what it says, and its digest."""

    path: str  #: below the installation
    spec: _Spec
    document: JsonObject = attrs.field(repr=False)  #: as parsed
    digest: str  #: of the parsed document's canonical form, bare hex


Contract: TypeAlias = Written[CapabilitySpec]
Workflow: TypeAlias = Written[WorkflowSpec]
Facade: TypeAlias = Written[FacadeSpec]


@attrs.frozen(kw_only=True)
class Contents:
    """Everything people wrote in a pack, and what of it cannot be taken."""

    package: str = ""  #: the top level that holds ``pack.yaml``; empty without one
    pack: PackSpec | None = None
    contracts: tuple[Contract, ...] = ()  #: by id and version
    workflows: tuple[Workflow, ...] = ()
    facades: tuple[Facade, ...] = ()
    flaws: tuple[AweError, ...] = ()

    def checked(self) -> Contents:
        """Give itself if nothing is wrong.

        :raises AweError: the first flaw
        """
        if self.flaws:
            raise self.flaws[0]
        return self


def read_contents(
    files: Mapping[str, bytes], top_level: Iterable[str], *, distribution: str
) -> Contents:
    """Read the documents among *files*, whose paths begin with a top level.

    :param distribution: for messages
    """
    reader = _Reader(files, distribution)
    packages = [top for top in sorted(top_level) if f"{top}/{PACK_FILE}" in files]
    if len(packages) > 1:
        reader.flaw(f"{' and '.join(packages)} hold a {PACK_FILE} each; there can be one")
    if not packages:
        return Contents(flaws=tuple(reader.flaws))
    package = packages[0]
    spec = reader.pack(f"{package}/{PACK_FILE}")
    contents = Contents(
        package=package,
        pack=spec,
        contracts=reader.all("capability", package, spec.contracts if spec else (), capability),
        workflows=reader.all("workflow", package, spec.workflows if spec else (), workflow),
        facades=reader.all("facade", package, spec.facades if spec else (), facade),
    )
    reader.check_unique(one.spec.reference for one in contents.contracts)
    reader.check_unique(one.spec.reference for one in contents.workflows)
    reader.check_unique(one.spec.id for one in contents.facades)
    return attrs.evolve(contents, flaws=tuple(reader.flaws))


def matching(files: Iterable[str], package: str, patterns: Iterable[str]) -> list[str]:
    """Give the files of *package* that fit one of *patterns*; ``*`` does not cross a ``/``."""
    wanted = [f"{package}/{pattern}".split("/") for pattern in patterns]
    return sorted(path for path in files if any(_fits(path.split("/"), one) for one in wanted))


class _Reader:
    def __init__(self, files: Mapping[str, bytes], distribution: str) -> None:
        self._files = files
        self._distribution = distribution
        self.flaws: list[AweError] = []

    def flaw(self, why: str) -> None:
        self.flaws.append(PackError("pack.contents", distribution=self._distribution, why=why))

    def pack(self, path: str) -> PackSpec | None:
        parsed = self._parsed("pack", path)
        return pack(parsed) if parsed else None

    def all(
        self,
        kind: str,
        package: str,
        patterns: Iterable[str],
        build: Callable[[Parsed], _Spec],
    ) -> tuple[Written[_Spec], ...]:
        found: list[Written[_Spec]] = []
        for path in matching(self._files, package, patterns):
            parsed = self._parsed(kind, path)
            if parsed is None:
                continue
            try:
                spec = build(parsed)
            except DocumentError as error:
                self.flaws.append(error)
                continue
            digest = documents.contract_digest(parsed.value)
            found.append(Written(path, spec, parsed.value, digest))
        return tuple(sorted(found, key=lambda one: (one.spec.id, one.path)))

    def check_unique(self, references: Iterable[str]) -> None:
        for reference, times in Counter(references).items():
            if times > 1:
                self.flaw(f"{reference} is written {times} times")

    def _parsed(self, kind: str, path: str) -> Parsed | None:
        try:
            return documents.read(kind, self._files[path], file=path)
        except DocumentError as error:
            self.flaws.append(error)
            return None


def _fits(parts: list[str], pattern: list[str]) -> bool:
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))

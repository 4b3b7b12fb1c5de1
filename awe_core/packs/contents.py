"""What a pack says of itself: ``pack.yaml``, contracts, workflows, facades, read from bytes.

The same reading serves a wheel that is inspected and an installation that was verified; nothing is
imported for it.  What is wrong is collected, so that an author sees everything at once.
"""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from awe_core import documents
from awe_core.capability import CapabilitySpec
from awe_core.documents.specs import capability, facade, pack, workflow
from awe_core.errors import AweError, DocumentError, PackError
from awe_core.pack import FacadeSpec, PackSpec
from awe_core.packs.codecache import NO_CACHE, CodeCache
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.documents import Parsed
    from awe_core.values import JsonObject

_Spec = TypeVar("_Spec", CapabilitySpec, WorkflowSpec, FacadeSpec, PackSpec)

PACK_FILE = "pack.yaml"
_BUILDERS: Mapping[str, Callable[[Parsed], Any]] = {
    "capability": capability,
    "workflow": workflow,
    "facade": facade,
    "pack": pack,
}


@attrs.frozen
class Written(Generic[_Spec]):
    """One document of a pack: what it says, and its digest."""

    path: str  #: below the installation
    spec: _Spec
    document: JsonObject = attrs.field(repr=False)  #: as parsed
    digest: str  #: of the parsed document's canonical form, bare hex


@attrs.frozen(kw_only=True)
class Contents:
    """Everything people wrote in a pack, and what of it cannot be taken."""

    package: str = ""  #: the top level that holds ``pack.yaml``; empty without one
    pack: PackSpec | None = None
    contracts: tuple[Written[CapabilitySpec], ...] = ()  #: by id and version
    workflows: tuple[Written[WorkflowSpec], ...] = ()
    facades: tuple[Written[FacadeSpec], ...] = ()
    flaws: tuple[AweError, ...] = ()

    def checked(self) -> Contents:
        """Give itself if nothing is wrong."""
        if self.flaws:
            raise self.flaws[0]
        return self


def read_contents(
    files: Mapping[str, bytes],
    top_level: Iterable[str],
    *,
    distribution: str,
    cache: CodeCache = NO_CACHE,
) -> Contents:
    """Read the documents among *files*, whose paths begin with a top level."""
    flaws: list[AweError] = []

    def flaw(why: str) -> None:
        flaws.append(PackError("pack.contents", distribution=distribution, why=why))

    def one(kind: str, path: str) -> Written[Any] | None:
        try:
            return _written(kind, path, files[path], cache)
        except DocumentError as error:
            flaws.append(error)
            return None

    def every(kind: str, patterns: Iterable[str]) -> tuple[Written[Any], ...]:
        paths = _matching(files, package, patterns)
        found = [each for path in paths if (each := one(kind, path)) is not None]
        names = (each.spec.id if kind == "facade" else each.spec.reference for each in found)
        for name, times in Counter(names).items():
            if times > 1:
                flaw(f"{name} is written {times} times")
        return tuple(sorted(found, key=lambda each: (each.spec.id, each.path)))

    packages = [top for top in sorted(top_level) if f"{top}/{PACK_FILE}" in files]
    if len(packages) > 1:
        flaw(f"{' and '.join(packages)} hold a {PACK_FILE} each; there can be one")
    if not packages:
        return Contents()
    package = packages[0]
    written = one("pack", f"{package}/{PACK_FILE}")
    spec = written.spec if written else None
    contents = Contents(
        package=package,
        pack=spec,
        contracts=every("capability", spec.contracts if spec else ()),
        workflows=every("workflow", spec.workflows if spec else ()),
        facades=every("facade", spec.facades if spec else ()),
    )
    return attrs.evolve(contents, flaws=tuple(flaws))


@lru_cache(maxsize=2_000)  # keyed by the bytes themselves, so one process reads a document once
def _written(kind: str, path: str, content: bytes, cache: CodeCache) -> Written[Any]:
    built: list[Any] = []

    def checked() -> JsonObject:
        parsed = documents.read(kind, content, file=path)
        built.append(_BUILDERS[kind](parsed))
        found: JsonObject = parsed.value
        return found

    value = cache.made(kind, content, path, checked)
    if not built:
        known = documents.Parsed(path, value, len(content), {}, {}, is_checked=True)
        built.append(_BUILDERS[kind](known))
    return Written(path, built[0], value, documents.contract_digest(value))


def _matching(files: Iterable[str], package: str, patterns: Iterable[str]) -> list[str]:
    """Give the files of *package* that fit one of *patterns*; ``*`` does not cross a ``/``."""
    wanted = [f"{package}/{pattern}".split("/") for pattern in patterns]
    return sorted(path for path in files if any(_fits(path.split("/"), one) for one in wanted))


def _fits(parts: list[str], pattern: list[str]) -> bool:
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))

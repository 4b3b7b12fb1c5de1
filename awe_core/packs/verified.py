"""A pack whose installed bytes are the approved ones: `VerifiedPack`.

Its contracts, workflows and facades are read from those bytes without an import; code is imported,
by the pinned finder, at its first call.  What it declares must be exactly what its record lists.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from awe_core import canonical
from awe_core.errors import PackError
from awe_core.packs.codecache import NO_CACHE, CodeCache
from awe_core.packs.contents import Contents, read_contents
from awe_core.packs.pinned import PinnedFiles, function, imported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import ModuleType

    from awe_core.capability import CapabilitySpec
    from awe_core.records import FacadeRecord, PackRecord
    from awe_core.workflow import WorkflowSpec


@attrs.frozen(eq=False)
class VerifiedPack:
    """Approved bytes and the record that approves them."""

    record: PackRecord
    digest: str  #: of the record: the "pack digest", bare hex
    pinned: PinnedFiles
    is_editable: bool = False  #: a dev root's: hashed when it was loaded, approved by nobody
    cache: CodeCache = NO_CACHE  #: of its documents as parsed

    @classmethod
    def of(cls, record: PackRecord, files: Mapping[str, bytes], **how: Any) -> VerifiedPack:  # noqa: ANN401 - the fields above
        """Put bytes that were compared with *record* together with it."""
        digest = record_digest(record)
        pinned = PinnedFiles(
            record.distribution, record.version, digest, record.top_level, files, record.native
        )
        return cls(record, digest, pinned, **how)

    @cached_property
    def contents(self) -> Contents:
        """Every document of the pack, read from the pinned bytes.

        :raises AweError: what is wrong with the first unreadable one
        :raises PackError: ``pack.contract_changed``, ``pack.capability_undeclared``
        """
        record = self.record
        contents = read_contents(
            self.pinned.files,
            record.top_level,
            distribution=record.distribution,
            cache=self.cache,
        ).checked()
        approved = {f"{one.id}@{one.version}": one.contract for one in record.capabilities}
        flows = {f"{one.id}@{one.version}": one.spec for one in record.workflows}
        for written, listed in ((contents.contracts, approved), (contents.workflows, flows)):
            found = {one.spec.full_reference: one.digest for one in written}
            _compare(record, found=found, approved=listed)
        return contents

    def contracts(self) -> tuple[CapabilitySpec, ...]:
        """Give the contracts; see `contents` for what is raised."""
        return tuple(one.spec for one in self.contents.contracts)

    def workflows(self) -> tuple[WorkflowSpec, ...]:
        """Give the workflows."""
        return tuple(one.spec for one in self.contents.workflows)

    def handler(self, reference: str) -> Callable[..., Any]:
        """Import ``module:function`` from the pinned bytes; see `pinned.function`."""
        return function(self.pinned, reference)

    def modules(self) -> tuple[ModuleType, ...]:
        """Import the modules its entry points name; raised as by `handler`."""
        names = sorted({value.partition(":")[0] for value in self.record.entry_points.values()})
        return tuple(imported(self.pinned, name, doing=f"importing {name}") for name in names)


def record_digest(record: PackRecord | FacadeRecord) -> str:
    """Digest of the record's bytes, bare hex: how statements and manifests name it."""
    return canonical.sha256_hex(canonical.document(record.to_json()))


def _compare(record: PackRecord, *, found: Mapping[str, str], approved: Mapping[str, str]) -> None:
    """What the pack brings is exactly what its record lists, by reference and digest."""
    names = {"distribution": record.distribution, "version": record.version}
    for reference in sorted(found.keys() ^ approved.keys()):
        why = "is not in its record" if reference in found else "is in its record alone"
        raise PackError("pack.capability_undeclared", **names, capability=reference, why=why)
    for reference in sorted(approved):
        if found[reference] != approved[reference]:
            details = [f"approved sha256 {approved[reference]}, found {found[reference]}"]
            raise PackError("pack.contract_changed", **names, capability=reference, details=details)

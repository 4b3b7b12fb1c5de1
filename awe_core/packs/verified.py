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
from awe_core.packs import pinned as pinning
from awe_core.packs.contents import Contents, read_contents
from awe_core.packs.pinned import PinnedFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import ModuleType

    from awe_core.capability import CapabilitySpec
    from awe_core.pack import FacadeSpec
    from awe_core.records import FacadeRecord, PackRecord
    from awe_core.workflow import WorkflowSpec


@attrs.frozen(eq=False)
class VerifiedPack:
    """Approved bytes and the record that approves them."""

    record: PackRecord
    digest: str  #: of the record: the "pack digest", bare hex
    pinned: PinnedFiles
    is_editable: bool = False  #: a dev root's: hashed when it was loaded, approved by nobody

    @classmethod
    def of(
        cls,
        record: PackRecord,
        files: Mapping[str, bytes],
        *,
        location: str,
        is_editable: bool = False,
    ) -> VerifiedPack:
        """Put bytes that were compared with *record* together with it."""
        digest = record_digest(record)
        pinned = PinnedFiles(
            distribution=record.distribution,
            version=record.version,
            record=digest,
            top_level=record.top_level,
            files=files,
            native=record.native,
            location=location,
        )
        return cls(record, digest, pinned, is_editable)

    @cached_property
    def contents(self) -> Contents:
        """Every document of the pack, read from the pinned bytes.

        :raises AweError: what is wrong with the first unreadable one
        :raises PackError: ``pack.contract_changed``, ``pack.capability_undeclared``
        """
        contents = read_contents(
            self.pinned.files, self.record.top_level, distribution=self.record.distribution
        ).checked()
        _compare(
            self.record,
            found={one.spec.full_reference: one.digest for one in contents.contracts},
            approved={f"{one.id}@{one.version}": one.contract for one in self.record.capabilities},
        )
        _compare(
            self.record,
            found={one.spec.full_reference: one.digest for one in contents.workflows},
            approved={f"{one.id}@{one.version}": one.spec for one in self.record.workflows},
        )
        return contents

    def contracts(self) -> tuple[CapabilitySpec, ...]:
        """Give the contracts; see `contents` for what is raised."""
        return tuple(one.spec for one in self.contents.contracts)

    def workflows(self) -> tuple[WorkflowSpec, ...]:
        """Give the workflows."""
        return tuple(one.spec for one in self.contents.workflows)

    def facades(self) -> tuple[FacadeSpec, ...]:
        """Give the facades it came with; the approved ones stand in facade records."""
        return tuple(one.spec for one in self.contents.facades)

    def handler(self, reference: str) -> Callable[..., Any]:
        """Import ``module:function`` from the pinned bytes.

        :raises PackError: ``pack.handler``, ``pack.broken``, ``pack.already_imported``,
            ``pack.import_blocked``
        """
        return pinning.function(self.pinned, reference)

    def modules(self) -> tuple[ModuleType, ...]:
        """Import the modules its entry points name; raised as by `handler`."""
        names = sorted({value.partition(":")[0] for value in self.record.entry_points.values()})
        return tuple(
            pinning.imported(self.pinned, name, doing=f"importing {name}") for name in names
        )


def record_digest(record: PackRecord | FacadeRecord) -> str:
    """Digest of the record's bytes, bare hex: how statements and manifests name it."""
    return canonical.sha256_hex(canonical.document(record.to_json()))


def tree_digest(files: Iterable[tuple[str, str, int]]) -> str:
    """Digest of a folder: (path, sha256, size) of each file, as ``requires`` has it."""
    lines = "".join(f"{sha256} {size} {path}\n" for path, sha256, size in sorted(files))
    return canonical.sha256_hex(lines.encode())


def _compare(record: PackRecord, *, found: Mapping[str, str], approved: Mapping[str, str]) -> None:
    """What the pack brings is exactly what its record lists, by reference and digest."""
    names = {"distribution": record.distribution, "version": record.version}
    for reference in sorted(found.keys() ^ approved.keys()):
        why = "is not in its record" if reference in found else "is in its record alone"
        raise PackError("pack.capability_undeclared", **names, capability=reference, why=why)
    for reference in sorted(approved):
        if found[reference] != approved[reference]:
            raise PackError(
                "pack.contract_changed",
                **names,
                capability=reference,
                details=[f"approved sha256 {approved[reference]}, found {found[reference]}"],
            )

"""What `judge` says: which records are in force in this deployment at this moment, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from awe_core.errors import AweError
    from awe_core.lifecycle import Permits, State
    from awe_core.records import Digest, FacadeRecord, Key, Manifest, PackRecord, Root, Seconds

Phase: TypeAlias = Literal["valid", "grace", "expired"]
#: The files of a store: path relative to it, with ``/``, → bytes.
StoreBytes: TypeAlias = Mapping[str, bytes]


@attrs.frozen
class Stop:
    """A suspension or revocation that a home has seen; it outlives its file."""

    statement: Digest  #: of the envelope
    subject: Digest  #: of the record it stops
    decision: Literal["suspend", "revoke"]


@attrs.frozen(kw_only=True)
class Mark:
    """How far a home has come: nothing older is taken again."""

    pin: Digest  #: of the root this home trusts
    root_version: int
    version: int  #: of the manifest; 0: none yet
    digest: Digest | None  #: of the manifest's payload; None: none yet
    seen_at: Seconds  #: the latest time this home has known
    stops: frozenset[Stop] = frozenset()
    denied: frozenset[Digest] = frozenset()  #: records that never return


@attrs.frozen(kw_only=True)
class EntryVerdict:
    """What holds for one record."""

    digest: Digest  #: of the record
    status: State  #: effective: stops are in it; of a facade the weaker of its own and its packs'
    sunset: Seconds | None  #: of a DEPRECATED record
    permits: Permits  #: of status, sunset, phase and refusals together
    refusals: tuple[AweError, ...]  #: why it is not taken; empty: it is
    statements: tuple[Digest, ...]  #: that justify it


@attrs.frozen(kw_only=True)
class PackVerdict(EntryVerdict):
    """What holds for one pack record."""

    record: PackRecord

    @property
    def name(self) -> str:
        """The distribution."""
        return self.record.distribution

    @property
    def own_status(self) -> State:
        """By its own entry and stops."""
        return self.status


@attrs.frozen(kw_only=True)
class FacadeVerdict(EntryVerdict):
    """What holds for one facade record; it permits never more than its packs."""

    record: FacadeRecord
    own_status: State  #: by its own entry and stops
    packs: tuple[Digest, ...]  #: the pack records it reaches

    @property
    def name(self) -> str:
        """The facade's id."""
        return self.record.name


@attrs.frozen(kw_only=True)
class Absent:
    """An entry whose record cannot be read here; a host needs those it has installed."""

    name: str  #: distribution or facade id
    digest: Digest
    status: State
    why: AweError


@attrs.frozen(kw_only=True)
class Verdict:
    """What a store says at one moment.  Immutable; `at_time` gives the one for another moment."""

    root: Root
    root_digest: Digest
    manifest: Manifest | None  #: None: a fresh store, nothing is in force
    manifest_digest: Digest | None
    released_by: Mapping[Digest, Key] = attrs.field(factory=dict)  #: whose signatures hold
    phase: Phase
    packs: tuple[PackVerdict, ...]
    facades: tuple[FacadeVerdict, ...]
    absent: tuple[Absent, ...]
    mark: Mark  #: the next one; written by the caller together with the governance events
    warnings: tuple[AweError, ...]  #: what people should know and nothing fails on

    @property
    def entries(self) -> tuple[PackVerdict | FacadeVerdict, ...]:
        """Packs, then facades."""
        return (*self.packs, *self.facades)

    @property
    def is_dev(self) -> bool:
        """Whether the root grants development freedoms."""
        return self.root.environment == "dev"

"""The settings of a deployment, resolved and typed; values only.

Durations are microseconds, sizes bytes, paths absolute.  What a key means stands in 10-contracts,
"Deployment".  A setting that nothing in the core reads has no field here; `Config.value` gives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from awe_core.values import Json, JsonObject

AuditLevel: TypeAlias = Literal["metadata", "request", "full"]


@attrs.frozen(kw_only=True)
class WorkspaceSettings:
    """Where handlers may reach files at all."""

    root: Path
    protected: tuple[str, ...]  #: patterns, in addition to what is always protected
    portable_names: bool
    hardlinks: Literal["refuse", "read"]


@attrs.frozen(kw_only=True)
class TrustSettings:
    """The pinned root of trust and where the governance store lies."""

    root_sha256: str | None  #: None: nothing is pinned, so nothing is ACTIVE
    store: Path
    poll_us: int


@attrs.frozen(kw_only=True)
class Limits:
    """Every limit of the engine by name (30-engine, section 6)."""

    active_runs: int
    steps_in_flight_per_run: int
    steps_in_flight: int
    threads: int
    queued_submissions: int
    uncommitted_records: int
    uncommitted_bytes: int
    steps_per_run: int
    nesting: int
    foreach_items: int
    value_bytes: int  #: of a step value inline; larger ones go to the payload store
    run_bytes: int


@attrs.frozen(kw_only=True)
class EngineSettings:
    """How runs are driven and recorded."""

    driver: Literal["embedded", "temporal"]
    durability: Literal["full", "normal"]
    effects: Literal["synced", "unsynced"]
    barriers: Literal["output", "step"]
    isolation: Literal["workspace", "session", "run"]  #: one journal for what
    commit: Literal["auto", "loop", "thread"]
    limits: Limits
    shutdown_us: int


@attrs.frozen
class PolicySettings:
    """One policy of the confirmation chain."""

    policy: str
    settings: JsonObject  #: all of its table but the name


@attrs.frozen(kw_only=True)
class RequirementSettings:
    """What an approval at one risk takes."""

    quorum: int
    roles: tuple[str, ...]  #: empty: any enrolled person
    min_assurance: Literal["relayed", "local", "session", "signed"]


@attrs.frozen(kw_only=True)
class HandshakeSettings:
    """How long people have, and who must answer."""

    expires_us: int
    ticket_us: int
    session_max_us: int
    requirements: Mapping[str, RequirementSettings]  #: by risk, all four
    people: Path  #: need not exist under a dev root


@attrs.frozen
class SinkSettings:
    """One sink that receives the log."""

    sink: str
    is_required: bool  #: nothing acts while it does not acknowledge
    settings: JsonObject


@attrs.frozen(kw_only=True)
class AuditSettings:
    """What the log keeps, and where it goes."""

    origin: str  #: the log's name in checkpoints; the deployment's unless set
    level: AuditLevel  #: where no rule says otherwise
    keep_us: int
    sinks: tuple[SinkSettings, ...]


@attrs.frozen(kw_only=True)
class UndoSettings:
    """How much of what was there before is kept."""

    keep_us: int  #: of a closed run; 0: dropped when it COMPLETES
    quota_bytes: int | None  #: None: see `quota_percent`, else 2 GiB and a tenth of what is free
    quota_percent: int | None  #: of what is free when the store is opened
    on_quota: Literal["refuse", "evict_closed"]


@attrs.frozen
class Setting:
    """One value and where it came from, for ``awe config show``."""

    key: str  #: dotted, as in ``engine.durability``
    value: Json  #: as written
    origin: str  #: ``flag``, ``AWE_…``, ``awe.yaml:7:3`` or ``default``


@attrs.frozen(kw_only=True)
class Config:
    """All settings of one deployment."""

    file: Path | None  #: the ``awe.yaml`` that was read
    name: str  #: equals ``deployment`` in the root of trust
    workspace: WorkspaceSettings
    home: Path
    trust: TrustSettings
    engine: EngineSettings
    confirm: tuple[PolicySettings, ...]
    handshake: HandshakeSettings
    audit: AuditSettings
    undo: UndoSettings
    config: Mapping[str, JsonObject]  #: one table for each distribution
    settings: tuple[Setting, ...] = attrs.field(repr=False)  #: every key, in order

    def origin(self, key: str) -> str:
        """Say where the value of *key* came from; StopIteration: there is no such key."""
        return next(s.origin for s in self.settings if s.key == key)

    def value(self, key: str) -> Json:
        """Give the value of *key* as it was written; StopIteration: there is no such key."""
        return next(s.value for s in self.settings if s.key == key)

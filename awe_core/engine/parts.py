"""What an engine is made of, wired by `runtime`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.journal import Logs

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.config.settings import Limits
    from awe_core.engine.admission import Admission
    from awe_core.engine.retention import Retention
    from awe_core.events import ManifestRef
    from awe_core.handshake import Ledger, People
    from awe_core.invoke import DaemonPool, Invoker
    from awe_core.journal import Journal
    from awe_core.undo import UndoManager


@attrs.frozen(kw_only=True)
class Settings:
    """How an engine trades cost for durability; every benchmark prints them."""

    durability: Literal["full", "normal"] = "full"
    effects: Literal["synced", "unsynced"] = "synced"
    barriers: Literal["output", "step"] = "output"
    level: str = "metadata"
    limits: Limits
    undo_keep_us: int = 604_800_000_000  #: how long a closed run can be taken back
    drops_completed: bool = False  #: what is kept of a run goes as soon as that COMPLETES
    evicts_closed: bool = False  #: a full undo store drops closed runs, the oldest first
    park_us: int = 30_000_000  #: after which a run that only waits is let go of
    shutdown_us: int = 10_000_000  #: at most this long for what still runs when it closes
    trust: str = "prod"  #: what every record says of the root: prod, dev-local
    manifest: ManifestRef | None = None


@attrs.define(kw_only=True)
class Parts:
    """The parts all runs share; `people` and `settings` follow the verdict."""

    journal: Journal
    invoker: Invoker
    undo: UndoManager
    ledger: Ledger
    people: People
    pool: DaemonPool  #: for flushes and undos, which handlers that fill their threads wait for
    handlers: DaemonPool
    clock_us: Callable[[], int]
    settings: Settings
    logs: Logs = attrs.field(  #: where the records of a run go
        default=attrs.Factory(lambda parts: Logs(parts.journal), takes_self=True)
    )
    admission: Admission = attrs.field(init=False)  #: the engine's own
    retention: Retention = attrs.field(init=False)  #: likewise

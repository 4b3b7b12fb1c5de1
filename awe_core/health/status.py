"""One screen: trust, packs, facades, runs, what waits for you, where the log ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from awe_core.health.startup import started_how
from awe_core.runtime import control

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from awe_core.records import Manifest, Root
    from awe_core.runtime import Deployment, Runtime
    from awe_core.values import JsonObject

_DAY_S = 86_400


@attrs.frozen
class PackLine:
    """One installed distribution."""

    distribution: str
    version: str
    state: str  #: of its record; NOT GOVERNED without one; OFF when it is refused here
    why: str = ""


@attrs.frozen
class Status:
    """How the deployment stands now."""

    deployment: str
    role: str  #: of this process: owner, guest, observer
    started: str  #: hardened, or which startup files could run before AWE
    trust: str
    phase: str
    expires_in_days: int | None  #: of the manifest
    root_expires_in_days: int | None
    failure: str | None  #: why nothing is trusted
    packs: tuple[PackLine, ...]
    facades: tuple[tuple[str, str], ...]  #: id, state
    runs: tuple[tuple[str, int], ...]  #: state, count
    waiting: tuple[str, ...]  #: open requests
    policies: tuple[str, ...]
    records: int
    head: str  #: hex hash of the newest record
    warnings: tuple[str, ...]
    troubles: tuple[str, ...]  #: what the process that owns the home cannot do

    @property
    def is_ready(self) -> bool:
        """Whether new runs can start."""
        return self.failure is None and self.phase != "expired" and not self.troubles

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        return {**attrs.asdict(self), "ready": self.is_ready}


def status(rt: Runtime, *, now_s: int) -> Status:
    """Look at everything once."""
    here, head = rt.deployment, rt.journal.head()
    verdict = here.verdict
    runs = rt.journal.rows("SELECT state, count(*) FROM run GROUP BY state ORDER BY state")
    return Status(
        deployment=rt.config.name,
        role=rt.role,
        started=started_how(),
        trust=here.trust,
        phase="none" if verdict is None else verdict.phase,
        expires_in_days=_days(verdict.manifest if verdict else None, now_s),
        root_expires_in_days=_days(verdict.root if verdict else None, now_s),
        failure=None if here.failure is None else here.failure.summary,
        packs=tuple(_packs(here)),
        facades=tuple((f.name, f.status.value) for f in verdict.facades) if verdict else (),
        runs=tuple(runs),
        waiting=tuple(request.id for request in rt.approvals()),
        policies=tuple(one.policy for one in rt.config.confirm),
        records=head.size,
        head=head.hash.hex(),
        warnings=tuple(w.summary for w in verdict.warnings) if verdict else (),
        troubles=troubles(rt.config.home),
    )


def troubles(home: Path) -> tuple[str, ...]:
    """Ask the process that owns *home*, if one does, what it cannot do at the moment."""
    found: Any = control.told(home, "troubles") or ()
    return tuple(f"{one['code']}: {one['message']}" for one in found)


def _days(ends: Root | Manifest | None, now_s: int) -> int | None:
    return None if ends is None else (ends.expires - now_s) // _DAY_S


def _packs(here: Deployment) -> Iterator[PackLine]:
    refused = dict(here.refused)
    known = {p.name: p for p in here.verdict.packs} if here.verdict else {}
    for found in here.found:
        pack = known.pop(found.name, None)
        state, why = "NOT GOVERNED" if pack is None else pack.status.value, ""
        if pack is not None and found.name in refused:
            state, why = "OFF", refused[found.name].summary
        yield PackLine(found.name, found.version, state, why)
    for name, pack in sorted(known.items()):
        yield PackLine(name, pack.record.version, "NOT INSTALLED")

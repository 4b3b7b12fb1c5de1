"""The process that owns a home: journal, engine, trust, and the door for guests."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from awe_core import __version__, canonical, signing
from awe_core.engine import Parts, RuntimeEngine, Settings
from awe_core.errors import (
    AccessError,
    AweError,
    JournalError,
    PackError,
    TrustError,
    UsageError,
)
from awe_core.events import Actor, Decision, ManifestRef, codec
from awe_core.gate import GateSnapshot
from awe_core.governance import events_of, fold, mark_from_json, mark_to_json
from awe_core.handshake import Ledger
from awe_core.invoke import DaemonPool, InProcess, Invoker
from awe_core.journal import Journal, JournalReader, Upsert, draft_of
from awe_core.runtime import control, requests
from awe_core.runtime.deployment import Deployment, load
from awe_core.runtime.policies import handshake_of
from awe_core.runtime.sinks import logger_of
from awe_core.trust import at_time
from awe_core.undo import UndoManager
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    from pathlib import Path

    from awe_core.audit import AuditLogger
    from awe_core.config import Config
    from awe_core.trust import Mark
    from awe_core.values import Json, JsonObject

_PHASE_S = 60.0  #: how often a running process looks whether its manifest has expired

_VERBS = (
    "proposed",
    "approved",
    "rejected",
    "withdrawn",
    "activated",
    "suspended",
    "resumed",
    "deprecated",
    "superseded",
    "revoked",
)
GOVERNANCE_KINDS = (
    *(f"{what}.{verb}" for what in ("pack", "facade") for verb in _VERBS),
    "trust.root_changed",
    "trust.manifest_changed",
)


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1_000


def now_s() -> int:
    """The wall clock in seconds."""
    return int(time.time())


class Owner:
    """Everything that one process holds open for one home."""

    def __init__(
        self, journal: Journal, deployment: Deployment, workspace: Workspace, engine: RuntimeEngine
    ) -> None:
        """Take what `open` has made."""
        self.role = "owner"
        self.journal = journal
        self.deployment = deployment
        self.workspace = workspace
        self.engine = engine
        self._server: control.Server | None = None
        self._sinks: AuditLogger | None = None
        self._news: asyncio.Task[None] | None = None
        self._seen: tuple[Any, ...] = ()  #: what the store looked like before it was judged

    @classmethod
    async def open(cls, config: Config) -> Owner:
        """Own the home of *config*, judge trust, recover what is open, then listen.

        :raises EngineError: ``engine.locked`` when another process owns it
        """
        seen, mark = _stamp(config.trust.store), _known_mark(config)
        deployment = load(config, now_s=now_s(), mark=mark)
        journal = _open_journal(config, deployment)
        try:
            if (latest := read_mark(journal, config.name)) != mark:  # another owner was quicker
                mark = latest
                deployment = load(config, now_s=now_s(), mark=mark)
            workspace = _open_workspace(config)
            engine = _engine(config, deployment, journal, workspace)
            owner = cls(journal, deployment, workspace, engine)
            owner._seen = seen
            owner._sinks = logger_of(
                config, journal, deployment.plugins.audit_sinks(config.config).objects
            )
            owner._adopt(mark)
            deployment.finder.install()
            await engine.recover()
            owner._server = await control.Server.start(config.home, owner.answer)
        except BaseException:
            journal.close()
            raise
        owner._news = asyncio.get_running_loop().create_task(owner._poll())
        return owner

    async def close(self) -> None:
        """Leave what runs to the next process, checkpoint, and let go of the home."""
        if self._news is not None:
            self._news.cancel()
        if self._server is not None:
            await self._server.close()
        await self.engine.close()
        self.journal.close()
        if self._sinks is not None:
            self._sinks.close(self.deployment.config.engine.shutdown_us / 1e6)
        self.workspace.close()
        self.deployment.finder.uninstall()

    # ---- what callers ask ----------------------------------------------------------------------
    async def answer(self, method: str, params: JsonObject) -> Json:
        """Answer one request of a guest, or of this process, by the same road."""
        match method:
            case "submit":
                return await self.submit(params)
            case "settled":
                await self.engine.settled(str(params["run"]))
                return None
            case "decide":
                await self.engine.decide(codec.from_json(Decision, params["decision"]))
                return None
            case "control":
                actor = codec.from_json(Actor, params["actor"])
                await self._check_control(actor, str(params["run"]), str(params["verb"]))
                await self.engine.control(
                    str(params["run"]), str(params["verb"]), actor=actor, params=params
                )
                return None
            case "poke":
                self.look()
                return None
            case _:
                raise UsageError("run.request", verb=method, why="no such request")

    async def submit(self, request: JsonObject) -> str:
        """Open a run; a refusal is recorded."""
        try:
            wanted = requests.resolve(request, self.deployment, self.engine.plans)
            return await self.engine.submit(wanted)
        except (AccessError, PackError, TrustError) as error:
            await self._refused(request, error)
            raise

    async def _check_control(self, actor: Actor, run: str, verb: str) -> None:
        """An agent may stop what it began; letting go on and taking back is for people."""
        if actor.kind != "agent":
            return
        row = self.journal.run_row(run)
        if verb in {"cancel", "pause"} and row is not None and row["actor"] == str(actor):
            return
        asked = f"{verb} of run {run}"
        error = AccessError("access.refused", asked=asked, by=str(actor))
        await self._refused({"call": asked, "actor": codec.to_json(actor)}, error)
        raise error

    async def _refused(self, request: JsonObject, error: AweError) -> None:
        asked = next((str(request[k]) for k in ("facade", "call", "workflow") if k in request), "")
        actor = codec.from_json(Actor, request["actor"])
        event = {
            "kind": "access.refused",
            "via": actor.via,
            "asked": asked[:512],
            "code": error.code,
            "n": 1,
            "by": str(actor),
        }
        self.journal.append([draft_of(event)])
        await self.journal.barrier()

    # ---- trust ---------------------------------------------------------------------------------
    def look(self) -> None:
        """Judge the store again and swap the gate if something changed."""
        config = self.deployment.config
        mark = read_mark(self.journal, config.name)
        fresh = load(config, now_s=now_s(), mark=mark, before=self.deployment)
        if fresh.verdict is None and self.deployment.verdict is not None:
            # The running verdict stays in force until its own expiry ends it.
            self.deployment = attrs.evolve(self.deployment, trouble=fresh.failure)
            self._pass_time()
            return
        self.deployment.gate.swap(fresh.gate.snapshot)
        self.deployment = attrs.evolve(fresh, gate=self.deployment.gate)
        parts = self.engine.parts
        parts.people = self.deployment.people
        parts.settings = attrs.evolve(
            parts.settings, trust=self.deployment.trust, manifest=_manifest(self.deployment)
        )
        self._adopt(mark)

    def _pass_time(self) -> None:
        """Move the verdict in force to this moment: phases and sunsets come without news."""
        before = self.deployment.verdict
        if before is None:
            return
        verdict = at_time(before, now_s())
        self.deployment = attrs.evolve(self.deployment, verdict=verdict)
        old, local = self.deployment.gate.snapshot, self.deployment.registry.local
        self.deployment.gate.swap(GateSnapshot.of(verdict, set_aside=old.set_aside, local=local))

    def _adopt(self, mark: Mark | None) -> None:
        """Write what is new in the store into the log, and how far this home has come."""
        verdict = self.deployment.verdict
        if verdict is None:
            return
        governance = self.deployment.governance
        past = (one.event for one in self.journal.read(kinds=GOVERNANCE_KINDS))
        events = events_of(verdict, governance.store.read(), adopted=fold(past), pin=governance.pin)
        if (
            events
            or mark is None
            or attrs.evolve(mark, seen_at=0) != attrs.evolve(verdict.mark, seen_at=0)
        ):
            body = canonical.document(mark_to_json(verdict.mark))
            row = Upsert("mark", (self.deployment.config.name, body))
            self.journal.append([draft_of(event) for event in events], (row,))
            self.journal.commit()

    async def _poll(self) -> None:
        """Look for news in the store; a failure leaves the running verdict in force."""
        seen, judged_at = self._seen, time.monotonic()
        while True:
            await asyncio.sleep(self.deployment.config.trust.poll_us / 1e6)
            stamp, now = _stamp(self.deployment.config.trust.store), time.monotonic()
            try:
                if stamp != seen:
                    self.look()
                    seen, judged_at = stamp, now
                elif now - judged_at > _PHASE_S:
                    self._pass_time()
                    judged_at = now
            except (AweError, OSError) as error:
                # Half-written news, a store that is being moved: the next look sees it whole.
                found = error if isinstance(error, AweError) else _unreadable(error)
                self.deployment = attrs.evolve(self.deployment, trouble=found)


def _stamp(store: Path) -> tuple[Any, ...]:
    """Give what changes when somebody writes to the store."""
    folders = [store / name for name in ("root", "manifests", "stops", "statements")]
    return tuple(_changed_at(folder) for folder in folders)


def _changed_at(folder: Path) -> tuple[int, int]:
    """When names in *folder* last changed, and when the newest of its files did."""
    try:
        with os.scandir(folder) as inside:
            newest = max((one.stat().st_mtime_ns for one in inside), default=0)
        return folder.stat().st_mtime_ns, newest
    except OSError:
        return 0, 0


def _unreadable(error: OSError) -> AweError:
    why = error.strerror or type(error).__name__
    return TrustError("store.unreadable", file=error.filename or "the store", why=why)


def _manifest(deployment: Deployment) -> ManifestRef | None:
    verdict = deployment.verdict
    if verdict is None or verdict.mark.digest is None:
        return None
    return ManifestRef(verdict.mark.root_version, verdict.mark.version, verdict.mark.digest)


def _open_journal(config: Config, deployment: Deployment) -> Journal:
    config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if config.home.stat().st_uid == os.geteuid():
        config.home.chmod(0o700)
    return Journal.open(
        config.home,
        signer=signing.log_key(config.home, may_create=True),
        origin=config.audit.origin,
        opened={"awe": __version__, "trust": deployment.trust},
        durability=config.engine.durability,
        clock_us=now_us,
    )


def _open_workspace(config: Config) -> Workspace:
    protected = [*config.workspace.protected, str(config.home), str(config.trust.store)]
    protected += [str(config.handshake.people)]
    if config.file is not None:
        protected.append(str(config.file))
    return Workspace.open(
        config.workspace.root,
        store=config.home / "undo",
        protected=protected,
        private=[str(config.home)],
        portable_names=config.workspace.portable_names,
        hardlinks=config.workspace.hardlinks,
        quota=config.undo.quota_bytes,
    )


def _engine(
    config: Config, deployment: Deployment, journal: Journal, workspace: Workspace
) -> RuntimeEngine:
    pool = DaemonPool(config.engine.limits.threads, name="awe")
    plugins, own = deployment.plugins, InProcess(pool)
    policies = plugins.confirmation_policies(config.config).objects
    executors = {one.name: one for one in (own, *plugins.executors(config.config).objects)}
    undo = UndoManager(journal, workspace)
    undo.add(plugins.undo_strategies(config.config).objects)
    invoker = Invoker(
        deployment.registry,
        deployment.gate,
        workspace=workspace,
        handshake=handshake_of(config, is_dev=deployment.people.is_dev, offered=policies),
        executors=executors,
        config=config.config,
        deployment=config.name,
        mac=journal.mac,
    )
    parts = Parts(
        journal=journal,
        invoker=invoker,
        undo=undo,
        ledger=Ledger(config.handshake.ticket_us),
        people=deployment.people,
        pool=pool,
        clock_us=now_us,
        settings=Settings(
            durability=config.engine.durability,
            effects=config.engine.effects,
            barriers=config.engine.barriers,
            level=config.audit.level,
            max_steps_in_flight=config.engine.limits.steps_in_flight_per_run,
            shutdown_us=config.engine.shutdown_us,
            trust=deployment.trust,
            manifest=_manifest(deployment),
        ),
    )
    return RuntimeEngine(parts)


def _known_mark(config: Config) -> Mark | None:
    """How far this home has come, read before the journal is opened for writing."""
    try:
        with JournalReader(config.home) as reader:
            return read_mark(reader, config.name)
    except JournalError:  # none yet, or founded halfway: opening it for writing decides
        return None


def read_mark(journal: Journal | JournalReader, deployment: str) -> Mark | None:
    """How far this home has come; None: it has seen nothing yet."""
    body = journal.mark(deployment)
    return None if body is None else mark_from_json(canonical.parse_document(body))

"""The two doors to a home: the process that owns it, and whoever asks that one or only reads."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import attrs

from awe_core import __version__, canonical, signing
from awe_core.errors import (
    AccessError,
    AweError,
    EngineError,
    JournalError,
    JournalUnwritableError,
    PackError,
    TrustError,
    UsageError,
)
from awe_core.events import Actor, Decision, codec
from awe_core.gate import GateSnapshot
from awe_core.governance import events_of, fold, mark_to_json
from awe_core.journal import Journal, JournalReader, Readings, Upsert, draft_of
from awe_core.runtime import control, requests
from awe_core.runtime.deployment import load, read_mark
from awe_core.runtime.wiring import adopt, engine_of, logger_of, now_us
from awe_core.trust import at_time
from awe_core.undo import UndoManager
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from awe_core.audit import AuditLogger
    from awe_core.config import Config
    from awe_core.engine import RuntimeEngine, Submission
    from awe_core.runtime.deployment import Deployment
    from awe_core.trust import Mark
    from awe_core.values import Json, JsonObject

    Answer: TypeAlias = Callable[..., Coroutine[Any, Any, Json]]

_T = TypeVar("_T")
_HURRY_S = 0.2  #: for sinks to take what is committed
_PHASE_S = 60.0  #: how often a running process looks whether its manifest has expired
_VERBS = (
    *("proposed", "approved", "rejected", "withdrawn", "activated", "suspended", "resumed"),
    *("deprecated", "superseded", "revoked"),
)
GOVERNANCE_KINDS = (
    *(f"{what}.{verb}" for what in ("pack", "facade") for verb in _VERBS),
    *("trust.root_changed", "trust.manifest_changed"),
)


async def open_door(config: Config, *, is_observer: bool) -> Owner | Guest:
    """Own the home, or be a guest of who does, or only read."""
    if is_observer:
        return Guest(config, None)
    try:
        return await Owner.open(config)
    except EngineError as error:
        if error.code != "engine.locked":
            raise
        return Guest(config, await control.Client.connect(config.home))


class Guest:
    """Carries requests to the owner; holds no right and no lock.  An observer only reads."""

    def __init__(self, config: Config, client: control.Client | None) -> None:
        """Read the journal of the home beside its owner; without *client* nothing else."""
        self.role = "observer" if client is None else "guest"
        self.journal = JournalReader(config.home)
        self.logs = Readings(self.journal)
        self._client = client
        try:
            mark = read_mark(self.journal, config)
            self.deployment = load(config, now_s=int(time.time()), mark=mark)
        except BaseException:
            self.journal.close()
            raise

    async def answer(self, method: str, params: JsonObject) -> Json:
        """Have the owner answer."""
        if self._client is None:
            raise EngineError("engine.observer", method=method)
        if method != "settled":
            return await self._client.ask(method, params)
        waiting = await control.Client.connect(self.deployment.config.home)  # it blocks its own
        try:
            return await waiting.ask(method, params)
        finally:
            await waiting.close()

    async def close(self, *, is_hurried: bool = False) -> None:  # noqa: ARG002 - as an owner
        """Let go."""
        if self._client is not None:
            await self._client.close()
        self.logs.close()
        self.journal.close()


class Owner:
    """Everything that one process holds open for one home.  Made by `open`."""

    role = "owner"

    def __init__(
        self, config: Config, journal: Journal, deployment: Deployment, mark: Mark | None
    ) -> None:
        """Wire the parts; `open` begins."""
        self.journal = journal
        self.deployment = deployment
        self.workspace = _open_workspace(config)
        self.engine: RuntimeEngine = engine_of(
            deployment, journal, UndoManager(journal, self.workspace)
        )
        self.logs = self.engine.parts.logs
        sinks = deployment.plugins.audit_sinks(config.config).objects
        self._sinks: AuditLogger = logger_of(config, journal, sinks)
        self._requests: dict[str, Answer] = {  # what this process and guests ask, by one road
            "submit": self.submit,
            "plan": self.plan,
            "outline": self.outline,
            "settled": self._settled,
            "decide": self._decide,
            "control": self._control,
            "poke": self._poke,
            "troubles": self._troubles,
        }
        self._server: control.Server | None = None
        self._news: asyncio.Task[None] | None = None
        self._adopt(mark)

    @classmethod
    async def open(cls, config: Config) -> Owner:
        """Own the home of *config*, judge trust, recover what is open, then listen.

        :raises EngineError: ``engine.locked`` when another process owns it
        """
        seen, mark = _stamp(config.trust.store), known_mark(config)
        deployment = load(config, now_s=int(time.time()), mark=mark)
        journal = _open_journal(config, trust=deployment.trust)
        try:
            if (latest := read_mark(journal, config)) != mark:  # another owner was quicker
                mark = latest
                deployment = load(config, now_s=int(time.time()), mark=mark)
            owner = cls(config, journal, deployment.with_plugins(), mark)
            await owner.engine.recover()
            owner._server = await control.Server.start(config.home, owner.answer)
        except BaseException:
            deployment.finder.uninstall()
            journal.close()
            raise
        owner._news = asyncio.get_running_loop().create_task(owner._watch(seen))
        return owner

    async def close(self, *, is_hurried: bool = False) -> None:
        """Leave what runs to the next process, checkpoint, and let go of the home."""
        patience_s = _HURRY_S if is_hurried else self.deployment.config.engine.shutdown_us / 1e6
        if self._news is not None:
            self._news.cancel()
        if self._server is not None:
            await self._server.close()
        try:
            await self.engine.close(is_hurried=is_hurried)
        finally:  # also when somebody would not wait for it: nothing is recorded after that
            self.journal.close()
            self._sinks.close(patience_s)
            self.workspace.close()
            self.deployment.finder.uninstall()

    # ---- what callers ask ----------------------------------------------------------------------
    async def answer(self, method: str, params: JsonObject) -> Json:
        """Answer one request of a guest, or of this process."""
        if method not in self._requests:
            raise UsageError("run.request", verb=method, why="no such request")
        return await self._requests[method](**params)

    async def submit(self, **request: Json) -> str:
        """Open a run; a refusal is recorded."""
        return await self._ran(request, self.engine.submit)

    async def plan(self, **request: Json) -> JsonObject:
        """Run dry what `submit` would open."""
        return await self._ran(request, self.engine.plan)

    async def outline(self, **request: Json) -> JsonObject:
        """Say what `submit` would open, without a run."""
        return await self._ran(request, self.engine.outline)

    async def _ran(
        self, request: JsonObject, take: Callable[[Submission], Coroutine[Any, Any, _T]]
    ) -> _T:
        try:
            return await take(requests.resolve(request, self.deployment, self.engine.plans))
        except (AccessError, PackError, TrustError) as error:
            asked = next((request[k] for k in ("facade", "call", "workflow") if k in request), "")
            await self._refused(str(asked), codec.from_json(Actor, request["actor"]), error)
            raise

    async def _settled(self, run: str) -> None:
        await self.engine.settled(run)

    async def _decide(self, decision: JsonObject) -> None:
        await self.engine.decide(codec.from_json(Decision, decision))

    async def _control(self, run: str, verb: str, actor: JsonObject, **params: Json) -> None:
        """Steer a run.  An agent may stop what it began; all else is for people."""
        by = codec.from_json(Actor, actor)
        row = self.journal.run_row(run) if by.kind == "agent" else None
        is_own_stop = verb in {"cancel", "pause"} and row is not None and row["actor"] == str(by)
        if by.kind == "agent" and not is_own_stop:
            asked = f"{verb} of run {run}"
            error = AccessError("access.refused", asked=asked, by=str(by))
            await self._refused(asked, by, error)
            raise error
        await self.engine.control(run, verb, actor=by, params=params)

    async def _poke(self) -> None:
        self._look()

    async def _troubles(self) -> list[Json]:
        """Say what this process cannot do at the moment."""
        found = [self.journal.trouble, self.deployment.trouble, *self.engine.unreadable.values()]
        return [one.as_json() for one in found if one is not None]

    async def _refused(self, asked: str, actor: Actor, error: AweError) -> None:
        said = {"asked": asked[:512], "code": error.code, "n": 1, "by": str(actor)}
        self.journal.append([draft_of({"kind": "access.refused", "via": actor.via, **said})])
        await self.journal.barrier()

    # ---- trust ---------------------------------------------------------------------------------
    def _look(self) -> None:
        """Judge the store again and swap the gate if something changed."""
        config, mark = self.deployment.config, read_mark(self.journal, self.deployment.config)
        fresh = load(config, now_s=int(time.time()), mark=mark, before=self.deployment)
        if fresh.verdict is None and self.deployment.verdict is not None:
            # The running verdict stays in force until its own expiry ends it.
            self.deployment = attrs.evolve(self.deployment, trouble=fresh.failure)
            self._pass_time()
            return
        self.deployment.gate.swap(fresh.gate.snapshot)
        self.deployment = attrs.evolve(fresh.with_plugins(), gate=self.deployment.gate)
        adopt(self.engine.parts, self.deployment)
        self._adopt(mark)

    def _pass_time(self) -> None:
        """Move the verdict in force to this moment: phases and sunsets come without news."""
        here = self.deployment
        if here.verdict is None:
            return
        verdict, old = at_time(here.verdict, int(time.time())), here.gate.snapshot
        self.deployment = attrs.evolve(here, verdict=verdict)
        local = here.registry.local
        here.gate.swap(GateSnapshot.of(verdict, set_aside=old.set_aside, local=local))

    def _adopt(self, mark: Mark | None) -> None:
        """Write what is new in the store into the log, and how far this home has come."""
        verdict = self.deployment.verdict
        if verdict is None:
            return
        governance = self.deployment.governance
        past = fold(one.event for one in self.journal.read(kinds=GOVERNANCE_KINDS))
        events = events_of(verdict, governance.store.read(), adopted=past, pin=governance.pin)
        is_known = mark is not None and attrs.evolve(mark, seen_at=verdict.mark.seen_at)
        if events or is_known != verdict.mark:
            body = canonical.document(mark_to_json(verdict.mark))
            row = Upsert("mark", (self.deployment.config.name, body))
            self.journal.append([draft_of(event) for event in events], (row,))
            self.journal.commit()

    async def _watch(self, seen: tuple[tuple[int, int], ...]) -> None:
        """Look for news in the store; a failure leaves the running verdict in force."""
        trust, judged_at = self.deployment.config.trust, time.monotonic()
        while True:
            await asyncio.sleep(trust.poll_us / 1e6)
            stamp, now = _stamp(trust.store), time.monotonic()
            try:
                if stamp != seen:
                    self._look()
                elif now - judged_at > _PHASE_S:
                    self._pass_time()
                else:
                    continue
            except (AweError, OSError) as error:
                # Half-written news, a store that is being moved: the next look sees it whole.
                found = error if isinstance(error, AweError) else _unreadable(error)
                self.deployment = attrs.evolve(self.deployment, trouble=found)
            else:
                seen, judged_at = stamp, now


def _stamp(store: Path) -> tuple[tuple[int, int], ...]:
    """Give what changes when somebody writes to the store."""
    return tuple(_changed_at(store / x) for x in ("root", "manifests", "stops", "statements"))


def _changed_at(folder: Path) -> tuple[int, int]:
    """When names in *folder* last changed, and when the newest of its files did."""
    try:
        with os.scandir(folder) as inside:
            newest = max((one.stat().st_mtime_ns for one in inside), default=0)
        return folder.stat().st_mtime_ns, newest
    except OSError:
        return 0, 0


def repin(config: Config, *, by: str, reason: str) -> None:
    """Have a home trust the root that its ``awe.yaml`` pins now; recorded, with who and why.

    Nothing happens to a home that is new, or trusts that root already.  Denials and stops stay.

    :raises EngineError: ``engine.locked`` while a process owns the home
    """
    mark, pin = known_mark(config), config.trust.root_sha256
    if mark is None or pin in {None, mark.pin}:
        return
    journal = _open_journal(config, trust="none")
    try:
        fresh = attrs.evolve(mark, pin=pin, root_version=0, version=0, digest=None)
        event = {
            "kind": "trust.root_changed",
            "from": {"version": mark.root_version, "digest": mark.pin},
            "to": {"version": 0, "digest": pin},
            "keyids": [],
            "reason": reason,
            "by": by,
        }
        row = Upsert("mark", (config.name, canonical.document(mark_to_json(fresh))))
        journal.append([draft_of(event)], (row,))
        journal.commit()
    finally:
        journal.close()


def _unreadable(error: OSError) -> AweError:
    why = error.strerror or type(error).__name__
    return TrustError("store.unreadable", file=error.filename or "the store", why=why)


def _open_journal(config: Config, *, trust: str) -> Journal:
    try:
        config.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if config.home.stat().st_uid == os.geteuid():
            config.home.chmod(0o700)
        signer = signing.log_key(config.home, may_create=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise JournalUnwritableError("journal.unwritable", path=config.home, reason=why) from None
    return Journal.open(
        config.home,
        signer=signer,
        origin=config.audit.origin,
        opened={"awe": __version__, "trust": trust},
        durability=config.engine.durability,
        commit=config.engine.commit,
        clock_us=now_us,
        row_bytes=config.engine.limits.value_bytes,
    )


def _open_workspace(config: Config) -> Workspace:
    quota, percent = config.undo.quota_bytes, config.undo.quota_percent
    if percent is not None:
        quota = shutil.disk_usage(config.home).free * percent // 100
    own = (config.home, config.trust.store, config.handshake.people, config.file)
    return Workspace.open(
        config.workspace.root,
        store=config.home / "undo",
        protected=[*config.workspace.protected, *(str(path) for path in own if path is not None)],
        private=[str(config.home)],
        portable_names=config.workspace.portable_names,
        hardlinks=config.workspace.hardlinks,
        quota=quota,
    )


def known_mark(config: Config) -> Mark | None:
    """How far this home has come, read before the journal is opened for writing."""
    try:
        with JournalReader(config.home) as reader:
            return read_mark(reader, config)
    except JournalError:  # none yet, or founded halfway: opening it for writing decides
        return None

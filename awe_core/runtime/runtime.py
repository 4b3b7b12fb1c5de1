"""`AsyncRuntime`, the SDK: everything a program can ask of one deployment.

`Runtime` is the same with plain calls (`awe_core.runtime.waiting`).  Which process owns the home
makes no difference to callers: an owner answers itself, a guest asks the owner.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from awe_core.config import load_config
from awe_core.documents import read
from awe_core.engine import Plans, Reader, open_questions
from awe_core.errors import AccessError, EngineError, HandshakeError, RunError
from awe_core.events import Actor, codec
from awe_core.runtime.documenting import document_of
from awe_core.runtime.guest import Guest
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.owner import Owner
from awe_core.runtime.requests import default_actor
from awe_core.runtime.results import RunRow
from awe_core.workflow import WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from awe_core.config import Config
    from awe_core.events import ConfirmationRequest, Decision
    from awe_core.governance import Governance
    from awe_core.journal import Reading
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.results import RunResult
    from awe_core.values import Json, JsonObject

_OPEN = ("PENDING", "RUNNING", "PAUSED")


class AsyncRuntime:
    """One deployment, from inside an event loop.  Made by ``async with Runtime.open(…)``."""

    def __init__(self, door: Owner | Guest, actor: Actor) -> None:
        """Speak through *door* as *actor*."""
        self._door = door
        self.actor = actor
        self.plans = Plans(door.deployment.registry)

    # ---- what there is -------------------------------------------------------------------------
    @property
    def role(self) -> str:
        """``owner``, ``guest`` or ``observer``: what this process is to the home."""
        return self._door.role

    @property
    def deployment(self) -> Deployment:
        """What may run here, and why not."""
        return self._door.deployment

    @property
    def config(self) -> Config:
        """The settings, each with its origin."""
        return self.deployment.config

    @property
    def journal(self) -> Reading:
        """The log, for reading."""
        return self._door.journal

    @property
    def governance(self) -> Governance:
        """The governance store."""
        return self.deployment.governance

    @property
    def reader(self) -> Reader:
        """Folds runs from the log."""
        return Reader(self.journal, self.deployment.registry, self.plans)

    # ---- running -------------------------------------------------------------------------------
    async def call(self, capability: str, /, *given: JsonObject, **arguments: Json) -> Json:
        """Call one capability and give its output; a run like any other.

        :raises RunNotCompletedError: with the result
        """
        merged = {**(given[0] if given else {}), **arguments}
        handle = await self.submit_call(capability, merged)
        return (await handle.wait()).unwrap()

    async def run(
        self,
        workflow: str | Path | WorkflowSpec,
        inputs: Mapping[str, Json] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the SDK's signature
    ) -> RunResult:
        """Run a workflow until it has ended or waits for somebody."""
        handle = await self.submit(workflow, inputs)
        return await handle.wait(timeout)

    async def submit_call(
        self,
        capability: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> AsyncRunHandle:
        """Open a run of one call; returns once it is durable."""
        request = {"call": capability, "inputs": dict(arguments or {})}
        return await self._submit(request, idempotency_key, None)

    async def submit(
        self,
        workflow: str | Path | WorkflowSpec | None,
        inputs: Mapping[str, Json] | None = None,
        *,
        idempotency_key: str | None = None,
        expires_us: int | None = None,
        facade: str | None = None,
    ) -> AsyncRunHandle:
        """Open a run; returns once it is durable.

        :raises AweError: refused; no run exists then
        """
        request: JsonObject = {"inputs": dict(inputs or {})}
        if facade is not None:
            request["facade"] = facade
        else:
            request |= _named(workflow)
        return await self._submit(request, idempotency_key, expires_us)

    async def _submit(
        self, request: JsonObject, idempotency_key: str | None, expires_us: int | None
    ) -> AsyncRunHandle:
        request["actor"] = codec.to_json(self.actor)
        if idempotency_key is not None:
            request["idempotency_key"] = idempotency_key
        if expires_us is not None:
            request["expires_us"] = expires_us
        return AsyncRunHandle(self, await self._ask("submit", request))

    async def _ask(self, method: str, params: JsonObject) -> Any:  # noqa: ANN401 - by method
        return await self._door.answer(method, params)

    async def settle(self, run: str) -> None:
        """Return when *run* has ended or waits for somebody."""
        await self._ask("settled", {"run": run})

    def facade(self, name: str) -> Callable[..., Awaitable[Json]]:
        """Give an ACTIVE facade as a function; the only way for an agent."""
        self.deployment.gate.facade(name)

        async def called(**inputs: Json) -> Json:
            handle = await self.submit(None, inputs, facade=name)
            return (await handle.wait()).unwrap()

        return called

    # ---- runs ----------------------------------------------------------------------------------
    def attach(self, run: str) -> AsyncRunHandle:
        """Give the handle of an existing run, by id or unique prefix.

        :raises RunError: ``run.unknown`` ``run.ambiguous``
        """
        rows = self.journal.rows("SELECT id FROM run WHERE id LIKE ? || '%' LIMIT 3", (run,))
        if len(rows) > 1 and (run,) not in rows:
            raise RunError("run.ambiguous", run=run)
        if not rows or not run.isalnum():
            raise RunError("run.unknown", run=run)
        return AsyncRunHandle(self, run if (run,) in rows else rows[0][0])

    def runs(self, state: str | None = None, limit: int = 100) -> list[RunRow]:
        """List runs, the newest first."""
        rows = self.journal.rows(
            "SELECT id, workflow, state, actor, opened_us, changed_us, residue FROM run"
            " WHERE state = coalesce(?, state) ORDER BY opened_us DESC, id LIMIT ?",
            (state, limit),
        )
        return [RunRow(*row) for row in rows]

    # ---- the handshake -------------------------------------------------------------------------
    def approvals(self, *, mine: bool = False) -> list[ConfirmationRequest]:
        """Give every request that waits for an answer, the oldest first."""
        found: list[ConfirmationRequest] = []
        for (run,) in self.journal.rows(
            f"SELECT id FROM run WHERE state IN ({','.join('?' * len(_OPEN))})",  # noqa: S608 - marks
            _OPEN,
        ):
            with contextlib.suppress(RunError):
                found += open_questions(self.journal, self.reader.view(run))
        if mine:
            found = [request for request in found if request.requester != str(self.actor)]
        return sorted(found, key=lambda request: request.opened_us)

    def approval(self, request: str) -> ConfirmationRequest:
        """Give one open request by id or unique prefix.

        :raises HandshakeError: ``handshake.unknown``
        """
        return one_request(self.approvals(), request)

    async def decide(self, decision: Decision) -> None:
        """Give a person's answer; returns once it is recorded.

        :raises HandshakeError: it cannot be taken
        """
        if self.actor.kind == "agent":
            why = "agents and services decide nothing"
            raise HandshakeError(
                "handshake.not_eligible", request=decision.request, by=str(self.actor), why=why
            )
        await self._ask("decide", {"decision": codec.to_json(decision)})

    async def control(self, run: str, verb: str, **params: Json) -> None:
        """Pause, resume, cancel, roll back, retry or resolve; returns once it is recorded."""
        given = {key: value for key, value in params.items() if value is not None}
        actor = codec.to_json(self.actor)
        await self._ask("control", {"run": run, "verb": verb, "actor": actor, **given})

    async def poke(self) -> None:
        """Have the owner look at the governance store now."""
        await self._ask("poke", {})

    async def close(self) -> None:
        """Leave the deployment; a forgotten close loses nothing."""
        await self._door.close()


def one_request(found: list[ConfirmationRequest], name: str) -> ConfirmationRequest:
    """Pick a request by id or unique prefix."""
    fitting = [request for request in found if name and request.id.startswith(name)]
    if len(fitting) != 1:
        raise HandshakeError("handshake.unknown", request=name)
    return fitting[0]


def _named(workflow: str | Path | WorkflowSpec | None) -> JsonObject:
    """Say which workflow: an ACTIVE one by id, or a document, whole."""
    match workflow:
        case WorkflowSpec():
            return {"document": document_of(workflow), "file": workflow.id}
        case str() | Path() if _is_file(workflow):
            path = Path(workflow)
            parsed = read("workflow", path.read_bytes(), file=str(path))
            return {"document": json.loads(json.dumps(parsed.value)), "file": str(path)}
        case str():
            return {"workflow": workflow}
        case _:
            raise AccessError("workflow.unknown", workflow=str(workflow))


def _is_file(name: str | Path) -> bool:
    return isinstance(name, Path) or (name.endswith((".yaml", ".yml")) and Path(name).is_file())


async def open_door(config: Config, *, is_observer: bool) -> Owner | Guest:
    """Own the home, or be a guest of who does, or only read."""
    if is_observer:
        return await Guest.open(config, is_observer=True)
    try:
        return await Owner.open(config)
    except EngineError as error:
        if error.code != "engine.locked":
            raise
        return await Guest.open(config, is_observer=False)


@attrs.define(eq=False)
class AsyncOpener:
    """``async with`` gives an `AsyncRuntime`."""

    config: Path | str | None
    home: Path | str | None
    actor: Actor | None
    observer: bool
    flags: Mapping[str, Json]
    _runtime: AsyncRuntime | None = attrs.field(default=None, init=False)

    def resolved(self) -> Config:
        """Read the settings."""
        flags = dict(self.flags)
        if self.home is not None:
            flags["home"] = str(self.home)
        return load_config(
            None if self.config is None else Path(self.config), flags=flags, environ=os.environ
        )

    async def __aenter__(self) -> AsyncRuntime:
        """Open."""
        door = await open_door(self.resolved(), is_observer=self.observer)
        self._runtime = AsyncRuntime(door, self._actor())
        return self._runtime

    def _actor(self) -> Actor:
        """Whoever the program names is asserted by it, so their word proves little."""
        if self.actor is None:
            return default_actor()
        return attrs.evolve(self.actor, assurance="relayed")

    async def __aexit__(self, *_: object) -> None:
        """Close."""
        if self._runtime is not None:
            await self._runtime.close()

"""`AsyncRuntime`, the SDK: everything a program can ask of one deployment.

`Runtime` is the same with plain calls (`awe_core.runtime.waiting`).  Which process owns the home
makes no difference to callers: an owner answers itself, a guest asks the owner.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from awe_core.engine import Plans, Reader, open_questions
from awe_core.errors import EngineError, HandshakeError, RunError
from awe_core.events import codec
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.requests import named
from awe_core.runtime.results import RunRow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.events import Actor, ConfirmationRequest, Decision
    from awe_core.governance import Governance
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.owner import Guest, Owner
    from awe_core.runtime.results import RunResult
    from awe_core.values import Json, JsonObject
    from awe_core.workflow import WorkflowSpec


class AsyncRuntime:
    """One deployment, from inside an event loop.  Made by ``async with Runtime.open(…)``."""

    def __init__(self, door: Owner | Guest, actor: Actor) -> None:
        """Speak through *door* as *actor*."""
        self._door = door
        self.actor = actor
        self.role = door.role  #: ``owner``, ``guest`` or ``observer``: what this process is
        self.journal = door.journal  #: the log of the workspace, for reading
        self.logs = door.logs  #: and those beside it, by run
        limits = door.deployment.config.engine.limits
        self.plans = Plans(door.deployment.registry, limits)
        self.reader = Reader(self.logs, door.deployment.registry, self.plans)

    # ---- what there is -------------------------------------------------------------------------
    @property
    def deployment(self) -> Deployment:
        """What may run here, and why not."""
        return self._door.deployment

    @property
    def config(self) -> Config:
        """The settings, each with its origin."""
        return self.deployment.config

    @property
    def governance(self) -> Governance:
        """The governance store."""
        return self.deployment.governance

    # ---- running -------------------------------------------------------------------------------
    async def call(self, capability: str, /, *given: JsonObject, **arguments: Json) -> Json:
        """Call one capability and give its output; a run like any other.

        :raises RunNotCompletedError: with the result
        """
        merged = {**(given[0] if given else {}), **arguments}
        return (await (await self.submit_call(capability, merged)).wait()).unwrap()

    async def run(
        self,
        workflow: str | Path | WorkflowSpec,
        inputs: Mapping[str, Json] | None = None,
        *,
        timeout: float | None = None,  # noqa: ASYNC109 - the SDK's signature
    ) -> RunResult:
        """Run a workflow until it has ended or waits for somebody."""
        return await (await self.submit(workflow, inputs)).wait(timeout)

    async def submit_call(
        self,
        capability: str,
        arguments: Mapping[str, Json] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> AsyncRunHandle:
        """Open a run of one call; returns once it is durable."""
        return await self._submit({"call": capability}, arguments, key=idempotency_key)

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
        asked = named(workflow) if facade is None else {"facade": facade}
        return await self._submit(asked, inputs, key=idempotency_key, expires_us=expires_us)

    async def plan(
        self,
        workflow: str | Path | WorkflowSpec | None,
        inputs: Mapping[str, Json] | None = None,
        *,
        facade: str | None = None,
    ) -> JsonObject:
        """Run a workflow dry, on record: steps, effects with diffs, approvals to expect, a digest.

        Nothing of the workspace changes and nobody is asked.

        :raises AweError: refused; no run exists then
        """
        asked = named(workflow) if facade is None else {"facade": facade}
        return await self._plan("plan", asked, inputs)

    async def plan_call(
        self, capability: str, arguments: Mapping[str, Json] | None = None
    ) -> JsonObject:
        """Do the same for one call."""
        return await self._plan("plan", {"call": capability}, arguments)

    async def outline(
        self, workflow: str | Path | WorkflowSpec, inputs: Mapping[str, Json] | None = None
    ) -> JsonObject:
        """Say what a workflow would do as far as its inputs tell, starting no handler."""
        return await self._plan("outline", named(workflow), inputs)

    async def _plan(
        self, method: str, asked: JsonObject, inputs: Mapping[str, Json] | None
    ) -> JsonObject:
        request = {**asked, "inputs": dict(inputs or {}), "actor": codec.to_json(self.actor)}
        found: JsonObject = await self._door.answer(method, request)
        return found

    async def _submit(
        self,
        asked: JsonObject,
        inputs: Mapping[str, Json] | None,
        *,
        key: str | None,
        expires_us: int | None = None,
    ) -> AsyncRunHandle:
        request = {**asked, "inputs": dict(inputs or {}), "actor": codec.to_json(self.actor)}
        more = {"idempotency_key": key, "expires_us": expires_us}
        request |= {name: value for name, value in more.items() if value is not None}
        while True:
            try:
                return AsyncRunHandle(self, str(await self._door.answer("submit", request)))
            except EngineError as error:
                if error.code != "engine.busy":
                    raise
                wait_s: Any = error.attributes["retry_after"]
                await asyncio.sleep(wait_s)

    def facade(self, name: str) -> Callable[..., Awaitable[Json]]:
        """Give an ACTIVE facade as a function; the only way for an agent."""
        self.deployment.gate.facade(name)

        async def called(**inputs: Json) -> Json:
            return (await (await self.submit(None, inputs, facade=name)).wait()).unwrap()

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
            "SELECT id, workflow, state, actor, opened_us, changed_us, residue,"
            " (SELECT json_extract(CAST(body AS TEXT), '$.event.dry') FROM log"
            " WHERE log.run = run.id AND rseq = 0) FROM run"
            " WHERE state = coalesce(?, state) ORDER BY opened_us DESC, id LIMIT ?",
            (state, limit),
        )
        return [RunRow(*row) for row in rows]

    async def settle(self, run: str) -> None:
        """Return when *run* has ended or waits for somebody."""
        await self._door.answer("settled", {"run": run})

    async def control(self, run: str, verb: str, **params: Json) -> None:
        """Pause, resume, cancel, roll back, retry or resolve; returns once it is recorded."""
        given = {key: value for key, value in params.items() if value is not None}
        actor = codec.to_json(self.actor)
        await self._door.answer("control", {"run": run, "verb": verb, "actor": actor, **given})

    # ---- the handshake -------------------------------------------------------------------------
    def approvals(self, *, mine: bool = False) -> list[ConfirmationRequest]:
        """Give every request that waits for an answer, the oldest first."""
        found: list[ConfirmationRequest] = []
        open_runs = "SELECT id FROM run WHERE state IN ('PENDING', 'RUNNING', 'PAUSED')"
        for (run,) in self.journal.rows(open_runs):
            found += open_questions(self.reader.log_of(run), run)
        others = (one for one in found if not mine or one.requester != str(self.actor))
        return sorted(others, key=lambda request: request.opened_us)

    def approval(self, request: str) -> ConfirmationRequest:
        """Give one open request by id or unique prefix.

        :raises HandshakeError: ``handshake.unknown``
        """
        fitting = [one for one in self.approvals() if request and one.id.startswith(request)]
        if len(fitting) != 1:
            raise HandshakeError("handshake.unknown", request=request)
        return fitting[0]

    async def decide(self, decision: Decision) -> None:
        """Give a person's answer; returns once it is recorded.

        :raises HandshakeError: it cannot be taken
        """
        if self.actor.kind == "agent":
            why = "agents and services decide nothing"
            raise HandshakeError(
                "handshake.not_eligible", request=decision.request, by=str(self.actor), why=why
            )
        await self._door.answer("decide", {"decision": codec.to_json(decision)})

    async def poke(self) -> None:
        """Have the owner look at the governance store now."""
        await self._door.answer("poke", {})

    async def close(self, *, is_hurried: bool = False) -> None:
        """Leave the deployment; a forgotten close loses nothing.

        :param is_hurried: what runs has a second to end, instead of ``engine.shutdown``
        """
        await self._door.close(is_hurried=is_hurried)

"""Prepares, judges and performs one call of one capability."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.context import AsyncExecutionContext
from awe_core.effects import CORE_KINDS, Grant, GrantPlan
from awe_core.errors import ContractError, EngineError
from awe_core.events import Facts
from awe_core.handshake import (
    Asked,
    Call,
    PolicyChain,
    default_requirement,
    fold,
    new_request_id,
    question,
)
from awe_core.invoke.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from awe_core.capability import CapabilitySpec, Confirm
    from awe_core.context import Attempt
    from awe_core.contract import Mark
    from awe_core.effects import StepBroker
    from awe_core.events import Actor, ConfirmationRequest, Requirement
    from awe_core.gate import Gate, Purpose
    from awe_core.handshake import AskPeople, Judged, Refuse
    from awe_core.handshake import Grant as GrantedByPolicy
    from awe_core.hookspecs import Executor
    from awe_core.registry import Capability, CapabilityRegistry
    from awe_core.values import Json, JsonObject
    from awe_core.workspace import Workspace


@attrs.frozen(kw_only=True)
class Handshake:
    """How this deployment confirms calls."""

    chain: PolicyChain
    requirements: Mapping[str, Requirement] = attrs.field(factory=dict)  #: by risk
    expires_us: int = 86_400_000_000
    environment: str = "prod"


@attrs.frozen(kw_only=True)
class Prepared:
    """A call that is valid and narrowed; nothing has happened yet."""

    capability: Capability
    arguments: JsonObject  #: validated, defaults applied
    grant: Grant
    digest: str  #: of the exact call
    confirm: Confirm  #: the stricter of contract and step
    marks: Sequence[tuple[str, Mark]]  #: what of the arguments is marked
    shown: Json  #: the arguments as people and the digest see them: marked ones as their MAC

    @property
    def spec(self) -> CapabilitySpec:
        """The contract."""
        return self.capability.spec


class Invoker:
    """Everything that is the same for each step of every run."""

    def __init__(  # noqa: PLR0913 - the parts a step meets
        self,
        registry: CapabilityRegistry,
        gate: Gate,
        *,
        workspace: Workspace,
        handshake: Handshake,
        executors: Mapping[str, Executor],
        config: Mapping[str, JsonObject],
        deployment: str,
        mac: Callable[[bytes], str],
    ) -> None:
        """Wire the parts together."""
        self.registry = registry
        self.gate = gate
        self.workspace = workspace
        self.handshake = handshake
        self.executors = executors
        self._config = config
        self._mac = mac
        self._place = f"{deployment}/{workspace.id}"
        self._promises = {
            name: canonical.digest_value(dict(one.probe())) for name, one in executors.items()
        }
        self._plans: dict[tuple[str, str], GrantPlan] = {}

    def promises(self, executor: str) -> str:
        """Give the digest of what an executor promised when it was probed."""
        return self._promises[executor]

    def config_of(self, capability: Capability) -> JsonObject:
        """The table of the capability's pack under ``config:``."""
        return dict(self._config.get(capability.pack.dist, {}))

    def prepare(
        self, reference: str, arguments: JsonObject, *, purpose: Purpose, confirm: Confirm
    ) -> Prepared:
        """Resolve, check the gate, validate, narrow and digest one call.

        :raises AweError: whatever of these refuses; nothing has happened then
        """
        capability = self.registry.resolve(reference)
        self.gate.check(capability.spec.id, capability.contract, purpose)
        valid: JsonObject = capability.input.apply(arguments, side="input")
        grant = self._plan(capability).narrow(valid, self.config_of(capability))
        marks = capability.input.marks(valid)
        shown = masked(valid, marks, self._mac)
        return Prepared(
            capability=capability,
            arguments=valid,
            grant=grant,
            digest=self._digest(capability, shown, grant),
            confirm=max(confirm, capability.spec.confirm),
            marks=marks,
            shown=shown,
        )

    def ask(  # noqa: PLR0913 - what a question is made of
        self,
        prepared: Prepared,
        actor: Actor,
        *,
        run: str,
        step: str,
        attempts: int,
        now_us: int,
        limit_us: int | None,
        replaces: str | None,
    ) -> ConfirmationRequest:
        """Write the question of *prepared*; policies judge it and, if need be, people read it."""
        expires = now_us + self.handshake.expires_us
        asked = Asked(
            spec=prepared.spec,
            pack=prepared.capability.pack,
            arguments=prepared.shown,
            digest=prepared.digest,
            effects=prepared.grant.as_json,
            run=run,
            step=step,
            attempts=attempts,
            confirm=prepared.confirm.value,
            actor=actor,
            undo=prepared.spec.undo,
        )
        return question(
            asked,
            request_id=new_request_id(),
            policy_set=self.handshake.chain.digest,
            now_us=now_us,
            expires_us=expires if limit_us is None else min(expires, limit_us),
            replaces=replaces,
        )

    def facts(self, prepared: Prepared, actor: Actor, now_us: int) -> Facts:
        """What policies may know beside the question.

        A closed grant names every target of the call, and the broker refuses all else; where the
        root's signers vouch that the handler reaches the world through the broker alone, it says as
        much as a dry run would (ADR 0003).
        """
        return Facts(
            now_us=now_us,
            environment=self.handshake.environment,
            requester_roles=actor.roles,
            has_preview=prepared.grant.is_closed and prepared.capability.executor == "inproc",
        )

    def fold(
        self, prepared: Prepared, judged: list[Judged]
    ) -> Refuse | GrantedByPolicy | AskPeople:
        """Fold the policies' answers into one outcome."""
        risk = prepared.spec.risk
        default = default_requirement(risk, self.handshake.requirements)
        return fold(judged, confirm=prepared.confirm, risk=risk, default=default)

    async def perform(
        self,
        prepared: Prepared,
        broker: StepBroker,
        attempt: Attempt,
        *,
        actor: Actor,
        timeout_us: int,
    ) -> Json:
        """Run the handler and check what it returns.

        :raises EngineError: ``step.timeout``
        :raises ContractError: ``contract.output``
        :raises Exception: what the handler itself raised
        """
        executor = self.executors[prepared.capability.executor]
        context = AsyncExecutionContext(broker, attempt, actor)
        handler = prepared.capability.handler()
        clock = asyncio.timeout(timeout_us / 1e6)
        shut = _shut_after(timeout_us / 1e6, broker)
        try:
            async with clock:
                found = await executor.call(handler, context, prepared.arguments)
            if _is_late(clock):  # a handler that blocked the loop let no timer fire
                raise _late(attempt, timeout_us)
        except TimeoutError:
            if not clock.expired():
                raise
            raise _late(attempt, timeout_us) from None
        finally:
            shut.cancel()
            await broker.end("the step has ended")
        return self._checked(prepared, found)

    def _checked(self, prepared: Prepared, found: Json) -> Json:
        output = prepared.capability.output.apply(
            prepared.capability.structure(found), side="output"
        )
        size, limit = len(canonical.value(output)), prepared.spec.output_bytes
        if size > limit:
            raise ContractError(
                "contract.output_size", capability=prepared.spec.id, size=size, limit=limit
            )
        return output

    def _plan(self, capability: Capability) -> GrantPlan:
        key = (capability.spec.full_reference, capability.pack.record)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = GrantPlan.compile(capability.spec, kinds=CORE_KINDS)
        return plan

    def _digest(self, capability: Capability, shown: Json, grant: Grant) -> str:
        preimages = [_preimage(self.workspace, path) for path in grant.may_change]
        return Call(
            capability=capability.spec.id,
            version=capability.spec.version,
            pack=capability.pack.record,
            arguments=shown,
            workspace=self._place,
            preimages=preimages,
        ).digest


def _shut_after(seconds: float, broker: StepBroker) -> asyncio.TimerHandle:
    """Let the broker close before the handler is cancelled: on that it may act no more."""
    loop = asyncio.get_running_loop()
    return loop.call_later(seconds, broker.close, "the step took longer than its timeout")


def _is_late(clock: asyncio.Timeout) -> bool:
    """Whether the instant of *clock* has passed, noticed or not."""
    due = clock.when()
    return due is not None and asyncio.get_running_loop().time() >= due


def _late(attempt: Attempt, timeout_us: int) -> EngineError:
    return EngineError(
        "step.timeout", step=attempt.step, run=attempt.run_id, limit=timeout_us / 1e6
    )


def _preimage(workspace: Workspace, path: str) -> JsonObject:
    """What stands at *path* now, as an approval is bound to it."""
    found = workspace.digest(path)
    return {
        "path": path,
        "kind": found.kind,
        "sha256": found.sha256 or ("absent" if found.kind == "absent" else ""),
        "mode": found.mode,
    }

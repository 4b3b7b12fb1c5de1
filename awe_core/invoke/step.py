"""Prepares, judges and performs one call of one capability."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.capability import UndoCompensate, undo_in_words
from awe_core.context import AsyncExecutionContext
from awe_core.effects import CORE_KINDS, Grant, GrantPlan
from awe_core.errors import ContractError, EngineError, PackError
from awe_core.events import ConfirmationRequest, Facts, codec
from awe_core.handshake import Grant as GrantedByPolicy
from awe_core.handshake import (
    PolicyChain,
    call_digest,
    default_requirement,
    fold,
    new_request_id,
    summary,
)
from awe_core.invoke.masking import masked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from awe_core.capability import CapabilitySpec, Confirm, Undo
    from awe_core.context import Attempt
    from awe_core.contract import Mark
    from awe_core.effects import StepBroker
    from awe_core.events import Actor, Requirement
    from awe_core.gate import Gate, Purpose
    from awe_core.handshake import AskPeople, Judged, Refuse
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
    body: bytes  #: their canonical form
    grant: Grant
    effects: tuple[JsonObject, ...]  #: the grant, as the record and people see it
    digest: str  #: of the exact call
    confirm: Confirm  #: the stricter of contract and step
    marks: Sequence[tuple[str, Mark]]  #: what of the arguments is marked
    shown: Json  #: the arguments as people and the digest see them: marked ones as their MAC
    undo: JsonObject  #: how its effects would be taken back, in words
    has_preview: bool  #: see `Invoker.facts`

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
        self._plans: dict[Capability, GrantPlan] = {}
        self._granted: dict[tuple[object, ...], JsonObject] = {}

    def promises(self, executor: str) -> str:
        """Give the digest of what an executor promised when it was probed."""
        return self._promises[executor]

    def config_of(self, capability: Capability) -> JsonObject:
        """The table of the capability's pack under ``config:``."""
        return dict(self._config.get(capability.pack.dist, {}))

    def check_executor(self, capability: Capability) -> None:
        """Refuse what only an executor that nothing here offers may run.

        :raises PackError: ``isolation.unavailable``
        """
        if capability.executor not in self.executors:
            about = {"capability": capability.spec.id, "executor": capability.executor}
            raise PackError("isolation.unavailable", **about)

    def prepare(  # noqa: PLR0913 - a call, and where it stands
        self,
        reference: str,
        arguments: JsonObject,
        *,
        purpose: Purpose,
        confirm: Confirm,
        workspace: Workspace | None = None,
        is_known: bool = True,
        undo: Undo | None = None,
    ) -> Prepared:
        """Resolve, check the gate, validate, narrow and digest one call.

        :param is_known: False: some arguments are still to come, so nothing is checked against
            the contract, and the grant is no preview
        :param undo: instead of what the contract says
        :param workspace: what the digest binds the call to, if not the real one: a dry run's
        :raises AweError: whatever of these refuses; nothing has happened then
        """
        capability = self.registry.resolve(reference)
        spec, pack = capability.spec, capability.pack
        self.gate.check(spec.id, capability.contract, purpose)
        self.check_executor(capability)
        valid: JsonObject = arguments
        if is_known:
            valid = capability.input.apply(arguments, side="input")
        plan = self._plans.get(capability)
        if plan is None:
            plan = self._plans[capability] = GrantPlan.compile(spec, kinds=CORE_KINDS)
        grant = plan.narrow(valid, self.config_of(capability))
        marks = capability.input.marks(valid)
        shown = masked(valid, marks, self._mac)
        body = canonical.value(valid)
        return Prepared(
            capability=capability,
            arguments=valid,
            body=body,
            grant=grant,
            effects=grant.as_json,
            digest=call_digest(
                capability=spec.id,
                version=spec.version,
                pack=pack.record,
                arguments=body if shown is valid else canonical.value(shown),
                workspace=self._place,
                preimages=[
                    _preimage(workspace or self.workspace, path) for path in grant.may_change
                ],
            ),
            confirm=max(confirm, spec.confirm),
            marks=marks,
            shown=shown,
            undo=_shown(undo or spec.undo),
            has_preview=is_known and capability.executor == "inproc" and grant.is_closed,
        )

    # ---- the handshake -------------------------------------------------------------------------
    def granted(self, prepared: Prepared) -> JsonObject | None:
        """Give the policy's grant of an earlier call that policies cannot tell from this one."""
        return self._granted.get(self._likeness(prepared))

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
        expires, spec = now_us + self.handshake.expires_us, prepared.spec
        return ConfirmationRequest(
            id=new_request_id(),
            version=1,
            summary=summary(prepared.effects),
            capability=spec.full_reference,
            pack=prepared.capability.pack,
            risk=spec.risk.value,
            confirm=prepared.confirm.value,
            arguments=prepared.shown,
            digest=prepared.digest,
            effects=prepared.effects,
            preview=None,
            undo=prepared.undo,
            requester=str(actor),
            on_behalf_of=actor.on_behalf_of,
            run=run,
            step=step,
            attempts=attempts,
            policy_set=self.handshake.chain.digest,
            opened_us=now_us,
            expires_us=expires if limit_us is None else min(expires, limit_us),
            replaces=replaces,
        )

    def facts(
        self, prepared: Prepared, actor: Actor, now_us: int, *, is_dry: bool = False
    ) -> Facts:
        """What policies may know beside the question.

        A closed grant names every target of the call, and the broker refuses all else; where the
        root's signers vouch that the handler reaches the world through the broker alone, it says as
        much as a dry run would (ADR 0003).
        """
        return Facts(
            now_us=now_us,
            environment=self.handshake.environment,
            requester_roles=actor.roles,
            is_dry=is_dry,
            has_preview=prepared.has_preview,
        )

    def fold(
        self, prepared: Prepared, judged: list[Judged]
    ) -> Refuse | GrantedByPolicy | AskPeople:
        """Fold the policies' answers into one outcome."""
        risk = prepared.spec.risk
        default = default_requirement(risk, self.handshake.requirements)
        outcome = fold(judged, confirm=prepared.confirm, risk=risk, default=default)
        if isinstance(outcome, GrantedByPolicy) and self.handshake.chain.reads_contracts_alone:
            self._granted[self._likeness(prepared)] = codec.to_json(outcome.by)
        return outcome

    @staticmethod
    def _likeness(prepared: Prepared) -> tuple[object, ...]:
        """All of a call that a chain which `reads_contracts_alone` can see, in few words."""
        called = prepared.undo.get("capability")
        likeness = prepared.capability, prepared.confirm, prepared.has_preview
        return *likeness, prepared.undo["kind"], called

    # ---- the handler ---------------------------------------------------------------------------
    async def perform(
        self,
        prepared: Prepared,
        broker: StepBroker,
        attempt: Attempt,
        *,
        actor: Actor,
        timeout_us: int,
    ) -> tuple[Json, bytes]:
        """Run the handler, in the task of the caller, and check what it returns.

        :returns: the output, and its canonical form
        :raises EngineError: ``step.timeout``
        :raises ContractError: ``contract.output``
        :raises Exception: what the handler itself raised
        """
        executor = self.executors[prepared.capability.executor]
        context = AsyncExecutionContext(broker, attempt, actor)
        handler = prepared.capability.handler()
        alarm = _Alarm(broker, timeout_us)
        try:
            found = await executor.call(handler, context, prepared.arguments)
        except (asyncio.CancelledError, TimeoutError):
            if not alarm.is_the_reason:
                raise
            raise _late(attempt, timeout_us) from None
        finally:
            alarm.stop()
            await broker.end("the step has ended")
        if alarm.is_late:  # a handler that blocked the loop let no timer fire
            raise _late(attempt, timeout_us)
        return _checked(prepared, found)


class _Alarm:
    """Ends a step at its deadline: closes its broker first, as it may act no more, then cancels.

    One timer instead of `asyncio.timeout` and another for the broker, at every step of every run.
    """

    def __init__(self, broker: StepBroker, timeout_us: int) -> None:
        """Watch the current task."""
        self._broker = broker
        self._task = asyncio.current_task()
        self._requests = 0 if self._task is None else self._task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + timeout_us / 1e6
        self._timer = self._loop.call_at(self._due, self._ring)
        self._has_rung = self.is_late = False

    def _ring(self) -> None:
        self._has_rung = True
        self._broker.close("the step took longer than its timeout")
        if self._task is not None:
            self._task.cancel()

    @property
    def is_the_reason(self) -> bool:
        """Whether nobody but this alarm has cancelled the task."""
        return self._has_rung and (
            self._task is None or self._task.cancelling() <= self._requests + 1
        )

    def stop(self) -> None:
        """Ring no more, and take back what a ring has asked of the task."""
        self._timer.cancel()
        self.is_late = self._has_rung or self._loop.time() >= self._due
        if self._has_rung and self._task is not None:
            self._task.uncancel()


def _checked(prepared: Prepared, found: Json) -> tuple[Json, bytes]:
    output = prepared.capability.output.apply(prepared.capability.structure(found), side="output")
    body, limit = canonical.value(output), prepared.spec.output_bytes
    if len(body) > limit:
        raise ContractError(
            "contract.output_size", capability=prepared.spec.id, size=len(body), limit=limit
        )
    return output, body


def _late(attempt: Attempt, timeout_us: int) -> EngineError:
    return EngineError(
        "step.timeout", step=attempt.step, run=attempt.run_id, limit=timeout_us / 1e6
    )


def _shown(undo: Undo) -> JsonObject:
    """Say how a call would be taken back; a compensation is approved with the call it is for."""
    words: JsonObject = undo_in_words(undo)
    if isinstance(undo, UndoCompensate):
        call = undo.compensate
        words |= {"with": call.with_} | ({} if call.when is None else {"when": call.when})
    return words


def _preimage(workspace: Workspace, path: str) -> JsonObject:
    """What stands at *path* now, as an approval is bound to it."""
    found = workspace.digest(path)
    return {
        "path": path,
        "kind": found.kind,
        "sha256": found.sha256 or ("absent" if found.kind == "absent" else ""),
        "mode": found.mode,
    }

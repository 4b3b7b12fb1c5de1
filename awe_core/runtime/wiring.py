"""The parts of a running deployment, as ``awe.yaml`` names them: handshake, sinks, engine."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from awe_core.audit import Attached, AuditLogger, JsonlSink
from awe_core.documents import load_allow_list
from awe_core.engine import Parts, RuntimeEngine, Settings
from awe_core.errors import AuditError, AweError, HandshakeError
from awe_core.events import Deny, ManifestRef, Requirement
from awe_core.handshake import Allowed, AllowList, Auto, Console, DenyAll, Ledger, PolicyChain
from awe_core.invoke import DaemonPool, Handshake, InProcess, Invoker
from awe_core.journal import Logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.config.settings import PolicySettings
    from awe_core.events import Answer, ConfirmationRequest, Facts
    from awe_core.hookspecs import AuditSink, ConfirmationPolicy, Executor
    from awe_core.journal import Journal
    from awe_core.runtime.deployment import Deployment
    from awe_core.undo import UndoManager

_POLICY_THREADS = 8  #: of impure policies: few, and not those that handlers run on


def now_us() -> int:
    """The wall clock in microseconds."""
    return time.time_ns() // 1_000


def engine_of(
    deployment: Deployment,
    journal: Journal,
    undo: UndoManager,
    *,
    policies: Sequence[ConfirmationPolicy] | None = None,
) -> RuntimeEngine:
    """Wire an engine.

    :param policies: instead of those that ``confirm:`` names
    """
    config, plugins = deployment.config, deployment.plugins
    pool = DaemonPool(config.engine.limits.threads, name="awe")
    handlers = DaemonPool(config.engine.limits.threads, name="awe-handler")
    executors: list[Executor] = [InProcess(handlers), *plugins.executors(config.config).objects]
    undo.add(plugins.undo_strategies(config.config).found)
    invoker = Invoker(
        deployment.registry,
        deployment.gate,
        workspace=undo.workspace,
        handshake=_handshake(deployment, policies),
        executors={one.name: one for one in executors},
        config=config.config,
        deployment=config.name,
        mac=journal.mac,
    )
    settings = Settings(
        durability=config.engine.durability,
        effects=config.engine.effects,
        barriers=config.engine.barriers,
        level=config.audit.level,
        limits=config.engine.limits,
        shutdown_us=config.engine.shutdown_us,
        drops_completed=not config.undo.keep_us,
        evicts_closed=config.undo.on_quota == "evict_closed",
    )
    if config.undo.keep_us:
        settings = attrs.evolve(settings, undo_keep_us=config.undo.keep_us)
    parts = Parts(
        journal=journal,
        invoker=invoker,
        undo=undo,
        ledger=Ledger(config.handshake.ticket_us),
        people=deployment.people,
        pool=pool,
        handlers=handlers,
        clock_us=now_us,
        settings=settings,
        logs=Logs(journal, config.engine.isolation),
    )
    adopt(parts, deployment)
    return RuntimeEngine(parts)


def adopt(parts: Parts, deployment: Deployment) -> None:
    """Have an engine say of its runs what is trusted now."""
    mark = deployment.verdict.mark if deployment.verdict else None
    manifest = None
    if mark is not None and mark.digest is not None:
        manifest = ManifestRef(mark.root_version, mark.version, mark.digest)
    parts.people = deployment.people
    parts.settings = attrs.evolve(parts.settings, trust=deployment.trust, manifest=manifest)


def logger_of(config: Config, journal: Journal, offered: Sequence[AuditSink]) -> AuditLogger:
    """Attach every sink that ``audit.sinks`` names.

    :raises AuditError: ``sink.unknown`` when one is named that nothing offers; ``sink.isolated``
        when a required one would not see the records of runs
    """
    by_name, attached = {sink.name: sink for sink in offered}, []
    for one in config.audit.sinks:
        sink: AuditSink | None = by_name.get(one.sink)
        if one.sink == "jsonl":
            base = config.file.parent if config.file else config.home
            sink = JsonlSink(base / str(one.settings.get("path", "audit")))
        if sink is None:
            raise AuditError("sink.unknown", sink=one.sink)
        if one.is_required and config.engine.isolation != "workspace":
            raise AuditError("sink.isolated", sink=one.sink, isolation=config.engine.isolation)
        attached.append(Attached(sink, is_required=one.is_required))
    return AuditLogger(journal, attached)


# ---- the handshake: what is named and cannot take part is never skipped, it denies ---------------
@attrs.frozen
class Missing:
    """Stands in for a policy that is named and cannot take part: it denies everything."""

    name: str
    error: AweError
    version: str = "0"
    is_pure: bool = True

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer:  # noqa: ARG002 - protocol
        """Deny, and say why this policy is missing."""
        return Deny(reason=self.error.summary)


def _handshake(deployment: Deployment, policies: Sequence[ConfirmationPolicy] | None) -> Handshake:
    config, settings = deployment.config, None
    if policies is None:
        policies = _policies(
            config, deployment.plugins.confirmation_policies(config.config).objects
        )
        settings = [[one.policy, one.settings] for one in config.confirm]
    requirements = {
        risk: Requirement(quorum=r.quorum, roles=r.roles, min_assurance=r.min_assurance)
        for risk, r in config.handshake.requirements.items()
    }
    threads = DaemonPool(_POLICY_THREADS, name="awe-policy")
    return Handshake(
        chain=PolicyChain(policies, threads=threads, settings=settings),
        requirements=requirements,
        expires_us=config.handshake.expires_us,
        environment="dev" if deployment.people.is_dev else "prod",
    )


def _policies(config: Config, offered: Sequence[ConfirmationPolicy]) -> list[ConfirmationPolicy]:
    by_name = {policy.name: policy for policy in offered}
    named, names = [one.policy for one in config.confirm], [policy.name for policy in offered]
    found: list[ConfirmationPolicy] = []
    for one in {one.policy: one for one in config.confirm}.values():
        try:
            if max(named.count(one.policy), names.count(one.policy)) > 1:
                raise _missing(one.policy, "two policies have this name")
            found.append(_policy(one, config, by_name))
        except AweError as error:
            found.append(Missing(one.policy, error))
    return found


def _policy(
    one: PolicySettings, config: Config, offered: Mapping[str, ConfirmationPolicy]
) -> ConfirmationPolicy:
    match one.policy:
        case "auto":
            return Auto.configured(one.settings)
        case "deny_all":
            return DenyAll()
        case "console":
            return Console()
        case "allow_list":
            base = config.file.parent if config.file else config.workspace.root
            return _allow_list(base / str(one.settings.get("path", "")))
        case name if name in offered:
            return offered[name]
        case name:
            raise _missing(name, "nothing installed offers it")


def _allow_list(path: Path) -> AllowList:
    try:
        text = path.read_bytes()
    except OSError as error:
        why = f"{path.name}: {error.strerror or type(error).__name__}"
        raise _missing("allow_list", why) from None
    return AllowList(
        tuple(
            Allowed(e.capability, e.callers, e.until_us, e.selector, e.reason)
            for e in load_allow_list(text, file=str(path)).entries
        )
    )


def _missing(policy: str, why: str) -> HandshakeError:
    return HandshakeError("handshake.policy_missing", policy=policy, why=why)

"""The handshake as ``awe.yaml`` configures it: which policies, which people, which requirements."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.documents import load_allow_list
from awe_core.errors import AweError, HandshakeError
from awe_core.events import Deny, Requirement
from awe_core.handshake import Allowed, AllowList, Auto, Console, DenyAll, PolicyChain
from awe_core.invoke import DaemonPool, Handshake

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.config.settings import PolicySettings
    from awe_core.events import Answer, ConfirmationRequest, Facts
    from awe_core.hookspecs import ConfirmationPolicy
    from awe_core.values import JsonObject


_THREADS = 8


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


def handshake_of(
    config: Config, *, is_dev: bool, offered: Sequence[ConfirmationPolicy]
) -> Handshake:
    """Build the chain; a policy that cannot be built is never skipped, it denies."""
    by_name = {policy.name: policy for policy in offered}
    named, names = [one.policy for one in config.confirm], [policy.name for policy in offered]
    twice = {name for name in (*named, *names) if max(named.count(name), names.count(name)) > 1}
    policies = [
        _doubled(one.policy) if one.policy in twice else _policy(one, config, by_name)
        for one in {one.policy: one for one in config.confirm}.values()
    ]
    requirements = {
        risk: Requirement(quorum=r.quorum, roles=r.roles, min_assurance=r.min_assurance)
        for risk, r in config.handshake.requirements.items()
    }
    settings = [[one.policy, one.settings] for one in config.confirm]
    return Handshake(
        chain=PolicyChain(policies, threads=policy_threads(), settings=settings),
        requirements=requirements,
        expires_us=config.handshake.expires_us,
        environment="dev" if is_dev else "prod",
    )


def policy_threads() -> DaemonPool:
    """Give the threads of impure policies: few, and not those that handlers run on."""
    return DaemonPool(_THREADS, name="awe-policy")


def _doubled(name: str) -> Missing:
    why = "two policies have this name"
    return Missing(name, HandshakeError("handshake.policy_missing", policy=name, why=why))


def _policy(
    one: PolicySettings, config: Config, offered: dict[str, ConfirmationPolicy]
) -> ConfirmationPolicy:
    try:
        match one.policy:
            case "auto":
                return Auto.configured(one.settings)
            case "deny_all":
                return DenyAll()
            case "console":
                return Console()
            case "allow_list":
                return _allow_list(one.settings, _base(config))
            case name if name in offered:
                return offered[name]
            case name:
                raise HandshakeError(
                    "handshake.policy_missing", policy=name, why="nothing installed offers it"
                )
    except AweError as error:
        return Missing(one.policy, error)


def _allow_list(settings: JsonObject, base: Path) -> AllowList:
    path = base / str(settings.get("path", ""))
    try:
        text = path.read_bytes()
    except OSError as error:
        why = f"{path.name}: {error.strerror or type(error).__name__}"
        raise HandshakeError("handshake.policy_missing", policy="allow_list", why=why) from None
    found = load_allow_list(text, file=str(path))
    return AllowList(
        tuple(
            Allowed(e.capability, e.callers, e.until_us, e.selector, e.reason)
            for e in found.entries
        )
    )


def _base(config: Config) -> Path:
    return config.file.parent if config.file else config.workspace.root

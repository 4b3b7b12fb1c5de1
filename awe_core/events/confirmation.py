"""The question a call asks before it may happen, and the answers to it (50-handshake)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import attrs

from awe_core.events import codec
from awe_core.events.parts import Assurance, PackRef

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject

Verdict = Literal["approve", "deny", "send_back"]

#: Weakest first.
ASSURANCES: tuple[Assurance, ...] = ("relayed", "local", "session", "signed")


@attrs.frozen(kw_only=True)
class Requirement:
    """What an approval has to bring; every requirement of every ask must be met."""

    quorum: int = attrs.field(default=1, validator=attrs.validators.ge(1))  #: distinct people
    roles: tuple[str, ...] = codec.many(())  #: any of these; empty: any person
    min_assurance: Assurance = attrs.field(
        default="local", validator=attrs.validators.in_(ASSURANCES)
    )
    exclude: tuple[str, ...] = codec.many(())  #: actors that do not count
    expires_in_us: int | None = None


@attrs.frozen(kw_only=True)
class Approve:
    """A policy sees no need to ask."""

    reason: str = ""


@attrs.frozen(kw_only=True)
class Deny:
    """A policy forbids the call; nothing overrides it."""

    reason: str


@attrs.frozen(kw_only=True)
class Ask:
    """A policy wants people to decide."""

    requirements: tuple[Requirement, ...] = codec.many(())
    reason: str = ""


Answer: TypeAlias = Approve | Deny | Ask | None


@attrs.frozen(kw_only=True)
class PolicyAnswer:
    """What one policy said, as it is recorded."""

    name: str
    version: str
    answer: Literal["approve", "deny", "ask", "none", "failed"]
    reason: str = ""


@attrs.frozen(kw_only=True)
class Vote:
    """One person's answer to one version of one request."""

    by: str
    via: str
    assurance: Assurance
    verdict: Verdict
    at_us: int
    roles: tuple[str, ...] = codec.many(())
    self_: bool | None = None  #: the person also submitted the run
    reason: str | None = None
    signature: str | None = None


@attrs.frozen(kw_only=True)
class ConfirmationRequest:
    """One exact call that waits for a yes; stored whole, rendered by every channel as it is.

    ``summary`` is written by the engine from the effects plan and never holds a sentence of the
    agent, the pack or the arguments.
    """

    id: str  #: ``hs_`` and 26 base32 characters
    version: int  #: rises with each recorded change: the optimistic lock
    kind: Literal["call", "plan", "batch", "budget", "in_doubt"] = "call"
    summary: tuple[JsonObject, ...] = codec.many(())  #: typed parts, rendered per language
    capability: str  #: ``id@version``
    pack: PackRef | None = codec.of(PackRef, default=None)
    risk: str
    confirm: str = "policy"
    arguments: Json = None
    digest: str  #: of the call, ``sha256:`` and hex
    effects: tuple[JsonObject, ...] = codec.many(())  #: declared, narrowed to this call
    preview: JsonObject | None = None  #: seen in the dry run, or why there was none
    undo: JsonObject
    requester: str
    on_behalf_of: str | None = None
    run: str
    step: str
    attempts: int = 1  #: attempts of this step that one approval covers
    requirements: tuple[Requirement, ...] = codec.of(Requirement, many=True, default=())
    votes: tuple[Vote, ...] = codec.of(Vote, many=True, default=())
    excluded: tuple[JsonObject, ...] = codec.many(())  #: who may not, and why
    policies: tuple[PolicyAnswer, ...] = codec.of(PolicyAnswer, many=True, default=())
    policy_set: str  #: digest of the configured chain
    manifest: JsonObject | None = None
    said: str | None = None  #: the agent's own reason: untrusted
    seen: JsonObject | None = None
    opened_us: int
    expires_us: int
    replaces: str | None = None


@attrs.frozen(kw_only=True)
class Decision:
    """A person's answer, naming exactly what was shown."""

    request: str
    version: int
    digest: str
    verdict: Verdict = attrs.field(validator=attrs.validators.in_(get_args(Verdict)))
    by: str
    via: str
    assurance: Assurance = attrs.field(validator=attrs.validators.in_(ASSURANCES))
    at_us: int
    roles: tuple[str, ...] = codec.many(())
    scope: Literal["once", "run", "session"] = "once"
    selector: str | None = None
    reason: str | None = None
    signature: str | None = None


@attrs.frozen(kw_only=True)
class Facts:
    """What a policy may know beside the request itself."""

    now_us: int
    environment: str  #: dev or prod
    requester_roles: tuple[str, ...] = ()
    is_dry: bool = False
    has_preview: bool = False
    undeclared_seen: bool = False

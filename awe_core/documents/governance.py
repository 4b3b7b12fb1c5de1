"""What governs a deployment, as people write it: people, proposals, allow lists, ``awe.yaml``.

The values live here because nothing below these documents speaks of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.documents.reading import Parsed
    from awe_core.pack import AcceptUnenforced, ExecutorName, Reuse
    from awe_core.values import Json, JsonObject


@attrs.frozen
class PublicKey:
    """A key that signatures are checked with."""

    scheme: str  #: ed25519, ecdsa-sha2-nistp256
    public: str  #: lower-case hex


@attrs.frozen
class Login:
    """An account at an identity provider."""

    iss: str
    sub: str


@attrs.frozen
class Person:
    """Somebody who can decide."""

    id: str
    name: str = ""
    roles: tuple[str, ...] = ()
    logins: tuple[Login, ...] = ()
    keys: tuple[PublicKey, ...] = ()


@attrs.frozen
class ChannelKey:
    """A channel that vouches for actors by signature (90-temporal, section 8)."""

    name: str
    key: PublicKey


@attrs.frozen
class People:
    """``people.yaml``: who is who."""

    people: tuple[Person, ...]
    channels: tuple[ChannelKey, ...] = ()


@attrs.frozen(kw_only=True)
class ProposalSpec:
    """``proposal.yaml``: what a person asks others to approve."""

    distribution: str
    version: str
    proposed_by: str  #: a person's id
    authors: tuple[str, ...] = ()
    reason: str
    executor: ExecutorName = "worker"
    reuse: Reuse = "run"
    native: bool = False
    hooks: tuple[str, ...] = ()
    accept_unenforced: tuple[AcceptUnenforced, ...] = ()


@attrs.frozen
class AllowListEntry:
    """Calls that need no asking."""

    capability: str  #: an id, or a pattern over ids
    reason: str
    selector: Mapping[str, Json] = attrs.field(factory=dict)  #: arguments the call must have
    callers: tuple[str, ...] = ()  #: actors; empty: anyone
    until_us: int | None = None  #: UTC microseconds; None: until it is taken out


@attrs.frozen
class AllowList:
    """A reviewed list for the policy ``allow_list``."""

    entries: tuple[AllowListEntry, ...]


@attrs.frozen
class DeploymentSpec:
    """``awe.yaml`` as written, checked; `config` adds flags, environment and defaults."""

    name: str
    settings: JsonObject
    parsed: Parsed = attrs.field(repr=False, eq=False)  #: for positions

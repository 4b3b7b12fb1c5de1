"""What governs a deployment, as people write it: people, proposals, allow lists, ``awe.yaml``.

The values live here because nothing below these documents speaks of them.  ``awe.yaml`` stays a
checked table: `config` adds flags, environment and defaults and makes it typed.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import attrs

from awe_core.documents.packs import unenforced

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from awe_core.documents.reading import Parsed, Pointer
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
    """``awe.yaml`` as written, checked; what is absent has its default in `config`."""

    name: str
    settings: JsonObject
    parsed: Parsed = attrs.field(repr=False, eq=False)  #: for positions


def people(parsed: Parsed) -> People:
    """Build people; ids, logins and keys belong to one each.

    :raises DocumentError: ``document.duplicate_entry``
    """
    value: JsonObject = parsed.value
    found = People(
        tuple(_person(entry) for entry in value["people"]),
        tuple(ChannelKey(c["name"], PublicKey(**c["key"])) for c in value.get("channels", ())),
    )
    everyone = list(enumerate(found.people))
    refuse = _once(parsed)
    refuse("person", ((("people", i, "id"), p.id) for i, p in everyone))
    refuse(
        "login",
        ((("people", i, "logins", n), g) for i, p in everyone for n, g in enumerate(p.logins)),
    )
    keys = ((("people", i, "keys", n), k) for i, p in everyone for n, k in enumerate(p.keys))
    channels = list(enumerate(found.channels))
    refuse("key", (*keys, *((("channels", i, "key"), c.key) for i, c in channels)))
    refuse("channel", ((("channels", i, "name"), c.name) for i, c in channels))
    return found


def proposal(parsed: Parsed) -> ProposalSpec:
    """Build the proposal."""
    value: JsonObject = parsed.value
    return ProposalSpec(
        distribution=value["distribution"],
        version=value["version"],
        proposed_by=value["proposed_by"],
        authors=tuple(value.get("authors", ())),
        reason=value["reason"],
        executor=value.get("executor", "worker"),
        reuse=value.get("reuse", "run"),
        native=value.get("native", False),
        hooks=tuple(value.get("hooks", ())),
        accept_unenforced=unenforced(value),
    )


def allow_list(parsed: Parsed) -> AllowList:
    """Build the list."""
    return AllowList(tuple(_entry(entry) for entry in parsed.value["entries"]))


def deployment(parsed: Parsed) -> DeploymentSpec:
    """Build the deployment; ``workspace: PATH`` becomes its long form."""
    settings = {key: table for key, table in parsed.value.items() if key not in {"awe", "name"}}
    if isinstance(settings.get("workspace"), str):
        settings["workspace"] = {"root": settings["workspace"]}
    return DeploymentSpec(parsed.value["name"], settings, parsed)


def _person(found: JsonObject) -> Person:
    return Person(
        id=found["id"],
        name=found.get("name", ""),
        roles=tuple(found.get("roles", ())),
        logins=tuple(Login(**login) for login in found.get("logins", ())),
        keys=tuple(PublicKey(**key) for key in found.get("keys", ())),
    )


def _entry(found: JsonObject) -> AllowListEntry:
    until = found.get("until")
    return AllowListEntry(
        capability=found["capability"],
        reason=found["reason"],
        selector=found.get("selector", {}),
        callers=tuple(found.get("callers", ())),
        until_us=None if until is None else _instant_us(until),
    )


def _instant_us(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * 1_000_000


def _once(parsed: Parsed) -> Callable[[str, Iterable[tuple[Pointer, Hashable]]], None]:
    """Give a check that refuses what stands twice."""

    def refuse(what: str, entries: Iterable[tuple[Pointer, Hashable]]) -> None:
        seen: dict[Hashable, Pointer] = {}
        for at, entry in entries:
            if entry in seen:
                line, column = parsed.position_of(seen[entry])
                raise parsed.error(
                    "document.duplicate_entry", at, what=what, first=f"{line}:{column}"
                )
            seen[entry] = at

    return refuse

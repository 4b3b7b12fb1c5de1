"""What may run now: one immutable snapshot of the verdict and of the emergency stops.

Asked before each step, by the broker before each effect, and by every channel.  A change is one
assignment of a new snapshot: a call that begins after it never sees the old one.  A question that
is answered with yes costs one or two look-ups in dicts; reasons are worked out only for a no.

Undo is never stopped in an emergency, and a pack that is off at this home (its files differ) is off
here whatever the manifest says.  Contract digests are bare hex, as in governance documents.
"""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import attrs

from awe_core.errors import AccessError, AweError, PackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from awe_core.lifecycle import Permits
    from awe_core.trust import FacadeVerdict, PackVerdict, Verdict
    from awe_core.values import JsonObject

#: What the caller is about to do; the last two take effects back, by a strategy of the core or by
#: the pack's own code.
Purpose: TypeAlias = Literal["new", "resume", "undo", "undo_own"]


@attrs.frozen
class GateEntry:
    """The record under which a capability may run."""

    distribution: str
    version: str
    record: str  #: digest of the pack record, bare hex
    status: str  #: of the record: ACTIVE, or DEPRECATED, SUSPENDED … where the purpose allows it


@attrs.frozen
class FacadeEntry:
    """A facade that may be called."""

    id: str
    record: str  #: digest of the facade record, bare hex
    document: JsonObject  #: the facade as it was approved
    distribution: str  #: of the pack that brought it; empty: the deployment's own
    reaches: tuple[tuple[str, str], ...]  #: capability ids and contract digests

    @property
    def channels(self) -> tuple[str, ...]:
        """Where it is exposed."""
        return tuple(self.document.get("channels", ()))

    @property
    def roles(self) -> tuple[str, ...]:
        """Who may call it; empty: any authenticated actor."""
        return tuple(self.document.get("callers", {}).get("roles", ()))


@attrs.frozen
class EmergencyStop:
    """An order that new calls and effects stop now."""

    id: str
    scope: Literal["all", "agent", "capability"]
    name: str  #: of the agent or capability; empty for all
    reason: str
    by: str  #: who gave it

    def covers(self, capability: str, agent: str | None) -> bool:
        """Whether a call of *capability* on behalf of *agent* is stopped."""
        match self.scope:
            case "all":
                return True
            case "agent":
                return agent == self.name
            case "capability":
                return capability == self.name


_Key: TypeAlias = tuple[str, ...]  #: capability and contract; and the record, if one is pinned


@attrs.frozen(kw_only=True)
class GateSnapshot:
    """Everything the gate knows, at one moment.  Made by `of` or `closed`."""

    allowed: Mapping[str, Mapping[_Key, GateEntry]] = attrs.field(repr=False)
    facades: Mapping[str, FacadeEntry] = attrs.field(repr=False)
    stops: tuple[EmergencyStop, ...]
    verdict: Verdict | None = attrs.field(repr=False)
    set_aside: Mapping[str, AweError]  #: record digest: why its pack is off at this home
    failure: AweError | None  #: why there is no verdict

    @classmethod
    def closed(cls, failure: AweError, *, stops: Iterable[EmergencyStop] = ()) -> GateSnapshot:
        """Nothing may run, because of *failure*."""
        return cls(
            allowed={purpose: {} for purpose in get_args(Purpose)},
            facades={},
            stops=tuple(stops),
            verdict=None,
            set_aside={},
            failure=failure,
        )

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        *,
        stops: Iterable[EmergencyStop] = (),
        set_aside: Mapping[str, AweError] | None = None,
        local: Iterable[tuple[str, str]] = (),
    ) -> GateSnapshot:
        """Take what *verdict* permits.

        :param set_aside: record digests of packs that are off at this home, and why
        :param local: (capability, contract) registered by the program itself; a dev root only
        """
        aside = dict(set_aside or {})
        allowed = {
            purpose: _allowed(verdict, purpose, aside, tuple(local) if verdict.is_dev else ())
            for purpose in get_args(Purpose)
        }
        callable_now = {
            one.name: _facade_entry(one)
            for one in verdict.facades
            if one.permits.new and _reaches(one) <= allowed["new"].keys()
        }
        return cls(
            allowed=allowed,
            facades=callable_now,
            stops=tuple(stops),
            verdict=verdict,
            set_aside=aside,
            failure=None,
        )


class Gate:
    """The authority on what may run; holds one snapshot and swaps it whole."""

    def __init__(self, snapshot: GateSnapshot) -> None:
        self._snapshot = snapshot

    @property
    def snapshot(self) -> GateSnapshot:
        """The snapshot in force."""
        return self._snapshot

    def swap(self, snapshot: GateSnapshot) -> None:
        """Put *snapshot* in force, for every question from now on."""
        self._snapshot = snapshot

    def check(
        self,
        capability: str,
        contract: str,
        purpose: Purpose,
        *,
        record: str | None = None,
        agent: str | None = None,
    ) -> GateEntry:
        """Tell under which record *capability* may run.

        :param contract: digest of the contract the caller goes by, bare hex
        :param record: the pack record a run has pinned; None: the strongest that has the contract
        :param agent: on whose behalf, for emergency stops
        :raises PackError: ``pack.not_active``, ``pack.contract_changed``, or why the pack is off
        :raises AccessError: ``capability.unknown``, ``handshake.stopped``
        :raises TrustError: why nothing is trusted here
        """
        now = self._snapshot
        key = (capability, contract) if record is None else (capability, contract, record)
        entry = now.allowed[purpose].get(key)
        if entry is None:
            raise _refusal(now, key, purpose)
        if now.stops and purpose in {"new", "resume"}:
            _check_stops(now, capability, agent)
        return entry

    def reason(self, capability: str) -> AweError | None:
        """Tell why *capability*, which a listed pack offers, cannot run; None: none offers it."""
        now = self._snapshot
        offering = [pack for pack in _packs(now) if _contracts(pack, capability)]
        if not offering:
            return None
        strongest = min(offering, key=_weakness)
        return _refusal(now, (capability, _contracts(strongest, capability)[0]), "new")

    def facade(
        self, name: str, *, channel: str | None = None, roles: Collection[str] | None = None
    ) -> FacadeEntry:
        """Tell what the facade *name* is, if it may be called.

        :param channel: where it is asked for; None: anywhere
        :param roles: the caller's; None: not compared
        :raises AccessError: ``access.not_a_facade``, ``facade.not_active``, ``facade.channel``,
            ``facade.caller``, or why its record is refused
        """
        now = self._snapshot
        entry = now.facades.get(name)
        if entry is None:
            raise _facade_refusal(now, name)
        if channel is not None and channel not in entry.channels:
            exposed = ", ".join(entry.channels) or "no channel"
            raise AccessError("facade.channel", facade=name, channel=channel, exposed=exposed)
        if roles is not None and entry.roles and not set(entry.roles) & set(roles):
            raise AccessError("facade.caller", facade=name, roles=", ".join(entry.roles))
        return entry

    def facades(self) -> tuple[FacadeEntry, ...]:
        """List what may be called, by id."""
        now = self._snapshot
        return tuple(entry for _, entry in sorted(now.facades.items()))


_STRENGTH = ("ACTIVE", "DEPRECATED", "SUPERSEDED", "SUSPENDED", "REVOKED")
_LOCAL = "local"


def _allowed(
    verdict: Verdict,
    purpose: Purpose,
    aside: Mapping[str, AweError],
    local: tuple[tuple[str, str], ...],
) -> dict[_Key, GateEntry]:
    found: dict[_Key, GateEntry] = {key: GateEntry(_LOCAL, "", key[1], "ACTIVE") for key in local}
    weakest_first = sorted(verdict.packs, key=_weakness, reverse=True)
    for pack in weakest_first:
        off = pack.digest in aside and purpose != "undo"  # the core's undo runs no byte of the pack
        if off or not _permitted(pack.permits, purpose):
            continue
        entry = GateEntry(pack.name, pack.record.version, pack.digest, pack.status.value)
        for capability in pack.record.capabilities:
            key = (capability.id, capability.contract)
            found[key] = found[(*key, pack.digest)] = entry
    return found


def _weakness(pack: PackVerdict) -> int:
    return _STRENGTH.index(pack.status) if pack.status in _STRENGTH else len(_STRENGTH)


def _permitted(permits: Permits, purpose: Purpose) -> bool:
    match purpose:
        case "new":
            return permits.new
        case "resume":
            return permits.resume
        case "undo":
            return permits.undo_core
        case "undo_own":
            return permits.undo_own


def _check_stops(now: GateSnapshot, capability: str, agent: str | None) -> None:
    for stop in now.stops:
        if stop.covers(capability, agent):
            raise AccessError(
                "handshake.stopped",
                capability=capability,
                stop=stop.id,
                by=stop.by,
                reason=stop.reason,
            )


def _refusal(now: GateSnapshot, key: _Key, purpose: Purpose) -> AweError:
    capability, contract, *pinned = key
    if now.failure is not None:
        return copy.copy(now.failure)
    offering = [pack for pack in _packs(now) if _contracts(pack, capability)]
    if pinned:
        offering = [pack for pack in offering if pack.digest == pinned[0]]
    if not offering:
        return AccessError(
            "capability.unknown", capability=capability, details=_near(capability, _ids(now))
        )
    same = [pack for pack in offering if contract in _contracts(pack, capability)]
    strongest = min(same or offering, key=_weakness)
    if not same:
        return PackError(
            "pack.contract_changed",
            distribution=strongest.name,
            version=strongest.record.version,
            capability=capability,
            details=[
                f"approved sha256 {' and '.join(_contracts(strongest, capability))}",
                f"asked for {contract}",
            ],
        )
    if strongest.digest in now.set_aside:
        return copy.copy(now.set_aside[strongest.digest])
    return _not_active(now, strongest, capability, purpose)


def _not_active(
    now: GateSnapshot, pack: PackVerdict, capability: str, purpose: Purpose
) -> PackError:
    phase = now.verdict.phase if now.verdict else "none"
    why = [f"{refusal.code}: {refusal.summary}" for refusal in pack.refusals]
    return PackError(
        "pack.not_active",
        distribution=pack.name,
        version=pack.record.version,
        status=pack.status.value,
        capability=capability,
        doing=_DOING[purpose],
        details=why or [f"the manifest is {phase}"] * (phase != "valid"),
    )


_DOING: Mapping[Purpose, str] = {
    "new": "begin new runs",
    "resume": "go on",
    "undo": "be taken back",
    "undo_own": "take effects back by its own code",
}


def _facade_refusal(now: GateSnapshot, name: str) -> AweError:
    if now.failure is not None:
        return copy.copy(now.failure)
    facades = now.verdict.facades if now.verdict else ()
    known = next((facade for facade in facades if facade.name == name), None)
    if known is None:
        return AccessError("access.not_a_facade", facade=name, details=_near(name, now.facades))
    if known.refusals:
        return copy.copy(known.refusals[0])
    return AccessError(
        "facade.not_active",
        facade=name,
        why=f"it is {known.status.value}",
        details=[
            f"{reach.id}: {_refusal(now, (reach.id, reach.contract), 'new').summary}"
            for reach in known.record.reaches
            if (reach.id, reach.contract) not in now.allowed["new"]
        ],
    )


def _facade_entry(facade: FacadeVerdict) -> FacadeEntry:
    record = facade.record
    reaches = tuple((reach.id, reach.contract) for reach in record.reaches)
    return FacadeEntry(facade.name, facade.digest, record.facade, record.pack or "", reaches)


def _reaches(facade: FacadeVerdict) -> set[_Key]:
    return {(reach.id, reach.contract) for reach in facade.record.reaches}


def _packs(now: GateSnapshot) -> tuple[PackVerdict, ...]:
    return now.verdict.packs if now.verdict else ()


def _ids(now: GateSnapshot) -> set[str]:
    return {key[0] for key in now.allowed["new"]}


def _contracts(pack: PackVerdict, capability: str) -> list[str]:
    return [entry.contract for entry in pack.record.capabilities if entry.id == capability]


def _near(name: str, known: Iterable[str]) -> list[str]:
    near = difflib.get_close_matches(name, sorted(known), n=3)
    return [f"did you mean {' or '.join(near)}?"] if near else []

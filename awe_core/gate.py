"""What may run now: one immutable snapshot of the verdict, swapped by one assignment.

Asked before each step, by the broker before each effect, and by every channel; a call that begins
after a swap never sees the old snapshot.  A yes costs two look-ups in dicts; reasons are worked out
only for a no.  A pack that is off at this home (its files differ) is off whatever the manifest
says, but for undo by the core, which runs no byte of it.  Contract digests are bare hex.
"""

from __future__ import annotations

import copy
import difflib
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

from awe_core.errors import AccessError, AweError, PackError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from awe_core.trust import FacadeVerdict, PackVerdict, Verdict
    from awe_core.values import JsonObject

#: What the caller is about to do; the last two take effects back, by a strategy of the core or by
#: the pack's own code.
Purpose: TypeAlias = Literal["new", "resume", "undo", "undo_own"]
_Key: TypeAlias = tuple[str, str]  # capability and contract

_DOING: Mapping[Purpose, tuple[str, str]] = {  # purpose → field of `Permits`, words for people
    "new": ("new", "begin new runs"),
    "resume": ("resume", "go on"),
    "undo": ("undo_core", "be taken back"),
    "undo_own": ("undo_own", "take effects back by its own code"),
}
_STRENGTH = ("ACTIVE", "DEPRECATED", "SUPERSEDED", "SUSPENDED", "REVOKED")


@attrs.frozen
class FacadeEntry:
    """A facade that may be called."""

    id: str
    record: str  #: digest of the facade record, bare hex
    document: JsonObject  #: the facade as it was approved

    @property
    def channels(self) -> tuple[str, ...]:
        """Where it is exposed."""
        return tuple(self.document.get("channels", ()))

    @property
    def roles(self) -> tuple[str, ...]:
        """Who may call it; empty: any authenticated actor."""
        return tuple(self.document.get("callers", {}).get("roles", ()))


@attrs.frozen(kw_only=True)
class GateSnapshot:
    """Everything the gate knows, at one moment.  Made by `of` or `closed`."""

    #: By purpose: capability and contract → digest of the pack record that has them.
    allowed: Mapping[Purpose, Mapping[_Key, str]] = attrs.field(repr=False)
    facades: Mapping[str, FacadeEntry] = attrs.field(factory=dict, repr=False)
    packs: tuple[PackVerdict, ...] = attrs.field(default=(), repr=False)  #: the strongest first
    verdict: Verdict | None = attrs.field(default=None, repr=False)
    set_aside: Mapping[str, AweError] = attrs.field(factory=dict)  #: record → why it is off here
    failure: AweError | None = None  #: why there is no verdict

    @classmethod
    def closed(cls, failure: AweError) -> GateSnapshot:
        """Nothing may run, because of *failure*."""
        return cls(allowed={purpose: {} for purpose in _DOING}, failure=failure)

    @classmethod
    def of(
        cls,
        verdict: Verdict,
        *,
        set_aside: Mapping[str, AweError] | None = None,
        local: Iterable[tuple[str, str]] = (),
    ) -> GateSnapshot:
        """Take what *verdict* permits.

        :param set_aside: record digests of packs that are off at this home, and why
        :param local: (capability, contract) registered by the program itself; a dev root only
        """
        aside, packs = dict(set_aside or {}), tuple(sorted(verdict.packs, key=_weakness))
        own = dict.fromkeys(local if verdict.is_dev else (), "local")
        allowed = {purpose: own | _allowed(packs, purpose, aside) for purpose in _DOING}
        facades = {
            one.name: FacadeEntry(one.name, one.digest, one.record.facade)
            for one in sorted(verdict.facades, key=lambda one: one.name)
            if one.permits.new and _reaches(one) <= allowed["new"].keys()
        }
        return cls(allowed=allowed, facades=facades, packs=packs, verdict=verdict, set_aside=aside)

    def offering(self, capability: str) -> list[tuple[PackVerdict, str]]:
        """Give the packs that have *capability*, the strongest first, and their contracts."""
        return [
            (pack, entry.contract)
            for pack in self.packs
            for entry in pack.record.capabilities
            if entry.id == capability
        ]

    def refusal(self, capability: str, contract: str | None, purpose: Purpose) -> AweError:
        """Tell why *capability* may not run; None as *contract*: under any."""
        if self.failure is not None:
            return copy.copy(self.failure)
        offering = self.offering(capability)
        if not offering:
            near = _near(capability, {key[0] for key in self.allowed["new"]})
            return AccessError("capability.unknown", capability=capability, details=near)
        same = [one for one in offering if contract in {None, one[1]}]
        pack, _ = (same or offering)[0]
        about = {"distribution": pack.name, "version": pack.record.version}
        if not same:
            approved = " and ".join(found for one, found in offering if one is pack)
            details = [f"approved sha256 {approved}", f"asked for {contract}"]
            return PackError(
                "pack.contract_changed", **about, capability=capability, details=details
            )
        return self.off(pack, capability, purpose)

    def off(self, pack: PackVerdict, what: str, purpose: Purpose) -> AweError:
        """Tell why *what* of *pack*, which is off, may not run."""
        if pack.digest in self.set_aside:
            return copy.copy(self.set_aside[pack.digest])
        about = {"distribution": pack.name, "version": pack.record.version}
        why = [f"{refusal.code}: {refusal.summary}" for refusal in pack.refusals]
        if not why and self.verdict and self.verdict.phase != "valid":
            why = [f"the manifest is {self.verdict.phase}"]
        about |= {"status": pack.status.value, "doing": _DOING[purpose][1]}
        return PackError("pack.not_active", **about, capability=what, details=why)

    def facade_refusal(self, name: str) -> AweError:
        """Tell why the facade *name* may not be called."""
        if self.failure is not None:
            return copy.copy(self.failure)
        listed = self.verdict.facades if self.verdict else ()
        known = next((facade for facade in listed if facade.name == name), None)
        if known is None:
            near = _near(name, self.facades)
            return AccessError("access.not_a_facade", facade=name, details=near)
        if known.refusals:
            return copy.copy(known.refusals[0])
        why = [
            f"{reach.id}: {self.refusal(reach.id, reach.contract, 'new').summary}"
            for reach in known.record.reaches
            if (reach.id, reach.contract) not in self.allowed["new"]
        ]
        status = f"it is {known.status.value}"
        return AccessError("facade.not_active", facade=name, why=status, details=why)


class Gate:
    """The authority on what may run; holds one snapshot and swaps it whole."""

    def __init__(self, snapshot: GateSnapshot) -> None:
        self.snapshot = snapshot  #: in force

    def swap(self, snapshot: GateSnapshot) -> None:
        """Put *snapshot* in force, for every question from now on."""
        self.snapshot = snapshot

    def check(self, capability: str, contract: str, purpose: Purpose) -> str:
        """Give the digest of the strongest pack record under which *capability* may run.

        :raises AweError: ``pack.not_active``, ``pack.contract_changed``, ``capability.unknown``, or
            why the pack is off, or why nothing is trusted here
        """
        now = self.snapshot
        record = now.allowed[purpose].get((capability, contract))
        if record is None:
            raise now.refusal(capability, contract, purpose)
        return record

    def reason(self, capability: str) -> AweError | None:
        """Tell why *capability* cannot run though a pack offers it, or none can; else None."""
        now = self.snapshot
        is_known = now.failure is not None or now.offering(capability)
        return now.refusal(capability, None, "new") if is_known else None

    def facade(
        self, name: str, *, channel: str | None = None, roles: Collection[str] | None = None
    ) -> FacadeEntry:
        """Tell what the facade *name* is, if it may be called.

        :param channel: where it is asked for; None: anywhere
        :param roles: the caller's; None: not compared
        :raises AccessError: ``access.not_a_facade``, ``facade.not_active``, ``facade.channel``,
            ``facade.caller``, or why its record is refused
        """
        now = self.snapshot
        entry = now.facades.get(name)
        if entry is None:
            raise now.facade_refusal(name)
        if channel is not None and channel not in entry.channels:
            exposed = ", ".join(entry.channels) or "no channel"
            raise AccessError("facade.channel", facade=name, channel=channel, exposed=exposed)
        if roles is not None and entry.roles and not set(entry.roles) & set(roles):
            raise AccessError("facade.caller", facade=name, roles=", ".join(entry.roles))
        return entry

    def facades(self) -> tuple[FacadeEntry, ...]:
        """List what may be called, by id."""
        return tuple(self.snapshot.facades.values())

    def check_plugin(self, distribution: str, what: str, purpose: Purpose) -> None:
        """Refuse *what* of a distribution that offers more than capabilities.

        :raises AweError: ``pack.not_active``, or why nothing is trusted here
        """
        now = self.snapshot
        of = [one for one in now.packs if one.name == distribution]
        if of and not any(getattr(one.permits, _DOING[purpose][0]) for one in of):
            raise now.off(of[0], what, purpose)

    def check_workflow(self, workflow: str, record: str, purpose: Purpose) -> None:
        """Refuse *workflow* unless the pack *record* that brought it may run.

        :raises AweError: as `check` does
        """
        now = self.snapshot
        pack = next((one for one in now.packs if one.digest == record), None)
        if pack is None:
            raise now.failure or PackError("pack.not_governed", what=workflow)
        if record in now.set_aside or not getattr(pack.permits, _DOING[purpose][0]):
            raise now.off(pack, workflow, purpose)


def _allowed(
    packs: Iterable[PackVerdict], purpose: Purpose, aside: Collection[str]
) -> dict[_Key, str]:
    found: dict[_Key, str] = {}
    for pack in packs:
        is_off = pack.digest in aside and purpose != "undo"
        if not is_off and getattr(pack.permits, _DOING[purpose][0]):
            for one in pack.record.capabilities:
                found.setdefault((one.id, one.contract), pack.digest)
    return found


def _weakness(pack: PackVerdict) -> int:
    return _STRENGTH.index(pack.status) if pack.status in _STRENGTH else len(_STRENGTH)


def _reaches(facade: FacadeVerdict) -> set[_Key]:
    return {(reach.id, reach.contract) for reach in facade.record.reaches}


def _near(name: str, known: Iterable[str]) -> list[str]:
    near = difflib.get_close_matches(name, sorted(known), n=3)
    return [f"did you mean {' or '.join(near)}?"] if near else []

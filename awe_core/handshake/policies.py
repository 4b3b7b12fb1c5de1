"""The policies the core ships: ``auto``, ``deny_all``, ``console``, ``allow_list``.

All are pure.  They read the request alone: what the call *would do* (its narrowed effects and its
undo), never what its contract says about itself in words.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core import canonical
from awe_core.capability import Risk
from awe_core.errors import UsageError
from awe_core.events import Approve, Ask, Deny, Requirement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.events import Answer, ConfirmationRequest, Facts
    from awe_core.values import Json, JsonObject

Row = Literal["reads", "changes", "leaves", "irreversible"]
Cell = Literal["approve", "ask", "ask2"]

ROWS: tuple[Row, ...] = ("reads", "changes", "leaves", "irreversible")

_COLUMNS: Mapping[Row, tuple[Cell, Cell, Cell, Cell]] = {
    "reads": ("approve", "approve", "ask", "ask2"),
    "changes": ("approve", "approve", "ask", "ask2"),
    "leaves": ("approve", "ask", "ask", "ask2"),
    "irreversible": ("ask", "ask", "ask", "ask2"),
}
_TABLE: Mapping[tuple[Row, Risk], Cell] = {
    (row, risk): cell
    for row, cells in _COLUMNS.items()
    for risk, cell in zip(Risk, cells, strict=True)
}

_PLACES = {f"{row}.{risk.value}": (row, risk) for row, risk in _TABLE}  #: as settings name them
_STRICTNESS: tuple[Cell, ...] = ("approve", "ask", "ask2")  #: laxest first

_READS = frozenset({"fs.read", "fs.list", "env.read", "clock", "random"})
_FILES = frozenset({"fs.write", "fs.delete"})
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def row_of(request: ConfirmationRequest, facts: Facts) -> Row:
    """Classify what the plan does; without a preview of it, one row further down."""
    row = _planned_row(request.effects, str(request.undo.get("kind", "none")))
    if facts.undeclared_seen:
        return "irreversible"
    return row if facts.has_preview else ROWS[min(ROWS.index(row) + 1, len(ROWS) - 1)]


def _planned_row(effects: Sequence[JsonObject], undo: str) -> Row:
    kinds = {kind for effect in effects for kind in effect}
    is_captured = undo in {"captured", "rehearsed"}
    if kinds <= _READS:
        return "reads"
    if kinds <= _READS | _FILES:
        return "changes" if is_captured else "irreversible"
    if undo in {"compensate", "strategy"}:
        return "leaves"
    is_restored = is_captured or not kinds & _FILES
    return "leaves" if is_restored and not _tells(effects) else "irreversible"


def _tells(effects: Sequence[JsonObject]) -> bool:
    """Whether something outside the workspace may be changed."""
    return any(
        kind not in _READS | _FILES | {"secret.use"} and not _is_safe_http(kind, fields)
        for effect in effects
        for kind, fields in effect.items()
    )


def _is_safe_http(kind: str, fields: JsonObject) -> bool:
    """Whether only methods that leave the far side as it is are declared (RFC 9110, 9.2.1)."""
    methods = set(fields.get("methods", ()))
    return kind == "net.http" and bool(methods) and methods <= _SAFE_METHODS


@attrs.frozen
class Auto:
    """Approves what is small or can be taken back, asks for the rest (section 4's table)."""

    cells: Mapping[tuple[Row, Risk], Cell]
    name: str = "auto"
    version: str = "1"
    is_pure: bool = True

    @classmethod
    def configured(cls, settings: Mapping[str, object]) -> Auto:
        """Read ``cells`` like ``{leaves.medium: approve}``; a laxer cell needs ``accept_risk``.

        :raises UsageError: ``handshake.policy_settings``
        """
        cells, changes = dict(_TABLE), settings.get("cells", {})
        reason = settings.get("accept_risk")
        unknown = sorted(settings.keys() - {"cells", "accept_risk"})
        if unknown or not isinstance(changes, dict):
            raise _unusable(what=", ".join(unknown) or "cells is no table of ROW.RISK: CELL")
        for key, cell in changes.items():
            place = _PLACES.get(key)
            if place is None or cell not in _STRICTNESS:
                raise _unusable(what=f"{key}: {cell}")
            is_laxer = _STRICTNESS.index(cell) < _STRICTNESS.index(_TABLE[place])
            if is_laxer and not (isinstance(reason, str) and reason.strip()):
                what = f"{key}: {cell} is laxer than the default, needs accept_risk: REASON"
                raise _unusable(what=what)
            cells[place] = cell
        return cls(cells)

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer:
        """Answer by the plan's row and the risk's column."""
        row, risk = row_of(request, facts), Risk(request.risk)
        match self.cells[row, risk]:
            case "approve":
                return Approve(reason=f"{row}, {risk.value}")
            case "ask":
                return Ask(reason=f"{row}, {risk.value}")
            case "ask2":
                two = Requirement(quorum=2, min_assurance="session")
                return Ask(requirements=(two,), reason=f"{row}, {risk.value}")


def _unusable(*, what: str) -> UsageError:
    return UsageError("handshake.policy_settings", policy="auto", what=what)


@attrs.frozen
class DenyAll:
    """Denies every call: a deployment that is closed for maintenance, or a drill."""

    name: str = "deny_all"
    version: str = "1"
    is_pure: bool = True

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer:  # noqa: ARG002 - protocol
        """Deny."""
        return Deny(reason="this deployment denies every call (policy deny_all)")


@attrs.frozen
class Console:
    """Asks for every call; the console answers at the terminal, or the request waits."""

    name: str = "console"
    version: str = "1"
    is_pure: bool = True

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer:  # noqa: ARG002 - protocol
        """Ask."""
        return Ask(reason="every call is confirmed at the console")


@attrs.frozen
class Allowed:
    """One line of an allow list."""

    capability: str  #: id, or a shell pattern over ids
    callers: tuple[str, ...]  #: actors; empty: anyone
    until_us: int | None
    arguments: Mapping[str, Json]  #: values that the call's arguments must equal
    reason: str


@attrs.frozen
class AllowList:
    """Approves exactly what a reviewed file lists, below risk high; else no opinion."""

    entries: tuple[Allowed, ...]
    name: str = "allow_list"
    version: str = "1"
    is_pure: bool = True

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer:
        """Approve a listed call of risk low or medium."""
        if Risk(request.risk) >= Risk.HIGH:
            return None
        for entry in self.entries:
            if self._covers(entry, request, facts):
                return Approve(reason=entry.reason)
        return None

    @staticmethod
    def _covers(entry: Allowed, request: ConfirmationRequest, facts: Facts) -> bool:
        capability = request.capability.partition("@")[0]
        given = request.arguments if isinstance(request.arguments, dict) else {}
        return (
            fnmatch.fnmatchcase(capability, entry.capability)
            and (not entry.callers or request.requester in entry.callers)
            and (entry.until_us is None or facts.now_us < entry.until_us)
            and all(k in given and _is_same(given[k], v) for k, v in entry.arguments.items())
        )


def _is_same(given: Json, listed: Json) -> bool:
    """Equal as JSON: Python takes ``True`` for 1."""
    return canonical.value(given) == canonical.value(listed)

"""What records of one manifest are to each other: claims, interpreters, facades and their packs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError, PackError, TrustError
from awe_core.lifecycle import State
from awe_core.trust import approvals
from awe_core.trust.allowance import is_in_force
from awe_core.trust.standing import RUNNING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from awe_core.records import Digest, FacadeRecord, PackRecord, Root
    from awe_core.trust.verdict import PackVerdict

_STRENGTH = (State.ACTIVE, State.DEPRECATED, State.SUPERSEDED, State.SUSPENDED, State.REVOKED)


def unclaimed(packs: Sequence[PackVerdict]) -> list[PackVerdict]:
    """Refuse every distribution that claims a name which another one claims as well."""
    claims: dict[str, set[str]] = {}
    for pack in packs:
        if pack.status is not State.REVOKED:
            for claim in _claims(pack.record):
                claims.setdefault(claim, set()).add(pack.name)
    return [
        _refused(
            pack,
            [
                TrustError("trust.duplicate", what=claim, by=", ".join(sorted(claims[claim])))
                for claim in _claims(pack.record)
                if len(claims.get(claim, ())) > 1
            ],
        )
        for pack in packs
    ]


def interpreted(packs: Sequence[PackVerdict], root: Root) -> list[PackVerdict]:
    """Refuse declarative packs whose interpreter is not in force itself."""
    running = {pack.name for pack in packs if pack.status in RUNNING and is_in_force(pack, root)}
    return [
        _refused(
            pack,
            [PackError("pack.interpreter", name=approvals.title(pack.record), interpreter=needed)]
            if (needed := pack.record.interpreter) not in {None, *running}
            else [],
        )
        for pack in packs
    ]


def reached(
    facade: FacadeRecord, packs: Sequence[PackVerdict], root: Root
) -> tuple[list[PackVerdict], list[AweError]]:
    """Find the packs behind a facade, and what is wrong with them."""
    found: dict[Digest, PackVerdict] = {}
    problems: list[AweError] = []
    for reach in facade.reaches:
        having = [
            (pack, entry.contract)
            for pack in packs
            for entry in pack.record.capabilities
            if entry.id == reach.id
        ]
        if not having:
            problems.append(
                PackError("facade.unknown_target", facade=facade.name, capability=reach.id)
            )
            continue
        pack, contract = min(
            having, key=lambda each: (not is_in_force(each[0], root), _rank(each[0]))
        )
        found[pack.digest] = pack
        if contract != reach.contract:
            details = [f"approved sha256 {reach.contract}", f"now sha256 {contract}"]
            problems.append(
                PackError(
                    "facade.target_changed",
                    facade=facade.name,
                    capability=reach.id,
                    details=details,
                )
            )
        if not is_in_force(pack, root):
            why = f"{approvals.title(pack.record)} is refused"
            problems.append(PackError("facade.not_active", facade=facade.name, why=why))
    return list(found.values()), problems


def ungrantable(record: PackRecord, root: Root) -> list[AweError]:
    """Tell what the root's policy does not let this record have, or wants it to have."""
    policy, name = root.policy, approvals.title(record)
    found: list[AweError] = []
    lacking = set(policy.evidence) - {each.kind for each in record.evidence}
    if lacking:
        found.append(PackError("pack.evidence", name=name, kinds=", ".join(sorted(lacking))))
    if record.executor == "inproc" and {"*", record.distribution}.isdisjoint(policy.inproc):
        found.append(PackError("pack.executor", name=name))
    return found


def _claims(record: PackRecord) -> list[str]:
    capabilities = [f"capability {entry.id}" for entry in record.capabilities]
    return capabilities + [f"top level {name}" for name in record.top_level]


def _refused(pack: PackVerdict, problems: Iterable[AweError]) -> PackVerdict:
    return attrs.evolve(pack, refusals=(*pack.refusals, *problems))


def _rank(pack: PackVerdict) -> int:
    return _STRENGTH.index(pack.status)

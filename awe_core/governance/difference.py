"""What differs between two records, for the people who decide about the newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.records import CapabilityEntry, FacadeRecord, PackRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_GRANTS = ("kind", "executor", "reuse", "native", "interpreter", "source", "proposed_by")
_LISTS = ("hooks", "top_level", "authors", "facades")


@attrs.frozen
class Difference:
    """One thing that is not as it was."""

    about: str  #: ``file``, ``capability``, ``risk``, ``effects``, ``grant``, ``dependency`` …
    name: str  #: which one
    before: str | None  #: None: it was not there
    after: str | None  #: None: it is gone

    def __str__(self) -> str:
        if self.before is None:
            return f"+ {self.about} {self.name}: {self.after}"
        if self.after is None:
            return f"- {self.about} {self.name}: {self.before}"
        return f"~ {self.about} {self.name}: {self.before} → {self.after}"


def differences(
    before: PackRecord | FacadeRecord | None, after: PackRecord | FacadeRecord
) -> tuple[Difference, ...]:
    """Tell what *after* has otherwise than *before*: grants and contracts first, files last.

    :param before: None: nothing was in force; everything is new
    """
    if isinstance(after, FacadeRecord):
        old = before if isinstance(before, FacadeRecord) else None
        return tuple(_facade(old, after))
    earlier = before if isinstance(before, PackRecord) else None
    return tuple(_pack(earlier, after))


def _pack(before: PackRecord | None, after: PackRecord) -> Iterator[Difference]:
    yield from _table("grant", _grants(before), _grants(after))
    yield from _capabilities(before, after)
    yield from _table(
        "workflow",
        {each.id: f"{each.version} {each.spec[:12]}" for each in before.workflows}
        if before
        else {},
        {each.id: f"{each.version} {each.spec[:12]}" for each in after.workflows},
    )
    yield from _table("dependency", _requires(before), _requires(after))
    yield from _table("evidence", _evidence(before), _evidence(after))
    yield from _table(
        "file",
        {path: each.sha256[:12] for path, each in before.files.items()} if before else {},
        {path: each.sha256[:12] for path, each in after.files.items()},
    )


def _capabilities(before: PackRecord | None, after: PackRecord) -> Iterator[Difference]:
    old = {each.id: each for each in before.capabilities} if before else {}
    new = {each.id: each for each in after.capabilities}
    for about, show in (("risk", _risk), ("effects", _effects), ("contract", _contract)):
        yield from _table(
            about,
            {name: show(each) for name, each in old.items()},
            {name: show(each) for name, each in new.items()},
        )


def _facade(before: FacadeRecord | None, after: FacadeRecord) -> Iterator[Difference]:
    old = {name: repr(value) for name, value in before.facade.items()} if before else {}
    yield from _table("facade", old, {name: repr(value) for name, value in after.facade.items()})
    yield from _table(
        "reaches",
        {each.id: each.contract[:12] for each in before.reaches} if before else {},
        {each.id: each.contract[:12] for each in after.reaches},
    )


def _table(about: str, before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[Difference]:
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            yield Difference(about, name, before.get(name), after.get(name))


def _grants(record: PackRecord | None) -> dict[str, str]:
    if record is None:
        return {}
    found = {name: str(getattr(record, name)) for name in _GRANTS if getattr(record, name)}
    found |= {name: ", ".join(getattr(record, name)) for name in _LISTS if getattr(record, name)}
    return found | {f"unenforced {each.right}": each.reason for each in record.accept_unenforced}


def _requires(record: PackRecord | None) -> dict[str, str]:
    return {each.distribution: each.version for each in record.requires} if record else {}


def _evidence(record: PackRecord | None) -> dict[str, str]:
    return (
        {each.kind: f"{each.publisher} {each.sha256[:12]}" for each in record.evidence}
        if record
        else {}
    )


def _risk(entry: CapabilityEntry) -> str:
    return entry.risk


def _effects(entry: CapabilityEntry) -> str:
    return ", ".join(entry.effects) or "none"


def _contract(entry: CapabilityEntry) -> str:
    return f"{entry.version} {entry.contract[:12]}"

"""What differs between two signed documents, for the people who decide about the newer one."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core import canonical
from awe_core.records import FacadeRecord, Manifest, PackRecord, Root, timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator

Compared: TypeAlias = PackRecord | FacadeRecord | Root | Manifest

#: In the order in which people are told: grants and contracts first, files last.
_ABOUT = (
    *("grant", "risk", "effects", "contract", "workflow", "dependency", "evidence", "file"),
    *("facade", "reaches", "role", "key", "retired", "policy", "entry", "document", "denied"),
)
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


def differences(before: Compared | None, after: Compared) -> tuple[Difference, ...]:
    """Tell what *after* has otherwise than *before*; None: nothing was in force, all is new."""
    old = {fact[:2]: fact[2] for fact in _facts(before)} if type(before) is type(after) else {}
    new = {fact[:2]: fact[2] for fact in _facts(after)}
    names = sorted(old.keys() | new.keys(), key=lambda each: (_ABOUT.index(each[0]), each[1]))
    return tuple(
        Difference(*name, old.get(name), new.get(name))
        for name in names
        if old.get(name) != new.get(name)
    )


def _facts(document: Compared | None) -> Iterator[tuple[str, str, str]]:
    """Give all that people compare: about, name, text."""
    match document:
        case FacadeRecord():
            yield from (("facade", name, repr(value)) for name, value in document.facade.items())
            yield from (("reaches", each.id, each.contract[:12]) for each in document.reaches)
        case PackRecord():
            yield from _pack_facts(document)
        case Root():
            yield from _root_facts(document)
        case Manifest():
            for entry in document.entries:
                until = f" until {timestamp(entry.sunset)}" if entry.sunset else ""
                yield "entry", f"{entry.name} {entry.record[:12]}", f"{entry.status}{until}"
            yield from (("document", *pinned) for pinned in document.documents.items())
            yield from (("denied", record[:12], "for ever") for record in document.denied)


def _root_facts(root: Root) -> Iterator[tuple[str, str, str]]:
    for name, role in root.roles.items():
        who = ", ".join(sorted(root.owners(name))) or "nobody"
        yield "role", name, f"{role.threshold} of {who}"
    for key in root.keys.values():
        yield "key", f"{key.owner} {key.public[:12]}", f"{key.kind}, {key.scheme}"
    for keyid, gone in root.retired.items():
        yield "retired", keyid[:12], f"{gone.reason}, {len(gone.statements)} statements count"
    document = root.to_json()
    for name in ("deployment", "environment", "expires"):
        yield "policy", name, document[name]
    for name, value in document["policy"].items():
        yield "policy", name, canonical.value(value).decode()


def _pack_facts(record: PackRecord) -> Iterator[tuple[str, str, str]]:
    for name in (*_GRANTS, *_LISTS):
        if value := getattr(record, name):
            yield "grant", name, str(value) if name in _GRANTS else ", ".join(value)
    for right in record.accept_unenforced:
        yield "grant", f"unenforced {right.right}", right.reason
    for entry in record.capabilities:
        yield "risk", entry.id, entry.risk
        yield "effects", entry.id, ", ".join(entry.effects) or "none"
        yield "contract", entry.id, f"{entry.version} {entry.contract[:12]}"
    for flow in record.workflows:
        yield "workflow", flow.id, f"{flow.version} {flow.spec[:12]}"
    for needed in record.requires:
        yield "dependency", needed.distribution, needed.version
    for each in record.evidence:
        yield "evidence", each.kind, f"{each.publisher} {each.sha256[:12]}"
    for path, file in record.files.items():
        yield "file", path, file.sha256[:12]

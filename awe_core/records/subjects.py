"""What people approve: `PackRecord` and `FacadeRecord`.  Immutable, named by their digest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.records import forms
from awe_core.records.forms import Digest, form, many, maybe, nested, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

PACK_RECORD = "pack-record/v1"
FACADE_RECORD = "facade-record/v1"
RISKS = ("low", "medium", "high", "critical")  #: in rising order

_SIZE = forms.integer(0)
_NAME = forms.text(r"[A-Za-z_][A-Za-z0-9_]*", most=128)  # of Python


@attrs.frozen
class PinnedFile:
    """The exact bytes of one file of a wheel."""

    sha256: Digest = form(forms.DIGEST)
    size: int = form(_SIZE)  #: in bytes


@attrs.frozen
class Wheel:
    """The archive a record was built from."""

    filename: str = form(forms.PATH)
    sha256: Digest = form(forms.DIGEST)
    size: int = form(_SIZE)  #: in bytes


@attrs.frozen
class CapabilityEntry:
    """A capability as it was approved."""

    id: str = form(forms.ID)
    version: str = form(forms.VERSION)  #: of the contract
    contract: Digest = form(forms.DIGEST)  #: of the parsed contract's canonical form
    risk: str = form(forms.word(*RISKS))
    effects: tuple[str, ...] = form(many(forms.LINE))  #: kinds; in a declarative pack exact targets


@attrs.frozen
class WorkflowEntry:
    """A workflow as it was approved."""

    id: str = form(forms.ID)
    version: str = form(forms.VERSION)
    spec: Digest = form(forms.DIGEST)  #: of the parsed document's canonical form


@attrs.frozen
class Requirement:
    """A distribution a pack runs with."""

    distribution: str = form(forms.DISTRIBUTION)
    version: str = form(forms.VERSION)  #: exact
    tree: str = form(
        forms.DIGEST_OR_NONE
    )  #: digest of its files; empty: its version alone is pinned


@attrs.frozen
class Evidence:
    """What speaks for a wheel; it informs people and never approves."""

    kind: str = form(forms.ROLE)  #: ``conformance``, ``pep740``
    sha256: Digest = form(forms.DIGEST)
    publisher: str = form(forms.LINE)


@attrs.frozen
class Unenforced:
    """A right that the platform need not enforce for this pack, and why people accept that."""

    right: str = form(forms.LINE)
    reason: str = form(forms.REASON)


@attrs.frozen(kw_only=True)
class PackRecord:
    """One wheel and all it is granted.  Its digest is the "pack digest" of other chapters."""

    kind: str = form(forms.word("pack", "plugin", "declarative"))
    name: str = form(forms.NAME)  #: how people call it
    distribution: str = form(forms.DISTRIBUTION)
    version: str = form(forms.VERSION)
    revision: int = form(forms.integer(1))  #: rises when the same bytes are proposed anew
    wheel: Wheel = form(nested(Wheel))
    files: Mapping[str, PinnedFile] = form(table(forms.PATH, nested(PinnedFile), most=5_000))
    top_level: tuple[str, ...] = form(many(_NAME))
    entry_points: Mapping[str, str] = form(table(forms.LINE, forms.LINE))  #: of group ``awe``
    hooks: tuple[str, ...] = form(many(_NAME))  #: hookspecs granted
    executor: str = form(forms.ROLE)  #: granted: ``inproc``, ``worker``, ``bwrap`` or a plugin's
    reuse: str = form(forms.word("run", "workspace"))
    native: bool = form(forms.BOOL)  #: may load extension modules
    accept_unenforced: tuple[Unenforced, ...] = form(many(nested(Unenforced)))
    capabilities: tuple[CapabilityEntry, ...] = form(many(nested(CapabilityEntry)))
    workflows: tuple[WorkflowEntry, ...] = form(many(nested(WorkflowEntry)))
    facades: tuple[Digest, ...] = form(many(forms.DIGEST))  #: facade records it comes with
    requires: tuple[Requirement, ...] = form(many(nested(Requirement)))
    proposed_by: str = form(forms.NAME)  #: who answers for it here; must sign the proposal
    authors: tuple[str, ...] = form(many(forms.NAME))  #: people who may not approve it either
    evidence: tuple[Evidence, ...] = form(many(nested(Evidence)))
    report: Digest = form(forms.DIGEST)  #: of the static report that approvers read
    #: What performs a declarative pack, and the lock of what it was made from; None in others.
    interpreter: str | None = form(forms.DISTRIBUTION, optional=True)
    source: Digest | None = form(forms.DIGEST, optional=True)

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = PACK_RECORD) -> PackRecord:
        """Read a record; *at* names its file in messages.

        :raises TrustError: ``store.malformed`` with the place
        """
        found = forms.read(cls, x, at=at, awe=PACK_RECORD)
        for name, value in (("interpreter", found.interpreter), ("source", found.source)):
            if (value is None) == (found.kind == "declarative"):
                forms.malformed(f"{at}/{name}", "belongs to declarative packs, and to each")
        if found.kind == "declarative" and (found.hooks or found.entry_points):
            forms.malformed(f"{at}/hooks", "a declarative pack has neither hooks nor entry points")
        return found

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return forms.write(self, awe=PACK_RECORD)

    @property
    def risk(self) -> str:
        """The highest risk among its capabilities; low without any."""
        return max((entry.risk for entry in self.capabilities), key=RISKS.index, default="low")


@attrs.frozen
class Reach:
    """A capability that a facade can get to, through workflows too."""

    id: str = form(forms.ID)
    contract: Digest = form(forms.DIGEST)


@attrs.frozen(kw_only=True)
class FacadeRecord:
    """One public entry, bound to the contracts it reaches and not to a pack's bytes."""

    kind: str = form(forms.word("facade"))
    name: str = form(forms.ID)  #: the facade's id
    revision: int = form(forms.integer(1))
    facade: JsonObject = form(forms.OBJECT)  #: the document, as `documents` read it
    pack: str | None = form(maybe(forms.DISTRIBUTION))  #: it came with; None: the deployment's own
    reaches: tuple[Reach, ...] = form(many(nested(Reach)))
    proposed_by: str = form(forms.NAME)
    authors: tuple[str, ...] = form(many(forms.NAME))

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = FACADE_RECORD) -> FacadeRecord:
        """Read a record; *at* names its file in messages.

        :raises TrustError: ``store.malformed`` with the place
        """
        found = forms.read(cls, x, at=at, awe=FACADE_RECORD)
        if found.facade.get("id") != found.name:
            forms.malformed(f"{at}/name", "is not the id of its document")
        return found

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return forms.write(self, awe=FACADE_RECORD)

    @property
    def version(self) -> str:
        """What statements name beside the id: facades have revisions only."""
        return str(self.revision)

"""The documents of governance as values: what they hold and their one form in JSON.

=================  ======================  =====================================================
`PackRecord`       ``pack-record/v1``      one wheel and all it is granted
`FacadeRecord`     ``facade-record/v1``    one public entry and the contracts it reaches
`Statement`        ``statement/v1``        one person's decision about one record
`Manifest`         ``manifest/v1``         which records are in force in one deployment
`Root`             ``trust-root/v1``       keys, roles and policy
=================  ======================  =====================================================

Rules: `from_json` is strict (exact types, every field, no other field) and `to_json` gives back
exactly what it took, so a document and its value stand for each other.  Times are whole seconds
here and RFC 3339 text in JSON.  Nothing here knows bytes, digests or signatures: see `trust`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.records import forms
from awe_core.records.forms import Digest as Digest
from awe_core.records.forms import Document, form, many, maybe, nested, table
from awe_core.records.forms import Seconds as Seconds
from awe_core.records.forms import parse_timestamp as parse_timestamp
from awe_core.records.forms import timestamp as timestamp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

RISKS = ("low", "medium", "high", "critical")  #: in rising order
_DECISIONS = ("propose", "approve", "reject", "withdraw", "suspend", "resume", "revoke")
_STATES = ("ACTIVE", "SUSPENDED", "DEPRECATED", "SUPERSEDED", "REVOKED")

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
    tree: str = form(forms.DIGEST_OR_NONE)  #: of its files; empty: the version alone is pinned


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
class PackRecord(Document):
    """One wheel and all it is granted.  Its digest is the "pack digest" of other chapters."""

    awe = "pack-record/v1"

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

    def check(self, at: str) -> None:
        """Tell declarative packs from others."""
        for name, value in (("interpreter", self.interpreter), ("source", self.source)):
            if (value is None) == (self.kind == "declarative"):
                forms.malformed(f"{at}/{name}", "belongs to declarative packs, and to each")
        if self.kind == "declarative" and (self.hooks or self.entry_points):
            forms.malformed(f"{at}/hooks", "a declarative pack has neither hooks nor entry points")

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
class FacadeRecord(Document):
    """One public entry, bound to the contracts it reaches and not to a pack's bytes."""

    awe = "facade-record/v1"
    kind: str = form(forms.word("facade"))
    name: str = form(forms.ID)  #: the facade's id
    revision: int = form(forms.integer(1))
    facade: JsonObject = form(forms.OBJECT)  #: the document, as `documents` read it
    pack: str | None = form(maybe(forms.DISTRIBUTION))  #: it came with; None: the deployment's own
    reaches: tuple[Reach, ...] = form(many(nested(Reach)))
    proposed_by: str = form(forms.NAME)
    authors: tuple[str, ...] = form(many(forms.NAME))

    def check(self, at: str) -> None:
        """Hold the name against the document's id."""
        if self.facade.get("id") != self.name:
            forms.malformed(f"{at}/name", "is not the id of its document")

    @property
    def version(self) -> str:
        """What statements name beside the id: facades have revisions only."""
        return str(self.revision)


@attrs.frozen(kw_only=True)
class Statement(Document):
    """One person, one decision, one subject."""

    awe = "statement/v1"
    deployment: str = form(forms.NAME)
    root_version: int = form(forms.integer(1))
    decision: str = form(forms.word(*_DECISIONS))
    role: str = form(forms.ROLE)  #: under which its signer decides
    subject: Digest = form(forms.DIGEST)  #: of the record
    name: str = form(forms.NAME)  #: for the reader; must match the record
    version: str = form(forms.VERSION)
    at: Seconds = form(forms.TIME)
    expires: Seconds | None = form(maybe(forms.TIME))  #: None only for what is no approval
    reason: str = form(forms.REASON)
    stops: Digest | None = form(maybe(forms.DIGEST))  #: what a resume lifts

    def check(self, at: str) -> None:
        """Hold the decision against what it needs."""
        if (self.stops is None) == (self.decision == "resume"):
            forms.malformed(f"{at}/stops", "is what a resume names, and nothing else does")
        if self.decision == "approve" and self.expires is None:
            forms.malformed(f"{at}/expires", "is needed in an approval")


@attrs.frozen(kw_only=True)
class ManifestEntry:
    """The state of one record; a pack's or a facade's."""

    record: Digest = form(forms.DIGEST)
    status: str = form(forms.word(*_STATES))
    sunset: Seconds | None = form(maybe(forms.TIME))  #: when a DEPRECATED record takes no new runs
    statements: tuple[Digest, ...] = form(many(forms.DIGEST))  #: that justify the state


@attrs.frozen(kw_only=True)
class ManifestPack(ManifestEntry):
    """The state of one pack record."""

    distribution: str = form(forms.DISTRIBUTION)
    version: str = form(forms.VERSION)

    @property
    def name(self) -> str:
        """What it is an entry of: the distribution."""
        return self.distribution


@attrs.frozen(kw_only=True)
class ManifestFacade(ManifestEntry):
    """The state of one facade record."""

    id: str = form(forms.ID)

    @property
    def name(self) -> str:
        """What it is an entry of: the facade's id."""
        return self.id


@attrs.frozen(kw_only=True)
class Manifest(Document):
    """The one document of a deployment that says what is in force."""

    awe = "manifest/v1"
    deployment: str = form(forms.NAME)
    root_version: int = form(forms.integer(1))
    version: int = form(forms.integer(1))
    previous: Digest | None = form(maybe(forms.DIGEST))  #: payload of the one before; None: first
    issued: Seconds = form(forms.TIME)
    expires: Seconds = form(forms.TIME)
    packs: tuple[ManifestPack, ...] = form(many(nested(ManifestPack)))
    facades: tuple[ManifestFacade, ...] = form(many(nested(ManifestFacade)))
    #: Records that never return.
    denied: tuple[Digest, ...] = form(many(forms.DIGEST, most=100_000))
    documents: Mapping[str, Digest] = form(table(forms.PATH, forms.DIGEST))  #: pinned files

    @property
    def entries(self) -> tuple[ManifestPack | ManifestFacade, ...]:
        """The entries of packs and of facades."""
        return (*self.packs, *self.facades)

    @property
    def number(self) -> tuple[int, int]:
        """What orders manifests: the root's version first."""
        return (self.root_version, self.version)


_KIND = forms.word("pack", "plugin", "declarative", "facade")
_DAYS = forms.integer(0, 36_500)


@attrs.frozen
class Key:
    """A public key and whose it is."""

    scheme: str = form(forms.word("ed25519", "ecdsa-sha2-nistp256"))
    public: str = form(forms.text(r"(?:[0-9a-f]{2})+", most=130))  #: raw bytes, hex
    owner: str = form(forms.NAME)
    kind: str = form(forms.word("person", "machine"))


@attrs.frozen
class Role:
    """Keys that may act, and how many distinct owners it takes."""

    keys: tuple[Digest, ...] = form(many(forms.DIGEST))
    threshold: int = form(forms.integer(1, 64))


@attrs.frozen
class Retired:
    """A key that left, and which of its statements go on counting."""

    reason: str = form(forms.word("left", "compromised"))
    statements: tuple[Digest, ...] = form(many(forms.DIGEST))


@attrs.frozen(kw_only=True)
class When:
    """Which records a rule is about; None: any.  All that is set must hold."""

    kind: str | None = form(_KIND, optional=True)
    native: bool | None = form(forms.BOOL, optional=True)
    executor: str | None = form(forms.ROLE, optional=True)
    risk: str | None = form(forms.word(*RISKS), optional=True)  #: at least this
    hooks: tuple[str, ...] | None = form(many(forms.ROLE, least=1), optional=True)  #: any of these

    def matches(self, record: PackRecord | FacadeRecord) -> bool:
        """Whether the rule is about *record*; a facade has a kind and nothing else."""
        if self.kind not in {None, record.kind}:
            return False
        if isinstance(record, FacadeRecord):
            return self in {When(), When(kind=record.kind)}
        return (
            self.native in {None, record.native}
            and self.executor in {None, record.executor}
            and (self.risk is None or RISKS.index(record.risk) >= RISKS.index(self.risk))
            and (self.hooks is None or not set(self.hooks).isdisjoint(record.hooks))
        )


@attrs.frozen
class ApprovalRule:
    """Who has to approve what matches: people a role."""

    when: When = form(nested(When))
    need: Mapping[str, int] = form(table(forms.ROLE, forms.integer(1, 64), most=100))


@attrs.frozen(kw_only=True)
class Policy:
    """The rules of a deployment."""

    approvals: tuple[ApprovalRule, ...] = form(many(nested(ApprovalRule), unique=False))
    approval_days: int = form(_DAYS)  #: the longest life of an approval
    manifest_days: int = form(_DAYS)  #: the longest life of a manifest
    on_expiry: str = form(forms.word("drain", "stop"))
    grace_days: int = form(_DAYS)
    warn_days: int = form(_DAYS)
    dependencies: str = form(forms.word("versions", "pinned"))
    evidence: tuple[str, ...] = form(many(forms.ROLE))  #: kinds every record must carry
    inproc: tuple[str, ...] = form(many(forms.text(r"\*|[a-z0-9]+(?:-[a-z0-9]+)*", most=128)))
    self_approval: bool = form(forms.BOOL)
    editable: bool = form(forms.BOOL)
    observe: bool = form(forms.BOOL)


@attrs.frozen(kw_only=True)
class Root(Document):
    """Keys, roles and policy of a deployment, in one version."""

    awe = "trust-root/v1"
    deployment: str = form(forms.NAME)
    environment: str = form(forms.word("dev", "prod"))
    version: int = form(forms.integer(1, 99_999))
    issued: Seconds = form(forms.TIME)
    expires: Seconds = form(forms.TIME)
    keys: Mapping[Digest, Key] = form(table(forms.DIGEST, nested(Key), most=1_000))
    roles: Mapping[str, Role] = form(table(forms.ROLE, nested(Role), most=100))
    retired: Mapping[Digest, Retired] = form(table(forms.DIGEST, nested(Retired)))
    policy: Policy = form(nested(Policy))

    def holds(self, keyid: Digest, role: str) -> bool:
        """Whether a key stands under *role*."""
        return role in self.roles and keyid in self.roles[role].keys

    def owners(self, role: str) -> frozenset[str]:
        """Name those who hold *role*; nobody holds one that the root does not know."""
        keys = self.roles[role].keys if role in self.roles else ()
        return frozenset(self.keys[keyid].owner for keyid in keys if keyid in self.keys)

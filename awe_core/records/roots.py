"""Who may decide: `Root` with its keys, roles and policy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.records import forms
from awe_core.records.forms import Digest, Seconds, form, many, nested, table
from awe_core.records.subjects import RISKS, FacadeRecord, PackRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

TRUST_ROOT = "trust-root/v1"
SCHEMES = ("ed25519", "ecdsa-sha2-nistp256")

_KIND = forms.word("pack", "plugin", "declarative", "facade")
_DAYS = forms.integer(0, 36_500)


@attrs.frozen
class Key:
    """A public key and whose it is."""

    scheme: str = form(forms.word(*SCHEMES))
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
class Root:
    """Keys, roles and policy of a deployment, in one version."""

    deployment: str = form(forms.NAME)
    environment: str = form(forms.word("dev", "prod"))
    version: int = form(forms.integer(1, 99_999))
    issued: Seconds = form(forms.TIME)
    expires: Seconds = form(forms.TIME)
    keys: Mapping[Digest, Key] = form(table(forms.DIGEST, nested(Key), most=1_000))
    roles: Mapping[str, Role] = form(table(forms.ROLE, nested(Role), most=100))
    retired: Mapping[Digest, Retired] = form(table(forms.DIGEST, nested(Retired)))
    policy: Policy = form(nested(Policy))

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = TRUST_ROOT) -> Root:
        """Read a root; what its members say of each other is judged in `trust`.

        :raises TrustError: ``store.malformed`` or ``trust.time`` with the place
        """
        return forms.read(cls, x, at=at, awe=TRUST_ROOT)

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return forms.write(self, awe=TRUST_ROOT)

    def owners(self, role: str) -> frozenset[str]:
        """Name those who hold *role*; nobody holds one that the root does not know."""
        keys = self.roles[role].keys if role in self.roles else ()
        return frozenset(self.keys[keyid].owner for keyid in keys if keyid in self.keys)

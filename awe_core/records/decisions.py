"""What people decided, and what follows from it: `Statement` and `Manifest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.records import forms
from awe_core.records.forms import Digest, Seconds, form, many, maybe, nested, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import JsonObject

STATEMENT = "statement/v1"
MANIFEST = "manifest/v1"
DECISIONS = ("propose", "approve", "reject", "withdraw", "suspend", "resume", "revoke")
MANIFEST_STATES = ("ACTIVE", "SUSPENDED", "DEPRECATED", "SUPERSEDED", "REVOKED")


@attrs.frozen(kw_only=True)
class Statement:
    """One person, one decision, one subject."""

    deployment: str = form(forms.NAME)
    root_version: int = form(forms.integer(1))
    decision: str = form(forms.word(*DECISIONS))
    role: str = form(forms.ROLE)  #: under which its signer decides
    subject: Digest = form(forms.DIGEST)  #: of the record
    name: str = form(forms.NAME)  #: for the reader; must match the record
    version: str = form(forms.VERSION)
    at: Seconds = form(forms.TIME)
    expires: Seconds | None = form(maybe(forms.TIME))  #: None only for what is no approval
    reason: str = form(forms.REASON)
    stops: Digest | None = form(maybe(forms.DIGEST))  #: what a resume lifts

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = STATEMENT) -> Statement:
        """Read a statement; *at* names its file in messages.

        :raises TrustError: ``store.malformed`` or ``trust.time`` with the place
        """
        found = forms.read(cls, x, at=at, awe=STATEMENT)
        if (found.stops is None) == (found.decision == "resume"):
            forms.malformed(f"{at}/stops", "is what a resume names, and nothing else does")
        if found.decision == "approve" and found.expires is None:
            forms.malformed(f"{at}/expires", "is needed in an approval")
        return found

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return forms.write(self, awe=STATEMENT)


@attrs.frozen(kw_only=True)
class ManifestPack:
    """The state of one pack record."""

    distribution: str = form(forms.DISTRIBUTION)
    version: str = form(forms.VERSION)
    record: Digest = form(forms.DIGEST)
    status: str = form(forms.word(*MANIFEST_STATES))
    sunset: Seconds | None = form(maybe(forms.TIME))  #: when a DEPRECATED record takes no new runs
    statements: tuple[Digest, ...] = form(many(forms.DIGEST))  #: that justify the state

    @property
    def name(self) -> str:
        """What it is an entry of: the distribution."""
        return self.distribution


@attrs.frozen(kw_only=True)
class ManifestFacade:
    """The state of one facade record."""

    id: str = form(forms.ID)
    record: Digest = form(forms.DIGEST)
    status: str = form(forms.word(*MANIFEST_STATES))
    sunset: Seconds | None = form(maybe(forms.TIME))
    statements: tuple[Digest, ...] = form(many(forms.DIGEST))

    @property
    def name(self) -> str:
        """What it is an entry of: the facade's id."""
        return self.id


@attrs.frozen(kw_only=True)
class Manifest:
    """The one document of a deployment that says what is in force."""

    deployment: str = form(forms.NAME)
    root_version: int = form(forms.integer(1))
    version: int = form(forms.integer(1))
    previous: Digest | None = form(maybe(forms.DIGEST))  #: payload of the one before; None: first
    issued: Seconds = form(forms.TIME)
    expires: Seconds = form(forms.TIME)
    packs: tuple[ManifestPack, ...] = form(many(nested(ManifestPack)))
    facades: tuple[ManifestFacade, ...] = form(many(nested(ManifestFacade)))
    denied: tuple[Digest, ...] = form(
        many(forms.DIGEST, most=100_000)
    )  #: records that never return
    documents: Mapping[str, Digest] = form(table(forms.PATH, forms.DIGEST))  #: pinned files

    @classmethod
    def from_json(cls, x: JsonObject, *, at: str = MANIFEST) -> Manifest:
        """Read a manifest; *at* names its file in messages.

        :raises TrustError: ``store.malformed`` or ``trust.time`` with the place
        """
        return forms.read(cls, x, at=at, awe=MANIFEST)

    def to_json(self) -> JsonObject:
        """Give exactly what `from_json` took."""
        return forms.write(self, awe=MANIFEST)

    @property
    def entries(self) -> tuple[ManifestPack | ManifestFacade, ...]:
        """The entries of packs and of facades."""
        return (*self.packs, *self.facades)

    @property
    def number(self) -> tuple[int, int]:
        """What orders manifests: the root's version first."""
        return (self.root_version, self.version)

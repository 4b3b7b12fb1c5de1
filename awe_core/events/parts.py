"""What facts are made of: actors, value descriptors, errors, residue, undo records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.events import codec

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject

Assurance = Literal["relayed", "local", "session", "signed"]
ActorKind = Literal["person", "agent", "service", "policy"]


@attrs.frozen
class Actor:
    """Who asks, as the channel authenticated it."""

    kind: ActorKind
    id: str
    on_behalf_of: str | None = None  #: another actor's text form
    via: str = "sdk"  #: the channel
    assurance: Assurance = "local"  #: relayed, local, session, signed: how surely it is who it says
    claims: JsonObject | None = None  #: what the caller says of itself; never taken as truth
    roles: tuple[str, ...] = codec.many(())

    @classmethod
    def person(cls, name: str, *, via: str = "sdk") -> Actor:
        """A person, known to the operating system or by a login."""
        return cls("person", name, via=via)

    @classmethod
    def agent(cls, name: str, *, on_behalf_of: str | None = None, via: str = "sdk") -> Actor:
        """A program that a model drives.  It decides no handshake."""
        return cls("agent", name, on_behalf_of, via=via)

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


@attrs.frozen
class Value:
    """A value's commitment: what the log says of it (the value itself is a payload)."""

    c: str  #: hex SHA-256 over salt and canonical value
    len: int  #: bytes of the canonical value
    sum: Json = None  #: for people; cut and redacted; no program decides on it
    red: tuple[str, ...] | None = codec.many(None)  #: JSON pointers of what was redacted
    hid: str | None = None  #: commitment of the part that is deleted when the run closes


@attrs.frozen
class Failure:
    """An error as it is recorded (``err``)."""

    code: str
    msg: str  #: at most 2,000 characters, scrubbed of secrets
    type: str = ""  #: the exception's class
    scrubbed: bool | None = None


@attrs.frozen
class UndoRecord:
    """How one effect is taken back: a strategy's name and a payload it alone understands."""

    strategy: str
    payload: JsonObject


@attrs.frozen
class Irreversible:
    """Why an effect cannot be taken back, in the contract's words."""

    none: str


@attrs.frozen
class Residue:
    """One thing that remains in the world after an incomplete rollback."""

    effect: str
    step: str
    what: str  #: the target, as people name it
    why: str


@attrs.frozen
class PackRef:
    """The approved bytes a run is bound to."""

    dist: str
    version: str
    record: str  #: hex digest of the pack record


@attrs.frozen
class ManifestRef:
    """The manifest that was in force."""

    root_version: int
    version: int
    digest: str


@attrs.frozen
class WorkflowRef:
    """Which workflow, exactly."""

    id: str
    version: str
    digest: str

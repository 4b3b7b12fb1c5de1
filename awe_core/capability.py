"""What a contract says: `CapabilitySpec` and the values it is made of.

Rules: values only, already checked (`documents` reads and refuses, `contract` compiles the
schemas).  Durations are integer microseconds, sizes integer bytes, effects stand in their long
form with the defaults filled in, and ``${…}`` is still the raw text people wrote.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Self, TypeAlias, assert_never

import attrs

from awe_core.compensation import CapabilityCall as CapabilityCall  # noqa: PLC0414 - of a contract, too
from awe_core.compensation import UndoCompensate as UndoCompensate  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import Json, JsonObject


class _Ordered(StrEnum):
    """Words that stand in an order: the first member is the least."""

    rank: int  #: the place in the order, from 0

    def __init__(self, _: str) -> None:
        self.rank = len(type(self).__members__)

    def __lt__(self, other: str) -> bool:
        return self.rank < self._of(other).rank

    def __le__(self, other: str) -> bool:
        return self.rank <= self._of(other).rank

    def __gt__(self, other: str) -> bool:
        return self.rank > self._of(other).rank

    def __ge__(self, other: str) -> bool:
        return self.rank >= self._of(other).rank

    def _of(self, other: str) -> Self:
        kind = type(self)
        return other if type(other) is kind else kind(other)


class Risk(_Ordered):
    """How bad it can get, in the contract's judgement; a deployment may only raise it."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Confirm(_Ordered):
    """How much confirming a call asks for; the later, the tighter."""

    NEVER = "never"
    POLICY = "policy"
    ALWAYS = "always"


#: Kinds of effect that leave the world as it is, whatever their fields say.
_READING = frozenset({"fs.read", "fs.list", "secret.use", "env.read", "clock", "random"})
#: Methods of HTTP that leave the far side as it is (RFC 9110, section 9.2.1).
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@attrs.frozen
class EffectDeclaration:
    """One effect a handler may ask the broker for."""

    kind: str  #: ``fs.write``, ``net.http`` …; plugins add their own
    fields: Mapping[str, Json]  #: the long form, defaults filled in

    @property
    def changes_world(self) -> bool:
        """Whether this effect may change something; a kind the core does not know may."""
        match self.kind:
            case kind if kind in _READING:
                return False
            case "net.http":
                return not _SAFE_METHODS.issuperset(self.fields["methods"])
            case "process.exec":
                return bool(self.fields["outputs"])
            case _:
                return True

    @property
    def is_captured(self) -> bool:
        """Whether the broker itself captures the undo of this kind of effect."""
        return self.kind in {"fs.write", "fs.delete", "process.exec"}


@attrs.frozen
class UndoCaptured:
    """The broker keeps what was there before; nothing else is needed."""


@attrs.frozen
class UndoNotNeeded:
    """Nothing changes, or nobody would want it back; it leaves no undo item."""


@attrs.frozen
class UndoNone:
    """It cannot be taken back, for this reason."""

    why: str


@attrs.frozen
class UndoStrategyNamed:
    """A strategy that a plugin offers takes it back."""

    strategy: str
    with_: JsonObject = attrs.field(factory=dict)  #: its parameters, templates not yet compiled


Undo: TypeAlias = UndoCaptured | UndoNotNeeded | UndoNone | UndoStrategyNamed | UndoCompensate


def undo_in_words(undo: Undo) -> JsonObject:
    """Say how a call would be taken back, as requests and reports show it."""
    match undo:
        case UndoCaptured():
            return {"kind": "captured"}
        case UndoNotNeeded():
            return {"kind": "not_needed"}
        case UndoNone(why=why):
            return {"kind": "none", "why": why}
        case UndoStrategyNamed(strategy=strategy):
            return {"kind": "strategy", "strategy": strategy}
        case UndoCompensate(compensate=call):
            return {"kind": "compensate", "capability": call.capability}
        case _:
            assert_never(undo)


#: What a file holds: text, bytes, or None where there is no file.
FileContent: TypeAlias = "str | bytes | None"


@attrs.frozen
class ExampleOutput:
    """The call succeeds with exactly this output."""

    value: Json


@attrs.frozen
class ExampleMatch:
    """The call succeeds with an output that fits this JSON Schema."""

    schema: JsonObject


@attrs.frozen
class ExampleError:
    """The call fails with this code."""

    code: str


ExampleOutcome: TypeAlias = ExampleOutput | ExampleMatch | ExampleError


@attrs.frozen
class ServiceStates:
    """States of the fake remote side; None where the example says nothing."""

    before: Json = None
    after: Json = None
    undone: Json = None


@attrs.frozen
class Example:
    """One executable example of a contract (95-partners, section 3)."""

    name: str
    input: JsonObject
    outcome: ExampleOutcome
    before: Mapping[str, FileContent] = attrs.field(factory=dict)  #: files there before the call
    after: Mapping[str, FileContent] = attrs.field(factory=dict)  #: what differs after success
    undone: Mapping[str, FileContent] | None = None  #: files after undo; None: as before
    service: ServiceStates | None = None
    secrets: tuple[str, ...] = ()  #: names given for this example


@attrs.frozen(kw_only=True)
class CapabilitySpec:
    """The contract of one capability, as people approve it."""

    id: str  #: dotted, ASCII, at most 96 characters
    version: str  #: semver of the contract
    summary: str
    description: str = ""
    risk: Risk
    effects: tuple[EffectDeclaration, ...] = ()  #: everything the handler may do; none = pure
    undo: Undo = UndoNotNeeded()
    confirm: Confirm = Confirm.POLICY
    idempotent: bool = False  #: twice with one key is the same as once
    timeout_us: int = 300_000_000  #: of one attempt
    output_bytes: int = 1_048_576  #: most bytes a result may have
    input: JsonObject  #: JSON Schema 2020-12 of an object
    output: JsonObject  #: JSON Schema 2020-12
    errors: Mapping[str, str] = attrs.field(factory=dict)  #: what the handler itself may raise
    examples: tuple[Example, ...] = ()
    aliases: tuple[str, ...] = ()  #: former ids, still answered
    handler: str  #: ``module:function``, or ``plugin:interpreter`` for declarative contracts
    binding: str | None = None  #: the file that tells an interpreter what to do

    @property
    def major(self) -> int:
        """The part of the version that callers pin."""
        return int(self.version.partition(".")[0])

    @property
    def reference(self) -> str:
        """``id@major``, as workflows and facades name it."""
        return f"{self.id}@{self.major}"

    @property
    def full_reference(self) -> str:
        """``id@1.2.0``, as the log names it."""
        return f"{self.id}@{self.version}"

    @property
    def changes_world(self) -> bool:
        """Whether any declared effect may change something outside the handler."""
        return any(effect.changes_world for effect in self.effects)

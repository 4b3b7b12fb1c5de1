"""What happened to a run, a step, an effect or its undo, in the past tense.

Each class is one record kind of the log, its fields are that kind's fields: `RunCancelRequested` is
``run.cancel_requested``.  Fields declared with `codec.unrecorded` carry a value that the log holds
as a payload; the `Value` that commits to it is made when the fact is recorded, so a fact that was
not read from the log has None there.
``step`` is the step's path as the engine names it (``nested.read``, ``each[3]``); ``effect`` is
``run/step/attempt/n``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import attrs

from awe_core.events import codec
from awe_core.events.parts import (
    Failure,
    Irreversible,
    ManifestRef,
    PackRef,
    Residue,
    UndoRecord,
    Value,
    WorkflowRef,
)

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject

ClosedState = Literal["COMPLETED", "FAILED", "ROLLED_BACK"]
ResumeMode = Literal["forward", "rollback", "retry"]


class _Recorded:
    __slots__ = ()
    kind: ClassVar[str]  #: ``noun.verb``

    def __init_subclass__(cls) -> None:
        noun, *verb = re.findall("[A-Z][a-z]+", cls.__name__)
        cls.kind = f"{noun}.{'_'.join(verb)}".lower()


@attrs.frozen(kw_only=True)
class _Attempt(_Recorded):
    step: str
    attempt: int
    epoch: int | None = None  #: absent = 0


# ---- run ----------------------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class RunOpened(_Recorded):
    """A run exists from here on; nothing of it was done before this was durable."""

    workflow: WorkflowRef = codec.of(WorkflowRef)
    via: str
    by: str
    trust: str
    policies: str  #: digest of the policy set
    in_: Value | None = codec.of(Value, default=None)
    level: str = "metadata"
    durability: str = "full"
    auto_rollback: bool = True
    packs: tuple[PackRef, ...] = codec.of(PackRef, many=True, default=())
    subjects: tuple[str, ...] = codec.many(())
    facade: str | None = None
    for_: str | None = None  #: on whose behalf
    parent: JsonObject | None = None
    manifest: ManifestRef | None = codec.of(ManifestRef, default=None)
    expires_us: int | None = None
    dry: bool | None = None  #: on an overlay: nothing of it is done
    idem: str | None = None  #: keyed MAC of the submission's idempotency key
    call: bool | None = None  #: a single capability call, opened as a run of one step
    spec: Value | None = codec.of(Value, default=None)  #: a workflow that stands in no pack, whole
    inputs: Json = codec.unrecorded()
    document: Json = codec.unrecorded()  #: what `spec` commits to


@attrs.frozen(kw_only=True)
class RunPaused(_Recorded):
    """Nothing goes on until somebody acts (``run.paused``)."""

    cause: str  #: handshake, in_doubt, audit, stop, operator, pack, strategy, trust, crash_loop
    steps: tuple[str, ...] | None = codec.many(None)
    reason: str | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class RunResumed(_Recorded):
    """A run goes on; the only thing that reopens a closed one."""

    mode: ResumeMode
    to: str | None = None  #: rollback: down to this step
    from_: str | None = None  #: retry: from this step
    inclusive: bool | None = None
    item: str | None = None  #: rollback: this effect alone
    #: Other records of its packs that a person lets the run go on with.
    packs: tuple[PackRef, ...] | None = codec.of(PackRef, many=True, default=None)
    reason: str | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class RunCancelRequested(_Recorded):
    """Somebody, or the run's own expiry, asked for its end."""

    via: str
    mode: Literal["rollback", "keep"]
    cause: Literal["asked", "expiry"] = "asked"
    reason: str | None = None
    by: str | None = None


@attrs.frozen(kw_only=True)
class RunClosed(_Recorded):
    """The run ended; the last of these counts."""

    state: ClosedState
    count: int  #: this record's rseq + 1
    dur_us: int
    residue: tuple[Residue, ...] = codec.of(Residue, many=True, default=())
    standing: int = 0  #: effects that are in the world and could still be taken back
    out: Value | None = codec.of(Value, default=None)
    err: Failure | None = codec.of(Failure, default=None)
    sealed: JsonObject | None = None
    output: Json = codec.unrecorded()


# ---- step ---------------------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class StepStarted(_Attempt):
    """A handler is about to run, or a fan-out or scope was opened."""

    cap: str | None = None  #: ``id@version``
    pack: PackRef | None = codec.of(PackRef, default=None)
    risk: str | None = None
    effects: tuple[JsonObject, ...] | None = codec.many(None)  #: the grant: narrowed effects
    in_: Value | None = codec.of(Value, default=None)
    executor: str | None = None
    promises: str | None = None
    digest: str | None = None  #: of the call
    ticket: str | None = None  #: hex SHA-256 of the nonce that is used up by this
    policy: JsonObject | None = None  #: the automatic grant
    idem: str | None = None
    deadline_us: int | None = None
    items: int | None = None  #: length of a fan-out
    scope: str | None = None  #: sub-workflow ``id@version``
    arguments: Json = codec.unrecorded()


@attrs.frozen(kw_only=True)
class StepCompleted(_Attempt):
    """The handler returned, and its output keeps its contract."""

    dur_us: int
    out: Value | None = codec.of(Value, default=None)
    diag: Value | None = codec.of(Value, default=None)
    resolved_by: str | None = None
    reason: str | None = None  #: of whoever resolved it
    child: JsonObject | None = None
    output: Json = codec.unrecorded()


@attrs.frozen(kw_only=True)
class StepFailed(_Attempt):
    """The step failed; ``class_`` decides whether a retry may follow."""

    err: Failure = codec.of(Failure)
    #: timeout, unavailable, rate_limited, refused, contract, conflict, expression, error
    class_: str
    dur_us: int = 0
    retry_after_us: int | None = None
    diag: Value | None = codec.of(Value, default=None)
    resolved_by: str | None = None
    reason: str | None = None  #: of whoever resolved it
    child: JsonObject | None = None


@attrs.frozen(kw_only=True)
class StepRetryScheduled(_Attempt):
    """The next attempt, which it names, has its time."""

    due_us: int
    resolved_by: str | None = None
    reason: str | None = None  #: of whoever resolved it


@attrs.frozen(kw_only=True)
class StepSkipped(_Recorded):
    """The step will not run in this epoch."""

    step: str
    cause: Literal["when", "need", "dry"]  #: dry: what it needs is not done in a dry run
    epoch: int | None = None


@attrs.frozen(kw_only=True)
class StepInDoubt(_Attempt):
    """The outcome is unknown after a crash; a person resolves it."""

    effects: tuple[str, ...] = codec.many(())
    inspect: tuple[str, ...] = codec.many(())  #: of each of them, what its strategy saw


# ---- handshake ----------------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class HandshakeRequested(_Recorded):
    """A person is asked; durable before anybody sees it."""

    step: str
    req: str
    version: int
    digest: str
    request: Value | None = codec.of(Value, default=None)
    policies: tuple[JsonObject, ...] = codec.many(())
    need: tuple[JsonObject, ...] = codec.many(())
    expires_us: int
    replaces: str | None = None
    votes: tuple[JsonObject, ...] | None = codec.many(None)
    document: Json = codec.unrecorded()  #: the whole ConfirmationRequest as JSON


@attrs.frozen(kw_only=True)
class HandshakeVoted(_Recorded):
    """One vote short of the quorum."""

    step: str
    req: str
    version: int
    digest: str
    vote: JsonObject
    need: tuple[JsonObject, ...] = codec.many(())


@attrs.frozen(kw_only=True)
class HandshakeGranted(_Recorded):
    """The quorum is met; the tickets may be used once each."""

    step: str
    version: int
    digest: str
    req: str | None = None
    votes: tuple[JsonObject, ...] | None = codec.many(None)
    policy: JsonObject | None = None
    scope: str = "once"
    selector: str | None = None
    grant: str | None = None
    tickets: tuple[str, ...] = codec.many(())  #: hex SHA-256 of each nonce
    ticket_expires_us: int | None = None
    nonces: tuple[str, ...] = codec.unrecorded(())  #: held in the payload alone


@attrs.frozen(kw_only=True)
class HandshakeRefused(_Recorded):
    """A policy or a person said no."""

    step: str
    digest: str
    req: str | None = None
    version: int | None = None
    by: str | None = None
    policy: JsonObject | None = None
    reason: str | None = None
    vote: JsonObject | None = None


@attrs.frozen(kw_only=True)
class HandshakeExpired(_Recorded):
    """A request ended without an answer."""

    step: str
    req: str
    version: int
    digest: str
    cause: Literal["timeout", "drift", "withdrawn", "policy_changed", "pack_changed", "revoked"]


# ---- effect -------------------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class EffectIntended(_Attempt):
    """Durable before the act: what will be done and how it is taken back."""

    effect: str
    type: str  #: fs.write, net.http …
    target: str
    request: str  #: digest of what is asked
    undo: JsonObject  #: {strategy, rec: Value}, {none: why}, or {}: nobody would want it back
    key: str | None = None  #: idempotency key of the effect
    claims: tuple[str, ...] = codec.many(())  #: resources it changes
    pre: str | None = None
    record: UndoRecord | Irreversible | None = codec.unrecorded()  #: what `undo` commits to


@attrs.frozen(kw_only=True)
class EffectApplied(_Attempt):
    """The effect is in the world (or, for a read, was performed)."""

    effect: str
    dur_us: int = 0
    type: str | None = None  #: where nothing was intended before
    target: str | None = None
    post: str | None = None
    rec: Value | None = codec.of(Value, default=None)  #: the undo record, completed
    repeated: bool | None = None
    found_by: str | None = None
    record: UndoRecord | None = codec.unrecorded()


@attrs.frozen(kw_only=True)
class EffectFailed(_Attempt):
    """The effect is not in the world, or nobody knows (``applied``)."""

    effect: str
    err: Failure = codec.of(Failure)
    applied: Literal["no", "partial", "unknown"] = "no"
    dur_us: int = 0
    type: str | None = None
    target: str | None = None
    found_by: str | None = None


@attrs.frozen(kw_only=True)
class EffectRefused(_Attempt):
    """Nothing was tried: undeclared, over a limit, too late, stopped."""

    type: str
    target: str  #: as asked, scrubbed, at most 512 bytes
    code: str
    rule: str | None = None
    limit: str | None = None
    n: int | None = None


# ---- undo ---------------------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class UndoStarted(_Recorded):
    """An effect is about to be taken back; durable before it is."""

    step: str
    effect: str
    strategy: str
    try_: int
    cause: str  #: failure, cancelled, expiry, operator, retry
    cap: str | None = None  #: what is called for it, ``id`` or ``id@major``


@attrs.frozen(kw_only=True)
class UndoApplied(_Recorded):
    """The world is again as it was before the effect."""

    step: str
    effect: str
    noop: bool | None = None  #: it was already so


@attrs.frozen(kw_only=True)
class UndoConflict(_Recorded):
    """Somebody else changed it since; theirs was kept."""

    step: str
    effect: str
    found: str  #: digest of what is there now
    kept: str  #: where our earlier version lies
    what: str | None = None


@attrs.frozen(kw_only=True)
class UndoFailed(_Recorded):
    """It could not be taken back; final unless ``due_us`` says when it is tried again."""

    step: str
    effect: str
    err: Failure = codec.of(Failure)
    due_us: int | None = None
    cause: str | None = None  #: irreversible, blocked_by, discarded …


@attrs.frozen(kw_only=True)
class UndoDiscarded(_Recorded):
    """Pre-images of a closed run were dropped: it can no longer be taken back."""

    cause: Literal["success", "quota", "retention", "shredded"]
    effects: tuple[str, ...] = codec.many(())
    bytes: int = 0


_Run: TypeAlias = RunOpened | RunPaused | RunResumed | RunCancelRequested | RunClosed
_Step: TypeAlias = (
    StepStarted | StepCompleted | StepFailed | StepRetryScheduled | StepSkipped | StepInDoubt
)
_Handshake: TypeAlias = (
    HandshakeRequested | HandshakeVoted | HandshakeGranted | HandshakeRefused | HandshakeExpired
)
_Effect: TypeAlias = EffectIntended | EffectApplied | EffectFailed | EffectRefused
_Undo: TypeAlias = UndoStarted | UndoApplied | UndoConflict | UndoFailed | UndoDiscarded
Fact: TypeAlias = _Run | _Step | _Handshake | _Effect | _Undo

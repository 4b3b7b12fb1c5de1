"""Performs the effects of one attempt of one step, in order, on the record (40, section 3).

Check → stage → intend, barrier → act → record.  Checking and staging can fail with the world
unchanged; between the intent's record and the act nothing is decided any more.  Effects that change
the world are performed one at a time in arrival order; reads run beside them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.capability import UndoNone, UndoNotNeeded
from awe_core.effects.changes import Change, Done
from awe_core.effects.files import FileEffects
from awe_core.effects.observed import Observed
from awe_core.errors import AweError, EffectError, EffectRefusedError
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    Failure,
    Irreversible,
    UndoRecord,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.capability import Undo
    from awe_core.effects.grants import Grant
    from awe_core.effects.port import Port, Prior
    from awe_core.values import JsonObject
    from awe_core.workspace import Staged, Workspace

_UNTOUCHED = frozenset({"fs.exists", "fs.missing", "fs.changed"})  #: the act changed nothing
_REFUSALS_RECORDED = 100  #: of one step; the rest is counted in one record
_TARGET_BYTES = 512
_DIAGNOSTICS = 65_536  #: bytes of log lines one step may write


@attrs.frozen(kw_only=True)
class StepRef:
    """Which attempt of which step acts."""

    path: str
    attempt: int
    epoch: int
    key: str  #: the step's idempotency key
    effect_key: Callable[[int], str]  #: ordinal → effect key


class StepBroker(FileEffects, Observed):
    """The broker of one attempt; `awe_core.context` shows it to handlers."""

    def __init__(  # noqa: PLR0913 - everything an attempt is bound to
        self,
        port: Port,
        step: StepRef,
        *,
        grant: Grant,
        workspace: Workspace,
        config: JsonObject,
        is_synced: bool,
        undo: Undo,
    ) -> None:
        """Bind the broker to one attempt and what it was granted."""
        self.port = port
        self.step = step
        self.grant = grant
        self.workspace = workspace
        self.config = config
        self.is_synced = is_synced
        self.undo = undo
        self.diagnostics: list[JsonObject] = []
        self._ordinal = 0
        self._refused = 0
        self._logged = 0
        self._closed: str | None = None
        self._changing = asyncio.Lock()

    def close(self, why: str) -> None:
        """Let nothing more happen: the step ended, timed out or was abandoned."""
        if self._closed is None:
            self._closed = why

    @property
    def refused(self) -> int:
        """How many effects were refused."""
        return self._refused

    def log(self, level: str, text: str, fields: JsonObject) -> None:
        """Keep a line of diagnostics, up to 64 KiB a step."""
        self._logged += len(text)
        if self._logged <= _DIAGNOSTICS:
            self.diagnostics.append({"level": level, "text": text, **fields})

    # ---- for the kinds -------------------------------------------------------------------------
    def next_effect(self) -> tuple[str, str]:
        """Give the id and the idempotency key of the next effect, in arrival order."""
        n, self._ordinal = self._ordinal, self._ordinal + 1
        effect = f"{self.port.run_id}/{self.step.path}/{self.step.attempt}/{n}"
        return effect, self.step.effect_key(n)

    def check(self, kind: str, target: str) -> None:
        """Refuse what comes too late or from a pack that may not act any more."""
        if self._closed is not None:
            why = self._closed
            error = EffectRefusedError("effect.late", kind=kind, target=target, why=why)
            raise self.refuse(kind, target, error)
        try:
            self.port.check_gate(self.step.path)
        except AweError as error:
            raise self.refuse(kind, target, error) from None

    def refuse(self, kind: str, target: str, error: AweError) -> AweError:
        """Record a refusal and give the error back to be raised."""
        self._refused += 1
        if self._refused <= _REFUSALS_RECORDED:
            rule = error.attributes.get("rule")
            limit = error.attributes.get("limit")
            self.port.record(
                EffectRefused(
                    step=self.step.path,
                    attempt=self.step.attempt,
                    epoch=self.step.epoch or None,
                    type=kind,
                    target=_shortened(target),
                    code=error.code,
                    rule=None if rule is None else str(rule),
                    limit=None if limit is None else str(limit),
                )
            )
        return error

    def observed(self, kind: str, target: str, post: str | None) -> None:
        """Record an effect that changed nothing."""
        effect, _ = self.next_effect()
        self.port.record(
            EffectApplied(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=effect,
                type=kind,
                target=target,
                post=post,
            )
        )

    async def change(self, change: Change) -> Done:
        """Perform one effect that changes the world."""
        async with self._changing:
            for resource in change.claims:
                await self.port.claim(self.step.path, resource)
            self.check(change.kind, change.target)
            effect, key = self.next_effect()
            prior = self.port.prior(key)
            if prior is not None and prior.applied is not None and not prior.is_taken_back:
                return self._repeated(key, change, prior)
            staged = self._staged(change)
            await self._flush_stage(staged)
            await self._intend(change, effect, key, staged)
            await self._act(effect, staged)
            return Done(staged.kind == "create", staged.post.get("sha256"), staged.post.get("size"))

    def _staged(self, change: Change) -> Staged:
        try:
            return change.stage()
        except EffectRefusedError as error:
            raise self.refuse(change.kind, change.target, error) from None

    async def _flush_stage(self, staged: Staged) -> None:
        """Make what is staged durable, where asked for; what fails leaves nothing staged."""
        if not self.is_synced:
            return
        try:
            await self.port.in_pool(staged.sync_stage)
        except BaseException:
            staged.discard()
            raise

    def _repeated(self, key: str, change: Change, prior: Prior) -> Done:
        """Answer from the log what an earlier attempt did under the same key (40, section 3)."""
        if prior.intended.request != change.digest:
            raise EffectRefusedError(
                "effect.key_reused", key=key, target=prior.intended.target, step=self.step.path
            )
        post = prior.applied.post if prior.applied is not None else None
        found = self.workspace.digest(change.target)
        if post is not None and post != f"sha256:{found.sha256}":
            raise EffectError("fs.changed", path=change.target)
        self.port.record(
            EffectApplied(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=prior.intended.effect,
                post=post,
                repeated=True,
            )
        )
        is_created = (prior.intended.undo or {}).get("strategy") == "fs.create"
        return Done(is_created, found.sha256, found.size)

    async def _intend(self, change: Change, effect: str, key: str, staged: Staged) -> None:
        record = _undo_record(self.undo, staged)
        self.port.record(
            EffectIntended(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=effect,
                type=change.kind,
                target=change.target,
                request=change.digest,
                key=key,
                claims=change.claims,
                pre=_digest_of(staged.pre),
                undo=_undo_field(record),
                record=record,
            )
        )
        try:
            await self.port.barrier()
        except asyncio.CancelledError:
            self._not_applied(effect, "effect.late", "the step was interrupted before the act")
            staged.discard()
            raise
        except AweError:
            staged.discard()
            raise
        if self._closed is not None:
            why = self._closed
            self._not_applied(effect, "effect.late", why)
            staged.discard()
            raise EffectRefusedError("effect.late", kind=change.kind, target=change.target, why=why)

    async def _act(self, effect: str, staged: Staged) -> None:
        """Act, flush, record.  Whoever interrupts waits until the record is made."""
        started, intended = self.port.now_us(), staged.undo
        try:
            post = staged.act()
        except AweError as error:
            if error.code in _UNTOUCHED:
                self._not_applied(effect, error.code, error.summary)
            else:
                self._not_applied(effect, error.code, error.summary, applied="unknown")
            raise
        interrupted = None
        if self.is_synced:
            interrupted = await _uninterrupted(self.port.in_pool(staged.sync_act))
        self.port.record(
            EffectApplied(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=effect,
                post=_digest_of(post),
                dur_us=max(0, self.port.now_us() - started),
                record=_completed(self.undo, intended, staged.undo),
            )
        )
        if interrupted is not None:
            raise interrupted

    def _not_applied(
        self, effect: str, code: str, message: str, *, applied: Literal["no", "unknown"] = "no"
    ) -> None:
        self.port.record(
            EffectFailed(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=effect,
                err=Failure(code, message),
                applied=applied,
            )
        )


async def _uninterrupted(work: object) -> asyncio.CancelledError | None:
    """Await *work* to its end even if this task is cancelled meanwhile; give the cancellation."""
    task = asyncio.ensure_future(work)  # type: ignore[call-overload]
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError as cancelled:
        await task
        return cancelled
    return None


def _undo_record(undo: Undo, staged: Staged) -> UndoRecord | Irreversible | None:
    """How the effect is taken back: as captured, not at all and why, or no need to."""
    match undo:
        case UndoNone(why=why):
            return Irreversible(why)
        case UndoNotNeeded():
            return None
        case _:
            return staged.undo


def _undo_field(record: UndoRecord | Irreversible | None) -> JsonObject:
    match record:
        case UndoRecord(strategy=strategy):
            return {"strategy": strategy}
        case Irreversible(none=why):
            return {"none": why}
        case None:
            return {}


def _completed(undo: Undo, intended: UndoRecord, now: UndoRecord) -> UndoRecord | None:
    """The undo record again, where the act added what only it could know."""
    return now if now != intended and not isinstance(undo, (UndoNone, UndoNotNeeded)) else None


def _digest_of(state: JsonObject) -> str | None:
    found = state.get("sha256")
    return None if found is None else f"sha256:{found}"


def _shortened(target: str) -> str:
    data = target.encode("utf-8", "backslashreplace")[:_TARGET_BYTES]
    return data.decode("utf-8", "ignore")

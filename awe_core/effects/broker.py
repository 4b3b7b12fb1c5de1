"""Performs the effects of one attempt of one step, in order, on the record (40, section 3).

Check → stage → intend, barrier → act → record.  Checking and staging can fail with the world
unchanged; between the intent's record and the act nothing is decided any more.  Effects that change
the world are performed one at a time in arrival order; reads run beside them.  When the step ends,
what stands between intent and record gets its record first; everything later is refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.decider import effect_key
from awe_core.effects.changes import Change, Done, completed, undo_field, undo_record
from awe_core.effects.counters import Counters
from awe_core.effects.files import FileEffects
from awe_core.effects.observed import Observed
from awe_core.errors import AweError, EffectError, EffectRefusedError
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    Failure,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

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
        self._last_refused: EffectRefused | None = None
        self._logged = 0
        self._closed: str | None = None
        self._changing = asyncio.Lock()
        self._claimant: asyncio.Task[object] | None = None  #: waits for a claim
        self._under_way: asyncio.Future[None] | None = None  #: of the effect after its claims
        self.counters = Counters()

    def close(self, why: str) -> None:
        """Let nothing more happen: the step ended, timed out or was abandoned."""
        if self._closed is None:
            self._closed = why
            if self._claimant is not None:
                self._claimant.cancel()

    async def end(self, why: str) -> None:
        """Close, and return when the effect under way has its record, even if cancelled meanwhile.

        Refusals beyond those that have a record of their own are counted in one more.
        """
        self.close(why)
        interrupted = None
        if self._under_way is not None:
            interrupted = await _uninterrupted(self._under_way)
        if self._refused > _REFUSALS_RECORDED and self._last_refused is not None:
            n = self._refused - _REFUSALS_RECORDED
            self._record_refusal(attrs.evolve(self._last_refused, n=n))
            self._last_refused = None
        if interrupted is not None:
            raise interrupted

    @property
    def refused(self) -> int:
        """How many effects were refused."""
        return self._refused

    def log(self, level: str, text: str, fields: JsonObject) -> None:
        """Keep a line of diagnostics, up to 64 KiB a step."""
        line = {**fields, "level": level, "text": text}
        self._logged += sum(len(key) + len(str(value)) for key, value in line.items())
        if self._logged <= _DIAGNOSTICS:
            self.diagnostics.append(line)

    # ---- for the kinds -------------------------------------------------------------------------
    def next_effect(self) -> tuple[str, str]:
        """Give the id and the idempotency key of the next effect, in arrival order.

        What was taken back is never done again under its old key, nor, when a crash made the
        attempt start again, under its old id.
        """
        n, self._ordinal = self._ordinal, self._ordinal + 1
        plain = effect = f"{self.port.run_id}/{self.step.path}/{self.step.attempt}/{n}"
        key, times = effect_key(self.step.key, n), 0
        while (prior := self.port.prior(key)) is not None and prior.is_taken_back:
            times += 1
            key = effect_key(self.step.key, n, taken_back=times)
            if prior.intended.effect.partition("~")[0] == plain:
                effect = f"{plain}~{times}"
        return effect, key

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
        rule, limit = error.attributes.get("rule"), error.attributes.get("limit")
        self._refused += 1
        self._last_refused = EffectRefused(
            step=self.step.path,
            attempt=self.step.attempt,
            epoch=self.step.epoch or None,
            type=kind,
            target=_shortened(target),
            code=error.code,
            rule=None if rule is None else str(rule),
            limit=None if limit is None else str(limit),
        )
        if self._refused <= _REFUSALS_RECORDED:
            self._record_refusal(self._last_refused)
        return error

    def _record_refusal(self, refused: EffectRefused) -> None:
        if self.port.is_open:  # a thread that was abandoned may ask long after its run has closed
            self.port.record(refused)

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
            if self._closed is not None:
                self.check(change.kind, change.target)  # refuses, before anything is claimed
            await self._claim(change)
            self.check(change.kind, change.target)
            self._under_way = asyncio.get_running_loop().create_future()
            try:
                return await self._performed(change)
            finally:
                self._under_way.set_result(None)
                self._under_way = None

    async def _claim(self, change: Change) -> None:
        """Hold what *change* changes; a wait ends when the step does."""
        self._claimant = asyncio.current_task()
        try:
            for resource in change.claims:
                await self.port.claim(self.step.path, resource)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed is None or task is None or task.uncancel() > 0:
                raise
            self.check(change.kind, change.target)  # refuses: too late
        finally:
            self._claimant = None

    async def _performed(self, change: Change) -> Done:
        effect, key = self.next_effect()
        prior = self.port.prior(key)
        if prior is not None and prior.is_open:
            await self._look(change, prior.intended)
            prior = self.port.prior(key)
        if prior is not None and prior.applied is not None and not prior.is_taken_back:
            return self._repeated(key, change, prior)
        with self._staged(change) as staged:  # forgets what was staged unless it acts
            if self.is_synced:
                await self.port.in_pool(staged.sync_stage)
            await self._intend(change, effect, key, staged)
            await self._act(change, effect, staged)
        return Done(staged.kind == "create", staged.post.get("sha256"), staged.post.get("size"))

    def _staged(self, change: Change) -> Staged:
        try:
            return change.stage()
        except EffectRefusedError as error:
            raise self.refuse(change.kind, change.target, error) from None

    async def _look(self, change: Change, cut_off: EffectIntended) -> None:
        """Find out and record what became of an intent whose end a crash kept from the log."""
        if not cut_off.undo:  # nobody would want it back: done once more is as good
            return
        match await self.port.inspect(cut_off.effect):
            case "applied":
                self.port.record(
                    EffectApplied(
                        step=self.step.path,
                        attempt=self.step.attempt,
                        epoch=self.step.epoch or None,
                        effect=cut_off.effect,
                        found_by="inspect",
                    )
                )
            case "not_applied":
                self._not_applied(
                    cut_off.effect, "effect.interrupted", "a crash came before the act"
                )
            case seen:
                raise EffectError(
                    "effect.in_doubt", kind=change.kind, target=change.target, seen=seen
                )

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
        record = undo_record(self.undo, staged)
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
                undo=undo_field(record),
                record=record,
            )
        )
        try:
            await self.port.barrier()
        except asyncio.CancelledError:
            self._not_applied(effect, "effect.late", "the step was interrupted before the act")
            raise
        if self._closed is not None:
            why = self._closed
            self._not_applied(effect, "effect.late", why)
            raise EffectRefusedError("effect.late", kind=change.kind, target=change.target, why=why)

    async def _act(self, change: Change, effect: str, staged: Staged) -> None:
        """Act, flush, record.  Whoever interrupts waits until the record is made."""
        started, intended = self.port.now_us(), staged.undo
        try:
            post = staged.act()
            interrupted = None
            if self.is_synced:
                interrupted = await _uninterrupted(self.port.in_pool(staged.sync_act))
        except Exception as error:
            known = _as_ours(error, change.target)
            is_untouched = known.code in _UNTOUCHED
            applied: Literal["no", "unknown"] = "no" if is_untouched else "unknown"
            self._not_applied(effect, known.code, known.summary, applied=applied)
            raise known from error
        self.port.record(
            EffectApplied(
                step=self.step.path,
                attempt=self.step.attempt,
                epoch=self.step.epoch or None,
                effect=effect,
                post=_digest_of(post),
                dur_us=max(0, self.port.now_us() - started),
                record=completed(self.undo, intended, staged.undo),
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


async def _uninterrupted(work: Awaitable[None]) -> asyncio.CancelledError | None:
    """Await *work* to its end even if this task is cancelled meanwhile; give the cancellation."""
    task, interrupted = asyncio.ensure_future(work), None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            interrupted = error
    task.result()
    return interrupted


def _as_ours(error: Exception, target: str) -> AweError:
    if isinstance(error, AweError):
        return error
    reason = getattr(error, "strerror", None) or type(error).__name__
    return EffectError("fs.failed", path=target, reason=reason)


def _digest_of(state: JsonObject) -> str | None:
    found = state.get("sha256")
    return None if found is None else f"sha256:{found}"


def _shortened(target: str) -> str:
    data = target.encode("utf-8", "backslashreplace")[:_TARGET_BYTES]
    return data.decode("utf-8", "ignore")

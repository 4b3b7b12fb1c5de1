"""Performs the effects of one attempt of one step, in order, on the record (40, section 3).

Check → stage → intend, barrier → act → record.  Checking and staging can fail with the world
unchanged; between the intent's record and the act nothing is decided any more.  Effects that change
the world are performed one at a time in arrival order; reads run beside them.  When the step ends,
what stands between intent and record gets its record first; everything later is refused.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core import canonical
from awe_core.capability import UndoNone, UndoNotNeeded
from awe_core.effects.asking import Asking
from awe_core.errors import AweError, EffectError, EffectRefusedError
from awe_core.events import EffectFailed, EffectIntended, Failure, Irreversible, UndoRecord
from awe_core.files import FileResult

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from awe_core.effects.port import Prior
    from awe_core.values import JsonObject
    from awe_core.workspace import Image, Staged

_UNTOUCHED = frozenset({"fs.exists", "fs.missing", "fs.changed"})  #: the act changed nothing


@attrs.frozen(kw_only=True)
class Change:
    """One effect that changes the world, as it is asked for."""

    kind: str
    target: str
    claims: tuple[str, ...]  #: resources it changes
    request: JsonObject  #: what is asked, so that the same key with another request is noticed
    stage: Callable[[], Staged]
    label: str | None = None  #: names it where another attempt may not ask for it

    @property
    def digest(self) -> str:
        """Digest of what is asked."""
        return canonical.digest_value({"kind": self.kind, "target": self.target, **self.request})


class Acting(Asking):
    """The part of a broker that changes the world."""

    async def end(self, why: str) -> None:
        """Close, and return when the effect under way has its record, even if cancelled."""
        self.close(why)
        interrupted = None
        if self._under_way is not None:
            interrupted = await _uninterrupted(self._under_way)
        self.count_refusals()
        if interrupted is not None:
            raise interrupted

    async def change(self, change: Change) -> FileResult:
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

    async def _performed(self, change: Change) -> FileResult:
        effect, key = self.next_effect(change.label)
        prior = self.port.prior(key)
        if prior is not None and prior.is_open:
            await self._look(change, prior.intended)
            prior = self.port.prior(key)
        if prior is not None and prior.applied is not None and not prior.is_taken_back:
            return self._repeated(key, change, prior, prior.applied.post)
        try:
            staged = await self._staged(change)
        except EffectRefusedError as error:
            raise self.refuse(change.kind, change.target, error) from None
        with staged:  # forgets what was staged unless it acts
            if self.is_synced and staged.held is not None:
                await self.port.in_pool(staged.sync_stage)
            record = await self._intend(change, effect, staged, key)
            await self._act(change, effect, staged, record)
        return file_result(change.target, staged.after, is_created=staged.kind == "create")

    async def _staged(self, change: Change) -> Staged:
        try:
            return change.stage()
        except EffectRefusedError as error:
            full = error.code == "undo.full"
            if not full or not await self.port.make_room(int(str(error.attributes["needed"]))):
                raise
        return change.stage()

    async def _look(self, change: Change, cut_off: EffectIntended) -> None:
        """Find out and record what became of an intent whose end a crash kept from the log."""
        if not cut_off.undo:  # nobody would want it back: done once more is as good
            return
        match await self.port.inspect(cut_off.effect):
            case "applied", record:
                self._applied(cut_off.effect, found_by="inspect", record=record)
            case "not_applied", _:
                self._failed(cut_off.effect, "effect.interrupted", "a crash came before the act")
                await self.port.forget(cut_off.effect)
            case seen, _:
                raise EffectError(
                    "effect.in_doubt", kind=change.kind, target=change.target, seen=seen
                )

    def _repeated(self, key: str, change: Change, prior: Prior, post: str | None) -> FileResult:
        """Answer from the log what an earlier attempt did under the same key (40, section 3)."""
        if prior.intended.request != change.digest:
            raise EffectRefusedError(
                "effect.key_reused", key=key, target=prior.intended.target, step=self.step.path
            )
        found = self.workspace.digest(change.target)
        if post is not None and post != f"sha256:{found.sha256}":
            raise EffectError("fs.changed", path=change.target)
        self._applied(prior.intended.effect, post=post, repeated=True)
        is_created = prior.intended.pre is None and post is not None
        return file_result(change.target, found, is_created=is_created)

    async def _intend(
        self, change: Change, effect: str, staged: Staged, key: str
    ) -> UndoRecord | Irreversible | None:
        intent = partial(
            EffectIntended,
            **self._where,
            effect=effect,
            type=change.kind,
            target=change.target,
            request=change.digest,
            key=key,
            claims=change.claims,
            pre=_digest_of(staged.before),
        )
        record = self._undo_of(staged)
        if self.capture is not None:
            record = await self.capture.capture(intent(undo={}))
        self.port.record(intent(undo=_undo_field(record), record=record))
        try:
            await self.port.barrier()
        except asyncio.CancelledError:
            self._failed(effect, "effect.late", "the step was interrupted before the act")
            raise
        if self._closed is not None:
            self._failed(effect, "effect.late", self._closed)
            raise EffectRefusedError(
                "effect.late", kind=change.kind, target=change.target, why=self._closed
            )
        return record

    async def _act(
        self, change: Change, effect: str, staged: Staged, record: UndoRecord | Irreversible | None
    ) -> None:
        """Act, flush, record.  Whoever interrupts waits until the record is made."""
        started, interrupted = self.port.now_us(), None
        was = (staged.before, staged.after)
        try:
            staged.act()
            if self.is_synced:
                interrupted = await _uninterrupted(self.port.in_pool(staged.sync_act))
        except Exception as error:
            known = _as_ours(error, change.target)
            is_untouched = known.code in _UNTOUCHED
            if is_untouched:
                staged.forget()
            self._failed(
                effect, known.code, known.summary, applied="no" if is_untouched else "unknown"
            )
            raise known from error
        completed = None  # with what only the act could know
        if isinstance(record, UndoRecord) and self.capture is not None:
            is_created = staged.kind == "create"
            result = file_result(change.target, staged.after, is_created=is_created)
            completed = self.capture.complete(record, attrs.asdict(result))
        elif isinstance(record, UndoRecord) and was != (staged.before, staged.after):
            completed = staged.undo
        self._applied(
            effect,
            post=_digest_of(staged.after),
            dur_us=max(0, self.port.now_us() - started),
            record=completed,
        )
        if interrupted is not None:
            raise interrupted

    def _undo_of(self, staged: Staged) -> UndoRecord | Irreversible | None:
        """How the effect is taken back: as captured, not at all and why, or no need to."""
        match self.undo:
            case UndoNone(why=why):
                return Irreversible(why)
            case UndoNotNeeded():
                return None
            case _:
                return staged.undo

    def _failed(
        self, effect: str, code: str, message: str, *, applied: Literal["no", "unknown"] = "no"
    ) -> None:
        err = Failure(code, message)
        self.port.record(EffectFailed(**self._where, effect=effect, err=err, applied=applied))


def _undo_field(record: UndoRecord | Irreversible | None) -> JsonObject:
    """What the intent's line says of it; the record itself is a payload."""
    match record:
        case UndoRecord(strategy=strategy):
            return {"strategy": strategy}
        case Irreversible(none=why):
            return {"none": why}
        case None:
            return {}


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


def _digest_of(image: Image) -> str | None:
    return f"sha256:{image.sha256}" if image.sha256 else None


def file_result(path: str, image: Image, *, is_created: bool) -> FileResult:
    """Answer what a write left behind."""
    return FileResult(path, image.sha256, image.size, is_created)

"""What every effect asks first: is it late, granted, within limits; and the record of that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import attrs

from awe_core.decider import effect_key
from awe_core.errors import AweError, EffectRefusedError
from awe_core.events import EffectApplied, EffectRefused
from awe_core.workspace.paths import parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.capability import Undo
    from awe_core.effects.grants import Grant, Narrowed
    from awe_core.effects.port import Capture, Port
    from awe_core.values import Json, JsonObject
    from awe_core.workspace import Workspace

_T = TypeVar("_T")

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
    place: str | None = None  #: what its effects are named after, if not the attempt


class _Where(TypedDict):
    step: str
    attempt: int
    epoch: int | None


class Asking:
    """The part of a broker that checks and records."""

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
        capture: Capture | None = None,
    ) -> None:
        """Bind the broker to one attempt and what it was granted."""
        self.port = port
        self.step = step
        self.grant = grant
        self.workspace = workspace
        self.config = config
        self.is_synced = is_synced
        self.undo = undo
        self.capture = capture
        self.diagnostics: list[JsonObject] = []
        self.refused = 0  #: how many effects were
        self._last_refused: EffectRefused | None = None
        self._where = _Where(step=step.path, attempt=step.attempt, epoch=step.epoch or None)
        self._ordinal = 0
        self._logged = 0
        self._files: dict[int, set[str]] = {}  #: asked for, by identity of the granted effect
        self._added: dict[str, int] = {}  #: bytes, by path
        self._closed: str | None = None
        self._changing = asyncio.Lock()
        self._claimant: asyncio.Task[object] | None = None  #: waits for a claim
        self._under_way: asyncio.Future[None] | None = None  #: of the effect after its claims

    def close(self, why: str) -> None:
        """Let nothing more happen: the step ended, timed out or was abandoned."""
        if self._closed is None:
            self._closed = why
            if self._claimant is not None:
                self._claimant.cancel()

    def log(self, level: str, text: str, fields: JsonObject) -> None:
        """Keep a line of diagnostics, up to 64 KiB a step."""
        line = {**fields, "level": level, "text": text}
        self._logged += sum(len(key) + len(str(value)) for key, value in line.items())
        if self._logged <= _DIAGNOSTICS:
            self.diagnostics.append(line)

    # ---- for the kinds -------------------------------------------------------------------------
    def check(self, kind: str, target: str) -> None:
        """Refuse what comes too late or from a pack that may not act any more."""
        try:
            if self._closed is not None:
                raise EffectRefusedError("effect.late", kind=kind, target=target, why=self._closed)
            self.port.check_gate(self.step.path)
        except AweError as error:
            raise self.refuse(kind, target, error) from None

    def granted(  # noqa: PLR0913 - what one effect needs of the declaration that covers it
        self,
        kind: str,
        target: str,
        *others: str,
        modes: frozenset[str] | None = frozenset(),
        size: int = 0,
        added: int = 0,
        recursive: bool = False,
    ) -> Narrowed:
        """Check lateness, lexical rules, grant and limits, in that order, and record a refusal.

        :param others: what says as much when it is granted
        :param modes: None for a way of writing that there is not
        :param size: bytes of the whole file
        :param added: bytes put to its end, so that many small ones are no way around
        """
        self.check(kind, target)
        try:
            if kind.startswith("fs."):
                is_list = kind == "fs.list"
                parse(target, portable_names=self.workspace.portable_names, root=is_list)
            found = self.grant.find(kind, target, *others)
            _allow(found.fields, target, modes, size, recursive=recursive)
            self._count(found, target, added)
        except AweError as error:
            raise self.refuse(kind, target, error) from None
        return found

    def tried(self, kind: str, target: str, work: Callable[[], _T]) -> _T:
        """Do *work* and record it when it refuses."""
        try:
            return work()
        except EffectRefusedError as error:
            raise self.refuse(kind, target, error) from None

    def refuse(self, kind: str, target: str, error: AweError) -> AweError:
        """Record a refusal and give the error back to be raised."""
        rule, limit = error.attributes.get("rule"), error.attributes.get("limit")
        self.refused += 1
        self._last_refused = EffectRefused(
            **self._where,
            type=kind,
            target=_shortened(target),
            code=error.code,
            rule=None if rule is None else str(rule),
            limit=None if limit is None else str(limit),
        )
        if self.refused <= _REFUSALS_RECORDED:
            self._record_refusal(self._last_refused)
        return error

    def count_refusals(self) -> None:
        """Record how many refusals had no record of their own."""
        if self.refused > _REFUSALS_RECORDED and self._last_refused is not None:
            n = self.refused - _REFUSALS_RECORDED
            self._record_refusal(attrs.evolve(self._last_refused, n=n))
            self._last_refused = None

    def observed(self, kind: str, target: str, post: str | None) -> None:
        """Record an effect that changed nothing."""
        effect, _ = self.next_effect()
        self._applied(effect, type=kind, target=target, post=post)

    def next_effect(self, label: str | None = None) -> tuple[str, str]:
        """Give the id and the idempotency key of the next effect, in arrival order or by *label*.

        What was taken back is never done again under its old key, nor, when a crash made the
        attempt start again, under its old id.
        """
        n, self._ordinal = label or self._ordinal, self._ordinal + (label is None)
        place = self.step.place or f"{self.port.run_id}/{self.step.path}/{self.step.attempt}"
        plain = effect = f"{place}/{n}"
        key, times = effect_key(self.step.key, n), 0
        while (prior := self.port.prior(key)) is not None and prior.is_taken_back:
            times += 1
            key = effect_key(self.step.key, n, taken_back=times)
            if prior.intended.effect.partition("~")[0] == plain:
                effect = f"{plain}~{times}"
        return effect, key

    def _applied(self, effect: str, **more: Any) -> None:  # noqa: ANN401 - fields of the record
        self.port.record(EffectApplied(**self._where, effect=effect, **more))

    def _record_refusal(self, refused: EffectRefused) -> None:
        if self.port.is_open:  # a thread that was abandoned may ask long after its run has closed
            self.port.record(refused)

    def _count(self, granted: Narrowed, path: str, added: int) -> None:
        """Count; the same path again is one file, also in another attempt."""
        if (limit := granted.fields.get("max_files")) is not None:
            files = self._files.get(id(granted))
            if files is None:
                earlier = self.port.touched(self.step.path, self.step.epoch)
                files = {p for kind, p in earlier if kind == granted.kind and granted.covers(p)}
                self._files[id(granted)] = files
            if path not in files and len(files) >= limit:
                raise _beyond(path, "max_files", limit)
            files.add(path)
        if added:
            total, most = self._added.get(path, 0) + added, granted.fields.get("max_bytes")
            if most is not None and total > most:
                raise _beyond(path, "max_bytes", most)
            self._added[path] = total


def _allow(
    fields: Mapping[str, Json],
    path: str,
    modes: frozenset[str] | None,
    size: int,
    *,
    recursive: bool,
) -> None:
    if modes is None:
        raise _beyond(path, "mode", "create, replace, upsert")
    if modes and not modes.issubset(declared := fields.get("modes") or ()):
        raise _beyond(path, "modes", ", ".join(sorted(declared)))
    if recursive and not fields.get("recursive"):
        raise _beyond(path, "recursive", "false")
    if (most := fields.get("max_bytes")) is not None and size > most:
        raise _beyond(path, "max_bytes", most)


def _beyond(target: str, which: str, limit: object) -> EffectRefusedError:
    return EffectRefusedError("effect.limit", which=which, limit=limit, target=target)


def _shortened(target: str) -> str:
    data = target.encode("utf-8", "backslashreplace")[:_TARGET_BYTES]
    return data.decode("utf-8", "ignore")

"""Builds the question of one call: engine-written, from the effects plan, for all channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import attrs

from awe_core.capability import (
    CapabilitySpec,
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
)
from awe_core.events import Actor, ConfirmationRequest, PackRef

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.capability import Undo
    from awe_core.values import Json, JsonObject

_SHOWN = 3  #: first values of a phrase
_CUT = 80  #: characters of one value in a summary


@attrs.frozen(kw_only=True)
class Asked:
    """The exact call a question is about."""

    spec: CapabilitySpec
    pack: PackRef
    arguments: Json  #: as people may see them: sensitive ones as {redacted, mac, len}
    digest: str
    effects: Sequence[JsonObject]  #: narrowed
    run: str
    step: str
    attempts: int
    confirm: str
    actor: Actor
    undo: Undo
    preview: JsonObject | None = None


def question(  # noqa: PLR0913 - what the engine adds to the call
    asked: Asked,
    *,
    request_id: str,
    policy_set: str,
    now_us: int,
    expires_us: int,
    replaces: str | None = None,
) -> ConfirmationRequest:
    """Write the first version of the request; policies judge it, people read it."""
    return ConfirmationRequest(
        id=request_id,
        version=1,
        summary=summary(asked.effects),
        capability=asked.spec.full_reference,
        pack=asked.pack,
        risk=asked.spec.risk.value,
        confirm=asked.confirm,
        arguments=asked.arguments,
        digest=asked.digest,
        effects=tuple(asked.effects),
        preview=asked.preview,
        undo=undo_in_words(asked.undo),
        requester=str(asked.actor),
        on_behalf_of=asked.actor.on_behalf_of,
        run=asked.run,
        step=asked.step,
        attempts=asked.attempts,
        policy_set=policy_set,
        opened_us=now_us,
        expires_us=expires_us,
        replaces=replaces,
    )


def summary(effects: Sequence[JsonObject]) -> tuple[JsonObject, ...]:
    """Give a phrase per effect: its kind, how many targets, the first of them."""
    return tuple(
        {"phrase": kind, "count": len(targets), "first": [_cut(t) for t in targets[:_SHOWN]]}
        for effect in effects
        for kind, fields in effect.items()
        for targets in [_targets(fields)]
    )


def undo_in_words(undo: Undo) -> JsonObject:
    """Say how the call would be taken back."""
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


def _targets(fields: JsonObject) -> list[str]:
    for key in ("paths", "hosts", "programs", "names"):
        if key in fields:
            return [str(target) for target in fields[key]]
    return []


def _cut(text: str) -> str:
    return text if len(text) <= _CUT else text[: _CUT - 1] + "…"

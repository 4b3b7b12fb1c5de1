"""The broker of a dry run: reads are performed, changes happen to an overlay and are foreseen.

Everything is asked and refused as in a real run; nothing of what is foreseen is on the record.
"""

from __future__ import annotations

import difflib
from io import StringIO
from typing import TYPE_CHECKING, cast

from awe_core.effects.acting import Change, file_result
from awe_core.effects.broker import StepBroker
from awe_core.errors import EffectRefusedError

if TYPE_CHECKING:
    from awe_core.effects.asking import StepRef
    from awe_core.effects.port import Port
    from awe_core.files import FileResult
    from awe_core.values import JsonObject
    from awe_core.workspace import Image, Overlay

_COMPARED_BYTES, _COMPARED_LINES = 1_048_576, 20_000  #: longer files are told by size and digest
_DIFF_LINES, _DIFF_CHARACTERS = 2_000, 65_536  #: shown of one diff
_ALL_CHARACTERS = 524_288  #: shown of all diffs of a run, so that a guest's frame holds them


class DryBroker(StepBroker):
    """A `StepBroker` whose workspace is an `Overlay`."""

    def __init__(
        self,
        port: Port,
        step: StepRef,
        *,
        foreseen: list[JsonObject],
        **bound: object,
    ) -> None:
        """Add to *foreseen* what the attempt would do."""
        super().__init__(port, step, **bound)  # type: ignore[arg-type]  # as `StepBroker` takes them
        self._foreseen = foreseen

    async def sleep(self, seconds: float) -> None:
        """Note that the step would wait; nobody waits for a plan."""
        self.granted("clock", "")
        self.observed("clock", f"sleep {seconds:g} s", None)

    async def _performed(self, change: Change) -> FileResult:
        self.next_effect()
        overlay = cast("Overlay", self.workspace)
        try:
            staged = change.stage()
            before = _text(overlay, staged.before)
            overlay.act(staged, step=self.step.path)
        except EffectRefusedError as error:
            raise self.refuse(change.kind, change.target, error) from None
        effect: JsonObject = {
            "step": self.step.path,
            "type": change.kind,
            "act": staged.kind,
            "target": staged.path,
            "before": told(staged.before),
            "after": told(staged.after),
        }
        self._foreseen.append(effect)
        after = "" if staged.kind == "delete" else _text(overlay, staged.after)
        if staged.kind == "move":
            effect["to"] = staged.after.path
        elif before is not None and after is not None and before != after:
            room = _ALL_CHARACTERS - sum(len(one.get("diff", "")) for one in self._foreseen)
            kind, path = staged.kind, staged.path
            await self.port.in_pool(lambda: effect.update(_diff(kind, path, before, after, room)))
        return file_result(change.target, staged.after, is_created=staged.kind == "create")


def told(image: Image) -> JsonObject:
    """Say what lies there, without what only this machine knows."""
    digest = {"sha256": image.sha256} if image.sha256 else {}
    return {"kind": image.kind, **digest, **({"bytes": image.size} if image.kind == "file" else {})}


def _text(overlay: Overlay, image: Image) -> str | None:
    """Give the text of a file, nothing as no text; None for what is compared by digest alone."""
    if image.kind != "file" or image.size > _COMPARED_BYTES:
        return "" if image.kind == "absent" else None
    try:
        found = overlay.read(image.path, max_bytes=_COMPARED_BYTES).decode()
    except (UnicodeDecodeError, EffectRefusedError):  # no text, or private: nothing to show
        return None
    return None if "\0" in found or found.count("\n") > _COMPARED_LINES else found


def _diff(kind: str, path: str, before: str, after: str, room: int) -> JsonObject:
    """Compare two texts; what is cut says so."""
    old, new = (StringIO(text, newline="\n").readlines() for text in (before, after))
    was = "/dev/null" if kind == "create" else f"a/{path}"
    will = "/dev/null" if kind == "delete" else f"b/{path}"
    lines = [
        x if x.endswith("\n") else f"{x}\n\\ No newline at end of file\n"
        for x in difflib.unified_diff(old, new, was, will)
    ]
    shown = "".join(lines[:_DIFF_LINES])[: max(0, min(room, _DIFF_CHARACTERS))]
    return {"diff": shown} | ({"is_cut": True} if shown != "".join(lines) else {})

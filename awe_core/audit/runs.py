"""Completeness of the runs in a stream of events: ``rseq`` without gaps, ``count`` at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.audit.pins import Fault
    from awe_core.values import JsonObject


@attrs.define
class Runs:
    """The runs seen so far: the next ``rseq`` of each, and whether it is closed."""

    seen: dict[str, tuple[int, bool, int]] = attrs.field(factory=dict)
    losses: int = 0  #: records that could not be read; a gap that follows from one is none more
    outside: int = 0  #: events that belong to no run, rotations of the key left out

    def take(self, event: JsonObject, *, is_whole: bool) -> Iterator[Fault]:
        """Count one event; give what is missing.

        :param is_whole: the stream began with record 0, so every run must begin with rseq 0
        """
        if "rseq" not in event:
            self.outside += event["kind"] != "log.key_rotated"
            return
        run, rseq = event.get("run"), event["rseq"]
        if type(run) is not str or type(rseq) is not int:
            yield "audit.run_gap", "run and rseq", "something else"
            return
        before, is_closed, losses = self.seen.get(run, (0 if is_whole else rseq, False, 0))
        if rseq != before and losses == self.losses:
            yield "audit.run_gap", f"rseq {before} of run {run}", f"{rseq}"
        kind = event["kind"]
        if kind == "run.closed" and event.get("count") != rseq + 1:
            yield "audit.run_gap", f"count {rseq + 1} of run {run}", f"{event.get('count')!r:.40}"
        is_closed = kind == "run.closed" or (is_closed and kind != "run.resumed")
        self.seen[run] = (rseq + 1, is_closed, self.losses)

    @property
    def open(self) -> list[str]:
        """The runs without a last ``run.closed``."""
        return [run for run, (_, is_closed, _) in self.seen.items() if not is_closed]

    @property
    def is_single(self) -> bool:
        """Tell whether all events belong to one run."""
        return len(self.seen) == 1 and not self.outside

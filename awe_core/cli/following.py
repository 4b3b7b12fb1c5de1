"""A run in the foreground: its progress, the questions it waits for, Ctrl-C, and how it ended.

Progress goes to stderr, the answer to stdout.  Ctrl-C asks once what shall become of the run; a
second one leaves it.
"""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

import attrs
import click

from awe_core.cli import approving, render
from awe_core.cli.asking import terminal
from awe_core.cli.render import answer
from awe_core.cli.shared import invocation
from awe_core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.live import Live

    from awe_core.cli.render import Answer
    from awe_core.runtime import RunHandle, RunResult, Runtime
    from awe_core.values import JsonObject

#: By the table of exit codes: what a run's end means to a shell.
EXIT_CODES = {"COMPLETED": 0, "ROLLED_BACK": 4, "FAILED": 5, "PAUSED": 6}
_ENDS = frozenset({"run.closed", "run.paused"})


def steer(
    runtime: Runtime, run: str, ask: Callable[[RunHandle], None], *, wanted: str = "COMPLETED"
) -> Answer:
    """Ask something of a run that exists, and follow what becomes of it."""
    handle = runtime.attach(run)
    *_, last = handle.events(follow=False)
    ask(handle)
    return finish(runtime, handle, wanted=wanted, after=last.rseq)


def finish(
    runtime: Runtime,
    handle: RunHandle,
    *,
    wanted: str = "COMPLETED",
    timeout: float | None = None,
    after: int = -1,
) -> Answer:
    """Follow a run until it ends or waits for somebody, and say how it ended.

    :param wanted: the end that was asked for, and so is no failure: of an undo, ROLLED_BACK
    :param after: show progress behind this record of the run
    :raises RunError: ``run.still_running`` after *timeout* seconds
    """
    progress = _Progress(after)
    is_shown = timeout is None and not invocation().is_json
    while True:
        try:
            if is_shown:
                progress.follow(handle)
            result = handle.wait(timeout)
        except TimeoutError:
            raise RunError("run.still_running", run=handle.run_id, seconds=timeout) from None
        except KeyboardInterrupt:
            if not _steered(handle):
                raise click.Abort from None
            continue
        if result.state != "PAUSED" or not approving.asked_at_the_console(runtime, result.waiting):
            return outcome(result, wanted=wanted)


def outcome(result: RunResult, *, wanted: str = "COMPLETED") -> Answer:
    """Say how a run ended."""
    lines = [f"run {result.run_id} {result.state}"]
    if result.error is not None:
        lines += [f"  {result.error.code}: {result.error.msg}"]
    lines += [f"  remains: {one.what} ({one.step}): {one.why}" for one in result.residue]
    lines += [f"  waits for an answer: awe approve {one}" for one in result.waiting]
    if result.state == "PAUSED" and not result.waiting:
        lines += [f"  next: awe runs show {result.run_id}"]
    if result.residue:
        lines += [f"  next: awe runs show {result.run_id} --residue"]
    shown = render.block(result.output) if result.is_completed else ()
    code = 0 if result.state == wanted else EXIT_CODES.get(result.state, 6)
    return answer(result, *lines, *shown, exit_code=code)


def words(event: JsonObject) -> str | None:
    """Put a record into a line of progress; None: people need not see it."""
    step = event.get("step", "")
    match event["kind"]:
        case "step.started":
            return f"{step}  started" + (f", attempt {n}" if (n := event["attempt"]) > 1 else "")
        case "step.completed":
            return f"{step}  completed in {event['dur_us'] / 1000:.1f} ms"
        case "step.failed":
            return f"{step}  failed: {event['err']['code']}: {event['err']['msg']}"
        case "step.retry_scheduled":
            return f"{step}  is tried again at {render.moment(event['due_us'])}"
        case "step.skipped" | "step.in_doubt" as kind:
            return f"{step}  {kind.partition('.')[2].replace('_', ' ')}"
        case "handshake.requested":
            return f"{step}  waits for a person: awe approve {event['req']}"
        case "handshake.granted" | "handshake.refused" | "handshake.expired" as kind:
            return f"{step}  {kind.partition('.')[2]}" if event.get("req") else None
        case "undo.applied" | "undo.conflict" | "undo.failed" as kind:
            return f"{step}  undo {kind.partition('.')[2]}: {event['effect']}"
        case "run.paused" | "run.resumed" | "run.cancel_requested" as kind:
            return kind.partition(".")[2].replace("_", " ")
        case _:
            return None


def _steered(handle: RunHandle) -> bool:
    """Ask what Ctrl-C shall mean; False: leave the run."""
    with contextlib.suppress(KeyboardInterrupt), terminal() as tty:
        if tty is not None:
            match tty.answer("\nleave the run, cancel it, or roll it back? [L/c/r] ").lower():
                case "c":
                    handle.cancel(mode="keep")
                    return True
                case "r":
                    handle.cancel(mode="rollback")
                    return True
    render.note(f"run {handle.run_id} was left; next: awe runs watch {handle.run_id}", invocation())
    return False


@attrs.define
class _Progress:
    """What has been shown of a run: on a terminal a live line a step, else a line a record."""

    after: int  #: position of the last record that was shown
    lines: dict[str, tuple[str, float, bool]] = attrs.field(factory=dict)

    def follow(self, handle: RunHandle) -> None:
        """Show records until the run has closed or waits."""
        with self._live() if sys.stderr.isatty() else contextlib.nullcontext():
            for record in handle.events(after=self.after, follow=True):
                self.after = record.rseq or self.after
                self._take(record.event)
                if record.kind in _ENDS:
                    return

    def _take(self, event: JsonObject) -> None:
        text = words(event)
        if text is None:
            return
        if not sys.stderr.isatty():
            render.note(text, invocation())
            return
        step, _, state = text.rpartition("  ") if event.get("step") else ("run", "", text)
        is_over = not event["kind"].endswith((".started", ".requested", "_scheduled"))
        self.lines[step] = (state, time.monotonic(), is_over)

    def _live(self) -> Live:
        from rich.console import Console  # noqa: PLC0415 - only where something is drawn
        from rich.live import Live  # noqa: PLC0415

        coloured = render.is_coloured(is_terminal=True, wanted=invocation().color)
        console = Console(stderr=True, no_color=not coloured, highlight=False, markup=False)
        return Live(console=console, get_renderable=self._drawn, refresh_per_second=8)

    def _drawn(self) -> RenderableType:
        from rich.table import Table  # noqa: PLC0415 - only where something is drawn
        from rich.text import Text  # noqa: PLC0415

        drawn = Table.grid(padding=(0, 2))
        for step, (state, since, is_over) in self.lines.items():
            elapsed = "" if is_over else f"{time.monotonic() - since:.1f} s"
            drawn.add_row(*(Text(render.plain(cell)) for cell in (step, state, elapsed)))
        return drawn

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

from awe_core.capability import Risk
from awe_core.cli import render
from awe_core.cli.asking import terminal
from awe_core.cli.render import answer, block, compact, moment
from awe_core.cli.shared import invocation
from awe_core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import RenderableType
    from rich.live import Live

    from awe_core.cli.render import Answer
    from awe_core.events import ConfirmationRequest, Requirement
    from awe_core.events.confirmation import Verdict
    from awe_core.runtime import RunHandle, RunResult, Runtime
    from awe_core.values import JsonObject

#: By the table of exit codes: what a run's end means to a shell.
EXIT_CODES = {"COMPLETED": 0, "ROLLED_BACK": 4, "FAILED": 5, "PAUSED": 6}
_POLL_S = 0.05
_UNTOLD = {"run.opened", "run.closed", "undo.started", "undo.discarded"}


def steer(
    runtime: Runtime, run: str, ask: Callable[[RunHandle], None], *, wanted: str = "COMPLETED"
) -> Answer:
    """Ask something of a run that exists, and follow what becomes of it."""
    handle = runtime.attach(run)
    *_, last = handle.events(follow=False)
    ask(handle)
    return finish(runtime, handle, wanted=wanted, after=last.rseq or 0)


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
    progress, is_asked = _Progress(after), False
    while True:
        try:
            if timeout is None and not invocation().is_json:
                progress.follow(runtime, handle)
            result = handle.wait(timeout)
        except TimeoutError:
            raise RunError("run.still_running", run=handle.run_id, seconds=timeout) from None
        except (KeyboardInterrupt, SystemExit) as end:
            if is_asked or isinstance(end, SystemExit) or not _steered(handle):
                said = f"run {handle.run_id} was left; next: awe runs watch {handle.run_id}"
                render.note(said, invocation())
                raise
            is_asked = True
        else:
            is_waiting = result.state == "PAUSED"
            if not (is_waiting and _asked_at_the_console(runtime, result.waiting)):
                return outcome(result, wanted=wanted)


def outcome(result: RunResult, *, wanted: str = "COMPLETED") -> Answer:
    """Say how a run ended."""
    lines = [f"run {result.run_id} {result.state}"]
    if result.error is not None:
        lines += [f"  {result.error.code}: {result.error.msg}"]
    lines += [f"  remains: {one.what} (step {one.step}): {one.why}" for one in result.residue]
    lines += [f"  next: awe approve {one}" for one in result.waiting]
    code = 0 if result.state == wanted else EXIT_CODES.get(result.state, 6)
    if code and not result.waiting:
        lines += [f"  next: awe runs show {result.run_id}"]
    shown = block(result.output) if result.is_completed else ()
    return answer(result, *lines, *shown, exit_code=code)


def words(event: JsonObject) -> str | None:
    """Put a record into a line of progress; None: people need not see it."""
    kind, step = event["kind"], event.get("step")
    noun, _, verb = kind.partition(".")
    is_told = event.get("req") if noun == "handshake" else noun in {"step", "undo", "run"}
    if not is_told or kind in _UNTOLD:
        return None
    happened = verb.replace("_", " ")
    if kind == "handshake.requested":
        happened = f"waits for a person: awe approve {event['req']}"
    elif kind == "step.completed":
        happened += f" in {event['dur_us'] / 1000:.1f} ms"
    elif noun == "undo":
        happened = f"undo {happened}: {event['effect']}"
    attempt = f", attempt {event['attempt']}" if event.get("attempt", 1) > 1 else ""
    failure = f": {event['err']['code']}: {event['err']['msg']}" if "err" in event else ""
    return f"{step}  {happened}{attempt}{failure}" if step else happened


def _steered(handle: RunHandle) -> bool:
    """Ask what Ctrl-C shall mean; False: leave the run."""
    with contextlib.suppress(KeyboardInterrupt), terminal() as tty:
        question = "leave the run, cancel it, or roll it back? [L/c/r]"
        said = tty.answer(question).lower() if tty else ""
        if said in {"c", "r"}:
            handle.cancel(mode="keep" if said == "c" else "rollback")
            return True
    return False


@attrs.define
class _Progress:
    """What has been shown of a run: on a terminal a live line a step, else a line a record."""

    after: int  #: position of the last record that was shown
    lines: dict[str, tuple[str, float, bool]] = attrs.field(factory=dict)

    def follow(self, runtime: Runtime, handle: RunHandle) -> None:
        """Show records until the run has closed or waits."""
        with _live(self._drawn) if sys.stderr.isatty() else contextlib.nullcontext():
            is_moving, self.lines["run"] = True, (handle.run_id, time.monotonic(), False)
            while is_moving:
                row = runtime.journal.run_row(handle.run_id)
                is_moving = row is not None and row["state"] in {"PENDING", "RUNNING"}
                for record in handle.events(after=self.after, follow=False):
                    self.after = record.rseq or 0
                    self._take(record.event)
                time.sleep(_POLL_S if is_moving else 0)
            del self.lines["run"]

    def _take(self, event: JsonObject) -> None:
        text = words(event)
        if text is None or not sys.stderr.isatty():
            if text is not None:
                render.note(text, invocation())
            return
        step, _, state = text.partition("  ") if event.get("step") else ("run", "", text)
        is_over = not event["kind"].endswith((".started", ".requested", "_scheduled"))
        self.lines[step] = (state, time.monotonic(), is_over)

    def _drawn(self) -> RenderableType:
        from rich.table import Table  # noqa: PLC0415 - only where something is drawn
        from rich.text import Text  # noqa: PLC0415

        drawn = Table.grid(padding=(0, 2))
        for step, (state, since, is_over) in self.lines.items():
            elapsed = "" if is_over else f"{time.monotonic() - since:.1f} s"
            drawn.add_row(*(Text(render.plain(cell)) for cell in (step, state, elapsed)))
        return drawn


def _live(drawn: Callable[[], RenderableType]) -> Live:
    from rich.console import Console  # noqa: PLC0415 - only where something is drawn
    from rich.live import Live  # noqa: PLC0415

    colours = render.colours(invocation())
    console = Console(stderr=True, color_system=colours, highlight=False, markup=False)
    return Live(console=console, get_renderable=drawn, refresh_per_second=8)


# ---- the questions a run waits for --------------------------------------------------------------
def request_lines(asked: ConfirmationRequest) -> Iterator[str]:
    """Show a request; what the agent says of it stands last and framed."""
    diff = (asked.preview or {}).get("diff")
    seen = "none was made" if asked.preview is None else compact(asked.preview)
    behalf = f" on behalf of {asked.on_behalf_of}" if asked.on_behalf_of else ""
    yield f"{asked.capability} in step {asked.step} of run {asked.run}, risk {asked.risk}"
    for title, values in (
        ("does", [f"{p['phrase']} ({p['count']}): {', '.join(p['first'])}" for p in asked.summary]),
        ("undo", [" ".join(str(word) for word in asked.undo.values())]),
        ("requester", [f"{asked.requester}{behalf}"]),
        ("open until", [moment(asked.expires_us)]),
        ("needs", [_needed(need) for need in asked.requirements]),
        ("answered", [f"{vote.by}: {vote.verdict}" for vote in asked.votes]),
        ("arguments", block(asked.arguments)),
        ("effects", [compact(effect) for effect in asked.effects]),
        ("preview", diff.split("\n") if isinstance(diff, str) else [seen]),
        ("digest", [asked.digest]),
        ("it says, and nobody has checked", [f"| {x}" for x in (asked.said or "").splitlines()]),
    ):
        yield from (f"  {'' if n else title:10}  {value}" for n, value in enumerate(values))


def _needed(need: Requirement) -> str:
    who = " or ".join(need.roles) or "anybody enrolled"
    return f"{need.quorum} of {who}, assurance {need.min_assurance}"


def is_grave(asked: ConfirmationRequest) -> bool:
    """Whether a yes takes more than a y."""
    return Risk(asked.risk) >= Risk.HIGH


def _asked_at_the_console(runtime: Runtime, waiting: tuple[str, ...]) -> bool:
    """Answer open requests of a foreground run, if the policy ``console`` is configured.

    EOF and Ctrl-C deny.  Gives False when there is nothing to ask, or nobody.
    """
    is_configured = any(policy.policy == "console" for policy in runtime.config.confirm)
    with terminal() as tty:
        if tty is None or not is_configured:
            return False
        for asked in map(runtime.approval, waiting):
            try:
                yes = tty.confirms(request_lines(asked), asked.digest, is_grave=is_grave(asked))
            except KeyboardInterrupt:
                yes = False
            answer_request(runtime, asked, "approve" if yes else "deny", "at the console")
    return bool(waiting)


def answer_request(
    runtime: Runtime, asked: ConfirmationRequest, verdict: Verdict, reason: str | None
) -> RunHandle:
    """Answer exactly what was shown, as whoever sits here."""
    handle: RunHandle = runtime.attach(asked.run)
    handle.answer(verdict, asked.id, asked.digest, asked.version, reason)
    return handle

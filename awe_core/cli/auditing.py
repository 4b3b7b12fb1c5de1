"""``awe audit``: read, prove and export the log."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from awe_core.audit import Pins, Selection, export, parse_pins, verify_file, verify_home
from awe_core.audit.show import Filter, matching, row
from awe_core.cli import render
from awe_core.cli.opening import opener, settings
from awe_core.cli.render import Answer, Table, answer, block
from awe_core.cli.shared import group, invocation
from awe_core.documents import duration_us
from awe_core.errors import AuditError, UsageError
from awe_core.journal import JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.audit import Exported, Report
    from awe_core.journal import SealedRecord

_POLL_S = 0.2


@group()
def audit() -> None:
    """Read, prove and export the log."""


def _filters(command: Callable[..., Answer]) -> Callable[..., Answer]:
    for option in (
        click.option("--run", metavar="RUN", help="Only records of one run."),
        click.option("--kind", "kinds", multiple=True, metavar="KIND", help="noun.verb or noun.*"),
        click.option("--by", metavar="ACTOR", help="Only what this actor did, as in person:ana."),
        click.option("--since", metavar="1h", help="Only records younger than that."),
        click.option("--range", "span", metavar="A..B", help="Only the numbers A to B - 1."),
    ):
        command = option(command)
    return command


@audit.command()
@click.argument("seq", type=int, required=False)
@_filters
@click.option("--follow", is_flag=True, help="Wait for more.")
def show(  # noqa: PLR0913, PLR0917 - click hands each option over
    seq: int | None,
    run: str | None,
    kinds: tuple[str, ...],
    by: str | None,
    since: str | None,
    span: str | None,
    follow: bool,  # noqa: FBT001
) -> Answer:
    """Show records, a line each; or record SEQ whole."""
    with JournalReader(settings().home) as journal:
        if seq is not None:
            found = journal.record(seq)
            if found is None:
                raise UsageError("cli.unknown", what=f"record {seq}")
            return answer(found.event, *block(found.event))
        since_us = None if since is None else time.time_ns() // 1000 - duration_us(since)
        start, stop = _span(span)
        wanted = Filter(run, frozenset(kinds), by, since_us, start, stop)
        return render.stream(_records(journal, wanted, follow=follow), _line, invocation())


@audit.command()
@_filters
@click.pass_context
def tail(ctx: click.Context, **filters: object) -> Answer:
    """Show records as they come: show --follow."""
    found: Answer = ctx.invoke(show, seq=None, follow=True, **filters)
    return found


@audit.command()
@click.argument(
    "files", nargs=-1, type=click.Path(exists=True, path_type=Path), metavar="[FILE...]"
)
@click.option(
    "--key",
    "pins",
    type=click.Path(exists=True, path_type=Path),
    metavar="PINS",
    help="Keys you have compared with the operator; of this home: its own key.",
)
@click.option(
    "--anchor",
    "anchors",
    multiple=True,
    metavar="NOTE",
    type=click.Path(exists=True, path_type=Path),
    help="A checkpoint kept elsewhere.",
)
@click.option("--payloads", is_flag=True, help="Of this home: the values behind the records too.")
def verify(
    files: tuple[Path, ...],
    pins: Path | None,
    anchors: tuple[Path, ...],
    payloads: bool,  # noqa: FBT001 - click's
) -> Answer:
    """Verify exported FILEs, or the log of this home; say also what was not checked."""
    kept = [note.read_bytes() for note in anchors]
    given = parse_pins(pins.read_text()) if pins else None
    if files:
        reports = [verify_file(file, pins=given or Pins(), anchors=kept) for file in files]
    else:
        with JournalReader(settings().home) as journal:
            trusted = given or parse_pins(_vkey(journal))
            reports = [verify_home(journal, pins=trusted, anchors=kept, payloads=payloads)]
    lines = [line for report in reports for line in _report(report)]
    code = max((report.exit_code for report in reports), key=(0, 9, 7).index)
    return answer(reports, *lines, exit_code=code)


@audit.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--run", metavar="RUN", help="Only one run; else all that is signed.")
@click.option("--range", "span", metavar="A..B", help="Only the numbers A to B - 1.")
@click.option("--bundle", is_flag=True, help="One file TARGET.awelog instead of four.")
def export_(target: Path, run: str | None, span: str | None, bundle: bool) -> Answer:  # noqa: FBT001 - click's
    """Write records as files TARGET.* that prove themselves to whoever pins the key."""
    found = asyncio.run(_export(target, run, _span(span), bundle=bundle))
    said = (
        "recorded" if found.is_recorded else "not recorded in the log: it was read beside its owner"
    )
    end = f"{found.records} records, sha256:{found.sha256}, {said}"
    return answer(found, *map(str, found.files), end)


@audit.command()
def key() -> Answer:
    """Print the key of this log, for others to pin."""
    with JournalReader(settings().home) as journal:
        vkey = _vkey(journal)
    fingerprint = parse_pins(vkey).keys[0].fingerprint
    return answer({"vkey": vkey, "fingerprint": fingerprint}, vkey, f"# {fingerprint}")


async def _export(
    target: Path, run: str | None, span: tuple[int, int | None], *, bundle: bool
) -> Exported:
    """Export on the loop that owns the journal, for the export is recorded."""
    async with opener() as runtime:
        named = None if run is None else runtime.attach(run).run_id
        return export(runtime.journal, target, selection=Selection(named, *span), bundle=bundle)


def _vkey(journal: JournalReader) -> str:
    """Give the newest key of the log: of record 0, or of the last hand-over."""
    kinds = {"log.opened", "log.key_rotated"}
    found = [r.event["vkey"] for r in journal.read(kinds=kinds) if "vkey" in r.event]
    if not found:
        raise AuditError("audit.no_records", what=str(journal.home), size=0)
    return str(found[-1])


def _records(journal: JournalReader, wanted: Filter, *, follow: bool) -> Iterator[SealedRecord]:
    while True:
        for record in matching(journal, wanted):
            yield record
            wanted = attrs.evolve(wanted, start=record.seq + 1)
        if not follow:
            return
        time.sleep(_POLL_S)


def _line(record: SealedRecord) -> str:
    shown = row(record)
    where = " ".join(part for part in (shown.run, shown.step, shown.by) if part)
    return f"{shown.seq}  {shown.time}  {shown.kind}  {where}  {shown.text}"


def _report(report: Report) -> Iterator[str]:
    yield f"{report.where}: {report.verdict}"
    yield f"  {report.records} records of log {report.log}, {report.signed} signed, {report.tail} not yet"
    yield f"  keys: {', '.join(report.keys) or f'none pinned; it claims {report.claimed_key}'}"
    for finding in report.findings:
        yield from (f"  {line}" for line in render.error_lines(finding.as_error()))
    yield from (f"  not checked: {what}" for what in report.not_checked)


def _span(text: str | None) -> tuple[int, int | None]:
    if text is None:
        return 0, None
    first, dots, last = text.partition("..")
    if not dots or not first.isdecimal() or not (last.isdecimal() or not last):
        raise UsageError("cli.argument", word=text, why="it is not A..B")
    return int(first), int(last) if last else None

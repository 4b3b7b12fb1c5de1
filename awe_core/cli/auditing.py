"""``awe audit``: read, prove and export the log."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from awe_core.audit import Pins, Selection, export, parse_pins, verify_file, verify_home
from awe_core.audit.show import Filter, matching, row
from awe_core.cli import render
from awe_core.cli.opening import opener, settings
from awe_core.cli.render import Answer, answer, details, error_lines, listing
from awe_core.cli.shared import duration, group, invocation, options
from awe_core.errors import AuditError, UsageError
from awe_core.journal import JournalReader, Readings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.audit import Exported, Report
    from awe_core.journal import Reading, SealedRecord

_POLL_S = 0.2
_MOST = 2**63 - 1  #: as far as SQLite counts
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_range = click.option("--range", "span", metavar="A..B", help="Only the numbers A to B - 1.")


@group()
def audit() -> None:
    """Read, prove and export the log."""


_filters = options(
    click.option("--run", metavar="RUN", help="Only records of one run."),
    click.option("--kind", "kinds", multiple=True, metavar="KIND", help="noun.verb or noun.*"),
    click.option("--by", metavar="ACTOR", help="Only what this actor did, as in person:ana."),
    click.option(
        "--since", callback=duration, metavar="1h", help="Only records younger than that."
    ),
    _range,
)


@audit.command()
@click.argument("seq", type=click.IntRange(0, _MOST), required=False)
@_filters
@click.option("--follow", is_flag=True, help="Wait for more.")
def show(seq: int | None, follow: bool, **filters: Any) -> Answer:  # noqa: FBT001, ANN401 - click's
    """Show records, a line each; or record SEQ whole."""
    with JournalReader(settings().home) as home, closing(Readings(home)) as logs:
        run = filters["run"]
        journal = home if run is None else logs.reading(run)
        if seq is None:
            records = _records(journal, _filter(**filters), follow=follow)
            return render.stream(records, _line, invocation())
        found = journal.record(seq)
        if found is None:
            raise AuditError("audit.no_records", what=f"record {seq}", size=journal.head().size)
        return details(found.event)


@audit.command()
@_filters
@click.pass_context
def tail(ctx: click.Context, /, **filters: Any) -> Any:  # noqa: ANN401 - click's
    """Show records as they come: show --follow."""
    return ctx.invoke(show, seq=None, follow=True, **filters)


@audit.command()
@click.argument("files", nargs=-1, type=_FILE, metavar="[FILE...]")
@click.option("--key", type=_FILE, metavar="PINS", help="Keys you have compared with the operator.")
@click.option("--anchor", multiple=True, type=_FILE, metavar="NOTE", help="Kept elsewhere.")
@click.option("--payloads", is_flag=True, help="Of this home: the values behind the records too.")
def verify(
    files: tuple[Path, ...],
    key: Path | None,
    anchor: tuple[Path, ...],
    payloads: bool,  # noqa: FBT001 - click's
) -> Answer:
    """Verify exported FILEs, or the log of this home by its own key; say what was not checked."""
    anchors = [note.read_bytes() for note in anchor]
    pins = None if key is None else parse_pins(key.read_text())
    if files:
        reports = [verify_file(file, pins=pins or Pins(), anchors=anchors) for file in files]
    else:
        with JournalReader(settings().home) as journal:
            trusted = pins or parse_pins(_vkey(journal))
            reports = [verify_home(journal, pins=trusted, anchors=anchors, payloads=payloads)]
    code = max((report.exit_code for report in reports), key=(0, 9, 7).index)
    return answer(reports, *(line for one in reports for line in _report(one)), exit_code=code)


@audit.command("export")
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--run", metavar="RUN", help="Only one run; else all that is signed.")
@_range
@click.option("--bundle", is_flag=True, help="One file TARGET.awelog instead of several.")
def export_(target: Path, run: str | None, span: str | None, bundle: bool) -> Answer:  # noqa: FBT001 - click's
    """Write records as files TARGET.* that prove themselves to whoever pins the key."""
    first, end = _span(span)

    async def exported() -> Exported:
        """On the loop that owns the journal, for the export is recorded."""
        async with opener() as runtime:
            named = None if run is None else runtime.attach(run).run_id
            chosen = Selection(named, first, end)
            log = runtime.journal if named is None else runtime.logs.exporting(named)
            return export(log, target, selection=chosen, bundle=bundle)

    found = asyncio.run(exported())
    more = () if found.is_recorded else ("not recorded in the log, which another process owns",)
    return details(found, *more)


@audit.command()
def key() -> Answer:
    """Print the key of this log, for others to pin."""
    with JournalReader(settings().home) as journal:
        vkey = _vkey(journal)
    return details({"vkey": vkey, "fingerprint": parse_pins(vkey).keys[0].fingerprint})


@audit.command()
def sinks() -> Answer:
    """List the sinks this log has known, and how far each of them is."""
    with JournalReader(settings().home) as journal:
        size, known = journal.head().size, sorted(journal.sinks().items())
    found = [{"sink": n, "state": s, "has": a, "of": size} for n, (a, _, s) in known]
    return listing(found, "sink state has of")


def _vkey(journal: JournalReader) -> str:
    """Give the newest key of the log: of record 0, or of the last hand-over."""
    kinds = {"log.opened", "log.key_rotated"}
    found = [r.event["vkey"] for r in journal.read(kinds=kinds) if "vkey" in r.event]
    if not found:
        raise AuditError("audit.no_records", what=str(journal.home), size=0)
    return str(found[-1])


def _filter(
    *, run: str | None, kinds: tuple[str, ...], by: str | None, since: int | None, span: str | None
) -> Filter:
    since_us = None if since is None else time.time_ns() // 1000 - since
    return Filter(run, frozenset(kinds), by, since_us, *_span(span))


def _records(journal: Reading, wanted: Filter, *, follow: bool) -> Iterator[SealedRecord]:
    while True:
        for record in matching(journal, wanted):
            yield record
            wanted = attrs.evolve(wanted, start=record.seq + 1)
        if not follow:
            return
        time.sleep(_POLL_S)


def _line(record: SealedRecord) -> str:
    shown = row(record)
    return "  ".join([str(shown.seq), *filter(None, attrs.astuple(shown)[1:])])


def _report(report: Report) -> Iterator[str]:
    keys = ", ".join(report.keys) or f"none is pinned; the log claims {report.claimed_key}"
    yield f"{report.where}: {report.verdict}"
    if report.logs:
        yield f"  logs of runs beside it: {report.logs}"
    yield f"  {report.records} records, {report.signed} signed, {report.tail} not yet; keys: {keys}"
    for finding in report.findings:
        yield from (f"  {line}" for line in error_lines(finding.as_error()))
    yield from (f"  not checked: {what}" for what in report.not_checked)


def _span(text: str | None) -> tuple[int, int | None]:
    first, dots, last = (text or "0..").partition("..")
    if not dots or not first.isdecimal() or not (last.isdecimal() or not last):
        raise UsageError("cli.argument", word=text, why="it is not A..B")
    return int(first), int(last) if last else None

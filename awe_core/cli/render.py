"""The one place that prints.

What came from elsewhere is shown by `plain`: control, ANSI and bidi characters as code points, so
that no text can move the cursor, turn a line around or fake a second one.  A part of an answer is
one line or one table.  Colour never says anything alone.  rich is imported only to draw a table on
a terminal.
"""

from __future__ import annotations

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.cli.shared import Invocation
    from awe_core.errors import AweError
    from awe_core.values import Json

_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_WIDEST = 60  #: characters of a cell where no terminal says how much there is


@attrs.frozen
class Table:
    """Rows for people; without columns, names and values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...] = attrs.field(
        converter=lambda rows: tuple(map(tuple, rows))
    )
    empty: str = "none"  #: said when there is no row


@attrs.frozen
class Answer:
    """What a command has to say: to programs `data`, to people the parts, each a line or table."""

    data: Json
    parts: tuple[str | Table, ...] = ()
    exit_code: int = 0
    is_shown: bool = True  #: False: it was printed as it came


def answer(data: Json, *parts: str | Table, exit_code: int = 0) -> Answer:
    """Make an `Answer`."""
    return Answer(data, parts, exit_code)


def show(found: Answer, invocation: Invocation) -> int:
    """Print an answer and give its exit code."""
    if not found.is_shown:
        return found.exit_code
    if invocation.is_json:
        click.echo(document(found.data, is_ok=found.exit_code == 0))
        return found.exit_code
    for part in found.parts:
        if isinstance(part, str):
            click.echo(plain(part))
        elif sys.stdout.isatty() and part.rows:
            _draw(part, invocation)
        else:
            click.echo("\n".join(table_lines(part)))
    return found.exit_code


def stream(
    items: Iterable[Any], line: Callable[[Any], str | None], invocation: Invocation
) -> Answer:
    """Print items as they come, a line each; with ``--json`` a document each."""
    for item in items:
        if invocation.is_json:
            click.echo(document(item, is_ok=True))
        elif (text := line(item)) is not None:
            click.echo(plain(text))
    return Answer(None, is_shown=False)


def fail(error: AweError, invocation: Invocation, *, before: str = "") -> int:
    """Print an error and give its exit code."""
    if invocation.is_json:
        text = {"awe": "cli/v1", "ok": False, "error": error.as_json()}
        click.echo(json.dumps(text, default=_as_json))
        return error.exit_code
    if before:
        click.echo(before, err=True)
    first, *rest = error_lines(error)
    head, colon, says = first.partition(":")
    coloured = is_coloured(sys.stderr.isatty(), invocation.color)
    styled = click.style(head, fg="red", bold=True) if coloured else head
    click.echo("\n".join([styled + colon + says, *rest]), err=True, color=coloured)
    return error.exit_code


def note(text: str, invocation: Invocation) -> None:
    """Say a line beside the answer: progress, a hint; never with ``--json``."""
    if not invocation.is_json:
        click.echo(plain(text), err=True)


def error_lines(error: AweError) -> list[str]:
    """Write an error: what, then expected and found, the state, the next command."""
    lines = [f"error[{error.code}]: {plain(error.summary)}"]
    lines += [f"  {plain(detail)}" for detail in error.details]
    lines += [f"  {plain(error.state)}"] if error.state else []
    return lines + ([f"  next: {plain(error.hint)}"] if error.hint else [])


def plain(text: object) -> str:
    """Give *text* as one line that does nothing to a terminal but stand there."""
    return "".join(
        f"<U+{ord(each):04X}>" if unicodedata.category(each) in _SHOWN_AS_CODE else each
        for each in str(text)
    )


def document(data: Json, *, is_ok: bool) -> str:
    """Write the one document that ``--json`` prints, in ASCII."""
    return json.dumps({"awe": "cli/v1", "ok": is_ok, "data": data}, default=_as_json)


def table_lines(table: Table, *, widest: int = _WIDEST) -> Iterator[str]:
    """Write a table as aligned text."""
    cells = [[_cut(plain(cell), widest) for cell in row] for row in table.rows]
    if not cells:
        yield table.empty
        return
    lines = [list(table.columns), *cells] if table.columns else cells
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]) - 1)]
    whole = [[plain(cell) for cell in row] for row in table.rows]  # the last one is not cut
    for line, last in zip(lines, [*lines[:1][: bool(table.columns)], *whole], strict=True):
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=False)]
        yield "  ".join([*padded, last[-1]]).rstrip()


def is_coloured(is_terminal: bool, wanted: str) -> bool:  # noqa: FBT001 - what a stream says of itself
    """Decide about colour: ``--color``, NO_COLOR, FORCE_COLOR, TERM=dumb, in this order."""
    if wanted != "auto":
        return wanted == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return is_terminal and os.environ.get("TERM") != "dumb"


def moment(at_us: int | None) -> str:
    """Write a time of the journal in UTC, to the second."""
    if at_us is None:
        return ""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def compact(value: Json) -> str:
    """Write a value as JSON in one line."""
    return json.dumps(value, default=_as_json, ensure_ascii=False)


def block(value: Json) -> tuple[str, ...]:
    """Write a value as indented JSON, a part a line."""
    return tuple(json.dumps(value, default=_as_json, ensure_ascii=False, indent=2).split("\n"))


def _cut(text: str, widest: int) -> str:
    return text if len(text) <= widest else f"{text[: widest - 3]}..."


def _draw(table: Table, invocation: Invocation) -> None:
    from rich import box  # noqa: PLC0415 - costs half as much again as the rest of a start
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table as Drawn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    coloured = is_coloured(is_terminal=True, wanted=invocation.color)
    drawn = Drawn(box=box.SIMPLE_HEAD, show_header=bool(table.columns), pad_edge=False)
    for name in table.columns or [""] * len(table.rows[0]):
        drawn.add_column(Text(name), overflow="ellipsis", no_wrap=bool(table.columns))
    for row in table.rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    Console(no_color=not coloured, highlight=False, markup=False, emoji=False).print(drawn)


def _as_json(value: Any) -> Json:  # noqa: ANN401 - json's hook for what it does not know
    if hasattr(value, "as_json"):
        return value.as_json()
    if attrs.has(type(value)):
        fields = (field.name for field in attrs.fields(type(value)) if field.repr)
        return {name: getattr(value, name) for name in fields if not name.startswith("_")}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return (
        list(value) if isinstance(value, Iterable) and not isinstance(value, bytes) else str(value)
    )

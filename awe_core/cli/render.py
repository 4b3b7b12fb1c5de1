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
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from awe_core.cli.shared import Invocation
    from awe_core.errors import AweError
    from awe_core.values import Json

_SHOWN_AS_CODE = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_WIDEST = 160  #: characters of a cell but the last, where no terminal says how much there is


class Table(NamedTuple):  # attrs would cost `awe --help` 2 ms a class
    """Rows for people; without columns, names and values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[object, ...], ...]


class Answer(NamedTuple):
    """What a command has to say: to programs `data`, to people the parts, each a line or table."""

    data: Json
    parts: tuple[str | Table, ...] = ()
    exit_code: int = 0
    is_shown: bool = True  #: False: it was printed as it came


# ---- answers ------------------------------------------------------------------------------------
def answer(data: Json, *parts: str | Table, exit_code: int = 0) -> Answer:
    """Make an `Answer`."""
    return Answer(data, parts, exit_code)


def listing(items: Iterable[object], columns: str, *, exit_code: int = 0) -> Answer:
    """Answer with a table: *columns* of each item's JSON."""
    data = jsonable(list(items))
    return Answer(data, (_tabled(data, columns.split()),) if data else ("none",), exit_code)


def details(found: object, *more: str, exit_code: int = 0) -> Answer:
    """Answer with all there is of one thing: names and values, and a table for each list."""
    data = jsonable(found)
    shown = {key: _rows_of(value) for key, value in data.items() if value not in (None, "", [], {})}
    flat = {key: value for key, value in shown.items() if not _is_rows(value)}
    named = tuple((key.removesuffix("_us"), _cell(key, value)) for key, value in flat.items())
    parts: list[str | Table] = [Table((), named)] if named else []
    for key, rows in shown.items():
        if _is_rows(rows):
            parts += [f"{key}:", _tabled(rows, list(rows[0]))]
    return Answer(data, (*parts, *more), exit_code)


def stream(
    items: Iterable[Any], line: Callable[[Any], str | None], invocation: Invocation
) -> Answer:
    """Print items as they come, a line each; with ``--json`` a document each."""
    for item in items:
        text = document(item, is_ok=True) if invocation.is_json else line(item)
        if text is not None:
            click.echo(plain(text))
    return Answer(None, is_shown=False)


def _tabled(rows: Any, columns: list[str]) -> Table:  # noqa: ANN401 - a list of JSON objects
    cells = tuple(tuple(_cell(name, row.get(name)) for name in columns) for row in rows)
    return Table(tuple(name.removesuffix("_us") for name in columns), cells)


def _cell(name: str, value: Json) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case int() if name.endswith("_us") and not isinstance(value, bool):
            return moment(value)
        case list() if not any(isinstance(one, dict) for one in value):
            return ", ".join(
                " ".join(map(str, x)) if isinstance(x, list) else str(x) for x in value
            )
        case _:
            return compact(value)


def _rows_of(value: Json) -> Json:
    """Give an object of objects, like files by path, as rows; anything else as it is."""
    if isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()):
        return [{"name": name, **fields} for name, fields in value.items()]
    return value


def _is_rows(value: Json) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


# ---- printing -----------------------------------------------------------------------------------
def show(found: Answer, invocation: Invocation) -> int:
    """Print an answer and give its exit code."""
    if invocation.is_json and found.is_shown:
        click.echo(document(found.data, is_ok=found.exit_code == 0))
        return found.exit_code
    for part in found.parts:
        if isinstance(part, str):
            click.echo(plain(part))
        elif sys.stdout.isatty():
            _draw(part, invocation)
        else:
            click.echo("".join(f"{line}\n" for line in table_lines(part)), nl=False)
    return found.exit_code


def fail(error: AweError, invocation: Invocation, *, before: str = "") -> int:
    """Print an error and give its exit code."""
    if invocation.is_json:
        click.echo(_dumped({"awe": "cli/v1", "ok": False, "error": error.as_json()}))
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
    after = [*error.details, *filter(None, [error.state])]
    after += [f"next: {error.hint}"] if error.hint else []
    return [f"error[{error.code}]: {plain(error.summary)}", *(f"  {plain(one)}" for one in after)]


def table_lines(table: Table) -> Iterator[str]:
    """Write a table as aligned text; only the last column is never cut."""
    rows = [[plain(cell) for cell in row] for row in (table.columns, *table.rows) if row]
    cut = [[c if len(c) <= _WIDEST else f"{c[: _WIDEST - 3]}..." for c in row[:-1]] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row, cells in zip(rows, cut, strict=True):
        padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
        yield "  ".join([*padded, row[-1]]).rstrip()


def _draw(table: Table, invocation: Invocation) -> None:
    from rich.console import Console  # noqa: PLC0415 - costs half as much again as all the rest
    from rich.table import Table as Drawn  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Drawn(box=None, show_header=bool(table.columns), pad_edge=False, padding=(0, 2, 0, 0))
    for n, name in enumerate(table.columns or [""] * len(table.rows[0])):
        least = 0 if n else max(len(plain(row[0])) for row in table.rows)  # ids are pasted
        drawn.add_column(Text(name), no_wrap=bool(name), min_width=min(least, 40))
    for row in table.rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(color_system=colours(invocation), highlight=False, markup=False, emoji=False)
    console.print(drawn)


def is_coloured(is_terminal: bool, wanted: str) -> bool:  # noqa: FBT001 - what a stream says
    """Decide about colour: ``--color``, NO_COLOR, FORCE_COLOR, TERM=dumb, in this order."""
    if wanted != "auto":
        return wanted == "always"
    if os.environ.get("NO_COLOR") or os.environ.get("FORCE_COLOR"):
        return not os.environ.get("NO_COLOR")
    return is_terminal and os.environ.get("TERM") != "dumb"


def colours(invocation: Invocation) -> Literal["auto"] | None:
    """Give what rich may use on a terminal."""
    return "auto" if is_coloured(is_terminal=True, wanted=invocation.color) else None


# ---- values as text -----------------------------------------------------------------------------
def plain(text: object) -> str:
    """Give *text* as one line that does nothing to a terminal but stand there."""
    return "".join(
        f"<U+{ord(each):04X}>" if unicodedata.category(each) in _SHOWN_AS_CODE else each
        for each in str(text)
    )


def moment(at_us: int) -> str:
    """Write a time of the journal in UTC, to the second."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def document(data: Json, *, is_ok: bool) -> str:
    """Write the one document that ``--json`` prints, in ASCII."""
    return _dumped({"awe": "cli/v1", "ok": is_ok, "data": data})


def jsonable(value: object) -> Json:
    """Give *value* as the JSON that programs get."""
    return json.loads(_dumped(value))


def compact(value: object) -> str:
    """Write a value as JSON in one line."""
    return _dumped(value, ensure_ascii=False)


def block(value: object) -> tuple[str, ...]:
    """Write a value as indented JSON, a part a line."""
    return tuple(_dumped(value, ensure_ascii=False, indent=2).split("\n"))


def _dumped(value: object, **how: Any) -> str:  # noqa: ANN401 - json's options
    return json.dumps(value, default=_encoded, **how)


def _encoded(value: Any) -> Json:  # noqa: ANN401 - json's hook for what it does not know
    if hasattr(value, "as_json"):
        return value.as_json()
    if attrs.has(type(value)):
        fields = (field.name for field in attrs.fields(type(value)) if field.repr)
        return {name: getattr(value, name) for name in fields if not name.startswith("_")}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    is_many = isinstance(value, Iterable) and not isinstance(value, (bytes, os.PathLike))
    return list(value) if is_many else str(value)

"""What every command has: the shared options, before or after its name, and where they end up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import click

if TYPE_CHECKING:
    from collections.abc import Callable

COLOURS = ("auto", "always", "never")


@attrs.define
class Invocation:
    """One command line; click hands it to every command as its object."""

    is_json: bool = False  #: one document on stdout, no colour, no prompt, no progress
    home: Path | None = None
    config: Path | None = None
    actor: str | None = None  #: ``--as``: NAME, or KIND:NAME
    color: str = "auto"
    is_debug: bool = False
    report_folder: Path | None = None  #: the home, once it is known


def invocation() -> Invocation:
    """Give the shared options of the command that runs."""
    found: Invocation = click.get_current_context().obj
    return found


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - click's
    """Keep what was given, at whichever level of the command it stands."""
    if value not in (None, False) and isinstance(ctx.obj, Invocation):
        setattr(ctx.obj, param.name or "", value)
        if param.name == "home":
            ctx.obj.report_folder = value


def _option(*names: str, **settings: Any) -> click.Option:  # noqa: ANN401 - click's settings
    return click.Option(names, expose_value=False, is_eager=True, callback=_keep, **settings)


SHARED = (
    _option("--json", "is_json", is_flag=True, help="Print one JSON document and nothing else."),
    _option("--home", type=click.Path(path_type=Path), help="The deployment's own folder."),
    _option("--config", type=click.Path(path_type=Path), help="The awe.yaml to use."),
    _option("--as", "actor", metavar="NAME", help="Who asks; recorded as asserted."),
    _option("--color", type=click.Choice(COLOURS), help="Colours: as the terminal is, or not."),
    _option("--debug", "is_debug", is_flag=True, help="Show the traceback of a fault."),
)


class Command(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - click's settings
        """Take click's arguments."""
        super().__init__(*args, **settings)
        self.params.extend(SHARED)


class Group(click.Group):
    """A group with the shared options; what stands in it has them too."""

    command_class: ClassVar[type[click.Command]] = Command

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - click's settings
        """Take click's arguments."""
        super().__init__(*args, **settings)
        self.params.extend(SHARED)


def command(name: str | None = None) -> Callable[[Callable[..., Any]], Command]:
    """Make a top-level command; its docstring is its help."""
    return click.command(name, cls=Command)


def group(name: str | None = None) -> Callable[[Callable[..., Any]], Group]:
    """Make a group; its docstring is its help."""
    return click.group(name, cls=Group)

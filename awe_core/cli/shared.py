"""What every command has: the shared options, before or after its name, and where they end up."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Callable


class Invocation:
    """One command line; click hands it to every command as its object."""

    def __init__(self, *, is_json: bool = False, color: str = "auto") -> None:
        """Begin with what is the case until an option says otherwise."""
        self.is_json = is_json  #: one document on stdout, no colour, no prompt, no progress
        self.home: Path | None = None
        self.config: Path | None = None
        self.actor: str | None = None  #: ``--as``: NAME, or KIND:NAME
        self.signer: str | None = None  #: ``--signer``: the URI of a key
        self.color = color
        self.is_debug = False
        self.report_folder: Path | None = None  #: the home, once it is known


def invocation() -> Invocation:
    """Give the shared options of the command that runs."""
    found: Invocation = click.get_current_context().obj
    return found


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:  # noqa: ANN401 - click's
    """Keep what was given, at whichever level of the command it stands."""
    if value not in {None, False} and isinstance(ctx.obj, Invocation):
        setattr(ctx.obj, param.name or "", value)
        if param.name == "is_debug":
            import logging  # noqa: PLC0415 - for this option alone

            logging.basicConfig(level=logging.WARNING, format="%(message)s")


def _option(*names: str, **settings: Any) -> click.Option:  # noqa: ANN401 - click's settings
    return click.Option(names, expose_value=False, is_eager=True, callback=_keep, **settings)


def duration(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Read an option written like ``250ms`` or ``24h``: microseconds."""
    from awe_core.documents import duration_us  # noqa: PLC0415 - `awe --help` has no use for it

    try:
        return None if text is None else duration_us(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_PATH = click.Path(path_type=Path)
SHARED = (
    _option("--json", "is_json", is_flag=True, help="Print one JSON document and nothing else."),
    _option("--home", type=_PATH, help="The deployment's own folder."),
    _option("--config", type=_PATH, help="The awe.yaml to use."),
    _option("--as", "actor", metavar="NAME", help="Who asks; recorded as asserted."),
    _option(
        "--signer",
        envvar="AWE_SIGNER",
        metavar="URI",
        help="What to sign with; else your key file.",
    ),
    _option("--color", type=click.Choice(["auto", "always", "never"]), help="When to use colours."),
    _option(
        "--debug", "is_debug", is_flag=True, help="Show the traceback of a fault, and warnings."
    ),
)


class Command(click.Command):
    """A command with the shared options."""

    def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - click's settings
        """Take click's arguments."""
        super().__init__(*args, **settings)
        self.params.extend(SHARED)


class Group(Command, click.Group):
    """A group with the shared options; what stands in it has them too."""

    command_class = Command


def command() -> Callable[[Callable[..., Any]], Command]:
    """Make a top-level command; its docstring is its help."""
    return click.command(cls=Command)


def group() -> Callable[[Callable[..., Any]], Group]:
    """Make a group; its docstring is its help."""
    return click.group(cls=Group)


def options(*options: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Put options and arguments on a command, in this order."""

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return add

"""The command line: parse, make one call of the runtime, render.

`awe --help` and `awe --version` import click, `awe_core.errors` and the table below; a command's
own module is imported when the command is called.  A command gives an `Answer` or raises
`AweError`; what is printed, and the exit code, are decided once, here and in `render`.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from awe_core import __version__
from awe_core.cli import render
from awe_core.cli.shared import Group, Invocation
from awe_core.errors import AweError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["COMMANDS", "main", "root", "run"]

#: Name → module, one line of help, in the order of ``awe --help``.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "init": ("trusting", "Found a deployment in this folder."),
    "demo": ("demo", "Show the whole story in one terminal, offline."),
    "status": ("looking", "Say how the deployment is, on one screen."),
    "doctor": ("looking", "Check the machine and the home; name cause and next step."),
    "version": ("looking", "Say what is installed."),
    "completion": ("looking", "Print the completion script of a shell."),
    "verify": ("trusting", "Check the store and the installed packs, importing nothing."),
    "run": ("running", "Run a workflow, a file or a facade."),
    "call": ("running", "Call one capability: a run of one step."),
    "undo": ("steering", "Take back what a run did."),
    "approve": ("steering", "Say yes to one exact call."),
    "deny": ("steering", "Say no to one exact call."),
    "runs": ("steering", "See runs and steer them."),
    "approvals": ("steering", "See what waits for a person."),
    "workflows": ("looking", "See and check workflows."),
    "capabilities": ("looking", "See what may be called."),
    "packs": ("governing", "Decide which packs may run."),
    "facades": ("governing", "Decide what is exposed on channels."),
    "trust": ("trusting", "See the root of trust, change it, sign for it."),
    "audit": ("auditing", "Read, prove and export the log."),
    "config": ("looking", "See and check the settings."),
    "bench": ("looking", "Measure load and torment runs."),
}


_INTERRUPTED, _TERMINATED = 130, 143


def main() -> NoReturn:
    """Be the program ``awe``."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    code = run(sys.argv[1:])
    if code in {
        _INTERRUPTED,
        _TERMINATED,
    }:  # the log is closed; a handler's thread is not awaited
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and give its exit code."""
    invocation = Invocation(is_json="--json" in arguments)
    code, error, before = 0, None, ""
    try:
        found = root.main(list(arguments), "awe", standalone_mode=False, obj=invocation)
        code = render.show(found, invocation) if isinstance(found, render.Answer) else found or 0
    except AweError as known:
        error = known
    except click.ClickException as known:
        is_bare = isinstance(known, NoArgsIsHelpError)
        before, error = known.format_message() if is_bare else "", _usage(known)
    except (KeyboardInterrupt, click.Abort):
        render.note("interrupted", invocation)
        code = _INTERRUPTED
    except (BrokenPipeError, SystemExit) as ended:
        code = _TERMINATED
        if getattr(ended, "code", None) != code:  # click exits when nobody reads on: `… | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = 141
    except Exception as fault:  # noqa: BLE001 - the last resort: one line and a report file
        is_place = isinstance(fault, OSError) and (fault.filename or fault.errno == errno.ENOSPC)
        error = _unusable(fault) if is_place else _fault(fault, invocation)
    return code if error is None else render.fail(error, invocation, before=before)


class _Awe(Group):
    """All commands by name; their modules are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Give the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import and give one command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"awe_core.cli.{COMMANDS[cmd_name][0]}")
        found: click.Command = getattr(module, cmd_name)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, says) for name, (_, says) in COMMANDS.items()])


root = click.version_option(__version__, message="awe %(version)s")(
    _Awe(help="The runtime between an AI agent and the real world: governed, recorded, taken back.")
)


def _usage(error: click.ClickException) -> UsageError:
    ctx = getattr(error, "ctx", None)
    is_bare = isinstance(error, NoArgsIsHelpError)
    what = "a command is missing" if is_bare else error.format_message().replace("\n", " ")
    return UsageError(
        "cli.usage", what=what.rstrip("."), command=ctx.command_path if ctx else "awe"
    )


def _unusable(error: Any) -> AweError:  # noqa: ANN401 - an OSError of a file that is not ours to mend
    why = error.strerror or type(error).__name__
    return AweError("cli.file", file=error.filename or "the disk", why=why)


def _fault(error: Exception, invocation: Invocation) -> AweError:
    """Keep the traceback of a defect of ours in a file; show it with ``--debug``."""
    import traceback  # noqa: PLC0415 - `awe --version` has no use for it

    text = "".join(traceback.format_exception(error))
    if invocation.is_debug:
        click.echo(text, err=True)
    file = _report(invocation.report_folder, f"awe {__version__}\n{text}")
    return AweError("cli.fault", kind=type(error).__name__, file=file)


def _report(folder: Path | None, text: str) -> str:
    import tempfile  # noqa: PLC0415 - a third of what `awe --version` costs, for nothing

    name = f"report-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{os.getpid()}.txt"
    for place in filter(None, (folder, Path(tempfile.gettempdir()))):
        try:
            file = os.open(place / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError:
            continue
        with os.fdopen(file, "w", encoding="utf-8", errors="backslashreplace") as out:
            out.write(text)
        return str(place / name)
    return "that could not be written"

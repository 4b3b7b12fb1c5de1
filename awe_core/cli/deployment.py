"""``awe status``, ``doctor``, ``version``, ``completion``, ``config``: the whole deployment."""

from __future__ import annotations

import platform
import sqlite3
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from awe_core import __version__, documents, health
from awe_core.cli import root
from awe_core.cli.opening import now_s, pass_runtime, settings
from awe_core.cli.render import Answer, answer, block, details, jsonable, listing
from awe_core.cli.shared import command, group

if TYPE_CHECKING:
    from awe_core.runtime import Runtime


@command()
@pass_runtime(observer=True)
def status(runtime: Runtime) -> Answer:
    """Say how the deployment is, on one screen."""
    found = health.status(runtime, now_s=now_s())
    return details(found, *(f"waits for an answer: awe approve {one}" for one in found.waiting))


@command()
@click.argument("topics", nargs=-1, type=click.Choice(tuple(health.TOPICS)), metavar="[TOPIC...]")
@pass_runtime()
def doctor(runtime: Runtime, topics: tuple[str, ...]) -> Answer:
    """Check the machine and the home; name cause and next step of all that is not green."""
    found = health.doctor(runtime, topics, now_s=now_s())
    is_red = any(check.level is health.Level.RED for check in found)
    return listing(found, "topic what level found next", exit_code=7 if is_red else 0)


@command()
def version() -> Answer:
    """Say what is installed."""
    parts = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    return details({"awe": __version__, **parts, "platform": platform.platform()})


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> Answer:
    """Print the completion script of a shell: eval "$(awe completion bash)"."""
    kind = get_completion_class(shell)
    script = "" if kind is None else kind(root, {}, "awe", "_AWE_COMPLETE").source()
    return answer({"script": script}, *script.splitlines())


@group()
def config() -> None:
    """See and check the settings."""


@config.command("show")
def show_config() -> Answer:
    """Show every setting and where it came from."""
    return listing(settings().settings, "key value origin")


@config.command()
def check() -> Answer:
    """Check awe.yaml and everything that is laid over it."""
    file = settings().file
    return answer({"file": file}, f"{file or 'the defaults, without an awe.yaml,'} can be used")


@config.command()
@click.argument("kind", type=click.Choice(documents.KINDS), default="deployment")
def schema(kind: str) -> Answer:
    """Print the JSON Schema of a KIND of document."""
    found = jsonable(documents.schema(kind))
    return answer(found, *block(found))

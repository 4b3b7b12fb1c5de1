"""``awe status``, ``doctor``, ``version``, ``completion``, ``config``: the deployment as a whole."""

from __future__ import annotations

import json
import platform
import sqlite3
import time
from typing import TYPE_CHECKING

import click
from click.shell_completion import get_completion_class

from awe_core.cli import opening, root, version as installed
from awe_core.cli.render import Answer, Table, answer, block, compact
from awe_core.cli.shared import command, group
from awe_core.documents import KINDS, schema as schema_of
from awe_core.health import TOPICS, Level, doctor as examine, status as look

if TYPE_CHECKING:
    from awe_core.runtime import Runtime


@command()
@opening.pass_runtime(observer=True)
def status(runtime: Runtime) -> Answer:
    """Say how the deployment is, on one screen."""
    found = look(runtime, now_s=int(time.time()))
    days = "" if found.expires_in_days is None else f", {found.expires_in_days} days left"
    facts = [
        ("deployment", found.deployment),
        ("trust", f"{found.trust}, {found.phase}{days}"),
        ("runs", ", ".join(f"{count} {state}" for state, count in found.runs) or "none"),
        ("policies", ", ".join(found.policies)),
        ("log", f"{found.records} records, head {found.head[:16]}"),
    ]
    lines = [("pack", p.distribution, p.version, p.state, p.why) for p in found.packs]
    lines += [("facade", name, "", state, "") for name, state in found.facades]
    notes = [*([found.failure] if found.failure else []), *found.warnings]
    return answer(
        found,
        Table((), facts),
        Table(("", "name", "version", "state", "why"), lines, empty="no packs"),
        *(f"waits for an answer: awe approve {request}" for request in found.waiting),
        *(f"warning: {note}" for note in notes),
    )


@command()
@click.argument("topics", nargs=-1, type=click.Choice(tuple(TOPICS)), metavar="[TOPIC...]")
@opening.pass_runtime()
def doctor(runtime: Runtime, topics: tuple[str, ...]) -> Answer:
    """Check the machine and the home; name cause and next step of all that is not green."""
    found = examine(runtime, topics, now_s=int(time.time()))
    rows = [(c.topic, c.what, c.level.value, c.found, c.next) for c in found]
    code = 7 if any(check.level is Level.RED for check in found) else 0
    return answer(found, Table(("topic", "check", "", "found", "next"), rows), exit_code=code)


@command()
def version() -> Answer:
    """Say what is installed."""
    facts = {
        "awe": installed(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
    }
    return answer(facts, Table((), tuple(facts.items())))


@command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> Answer:
    """Print the completion script of a shell: eval "$(awe completion bash)"."""
    kind = get_completion_class(shell)
    text = "" if kind is None else kind(root, {}, "awe", "_AWE_COMPLETE").source()
    return answer({"shell": shell, "script": text}, *text.splitlines())


@group()
def config() -> None:
    """See and check the settings."""


@config.command("show")
def show_config() -> Answer:
    """Show every setting and where it came from: a flag, the environment, awe.yaml, or nowhere."""
    found = opening.settings().settings
    rows = [(one.key, compact(one.value), one.origin) for one in found]
    return answer(found, Table(("setting", "value", "from"), rows))


@config.command()
def check() -> Answer:
    """Check awe.yaml and everything that is laid over it."""
    file = opening.settings().file
    return answer({"file": file}, f"{file or 'the defaults, without an awe.yaml,'} can be used")


@config.command()
@click.argument("kind", type=click.Choice(KINDS), default="deployment")
def schema(kind: str) -> Answer:
    """Print the JSON Schema of a KIND of document."""
    found = json.loads(json.dumps(schema_of(kind)))
    return answer(found, *block(found))

"""What commands stand on: settings, who asks, the runtime, what may run here, a person's key."""

from __future__ import annotations

import functools
import os
import time
from typing import TYPE_CHECKING, Any

import click

from awe_core import signing
from awe_core.cli.asking import terminal
from awe_core.cli.shared import invocation
from awe_core.config import load_config
from awe_core.events import Actor
from awe_core.runtime import Runtime
from awe_core.runtime.deployment import governance_of, load
from awe_core.runtime.requests import default_actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.config import Config
    from awe_core.governance import Governance
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.waiting import Opener
    from awe_core.trust import Signer


def settings() -> Config:
    """Resolve the settings of this command line."""
    asked = invocation()
    flags = {} if asked.home is None else {"home": str(asked.home.absolute())}
    config = load_config(asked.config, flags=flags, environ=os.environ)
    asked.report_folder = config.home
    return config


def actor() -> Actor:
    """Who asks: the user of the operating system, or what ``--as`` asserts."""
    here, asked = default_actor("cli"), invocation().actor
    if asked is None or asked in {here.id, str(here)}:
        return here
    kind, _, name = asked.rpartition(":")
    if not name:
        needs = "it takes NAME, or KIND:NAME"
        raise click.BadParameter(needs, param_hint="--as")
    as_said = kind if kind in {"agent", "service"} else "person"
    return Actor(as_said, name, str(here), via="cli", assurance="relayed")  # type: ignore[arg-type]  # one of three


def opener(*, observer: bool = False) -> Opener:
    """Open the runtime of this command line, by ``with`` or ``async with``."""
    config = settings()
    return Runtime.open(config.file, home=config.home, actor=actor(), observer=observer)


def pass_runtime(*, observer: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Open the runtime around a command and hand it over first.

    :param observer: only reading: the command runs beside any owner and drives nothing
    """

    def around(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def opened(*args: Any, **options: Any) -> Any:  # noqa: ANN401 - what click hands over
            with opener(observer=observer) as runtime:
                return command(runtime, *args, **options)

        return opened

    return around


def now_s() -> int:
    """The wall clock in seconds."""
    return int(time.time())


def deployment() -> Deployment:
    """Judge trust and verify what is installed, without opening the journal."""
    return load(settings(), now_s=now_s(), mark=None)


def governance() -> Governance:
    """Give the store of this deployment."""
    return governance_of(settings())


def signer() -> Signer:
    """Give the key of whoever asks, with its passphrase if it has one."""
    file = signing.person_key_file(settings().home, actor().id)
    return signing.open_key(f"file:{file}", passphrase=_secret)


def _secret(name: str) -> str | None:
    with terminal() as tty:
        return None if tty is None else tty.secret(f"{name}: ")

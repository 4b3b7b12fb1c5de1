"""What commands stand on: settings, who asks, the runtime, what may run here, a person's key."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from typing import TYPE_CHECKING, Any

import click

from awe_core import signing
from awe_core.cli.asking import terminal
from awe_core.cli.shared import invocation
from awe_core.config import load_config
from awe_core.errors import TrustError
from awe_core.events import Actor
from awe_core.governance import MarkFile
from awe_core.runtime import Runtime, control, known_mark
from awe_core.runtime.deployment import governance_of, load, pinnable
from awe_core.runtime.requests import default_actor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.governance import Governance
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.waiting import Opener
    from awe_core.trust import Mark, Signer


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
    """Judge trust and verify what is installed, without opening the journal for writing."""
    config = settings()
    return load(config, now_s=now_s(), mark=_mark(config))


def governance() -> Governance:
    """Give the store of this deployment, and remember how far it has come."""
    config = settings()
    desk = governance_of(config, _mark(config))
    if known_mark(config) is None:
        with contextlib.suppress(TrustError):  # what is asked for next meets it again
            verdict = desk.verdict(now=now_s())
            if not verdict.is_dev:  # whoever develops goes back and forth between branches
                MarkFile.of(desk.pin, os.environ).keep(verdict.mark)
    return desk


def poke() -> None:
    """Have the process that owns this home look at the store now; without one nothing waits."""
    control.told(settings().home, "poke")


def documents(desk: Governance) -> dict[str, str]:
    """Give the deployment's files that the next manifest pins, as they are now."""
    return pinnable(settings(), desk.to_be_pinned())


def _mark(config: Config) -> Mark | None:
    """How far this home has come; without a journal, how far this user has."""
    pin, known = config.trust.root_sha256, known_mark(config)
    return known if known or pin is None else MarkFile.of(pin, os.environ).read()


def signer() -> Signer:
    """Open the key of whoever asks: ``--signer``, or their key file.

    :raises TrustError: ``signer.unencrypted`` for a file that nothing but its mode protects, where
        others rely on it: beyond a development root
    """
    uri, asked = invocation().signer or f"file:{key_file()}", list[str]()

    def secret(name: str) -> str | None:
        asked.append(name)
        return passphrase(name)

    key = signing.open_key(uri, passphrase=secret)
    if isinstance(key, signing.KeyFile) and not asked and not is_dev():
        raise TrustError("signer.unencrypted", file=uri)
    return key


def key_file() -> Path:
    """Name the key file of whoever asks."""
    return signing.person_key_file(settings().home, actor().id)


def passphrase(name: str) -> str | None:
    """Give a secret: from ``AWE_KEY_PASSPHRASE``, which a timer has, or from the terminal."""
    if given := os.environ.get("AWE_KEY_PASSPHRASE"):
        return given
    with terminal() as tty:
        return None if tty is None else tty.secret(f"{name}: ")


def is_dev() -> bool:
    """Whether a development root is pinned here."""
    config = settings()
    if config.trust.root_sha256 is None:
        return False
    return governance_of(config).root().environment == "dev"

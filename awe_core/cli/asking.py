"""Asking the person at the terminal: never a pipe, and no is what everything but a yes means."""

from __future__ import annotations

import contextlib
import getpass
import io
import os
from typing import TYPE_CHECKING, TextIO

import attrs

from awe_core.cli.render import plain
from awe_core.cli.shared import invocation
from awe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@attrs.frozen
class Terminal:
    """The terminal a person sits at, whatever stdin and stdout are."""

    stream: TextIO

    def say(self, lines: Iterable[str]) -> None:
        """Show lines."""
        self.stream.write("".join(f"{plain(line)}\n" for line in lines))
        self.stream.flush()

    def answer(self, question: str) -> str:
        """Ask; what was typed before the question counts for nothing, and EOF is no answer."""
        with contextlib.suppress(OSError, ImportError, ValueError):
            import termios  # noqa: PLC0415 - not on every platform

            termios.tcflush(self.stream.fileno(), termios.TCIFLUSH)
        self.stream.write(plain(question))
        self.stream.flush()
        return self.stream.readline().strip()

    def secret(self, question: str) -> str:
        """Ask without echo."""
        return getpass.getpass(question, self.stream)


@contextlib.contextmanager
def terminal() -> Iterator[Terminal | None]:
    """Open the controlling terminal; None where there is none, or with ``--json``."""
    if invocation().is_json:
        yield None
        return
    try:
        descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        yield None
        return
    with io.TextIOWrapper(io.FileIO(descriptor, "w+"), errors="backslashreplace") as stream:
        yield Terminal(stream)


def confirmed(lines: Iterable[str], *, digest: str, given: str | None, is_grave: bool) -> bool:
    """Have a person say yes to what *lines* show and *digest* names.

    :param given: ``--digest``: the yes of somebody who has seen it elsewhere
    :param is_grave: six characters of the digest have to be typed, a ``y`` is not enough
    :raises UsageError: ``cli.digest_differs``; ``cli.digest_needed`` without a terminal
    """
    if given is not None:
        if given.removeprefix("sha256:") != digest.removeprefix("sha256:"):
            raise UsageError("cli.digest_differs", given=given, digest=digest)
        return True
    with terminal() as tty:
        if tty is None:
            raise UsageError("cli.digest_needed", digest=digest)
        tty.say(lines)
        return is_yes(tty, digest, is_grave=is_grave)


def is_yes(tty: Terminal, digest: str, *, is_grave: bool) -> bool:
    """Ask the question itself."""
    wanted = digest.removeprefix("sha256:")[:6]
    if is_grave:
        return tty.answer("type the first six characters of the digest to approve: ") == wanted
    return tty.answer("approve? [y/N] ").lower() in {"y", "yes"}

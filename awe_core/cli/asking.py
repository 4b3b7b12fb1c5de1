"""Asking the person at the terminal: never a pipe, and everything but a yes means no."""

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

    def answer(self, question: str) -> str:
        """Ask; what was typed before the question counts for nothing, and EOF is no answer."""
        with contextlib.suppress(OSError, ImportError, ValueError):
            import termios  # noqa: PLC0415 - not on every platform

            termios.tcflush(self.stream.fileno(), termios.TCIFLUSH)
        self.stream.write(f"{plain(question)} ")
        self.stream.flush()
        return self.stream.readline().strip()

    def secret(self, question: str) -> str:
        """Ask without echo."""
        return getpass.getpass(question, self.stream)

    def confirms(self, lines: Iterable[str], digest: str, *, is_grave: bool) -> bool:
        """Show *lines* and ask for a yes; a grave one takes six characters of the digest."""
        self.stream.writelines(f"{plain(line)}\n" for line in lines)
        if is_grave:
            typed = self.answer("to approve, type the first six characters of the digest:")
            return typed == digest.removeprefix("sha256:")[:6]
        return self.answer("approve? [y/N]").lower() in {"y", "yes"}


@contextlib.contextmanager
def terminal() -> Iterator[Terminal | None]:
    """Open the controlling terminal; None where there is none, or with ``--json``."""
    try:
        name = os.devnull if invocation().is_json else "/dev/tty"
        descriptor = os.open(name, os.O_RDWR | os.O_NOCTTY)
    except OSError:
        yield None
        return
    with io.TextIOWrapper(io.FileIO(descriptor, "w+"), errors="backslashreplace") as stream:
        yield Terminal(stream) if stream.isatty() else None


def confirm(
    lines: Iterable[str], *, digest: str, given: str | None, look: str, is_grave: bool = False
) -> None:
    """Have a person say yes to what *lines* show and *digest* names.

    :param given: ``--digest``: the yes of somebody who has seen it elsewhere
    :param look: the command that shows it elsewhere
    :raises UsageError: ``cli.declined``, ``cli.digest_differs``; ``cli.digest_needed`` without a
        terminal
    """
    if given is not None:
        if given.removeprefix("sha256:") != digest.removeprefix("sha256:"):
            raise UsageError("cli.digest_differs", given=given, look=look)
        return
    with terminal() as tty:
        if tty is None:
            raise UsageError("cli.digest_needed", look=look)
        if not tty.confirms(lines, digest, is_grave=is_grave):
            raise UsageError("cli.declined", look=look)

"""Every way AWE says no: one tree, one catalogue of codes.

::

    AweError
    ├── UsageError              the caller's words are off (arguments, ids, settings)
    ├── DocumentError           a file people wrote        (+ file, line, column)
    ├── CanonicalError          bytes or values outside the domain that is hashed
    ├── ExpressionError         a ``${…}`` that does not compile or cannot be evaluated
    ├── ContractError           input or output against its schema (+ side, pointer)
    ├── WorkflowError           a workflow that cannot be compiled
    ├── AccessError             asked for what this caller may not have
    ├── TrustError              root, manifest, statements, store, signers
    ├── PackError               a distribution that is not what people approved
    ├── HandshakeError          the handshake cannot take this answer
    │   ├── HandshakeRefusedError   a policy or a person said no
    │   └── HandshakePendingError   nobody has answered yet (+ request)
    ├── EffectError             an effect that failed
    │   └── EffectRefusedError      … or was not even tried (also a PermissionError)
    ├── UndoError               something could not be taken back
    │   └── UndoConflictError       … because somebody else changed it since
    ├── CapabilityError         raised by a handler, with a code of its contract
    ├── RunError                a run cannot do what was asked of it
    │   └── RunNotCompletedError    it ended, but not COMPLETED (+ result)
    ├── EngineError             the engine itself: locked, busy, decider
    ├── JournalError            the log cannot be read or written
    │   └── JournalUnwritableError  … so nothing acts
    ├── AuditError              a log that does not verify
    └── WiringError             parts that do not belong together

Rules: a subclass takes attributes, never sentences; the sentence of a code stands once, in
``schemas/errors.json``; what is raised is rendered in one place per medium and nowhere else.
"""

from __future__ import annotations

import json
import pkgutil
from functools import cache, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from awe_core.values import JsonObject

    CATALOGUE: Mapping[str, Code]  #: every code AWE can raise, stable for ever


@attrs.frozen
class Code:
    """What one error code means to the person who meets it.

    The sentences are format strings over the attributes of the error that carries the code.
    """

    exit_code: int  #: 1 to 9, by the CLI's table
    says: str  #: what was refused or failed, on which object; no full stop
    next: str = ""  #: the next command or edit, imperative; empty only where there is none
    state: str = ""  #: what is the case now: "nothing was imported"


#: Read at once, parsed at the first error: when that comes, there may be no file left to open.
_TEXT = pkgutil.get_data("awe_core", "schemas/errors.json") or b""


@cache
def _catalogue() -> Mapping[str, Code]:
    return MappingProxyType({code: Code(**entry) for code, entry in json.loads(_TEXT).items()})


def __getattr__(name: str) -> Mapping[str, Code]:
    """Give `CATALOGUE`."""
    if name != "CATALOGUE":
        raise AttributeError(name)
    return _catalogue()


class AweError(Exception):
    """Something AWE refused or could not do, with what to do next.

    :param code: a key of `CATALOGUE`; stable for ever, one page each under ``docs/errors/``
    :param details: further lines: what was expected, what was found, one fact a line
    :param attributes: the values that the catalogue's sentences name
    :raises KeyError: for a code or attribute the catalogue does not know; that is our defect
    """

    def __init__(self, code: str, /, *, details: Iterable[str] = (), **attributes: object) -> None:
        """Build the sentences from the catalogue's entry for *code*."""
        entry = _catalogue()[code]
        self.code = code  #: ``area.reason``
        self.exit_code = entry.exit_code  #: of the CLI, by the table of its documentation
        self.attributes = attributes
        self.details = tuple(details)
        self.state = entry.state.format_map(attributes) or None  #: what is the case now
        self.hint = entry.next.format_map(attributes) or None  #: the next command or edit
        super().__init__(entry.says.format_map(attributes))

    @property
    def summary(self) -> str:
        """What was refused or failed, on which object: one sentence without its full stop."""
        return str(self.args[0])

    def as_json(self) -> JsonObject:
        """Give the form that every channel shows: code, message, details, state, next."""
        return {
            "code": self.code,
            "message": self.summary,
            "details": list(self.details),
            "state": self.state,
            "next": self.hint,
            "exit_code": self.exit_code,
        }

    def __reduce__(self) -> tuple[Callable[..., AweError], tuple[object, ...]]:
        """Pickle by code and attributes; a sentence is never carried, it is built again."""
        return partial(type(self), self.code, details=self.details, **self.attributes), ()


class UsageError(AweError):
    """The caller's words are off: an argument, an id, a setting."""


class DocumentError(AweError):
    """A file people wrote cannot be taken; attributes ``file``, ``line``, ``column`` say where."""

    @property
    def place(self) -> str:
        """``file:line:column``, as editors understand it."""
        at = self.attributes
        return f"{at['file']}:{at['line']}:{at['column']}"


class CanonicalError(AweError):
    """Bytes or values outside the domain that is hashed."""


class ExpressionError(AweError):
    """A ``${…}`` that does not compile, or cannot be evaluated on these values."""


class ContractError(AweError):
    """Input or output does not fit its schema; attributes ``side`` and ``pointer`` say where."""


class WorkflowError(AweError):
    """A workflow that cannot be compiled."""


class AccessError(AweError):
    """A caller asked for what it may not have."""


class TrustError(AweError):
    """Root, manifest, statement, store or signer is not what it must be."""


class PackError(AweError):
    """A distribution is not what people approved, or does more than it was granted."""


class HandshakeError(AweError):
    """The handshake cannot take this answer, or cannot ask."""


class HandshakeRefusedError(HandshakeError):
    """A policy or a person said no, or nobody answered in time."""


class HandshakePendingError(HandshakeError):
    """A person has to answer first."""

    @property
    def request(self) -> str:
        """The id of what waits."""
        return str(self.attributes["request"])


class EffectError(AweError):
    """An effect was tried and failed."""


class EffectRefusedError(EffectError, PermissionError):
    """An effect was not even tried."""


class UndoError(AweError):
    """Something could not be taken back."""


class UndoConflictError(UndoError):
    """Somebody else changed it since, so it was left alone."""


class CapabilityError(AweError):
    """What a handler raises to fail its step with a code that its contract documents.

    ``raise CapabilityError("not_found", "no such issue")`` fails the step with code ``not_found``.

    :param code: a key of the contract's ``errors``
    :param message: one sentence, without secrets
    :param class_: whether a retry may help: error, timeout, unavailable, rate_limited, conflict
    :param retry_after_us: with rate_limited: how long to wait at least, in microseconds
    """

    def __init__(
        self,
        code: str,
        message: str,
        /,
        *,
        class_: str = "error",
        retry_after_us: int | None = None,
    ) -> None:
        """Take the handler's own words; the catalogue holds only ours."""
        super().__init__("step.capability_failed", own_code=code, message=message)
        self.code = code
        self.class_ = class_
        self.retry_after_us = retry_after_us

    def __reduce__(self) -> tuple[Callable[..., AweError], tuple[object, ...]]:
        """Pickle by the handler's own words."""
        message = str(self.attributes["message"])
        again = partial(CapabilityError, self.code, message, class_=self.class_)
        return partial(again, retry_after_us=self.retry_after_us), ()


class RunError(AweError):
    """A run cannot do what was asked of it."""


class RunNotCompletedError(RunError):
    """A run ended, but not COMPLETED."""

    @property
    def result(self) -> Any:  # noqa: ANN401 - `runtime.RunResult`, nine floors above
        """What it left."""
        return self.attributes["result"]


class EngineError(AweError):
    """The engine itself cannot go on: locked, busy, or a defect of ours."""


class JournalError(AweError):
    """The log cannot be opened or read."""


class JournalUnwritableError(JournalError):
    """The log cannot be written, so nothing acts."""


class AuditError(AweError):
    """A log or an export that does not verify."""


class WiringError(AweError):
    """Parts that do not belong together."""

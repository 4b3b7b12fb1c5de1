"""From an exception to what is recorded of it: a code, a class that retries look at, a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.errors import (
    AccessError,
    AweError,
    CanonicalError,
    CapabilityError,
    ContractError,
    EffectRefusedError,
    ExpressionError,
    HandshakeError,
    PackError,
    TrustError,
)
from awe_core.events import Failure

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST = 2_000  #: characters of a recorded message

_CLASSES: Mapping[type[AweError], str] = {
    ContractError: "contract",
    CanonicalError: "contract",  # an output that is no JSON keeps no contract
    ExpressionError: "expression",
    EffectRefusedError: "refused",
    HandshakeError: "refused",
    AccessError: "refused",
    PackError: "refused",
    TrustError: "refused",
}

_CONFLICTS = frozenset({"fs.changed", "effect.deadlock", "effect.key_reused"})


@attrs.frozen
class Fault:
    """What went wrong, as the decider needs it."""

    failure: Failure
    class_: str
    retry_after_us: int | None = None


def fault_of(error: BaseException) -> Fault:
    """Classify *error*; a foreign exception is named by its type and first line alone."""
    if isinstance(error, CapabilityError):
        return Fault(_failure(error), error.class_, error.retry_after_us)
    if isinstance(error, AweError):
        return Fault(_failure(error), _class_of(error))
    if isinstance(error, TimeoutError):
        return Fault(_foreign(error), "timeout")  # the handler's own: the step's has a code of ours
    if isinstance(error, ConnectionError):
        return Fault(_foreign(error), "unavailable")
    return Fault(_foreign(error), "error")


def _class_of(error: AweError) -> str:
    if error.code in _CONFLICTS:
        return "conflict"
    if error.code == "step.timeout":
        return "timeout"
    for kind, class_ in _CLASSES.items():
        if isinstance(error, kind):
            return class_
    return "error"


def _failure(error: AweError) -> Failure:
    message = "; ".join([error.summary, *error.details])
    return Failure(error.code, message[:_LONGEST], type(error).__name__)


def _foreign(error: BaseException) -> Failure:
    """Name a handler's own exception.  Its text is foreign: the first line, cut."""
    line = str(error).strip().splitlines()[:1]
    text = f"{type(error).__name__}: {line[0]}" if line else type(error).__name__
    return Failure("step.handler_raised", text[:_LONGEST], type(error).__name__)

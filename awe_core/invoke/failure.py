"""From an exception to what is recorded of it: a code, a class that retries look at, a message."""

from __future__ import annotations

import attrs

from awe_core import errors
from awe_core.events import Failure

_LONGEST = 2_000  #: characters of a recorded message

_BY_CODE = {
    "fs.changed": "conflict",
    "effect.deadlock": "conflict",
    "effect.key_reused": "conflict",
    "step.timeout": "timeout",
}

_BY_TYPE: tuple[tuple[type[BaseException], str], ...] = (
    (errors.ContractError, "contract"),
    (errors.CanonicalError, "contract"),  # an output that is no JSON keeps no contract
    (errors.ExpressionError, "expression"),
    (errors.EffectRefusedError, "refused"),
    (errors.HandshakeError, "refused"),
    (errors.AccessError, "refused"),
    (errors.PackError, "refused"),
    (errors.TrustError, "refused"),
    (TimeoutError, "timeout"),  # the handler's own: the step's has a code of ours
    (ConnectionError, "unavailable"),
)


@attrs.frozen
class Fault:
    """What went wrong, as the decider needs it."""

    failure: Failure
    class_: str
    retry_after_us: int | None = None


def fault_of(error: BaseException) -> Fault:
    """Classify *error*; a foreign exception is named by its type and first line alone."""
    name = type(error).__name__
    if isinstance(error, errors.AweError):
        code, message = error.code, "; ".join([error.summary, *error.details])
    else:
        line = str(error).strip().splitlines()[:1]
        code, message = "step.handler_raised", ": ".join([name, *line])
    failure = Failure(code, message[:_LONGEST], name)
    if isinstance(error, errors.CapabilityError):
        return Fault(failure, error.class_, error.retry_after_us)
    by_type = (class_ for kind, class_ in _BY_TYPE if isinstance(error, kind))
    return Fault(failure, _BY_CODE.get(code) or next(by_type, "error"))

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
`awe_core.errors.codes`; what is raised is rendered in one place per medium and nowhere else.
"""

from awe_core.errors.codes import CATALOGUE, Code
from awe_core.errors.tree import (
    AccessError,
    AuditError,
    AweError,
    CanonicalError,
    CapabilityError,
    ContractError,
    DocumentError,
    EffectError,
    EffectRefusedError,
    EngineError,
    ExpressionError,
    HandshakeError,
    HandshakePendingError,
    HandshakeRefusedError,
    JournalError,
    JournalUnwritableError,
    PackError,
    RunError,
    RunNotCompletedError,
    TrustError,
    UndoConflictError,
    UndoError,
    UsageError,
    WiringError,
    WorkflowError,
)

__all__ = [
    "CATALOGUE",
    "AccessError",
    "AuditError",
    "AweError",
    "CanonicalError",
    "CapabilityError",
    "Code",
    "ContractError",
    "DocumentError",
    "EffectError",
    "EffectRefusedError",
    "EngineError",
    "ExpressionError",
    "HandshakeError",
    "HandshakePendingError",
    "HandshakeRefusedError",
    "JournalError",
    "JournalUnwritableError",
    "PackError",
    "RunError",
    "RunNotCompletedError",
    "TrustError",
    "UndoConflictError",
    "UndoError",
    "UsageError",
    "WiringError",
    "WorkflowError",
]

"""AWE: what an agent does becomes governable, auditable and reversible.

The names below are the public surface.  They are imported when first used, so that ``awe --help``
does not pay for the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awe_core.audit import AuditLogger
    from awe_core.binding import bind
    from awe_core.capability import CapabilitySpec
    from awe_core.context import AsyncExecutionContext, ExecutionContext, FileEntry, FileResult
    from awe_core.contract import Schema
    from awe_core.errors import AweError, CapabilityError
    from awe_core.events import Actor, UndoRecord
    from awe_core.hookspecs import hookimpl, hookspec
    from awe_core.runtime import AsyncRuntime, RunHandle, RunResult, Runtime
    from awe_core.runtime.classic import (
        CapabilityRegistry,
        Journal,
        RuntimeEngine,
        WorkflowEngine,
        WorkflowSpec,
    )
    from awe_core.undo import UndoManager

__version__ = "0.1.0"

_HOMES = {
    "Actor": "events",
    "AsyncExecutionContext": "context",
    "AsyncRuntime": "runtime",
    "AuditLogger": "audit",
    "AweError": "errors",
    "CapabilityError": "errors",
    "CapabilityRegistry": "runtime.classic",
    "CapabilitySpec": "capability",
    "ExecutionContext": "context",
    "FileEntry": "context",
    "FileResult": "context",
    "Journal": "runtime.classic",
    "RunHandle": "runtime",
    "RunResult": "runtime",
    "Runtime": "runtime",
    "RuntimeEngine": "runtime.classic",
    "Schema": "contract",
    "UndoManager": "undo",
    "UndoRecord": "events",
    "WorkflowEngine": "runtime.classic",
    "WorkflowSpec": "runtime.classic",
    "bind": "binding",
    "hookimpl": "hookspecs",
    "hookspec": "hookspecs",
}

__all__ = [
    "Actor",
    "AsyncExecutionContext",
    "AsyncRuntime",
    "AuditLogger",
    "AweError",
    "CapabilityError",
    "CapabilityRegistry",
    "CapabilitySpec",
    "ExecutionContext",
    "FileEntry",
    "FileResult",
    "Journal",
    "RunHandle",
    "RunResult",
    "Runtime",
    "RuntimeEngine",
    "Schema",
    "UndoManager",
    "UndoRecord",
    "WorkflowEngine",
    "WorkflowSpec",
    "bind",
    "hookimpl",
    "hookspec",
]


def __getattr__(name: str) -> object:
    """Import a public name from its home when it is first used."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"awe_core.{home}"), name)

"""AWE: what an agent does becomes governable, auditable and reversible.

The names below are the public surface.  They are imported when first used, so that ``awe --help``
does not pay for the engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awe_core.audit import AuditLogger as AuditLogger
    from awe_core.binding import bind as bind
    from awe_core.capability import CapabilitySpec as CapabilitySpec
    from awe_core.context import AsyncExecutionContext as AsyncExecutionContext
    from awe_core.context import ExecutionContext as ExecutionContext
    from awe_core.context import FileEntry as FileEntry
    from awe_core.context import FileResult as FileResult
    from awe_core.contract import Schema as Schema
    from awe_core.errors import AweError as AweError
    from awe_core.errors import CapabilityError as CapabilityError
    from awe_core.events import Actor as Actor
    from awe_core.events import UndoRecord as UndoRecord
    from awe_core.hookspecs import hookimpl as hookimpl
    from awe_core.hookspecs import hookspec as hookspec
    from awe_core.runtime import AsyncRuntime as AsyncRuntime
    from awe_core.runtime import RunHandle as RunHandle
    from awe_core.runtime import RunResult as RunResult
    from awe_core.runtime import Runtime as Runtime
    from awe_core.runtime.classic import CapabilityRegistry as CapabilityRegistry
    from awe_core.runtime.classic import Journal as Journal
    from awe_core.runtime.classic import RuntimeEngine as RuntimeEngine
    from awe_core.runtime.classic import WorkflowEngine as WorkflowEngine
    from awe_core.runtime.classic import WorkflowSpec as WorkflowSpec
    from awe_core.undo import UndoManager as UndoManager

__version__ = "0.1.0"

_PUBLIC = {
    "audit": "AuditLogger",
    "binding": "bind",
    "capability": "CapabilitySpec",
    "context": "AsyncExecutionContext ExecutionContext FileEntry FileResult",
    "contract": "Schema",
    "errors": "AweError CapabilityError",
    "events": "Actor UndoRecord",
    "hookspecs": "hookimpl hookspec",
    "runtime": "AsyncRuntime RunHandle RunResult Runtime",
    "runtime.classic": "CapabilityRegistry Journal RuntimeEngine WorkflowEngine WorkflowSpec",
    "undo": "UndoManager",
}
_HOMES = {name: home for home, names in _PUBLIC.items() for name in names.split()}
__all__ = [*_HOMES]  # noqa: PLE0604 - names of the table above


def __getattr__(name: str) -> object:
    """Import a public name from its home when it is first used."""
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(importlib.import_module(f"awe_core.{_HOMES[name]}"), name)

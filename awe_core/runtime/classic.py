"""The classic wiring, part by part, for programs that build their own runtime.

`Runtime.open` wires the same parts.  A missing part is a `TypeError`, parts of different journals
or workspaces are ``wiring.mismatch``, and no handshake given means the default policies, never
"allow".
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core import __version__, signing, workflow
from awe_core import journal as journals
from awe_core.config import load_config
from awe_core.documents import load_workflow
from awe_core.engine import Submission
from awe_core.errors import WiringError
from awe_core.runtime.deployment import load
from awe_core.runtime.requests import document_of
from awe_core.runtime.results import result_of
from awe_core.runtime.waiting import Loop
from awe_core.runtime.wiring import engine_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.audit import AuditLogger
    from awe_core.context import ExecutionContext
    from awe_core.hookspecs import ConfirmationPolicy
    from awe_core.runtime.deployment import Deployment
    from awe_core.runtime.results import RunResult
    from awe_core.undo import UndoManager
    from awe_core.values import Json


class Journal:
    """Opens the log of a home."""

    @staticmethod
    def open(path: Path | str) -> journals.Journal:
        """Own the home that holds *path* (``.awe/journal.db`` or the folder) and open its log.

        :raises EngineError: ``engine.locked``
        """
        home, opened = _home(path), {"awe": __version__, "trust": "classic"}
        key = signing.log_key(home, may_create=True)
        return journals.Journal.open(home, signer=key, origin="local", opened=opened)


class CapabilityRegistry:
    """What may be called: the verified packs of a deployment."""

    @staticmethod
    def load(*, home: Path | str) -> Deployment:
        """Judge the trust of the deployment whose home is *home*, and verify its packs."""
        folder = _home(home)
        file = folder.parent / "awe.yaml"
        flags = {"home": str(folder)}
        config = load_config(file if file.is_file() else None, flags=flags, environ={})
        return load(config, now_s=int(time.time()), mark=None)


class RuntimeEngine:
    """Drives runs on a loop of its own."""

    def __init__(
        self,
        registry: Deployment,
        *,
        undo_manager: UndoManager,
        audit_logger: AuditLogger,
        handshake: Sequence[ConfirmationPolicy] | None = None,
    ) -> None:
        """Wire the parts.

        :raises WiringError: ``wiring.mismatch``
        """
        journal = undo_manager.journal
        if audit_logger.journal is not journal:
            raise WiringError("wiring.mismatch", one="undo_manager", other="audit_logger")
        registry = registry.with_plugins()
        self.undo_manager = undo_manager
        self.inner = engine_of(registry, journal, undo_manager, policies=handshake)
        self.loop = Loop()
        self.loop.wait(self.inner.recover())

    def close(self) -> None:
        """Stop; the journal stays open, whoever opened it closes it."""
        self.loop.close(self.inner.close())


class WorkflowEngine:
    """Runs workflows on an engine."""

    def __init__(self, engine: RuntimeEngine, *, enable_auto_rollback: bool = True) -> None:
        """Run on *engine*; without auto rollback a failed run stops where it is."""
        self._engine = engine
        self._auto_rollback = enable_auto_rollback

    def run(
        self, spec: workflow.WorkflowSpec, inputs: Mapping[str, Json], context: ExecutionContext
    ) -> RunResult:
        """Run *spec* until it has ended or waits for somebody.

        :raises WiringError: ``wiring.mismatch`` for a context of another workspace
        """
        if context.workspace not in (None, self._engine.undo_manager.workspace):
            raise WiringError("wiring.mismatch", one="context", other="undo_manager")
        inner, document = self._engine.inner, document_of(spec)
        document["enable_auto_rollback"] = spec.enable_auto_rollback and self._auto_rollback
        wanted = Submission(
            spec=inner.plans.document(document, file=spec.id),
            inputs=dict(inputs),
            actor=context.actor,
            document=document,
        )

        async def driven() -> RunResult:
            run = await inner.submit(wanted)
            await inner.settled(run)
            return result_of(inner.reader, run)

        return self._engine.loop.wait(driven())


class WorkflowSpec(workflow.WorkflowSpec):
    """A workflow; `load` reads one from a file."""

    @staticmethod
    def load(path: Path | str) -> workflow.WorkflowSpec:
        """Read a workflow document.

        :raises DocumentError: with file, line and column
        """
        return load_workflow(Path(path).read_bytes(), file=str(path))


def _home(path: Path | str) -> Path:
    found = Path(path)
    return found.parent if found.suffix == ".db" else found

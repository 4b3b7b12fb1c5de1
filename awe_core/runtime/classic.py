"""The classic wiring, part by part, for programs that build their own runtime.

`Runtime.open` wires the same parts.  A missing part is a `TypeError`, parts of different journals
or workspaces are ``wiring.mismatch``, and no handshake given means the default policies, never
"allow".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from awe_core import __version__, signing, workflow
from awe_core import engine as engines
from awe_core import journal as journals
from awe_core.config import load_config
from awe_core.documents import load_workflow
from awe_core.errors import WiringError
from awe_core.handshake import Ledger, PolicyChain
from awe_core.invoke import DaemonPool, Handshake, InProcess, Invoker
from awe_core.runtime.deployment import load
from awe_core.runtime.documenting import document_of
from awe_core.runtime.handles import result_of
from awe_core.runtime.owner import now_s, now_us
from awe_core.runtime.policies import handshake_of, policy_threads
from awe_core.runtime.waiting import Loop

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
        home = _home(path)
        key = signing.log_key(home, may_create=True)
        opened = {"awe": __version__, "trust": "classic"}
        return journals.Journal.open(home, signer=key, origin="local", opened=opened)


class CapabilityRegistry:
    """What may be called: the verified packs of a deployment."""

    @staticmethod
    def load(*, home: Path | str) -> Deployment:
        """Judge the trust of the deployment whose home is *home*, and verify its packs."""
        folder = _home(home)
        file = folder.parent / "awe.yaml"
        config = load_config(
            file if file.is_file() else None, flags={"home": str(folder)}, environ={}
        )
        return load(config, now_s=now_s(), mark=None)


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
        self.deployment = registry
        self.undo_manager = undo_manager
        self.loop = Loop()
        config, pool = registry.config, DaemonPool(4, name="awe")
        registry.finder.install()
        chain = handshake_of(config, is_dev=registry.people.is_dev, offered=[])
        if handshake is not None:
            chain = Handshake(
                chain=PolicyChain(handshake, threads=policy_threads()),
                environment=chain.environment,
            )
        invoker = Invoker(
            registry.registry,
            registry.gate,
            workspace=undo_manager.workspace,
            handshake=chain,
            executors={"inproc": InProcess(pool)},
            config=config.config,
            deployment=config.name,
            mac=journal.mac,
        )
        parts = engines.Parts(
            journal=journal,
            invoker=invoker,
            undo=undo_manager,
            ledger=Ledger(config.handshake.ticket_us),
            people=registry.people,
            pool=pool,
            clock_us=now_us,
            settings=engines.Settings(trust=registry.trust),
        )
        self.inner = engines.RuntimeEngine(parts)
        self.loop.wait(self.inner.recover())

    def close(self) -> None:
        """Stop; the journal stays open, whoever opened it closes it."""
        self.loop.wait(self.inner.close())
        self.loop.close()


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
        from_context = context.workspace
        if from_context is not None and from_context is not self._engine.undo_manager.workspace:
            raise WiringError("wiring.mismatch", one="context", other="undo_manager")
        document = document_of(spec)
        document["enable_auto_rollback"] = spec.enable_auto_rollback and self._auto_rollback
        inner = self._engine.inner
        wanted = engines.Submission(
            spec=load_workflow(inner.plans.text(document), file=spec.id),
            inputs=dict(inputs),
            actor=context.actor,
            document=document,
        )
        run = self._engine.loop.wait(inner.submit(wanted))
        self._engine.loop.wait(inner.settled(run))
        return result_of(inner.reader, inner.parts.journal, run)


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

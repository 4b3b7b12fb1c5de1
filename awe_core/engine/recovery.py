"""Reads a run again from its records: for an engine that goes on with it, and for views.

Replay is `decode`, then the decider's `replay`, nothing else; values are loaded only where
something unfinished reads them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from awe_core.decider import StepState, replay
from awe_core.engine.active import loaded
from awe_core.errors import AweError, RunError
from awe_core.events import (
    Actor,
    ConfirmationRequest,
    EffectIntended,
    HandshakeExpired,
    HandshakeGranted,
    HandshakeRefused,
    HandshakeRequested,
    HandshakeVoted,
    RunOpened,
    Vote,
    codec,
    decode,
)
from awe_core.handshake import Ticket

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.decider import Plan, Run
    from awe_core.engine.plans import Plans
    from awe_core.events import Fact
    from awe_core.journal import Reading, Readings
    from awe_core.registry import CapabilityRegistry
    from awe_core.workspace import Workspace

_HANDSHAKES = tuple(
    f"handshake.{what}" for what in ("requested", "voted", "granted", "refused", "expired")
)


@attrs.frozen
class View:
    """A run folded from its records, with what a page about it needs beside."""

    run: Run
    facts: tuple[Fact, ...]
    opened_us: int
    changed_us: int
    head: str  #: ``seq:hash`` of its last record


class Reader:
    """Folds runs from the logs of one home, against what one registry can run."""

    def __init__(self, logs: Readings, registry: CapabilityRegistry, plans: Plans) -> None:
        """Read *logs*."""
        self.log_of = logs.reading
        self._registry = registry
        self._plans = plans

    def view(self, run: str) -> View:
        """Fold the records of *run*.

        :raises RunError: ``run.unknown``; ``run.version_gone`` when its workflow is not there
        """
        records = list(self.log_of(run).read(run=run))
        facts = tuple(decode(record.event) for record in records)
        if not facts or not isinstance(facts[0], RunOpened):
            raise RunError("run.unknown", run=run)
        plan = self._plan(run, facts[0])
        folded = replay(plan, run, facts, started_at=started_at(records[0].ts))
        last = records[-1]
        head = f"{last.seq}:{last.hash.hex()}"
        return View(folded, facts, records[0].ts, last.ts, head)

    def _plan(self, run: str, opened: RunOpened) -> Plan:
        """Compile what the run was opened with: its document, one call, or a pack's workflow."""
        ref = opened.workflow
        if opened.spec is not None:
            document = loaded(self.log_of(run), run, 0, "spec")
            return self._plans.of(self._plans.document(document, file=f"run {run}"))
        reference = f"{ref.id}@{ref.version.partition('.')[0]}"
        try:
            if opened.call:
                return self._plans.of(self._plans.call(self._registry.resolve(reference).spec))
            return self._plans.of(self._registry.workflows[reference])
        except (LookupError, AweError):
            raise RunError(
                "run.version_gone", run=run, workflow=ref.id, version=ref.version
            ) from None

    def supply(self, run: Run) -> None:
        """Load the values that something unfinished in *run* reads."""
        log = self.log_of(run.id)
        for missing in run.unloaded():
            part = "out" if missing.kind == "output" else "in"
            run.supply(missing, loaded(log, run.id, missing.rseq, part))

    @staticmethod
    def actor(opened: RunOpened) -> Actor:
        """Who asked for the run, as the log says."""
        kind, _, name = opened.by.partition(":")
        return Actor(kind, name, opened.for_, via=opened.via)  # type: ignore[arg-type]  # as recorded


def open_questions(
    journal: Reading, run: str, facts: Iterable[tuple[int, Fact]] | None = None
) -> Iterator[ConfirmationRequest]:
    """Give the requests of a run that wait for an answer, in their newest version.

    :param facts: with their positions; None: those of its handshakes are read, none is folded
    """
    if facts is None:
        records = journal.read(run=run, kinds=_HANDSHAKES)
        facts = ((record.rseq or 0, decode(record.event)) for record in records)
    asked: dict[str, tuple[int, HandshakeRequested]] = {}
    votes: dict[str, list[Vote]] = {}
    for rseq, fact in facts:
        match fact:
            case HandshakeRequested():
                asked[fact.step], votes[fact.step] = (rseq, fact), []
            case HandshakeVoted():
                votes[fact.step].append(codec.from_json(Vote, fact.vote))
            case HandshakeGranted() | HandshakeRefused() | HandshakeExpired():
                asked.pop(fact.step, None)
    for step, (rseq, fact) in asked.items():
        document = loaded(journal, run, rseq, "request")
        if document is not None:
            request, given = codec.from_json(ConfirmationRequest, document), tuple(votes[step])
            yield attrs.evolve(request, votes=given, version=fact.version + len(given))


def unused_tickets(journal: Reading, found: View) -> Iterator[Ticket]:
    """Give the tickets of a run that were granted and not used."""
    for rseq, fact in enumerate(found.facts):
        if not isinstance(fact, HandshakeGranted):
            continue
        unit = found.run.unit(fact.step)
        nonces = loaded(journal, found.run.id, rseq, "nonces")
        if unit.state is StepState.GRANTED and nonces and fact.req == unit.request:
            yield Ticket(
                nonce=nonces[0],
                request=fact.req or "",
                digest=fact.digest,
                run=found.run.id,
                step=fact.step,
                expires_us=fact.ticket_expires_us or 0,
            )


def sweep(journal: Reading, workspace: Workspace, found: View) -> None:
    """Drop what a crash left staged for effects whose intent is not in the log."""
    named = set()
    for rseq, fact in enumerate(found.facts):
        if isinstance(fact, EffectIntended) and "strategy" in (fact.undo or {}):
            record = loaded(journal, found.run.id, rseq, "undo")
            if record is None:  # its payload is gone, so nothing tells which slots are in use
                return
            named.add(record["payload"].get("slot"))
    if workspace.capture != "none":
        workspace.store.sweep(found.run.id, named)


def started_at(opened_us: int) -> str:
    """When a run was opened, for expressions: RFC 3339, to the second, UTC."""
    at = datetime.fromtimestamp(opened_us // 1_000_000, UTC)
    return f"{at.isoformat()[:19]}Z"

"""What a separately installed distribution can offer, and the protocols it then speaks.

Hooks discover objects once, while the runtime opens; per-call work goes to the objects and never
through pluggy.  A distribution answers only the hooks its signed record grants (`plugins`).  The
bodies of the specs are their docstrings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import pluggy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from awe_core.events import (
        Answer,
        ConfirmationRequest,
        EffectIntended,
        Facts,
        UndoRecord,
    )
    from awe_core.values import Json, JsonObject

PROJECT = "awe"  #: pluggy's project name and the entry-point group

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

Seen = Literal["not_applied", "applied", "partial", "unknown"]


@runtime_checkable
class ConfirmationPolicy(Protocol):
    """Judges one exact call; an exception, a time-out or another return type denies."""

    @property
    def name(self) -> str:
        """What ``confirm:`` names it by."""

    @property
    def version(self) -> str:
        """Recorded with every answer."""

    @property
    def is_pure(self) -> bool:
        """Whether it does no I/O, so that it runs inline on the engine's loop."""

    def judge(self, request: ConfirmationRequest, facts: Facts) -> Answer | Awaitable[Answer]:
        """Answer `Approve`, `Deny`, `Ask`, or None for "no opinion"."""


@runtime_checkable
class SealedLine(Protocol):
    """One durable record of the log, as sinks receive it."""

    @property
    def log(self) -> str:
        """The log's id, 32 hex characters."""

    @property
    def seq(self) -> int:
        """Position in the log, from 0."""

    @property
    def hash(self) -> bytes:
        """The record's leaf hash, 32 bytes."""

    @property
    def line(self) -> bytes:
        """The record: canonical JSON without line feed."""

    @property
    def event(self) -> JsonObject:
        """The parsed event, already redacted."""


@runtime_checkable
class AuditSink(Protocol):
    """Receives every record at least once, in order; (log, seq) identifies it."""

    @property
    def name(self) -> str:
        """What ``audit: sinks:`` names it by."""

    @property
    def acknowledges(self) -> bool:
        """Whether what `write` returns survives power loss over there."""

    def open(self, log: str) -> int:
        """Return the size already durable there; the core resends from it."""

    def write(self, batch: Sequence[SealedLine]) -> int:
        """Take contiguous records and return the durable size."""

    def checkpoint(self, size: int, note: str) -> str | None:
        """Take a signed note; may return cosignature lines."""

    def close(self, timeout_s: float) -> None:
        """Finish what can be finished within *timeout_s*."""


class World(Protocol):
    """The brokers' face towards an undo strategy: the only way it reaches the world."""

    @property
    def workspace(self) -> Any:  # noqa: ANN401 - the workspace's type stands two floors above
        """Confined files."""


@runtime_checkable
class UndoStrategy(Protocol):
    """Takes one kind of effect back from a durable record; twice with one key is once."""

    @property
    def name(self) -> str:
        """What undo records name it by."""

    @property
    def timeout_us(self) -> int:
        """How long one undo may take."""

    def inspect(self, record: UndoRecord, world: World) -> Seen:
        """Say whether the effect is in the world; never guess."""

    def undo(self, record: UndoRecord, world: World, key: str) -> object:
        """Take it back; returns `Applied` or `Conflict`, raises `UndoError`."""


@runtime_checkable
class CapturingStrategy(UndoStrategy, Protocol):
    """A strategy that ``undo: {strategy: NAME}`` of a contract may name.

    `capture`, `inspect` and `undo` run in a thread, and may be ``async def``; payloads are JSON.
    """

    def capture(self, intent: EffectIntended, args: JsonObject, world: World) -> JsonObject:
        """Give all that `undo` will need, before the act; if it raises, nothing acts."""

    def complete(self, payload: JsonObject, result: JsonObject) -> JsonObject:
        """Add what only the effect's result knows; never looks at the world."""


class Executor(Protocol):
    """Where a handler runs, and what that place enforces."""

    @property
    def name(self) -> str:
        """What pack records name it by."""

    def probe(self) -> Mapping[str, str]:
        """Try it: each right's promise is ENFORCED, DETECTED or NONE."""

    async def call(
        self,
        handler: Callable[..., Any],
        context: Any,  # noqa: ANN401 - one of the two contexts, which stand above
        arguments: JsonObject,
    ) -> Json:
        """Run one handler to its end and return its output."""


@hookspec
def awe_capabilities() -> Sequence[object]:
    """Offer the handlers of this pack's contracts; usually ``return bind(__package__)``.

    When: at the first call to one of the pack's capabilities, after its bytes were verified.
    Order: irrelevant; one deployment has one owner of a capability id.
    Results: the first non-None of the distribution itself; it is asked alone.
    On error: the pack is broken (``pack.broken``), its capabilities are off, others run on.
    Since 1.0.
    """


@hookspec
def awe_confirmation_policies(config: Mapping[str, Json]) -> Sequence[ConfirmationPolicy]:
    """Offer policies that ``confirm:`` in ``awe.yaml`` may name.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, while the runtime opens; judging is no hook call.
    Order: irrelevant; answers are folded commutatively.  Wrappers are refused.
    Results: all; names are unique in the deployment.  None is the same as an empty sequence.
    On error: a policy that is named and missing denies every call until it is mended.
    Since 1.0.
    """


@hookspec
def awe_audit_sinks(config: Mapping[str, Json]) -> Sequence[AuditSink]:
    """Offer sinks that ``audit.sinks`` in ``awe.yaml`` may name.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, while the runtime opens; records never travel through pluggy.
    Order: irrelevant.  Results: all.  None is the same as an empty sequence.
    On error: the distribution is set aside; if one of its sinks is required, nothing acts.
    Since 1.0.
    """


@hookspec
def awe_undo_strategies(config: Mapping[str, Json]) -> Sequence[UndoStrategy]:
    """Offer strategies that can take an effect back; contracts name those that also capture.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, after trust is verified and before recovery replays open runs.
    Order: irrelevant; two owners of one name stop the start (``undo.name_taken``).
    Results: all.  None is the same as an empty sequence.
    On error: the distribution is set aside; runs that need its strategies stay PAUSED.
    Since 1.0.
    """


@hookspec
def awe_executors(config: Mapping[str, Json]) -> Sequence[Executor]:
    """Offer isolation tiers beside ``inproc``.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, while the runtime opens; each is probed before it is used.
    Order: irrelevant.  Results: all.  None is the same as an empty sequence.
    On error: the tier is unavailable; packs that need it are refused, never downgraded.
    Since 1.0.
    """


@hookspec
def awe_effect_channels(config: Mapping[str, Json]) -> Sequence[object]:
    """Offer further kinds of effect.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, while the runtime opens.
    Order: irrelevant; a kind has one owner.
    Results: all.  None is the same as an empty sequence.
    On error: contracts that declare the kind are refused at activation.
    Since 1.0.
    """


@hookspec
def awe_redactors(config: Mapping[str, Json]) -> Sequence[object]:
    """Offer redactors that see every value before it is written.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: once, while the runtime opens.
    Order: by distribution name; each only masks more.
    Results: all.  None is the same as an empty sequence.
    On error: a redactor that raises masks the whole value.
    Since 1.0.
    """


@hookspec
def awe_proposal_sources(config: Mapping[str, Json]) -> Sequence[object]:
    """Offer kinds of source that ``awe propose`` can read.

    :param config: this distribution's table of ``awe.yaml``, read-only
    When: when ``awe propose`` runs.
    Order: irrelevant; a source kind has one owner.
    Results: all.  None is the same as an empty sequence.
    On error: the source kind is unavailable.
    Since 1.0.
    """


@hookspec
def awe_cli_commands() -> Sequence[object]:
    """Offer click commands below ``awe``.

    When: when one of them is called; help lists them from entry points as text.
    Order: irrelevant; a command name has one owner.
    Results: all.  None is the same as an empty sequence.
    On error: the command is one line, "unavailable: why".
    Since 1.0.
    """

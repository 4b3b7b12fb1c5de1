"""Writes a `WorkflowSpec` that a program built as the document it would have been read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.documents import written_us

if TYPE_CHECKING:
    from awe_core.compensation import CapabilityCall, UndoCompensate
    from awe_core.values import Json, JsonObject
    from awe_core.workflow import Retry, StepSpec, WorkflowSpec


def document_of(spec: WorkflowSpec) -> JsonObject:
    """Give the document whose loading gives *spec* again."""
    return _some(
        awe="workflow/v1",
        id=spec.id,
        version=spec.version,
        summary=spec.summary,
        description=spec.description or None,
        inputs=spec.inputs,
        outputs=spec.outputs or None,
        enable_auto_rollback=spec.enable_auto_rollback,
        expires=_duration(spec.expires_us),
        in_flight=spec.in_flight.value,
        concurrency=None
        if spec.concurrency is None
        else {"key": spec.concurrency.key, "limit": spec.concurrency.limit},
        confirm=spec.confirm.value,
        steps=[_step(step) for step in spec.steps],
        accept=dict(spec.accept) or None,
        temporal=spec.temporal,
    )


def _step(step: StepSpec) -> JsonObject:
    return _some(
        id=step.id,
        capability=step.capability,
        workflow=step.workflow,
        **{"with": step.with_ or None},
        needs=[
            {"step": need.step, "even_if": "skipped"} if need.even_if_skipped else need.step
            for need in step.needs
        ]
        or None,
        when=step.when,
        foreach=step.foreach,
        max_parallel=step.max_parallel if step.foreach is not None else None,
        retry=_retry(step.retry),
        timeout=_duration(step.timeout_us),
        confirm=step.confirm.value,
        on_failure=None if step.on_failure is None else step.on_failure.value,
        compensation=None if step.compensation is None else _compensation(step.compensation),
        accept=dict(step.accept) or None,
        temporal=step.temporal,
    )


def _retry(retry: Retry) -> JsonObject | None:
    if retry.attempts == 1:
        return None
    return {
        "attempts": retry.attempts,
        "backoff": _duration(retry.backoff_us),
        "factor": retry.factor,
        "max": _duration(retry.max_us),
        "jitter": retry.jitter.value,
        "on": list(retry.on),
    }


def _compensation(undo: UndoCompensate) -> JsonObject:
    return _some(
        compensate=_call(undo.compensate),
        before=None if undo.before is None else _call(undo.before),
        lookup=None if undo.lookup is None else _call(undo.lookup),
    )


def _call(call: CapabilityCall) -> JsonObject:
    return _some(capability=call.capability, **{"with": call.with_ or None}, when=call.when)


def _duration(us: int | None) -> str | None:
    return None if us is None else written_us(us)


def _some(**members: Json) -> JsonObject:
    return {key: value for key, value in members.items() if value is not None}

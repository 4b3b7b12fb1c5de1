"""Workflows: from a checked document to `WorkflowSpec`.

What can be said of one step alone is refused here (two targets, a repeated id, an unknown need);
what takes the whole graph or the contracts is for `awe_core.analysis`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.documents.capabilities import closed, compensation
from awe_core.documents.quantities import duration_us
from awe_core.documents.shape import check_schema, nearest
from awe_core.workflow import (
    Concurrency,
    InFlight,
    Jitter,
    Need,
    OnFailure,
    PlanConfirm,
    Retry,
    StepConfirm,
    StepSpec,
    WorkflowSpec,
)

if TYPE_CHECKING:
    from awe_core.documents.reading import Parsed
    from awe_core.values import Json, JsonObject


def workflow(parsed: Parsed) -> WorkflowSpec:
    """Build the spec from a document that fits its schema.

    :raises DocumentError: ``workflow.…`` or ``document.schema``
    """
    value: JsonObject = parsed.value
    inputs = value.get("inputs", {"type": "object"})
    check_schema(parsed, ("inputs",), inputs)
    _check_steps(parsed)
    expires, queue = value.get("expires"), value.get("concurrency")
    return WorkflowSpec(
        id=value["id"],
        version=value["version"],
        summary=value["summary"],
        description=value.get("description", ""),
        inputs=closed(inputs),
        outputs=value.get("outputs", {}),
        enable_auto_rollback=value.get("enable_auto_rollback", True),
        expires_us=None if expires is None else duration_us(expires),
        in_flight=InFlight(value.get("in_flight", "cancel")),
        concurrency=None if queue is None else Concurrency(queue["key"], queue.get("limit", 1)),
        confirm=PlanConfirm(value.get("confirm", "policy")),
        steps=tuple(_step(found) for found in value["steps"]),
        accept=value.get("accept", {}),
        temporal=value.get("temporal"),
    )


def _step(found: JsonObject) -> StepSpec:
    timeout, failure = found.get("timeout"), found.get("on_failure")
    instead = found.get("compensation")
    return StepSpec(
        id=found["id"],
        capability=found.get("capability"),
        workflow=found.get("workflow"),
        with_=found.get("with", {}),
        needs=tuple(_need(need) for need in found.get("needs", ())),
        when=found.get("when"),
        foreach=found.get("foreach"),
        max_parallel=found.get("max_parallel", 4),
        retry=_retry(found.get("retry", {})),
        timeout_us=None if timeout is None else duration_us(timeout),
        confirm=StepConfirm(found.get("confirm", "policy")),
        on_failure=None if failure is None else OnFailure(failure),
        compensation=None if instead is None else compensation(instead),
        accept=found.get("accept", {}),
        temporal=found.get("temporal"),
    )


def _need(found: Json) -> Need:
    return Need(found) if isinstance(found, str) else Need(found["step"], "even_if" in found)


def _retry(found: JsonObject) -> Retry:
    default = Retry()
    return Retry(
        attempts=found.get("attempts", default.attempts),
        backoff_us=duration_us(found.get("backoff", "1s")),
        factor=found.get("factor", default.factor),
        max_us=duration_us(found.get("max", "30s")),
        jitter=Jitter(found.get("jitter", "full")),
        on=tuple(found.get("on", default.on)),
    )


def _check_steps(parsed: Parsed) -> None:
    seen: dict[str, int] = {}
    steps = parsed.value["steps"]
    for index, step in enumerate(steps):
        at = ("steps", index)
        if ("capability" in step) == ("workflow" in step):
            raise parsed.error("workflow.step_target", at, step=step["id"])
        if step["id"] in seen:
            line, column = parsed.position_of(("steps", seen[step["id"]], "id"))
            raise parsed.error(
                "workflow.duplicate", (*at, "id"), step=step["id"], first=f"{line}:{column}"
            )
        seen[step["id"]] = index
    for index, step in enumerate(steps):
        for place, found in enumerate(step.get("needs", ())):
            need = _need(found).step
            if need not in seen or need == step["id"]:
                close = nearest(need, (known for known in seen if known != step["id"]))
                raise parsed.error(
                    "workflow.unknown_need",
                    ("steps", index, "needs", place),
                    step=step["id"],
                    need=need,
                    fix=f"write {close}" if close else "name a step of this workflow",
                )

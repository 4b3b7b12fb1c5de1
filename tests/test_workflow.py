"""Workflows as values."""

from __future__ import annotations

from awe_core.workflow import OnFailure, StepSpec, WorkflowSpec


def _workflow(*, rolls_back: bool) -> WorkflowSpec:
    return WorkflowSpec(
        id="notes",
        version="2.1.0",
        summary="x",
        enable_auto_rollback=rolls_back,
        steps=(
            StepSpec("read", capability="fs.read@1"),
            StepSpec("sub", workflow="other@3", on_failure=OnFailure.CONTINUE),
        ),
    )


def test_references_pin_the_major_version() -> None:
    spec = _workflow(rolls_back=True)

    assert (spec.reference, spec.full_reference) == ("notes@2", "notes@2.1.0")


def test_a_step_calls_a_capability_or_a_workflow() -> None:
    assert [step.target for step in _workflow(rolls_back=True).steps] == ["fs.read@1", "other@3"]


def test_without_auto_rollback_steps_stop_unless_they_say_otherwise() -> None:
    rolling, stopping = _workflow(rolls_back=True), _workflow(rolls_back=False)

    assert [rolling.on_failure_of(s) for s in rolling.steps] == ["rollback", "continue"]
    assert [stopping.on_failure_of(s) for s in stopping.steps] == ["stop", "continue"]

"""A dry run: the same run on an overlay, where nobody is asked and nothing is done.

What only a real run can do is skipped, and with it everything that needs it; the plan calls that
unknown until run.  That is a handler outside this process, and a call that reads what people would
have to allow first: a preview is no way around them.  The plan is made of the run's own state and
of what its brokers foresaw.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical, events
from awe_core.capability import UndoNone, undo_in_words
from awe_core.decider import StepState
from awe_core.effects import DryBroker
from awe_core.effects.dry import told
from awe_core.events import codec
from awe_core.workspace import Overlay

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.decider import PlanStep, Run
    from awe_core.decider.unit import Unit
    from awe_core.events import ConfirmationRequest, Requirement
    from awe_core.values import Json, JsonObject
    from awe_core.workspace import Workspace

UNKNOWN = "unknown until run"
#: What a dry run reads only where people need not be asked first.
READING = frozenset({"fs.read", "fs.list", "env.read"})
_DRAWN = {"clock", "random"}  #: what a step gets of these differs at every run
_SAYS = {
    StepState.DONE: "foreseen",
    StepState.FAILED: "fails",
    StepState.TOLERATED: "fails, and the run goes on",
    StepState.SKIPPED: "skipped",
}


@attrs.define(eq=False)
class DryRun:
    """What a dry run knows beside its records."""

    overlay: Overlay
    effects: list[JsonObject] = attrs.field(factory=list)
    approvals: dict[str, JsonObject] = attrs.field(factory=dict)  #: by step
    calls: dict[str, str] = attrs.field(factory=dict)  #: digest of each call, by step
    unknown: set[str] = attrs.field(factory=set)  #: steps, and what they stand in

    @classmethod
    def over(cls, workspace: Workspace) -> DryRun:
        """Begin with the workspace as it is."""
        return cls(Overlay.over(workspace))

    @property
    def broker(self) -> Callable[..., DryBroker]:
        """Make the broker of an attempt."""
        return partial(DryBroker, foreseen=self.effects)

    def asks(self, request: ConfirmationRequest, requirements: tuple[Requirement, ...]) -> None:
        """Note that people would be asked."""
        self.approvals[request.step] = expected(request, requirements)

    def needs_unknown(self, unit: Unit) -> bool:
        """Say whether something that *unit* needs was not performed."""
        if unit.parent.index and unit.parent.is_fanout:
            return False
        needed = (unit.parent.children[need] for need in unit.step.needs)
        return any(one.path in self.unknown for one in needed)

    def note(self, run: Run, fact: events.Fact) -> None:
        """Follow a fact of the run: what was skipped unknown, what a failure takes back."""
        match fact:
            case events.StepStarted(step=step, digest=str(digest)):
                self.calls[step] = digest
            case events.StepSkipped(step=step, cause=cause):
                unit: Unit = run.unit(step)
                if cause == "dry" or (cause == "need" and self.needs_unknown(unit)):
                    while unit.index:
                        self.unknown.add(unit.path)
                        unit = unit.parent
            case events.StepFailed(step=step) if run.unit(step).state is not StepState.FAILED:
                self.overlay.take_back(step)  # tried again, or tolerated
            case _:
                pass

    def plan(self, run: Run, *, inputs: str) -> JsonObject:
        """Say what a real run would do, as far as it is known.

        :param inputs: their digest, marked ones as their MAC
        """
        units = sorted(run.steps(), key=_place)
        pivot = next((u.path for u in units if u.path in self.calls and is_final(u.step)), None)
        uses = run.plan.root.output_uses
        is_known = not any(run.plan.root.steps[one].spec.id in self.unknown for one in uses)
        fault = run.failure
        return {
            "run": run.id,
            "workflow": f"{run.opened.workflow.id}@{run.opened.workflow.version}",
            "digest": self._digest(run, units, inputs),
            "state": run.state,
            "complete": run.state == "COMPLETED" and not self.unknown,
            "error": None if fault is None else {"code": fault.code, "message": fault.msg},
            "steps": [self._step(unit) for unit in units],
            "approvals": list(self.approvals.values()),
            "pivot": pivot,
            "changes": [
                {"path": was.path, "before": told(was), "after": told(will)}
                for was, will in self.overlay.changes()
                if run.state != "ROLLED_BACK"
            ],
            "output": None if is_known else UNKNOWN,
        }

    def _step(self, unit: Unit) -> JsonObject:
        is_unknown = unit.path in self.unknown
        spec, undo, fault = unit.step.capability, unit.step.undo, unit.failure
        says = UNKNOWN if is_unknown else _SAYS.get(unit.state, "not reached")
        return {
            "step": unit.path,
            "calls": unit.step.spec.target,
            "says": says,
            "error": None if fault is None else {"code": fault.code, "message": fault.msg},
            "varies": spec is not None and any(one.kind in _DRAWN for one in spec.effects),
            "undo": undo_in_words(undo) if undo and spec and spec.changes_world else None,
            "effects": [one for one in self.effects if one["step"] == unit.path],
        }

    def _digest(self, run: Run, units: list[Unit], inputs: str) -> str:
        """Bind what a plan is about: the workflow, its inputs, each call or that it is open."""
        about: Json = {
            "workflow": run.opened.workflow.digest,
            "inputs": inputs,
            "steps": [
                {"step": path, "call": self.calls.get(path, "open")}
                for path in sorted(unit.path for unit in units)
            ],
        }
        return "sha256:" + hashlib.sha256(b"awe:plan:v1\n" + canonical.value(about)).hexdigest()


def expected(request: ConfirmationRequest, requirements: tuple[Requirement, ...]) -> JsonObject:
    """Say what people would be asked."""
    return {
        "step": request.step,
        "capability": request.capability,
        "risk": request.risk,
        "summary": list(request.summary),
        "requirements": [codec.to_json(one) for one in requirements],
    }


def _place(unit: Unit) -> tuple[bool, int, int]:
    """Order steps as they began; what never did comes last."""
    begun = unit.started_rseq or unit.ended_rseq
    return not begun, begun, unit.index


def is_final(step: PlanStep) -> bool:
    """Whether nothing takes back what the step's call changes."""
    spec = step.capability
    return spec is not None and spec.changes_world and isinstance(step.undo, UndoNone)

"""What can be taken back: pivot, coverage, repeats, races, time.

Reachability is searched only from irreversible and colliding steps, at most `SEARCHES` times.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.findings import Level, Report
from awe_core.capability import (
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
)
from awe_core.decider import find_capabilities, link
from awe_core.documents import written_us
from awe_core.workflow import OnFailure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.capability import CapabilitySpec, Undo
    from awe_core.decider import Links
    from awe_core.workflow import StepSpec, WorkflowSpec

SEARCHES = 256
_FINAL_KINDS = frozenset({"fs.write", "fs.delete"})


@attrs.frozen
class Nature:
    """What a step means for a rollback."""

    changes: bool
    is_irreversible: bool
    how: str  #: captured, compensated, strategy, none, nothing to undo
    longest_us: int


def check_saga(
    report: Report,
    links: Links,
    called: Iterable[WorkflowSpec],
    capabilities: Mapping[str, CapabilitySpec],
) -> None:
    """Report pivots, coverage, repeats, races and an expiry that is too short.

    :param called: the workflows below, callees first
    """
    known: dict[str, Nature] = {}
    for spec in called:
        inner = Report(spec)
        find_capabilities(inner, capabilities)
        below = link(inner)
        if below is not None:
            natures = _natures(spec, capabilities, known)
            known[spec.reference] = _of_workflow(natures, _longest_us(below, natures))
    natures = _natures(links.spec, capabilities, known)
    _check_pivots(report, links, natures)
    _check_repeats(report, capabilities)
    _check_races(report, links, capabilities)
    _check_expiry(report, _longest_us(links, natures))
    _tell_coverage(report, links, natures)


def _of_workflow(natures: list[Nature], longest_us: int) -> Nature:
    changes = any(nature.changes for nature in natures)
    irreversible = any(nature.is_irreversible for nature in natures)
    how = "none" if irreversible else "as its steps" if changes else "nothing to undo"
    return Nature(changes, irreversible, how, longest_us)


def _longest_us(links: Links, natures: list[Nature]) -> int:
    """Give the longest time a chain of steps may take."""
    ends = [0] * len(natures)
    for index in links.order:
        begin = max((ends[need] for need in links.needs[index]), default=0)
        ends[index] = begin + natures[index].longest_us
    return max(ends, default=0)


def _natures(
    spec: WorkflowSpec, capabilities: Mapping[str, CapabilitySpec], inner: Mapping[str, Nature]
) -> list[Nature]:
    unknown = Nature(changes=True, is_irreversible=False, how="unknown", longest_us=0)
    found = []
    for step in spec.steps:
        if step.capability is None:
            found.append(inner.get(step.target, unknown))
            continue
        contract = capabilities[step.capability]
        how = "nothing to undo"
        if contract.changes_world:
            how = "compensated" if step.compensation else _HOW[type(contract.undo)]
        timeout_us = min(step.timeout_us or contract.timeout_us, contract.timeout_us)
        longest_us = _attempts_us(step, timeout_us)
        found.append(Nature(contract.changes_world, how == "none", how, longest_us))
    return found


_HOW: Mapping[type[Undo], str] = {
    UndoCaptured: "captured",
    UndoCompensate: "compensated",
    UndoStrategyNamed: "strategy",
    UndoNone: "none",
    UndoNotNeeded: "not needed",
}


def _attempts_us(step: StepSpec, timeout: int) -> int:
    """Give what all attempts and the delays between them may take."""
    retry = step.retry
    total, delay = timeout * retry.attempts, float(retry.backoff_us)
    for _ in range(retry.attempts - 1):
        total += int(min(delay, retry.max_us))
        delay = min(delay * retry.factor, retry.max_us)
    return total


def _check_pivots(report: Report, links: Links, natures: list[Nature]) -> None:
    steps = links.spec.steps
    failing = [
        index
        for index, step in enumerate(steps)
        if links.spec.on_failure_of(step) is OnFailure.ROLLBACK and step.retry.attempts == 1
    ]
    pivots = [index for index, nature in enumerate(natures) if nature.is_irreversible]
    stops = f"the search stops here, after {SEARCHES} of {len(pivots)} steps"
    for count, index in enumerate(pivots[:SEARCHES], 1):
        before = _ancestors(links, index)
        after = [other for other in failing if other != index and other not in before]
        if after:
            more = f" and {len(after) - 1} more" if len(after) > 1 else ""
            details = [stops] if count == SEARCHES < len(pivots) else []
            failing_ = f"{steps[after[0]].id}{more}"
            report.says(Level.WARNING, "saga.pivot", index, failing=failing_, details=details)


def _ancestors(links: Links, step: int) -> set[int]:
    """Give every step that has ended before *step* starts."""
    found: set[int] = set()
    waiting = [step]
    while waiting:
        new = links.needs[waiting.pop()].keys() - found
        found |= new
        waiting += new
    return found


def _check_repeats(report: Report, capabilities: Mapping[str, CapabilitySpec]) -> None:
    for index, step in enumerate(report.spec.steps):
        contract = capabilities.get(step.capability or "")
        if contract is None or step.retry.attempts == 1 or step.compensation is not None:
            continue
        changing = [effect for effect in contract.effects if effect.changes_world]
        has_keys = all(e.fields.get("idempotency") in {"key", "natural"} for e in changing)
        is_final = contract.changes_world and isinstance(contract.undo, UndoNone)
        if is_final and not contract.idempotent and not has_keys:
            report.says(Level.WARNING, "saga.retry_repeats", index, "retry")


def _check_races(report: Report, links: Links, capabilities: Mapping[str, CapabilitySpec]) -> None:
    """Compare what unordered steps may change, as far as it is written."""
    steps = links.spec.steps
    holders: dict[str, list[int]] = {}
    for index in links.order:
        for resource in _resources(steps[index], capabilities):
            holders.setdefault(resource, []).append(index)
    searches = 0
    for first, second, resource in _pairs(links, holders):
        if first == second:  # a fan-out whose items all change one thing
            other = "another item of it"
            report.says(Level.WARNING, "saga.race", first, other=other, resource=resource)
            continue
        if searches == SEARCHES:
            return
        searches += 1
        if first not in _ancestors(links, second):
            stops = searches == SEARCHES
            details = [f"the search stops here, after {SEARCHES} pairs"] if stops else []
            one, other = steps[first].id, steps[second].id
            report.says(
                Level.WARNING,
                "saga.race",
                second,
                step=one,
                other=other,
                resource=resource,
                details=details,
            )


def _pairs(links: Links, holders: Mapping[str, list[int]]) -> Iterator[tuple[int, int, str]]:
    """Give the neighbours in the order among those that may change a resource."""
    rank = {index: place for place, index in enumerate(links.order)}
    for resource, here in holders.items():
        above = [i for folder in _folders(resource) for i in holders.get(folder, ())]
        together = sorted({*here, *above}, key=rank.__getitem__)
        yield from ((first, second, resource) for first, second in pairwise(together))
        for index in here:
            step = links.spec.steps[index]
            names_item = re.search(r"\$\{[^}]*\b(item|index)\b", resource)
            if step.foreach is not None and step.max_parallel > 1 and names_item is None:
                yield index, index, resource


def _resources(step: StepSpec, capabilities: Mapping[str, CapabilitySpec]) -> Iterator[str]:
    """Give the paths a step may change, its own arguments put in as they are written."""
    contract = capabilities.get(step.capability or "")
    for effect in contract.effects if contract else ():
        if effect.kind in _FINAL_KINDS:
            for path in effect.fields.get("paths", ()):
                names = re.findall(r"\$\{input\.([A-Za-z0-9_]+)\}", path)
                given = {name: step.with_.get(name) for name in names}
                if all(isinstance(text, str) for text in given.values()):
                    for name, text in given.items():
                        path = path.replace(f"${{input.{name}}}", text)  # noqa: PLW2901
                    if "${input" not in path.replace("${inputs", ""):
                        yield path.removesuffix("/**").rstrip("/")


def _folders(path: str) -> Iterator[str]:
    """Give the folders above a literal path."""
    while "/" in path and "${" not in path:
        path = path.rpartition("/")[0]
        yield path


def _check_expiry(report: Report, longest_us: int) -> None:
    expires_us = report.spec.expires_us
    if expires_us is not None and expires_us < longest_us:
        expires, longest = written_us(expires_us), written_us(longest_us)
        code = "workflow.expiry_too_short"
        report.says(Level.WARNING, code, None, "expires", expires=expires, longest=longest)


def _tell_coverage(report: Report, links: Links, natures: list[Nature]) -> None:
    steps = links.spec.steps
    changing = [index for index, nature in enumerate(natures) if nature.changes]
    lost = [index for index in links.order if natures[index].is_irreversible]
    details = [f"{steps[index].id}: {natures[index].how}" for index in changing[:SEARCHES]]
    if lost:
        details.append(f"after step {steps[lost[0]].id} this run cannot be fully taken back")
    covered, code = len(changing) - len(lost), "saga.undo_coverage"
    counts = {"covered": covered, "changing": len(changing)}
    report.says(Level.INFO, code, None, details=details, **counts)

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
        longest_us = _attempts_us(
            step, min(step.timeout_us or contract.timeout_us, contract.timeout_us)
        )
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
    for count, index in enumerate(pivots):
        if count == SEARCHES:
            return
        before = _ancestors(links, index)
        after = [other for other in failing if other != index and other not in before]
        if after:
            more = f" and {len(after) - 1} more" if len(after) > 1 else ""
            report.says(
                Level.WARNING,
                "saga.pivot",
                index,
                where=report.where(index),
                step=steps[index].id,
                failing=f"{steps[after[0]].id}{more}",
                details=_stopped(count, len(pivots)),
            )


def _ancestors(links: Links, step: int) -> set[int]:
    """Give every step that has ended before *step* starts."""
    found: set[int] = set()
    waiting = [step]
    while waiting:
        new = links.needs[waiting.pop()].keys() - found
        found |= new
        waiting += new
    return found


def _stopped(count: int, of: int) -> list[str]:
    if count + 1 < SEARCHES or of <= SEARCHES:
        return []
    return [f"the search stops here, after {SEARCHES} of {of} steps"]


def _check_repeats(report: Report, capabilities: Mapping[str, CapabilitySpec]) -> None:
    for index, step in enumerate(report.spec.steps):
        if step.capability is None or step.retry.attempts == 1 or step.compensation is not None:
            continue
        contract = capabilities[step.capability]
        repeats = contract.changes_world and isinstance(contract.undo, UndoNone)
        if repeats and not contract.idempotent and not _has_keys(contract):
            report.says(
                Level.WARNING,
                "saga.retry_repeats",
                index,
                where=report.where(index, "retry"),
                step=step.id,
            )


def _has_keys(contract: CapabilitySpec) -> bool:
    """Whether the far side knows a repeated effect by its key."""
    changing = [effect for effect in contract.effects if effect.changes_world]
    return all(e.fields.get("idempotency") in {"key", "natural"} for e in changing)


def _check_races(report: Report, links: Links, capabilities: Mapping[str, CapabilitySpec]) -> None:
    """Compare what unordered steps may change, as far as it is written."""
    rank = {index: place for place, index in enumerate(links.order)}
    holders: dict[str, list[int]] = {}
    for index in links.order:
        for resource in _resources(links.spec.steps[index], capabilities):
            holders.setdefault(resource, []).append(index)
    searches = 0
    for resource, steps in holders.items():
        above = [i for folder in _folders(resource) for i in holders.get(folder, ())]
        together = sorted({*steps, *above}, key=rank.__getitem__)
        for first, second in pairwise(together):
            if searches == SEARCHES:
                return
            searches += 1
            if first not in _ancestors(links, second):
                stopped = [f"the search stops here, after {SEARCHES} pairs"]
                details = stopped if searches == SEARCHES else []
                _race(report, links, (first, second), resource=resource, details=details)
        _check_items(report, links, steps, resource)


def _check_items(report: Report, links: Links, steps: list[int], resource: str) -> None:
    """A fan-out whose items all change one thing races with itself."""
    for index in steps:
        step = links.spec.steps[index]
        names_item = re.search(r"\$\{[^}]*\b(item|index)\b", resource)
        if step.foreach is not None and step.max_parallel > 1 and names_item is None:
            _race(report, links, (index, index), resource=resource)


def _race(
    report: Report,
    links: Links,
    pair: tuple[int, int],
    *,
    resource: str,
    details: Iterable[str] = (),
) -> None:
    first, second = (links.spec.steps[index].id for index in pair)
    report.says(
        Level.WARNING,
        "saga.race",
        pair[1],
        where=report.where(pair[1]),
        step=first,
        other=second if pair[0] != pair[1] else "another item of it",
        resource=resource,
        details=details,
    )


def _resources(step: StepSpec, capabilities: Mapping[str, CapabilitySpec]) -> Iterator[str]:
    """Give the paths a step may change, its own arguments put in as they are written."""
    contract = capabilities.get(step.capability or "")
    for effect in contract.effects if contract else ():
        if effect.kind in _FINAL_KINDS:
            for path in effect.fields.get("paths", ()):
                if (found := _filled(path, step)) is not None:
                    yield found.removesuffix("/**").rstrip("/")


def _filled(path: str, step: StepSpec) -> str | None:
    """Put arguments for ``${input.NAME}``; None where one is not given as text."""
    found = path
    for whole, name in re.findall(r"(\$\{input\.([A-Za-z0-9_]+)\})", path):
        given = step.with_.get(name)
        if not isinstance(given, str):
            return None
        found = found.replace(whole, given)
    return None if "${input" in found.replace("${inputs", "") else found


def _folders(path: str) -> Iterator[str]:
    """Give the folders above a literal path."""
    while "/" in path and "${" not in path:
        path = path.rpartition("/")[0]
        yield path


def _check_expiry(report: Report, longest: int) -> None:
    expires = report.spec.expires_us
    if expires is not None and expires < longest:
        report.says(
            Level.WARNING,
            "workflow.expiry_too_short",
            where=report.where(None, "expires"),
            expires=written_us(expires),
            longest=written_us(longest),
        )


def _tell_coverage(report: Report, links: Links, natures: list[Nature]) -> None:
    steps = links.spec.steps
    changing = [index for index, nature in enumerate(natures) if nature.changes]
    lost = [index for index in links.order if natures[index].is_irreversible]
    details = [f"{steps[index].id}: {natures[index].how}" for index in changing[:SEARCHES]]
    if lost:
        details.append(f"after step {steps[lost[0]].id} this run cannot be fully taken back")
    report.says(
        Level.INFO,
        "saga.undo_coverage",
        where=report.where(None),
        covered=len(changing) - len(lost),
        changing=len(changing),
        details=details,
    )

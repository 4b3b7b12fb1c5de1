"""What must hold after each process of a life: the journal explains all that was seen."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from awe_core.audit import parse_pins, verify_home
from awe_core.decider.table import ItemState
from awe_core.engine import Plans, Reader
from awe_core.errors import AweError
from awe_core.journal import JournalReader, Readings
from awe_core.testing.simulation.flows import LAID, NAMES, digest, text_of
from awe_core.testing.simulation.session import LIMITS, OPEN_STATES
from awe_core.testing.simulation.watched import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from awe_core.decider import Run
    from awe_core.decider.unit import Item
    from awe_core.testing.simulation.lives import Life
    from awe_core.values import JsonObject

_OVER = (ItemState.NOTHING, ItemState.UNDONE)
_UNSURE = ("failed", "crash_loop")


def explained(life: Life) -> Iterator[str]:
    """Say what the journal does not explain of what was seen; nothing: all is well."""
    told = life.told()
    yield from (str(one["fault"]) for one in told if "fault" in one)
    with JournalReader(life.home) as journal:
        first = next(journal.read(limit=1), None)
        if first is None:
            return
        report = verify_home(journal, pins=parse_pins(str(first.event["vkey"])), payloads=True)
        if report.findings or report.verdict == "failed":
            yield f"the log is {report.verdict}: {[one.code for one in report.findings]}"
        reader = Reader(Readings(journal), life.stage.registry, Plans(life.stage.registry, LIMITS))
        rows = {str(row["id"]): row for row in journal.run_rows(limit=1000)}
        try:
            views = {run: reader.view(run) for run in rows}
        except AweError as error:
            yield f"{error.code}: {error.summary}"
            return
    facts = {run: view.facts for run, view in views.items()}
    yield from _kept(told, facts)
    for run, view in views.items():
        if view.run.state != rows[run]["state"]:
            yield f"run {run} is {view.run.state}, and its row says {rows[run]['state']}"
        yield from _honest(view.run, facts[run])
    items = [item for view in views.values() for item in view.run.items]
    yield from _done(told, items)
    yield from _left(life.place, told, items)


def _kept(told: Sequence[JsonObject], facts: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """Nothing that was acknowledged is lost."""
    answered = {getattr(f, "req", None) for all_ in facts.values() for f in all_}
    for one in told:
        run = str(one.get("run") or one.get("told") or "")
        if run and run not in facts:
            yield f"run {run} was acknowledged and is gone"
        elif "told" in one and one["state"] not in OPEN_STATES:
            if one["state"] not in {getattr(fact, "state", None) for fact in facts[run]}:
                yield f"run {run} was said to be {one['state']} and is not"
        elif "answered" in one and one["answered"] not in answered:
            yield f"the answer to {one['answered']} is gone"
    asked = Counter((one["run"], one["asked"]) for one in told if "asked" in one)
    kinds = {"pause": "run.paused", "cancel": "run.cancel_requested"}
    for (run, verb), number in asked.items():
        found = Counter(fact.kind for fact in facts.get(run, ()))
        if found[kinds.get(verb, "run.resumed")] < number and verb != "resolve":
            yield f"run {run}: of {number} acknowledged {verb} some are gone"


def _honest(run: Run, facts: Sequence[Any]) -> Iterator[str]:
    """What a closed run says of what remains is what its effects say."""
    remaining = [item.effect for item in run.items if item.state not in _OVER]
    if run.closed == "ROLLED_BACK" and remaining:
        yield f"run {run.id} is ROLLED_BACK, and {remaining} remain"
    if run.closed:
        said = next(fact for fact in reversed(facts) if fact.kind == "run.closed")
        named = sorted(one.effect for one in said.residue)
        real = sorted(item.effect for item in run.items if item.state is ItemState.RESIDUE)
        if named != real:
            yield f"run {run.id} names {named} as residue; it is {real}"
        if said.state == "COMPLETED" and real and not run.is_reopened:
            yield f"run {run.id} is COMPLETED with residue"
        if said.state == "FAILED" and not remaining and said.err is None:
            yield f"run {run.id} is FAILED, and nothing remains and nothing failed"


def _done(told: Sequence[JsonObject], items: Sequence[Item]) -> Iterator[str]:
    """No change without a durable intent; none twice, unless it was gone from the world between."""
    intended = {_made(item) for item in items}
    deleted = {item.target for item in items if item.type == "fs.delete"}
    standing: dict[str, str] = {}  #: digest → path
    for one in told:
        if "undone" in one:
            made = digest(text_of(str(one["undone"]).removesuffix("-undo")).encode())
            standing.pop(made, None)
        if "foreign" in one:  # who looks now sees nothing of ours, and may say it never happened
            standing = {made: at for made, at in standing.items() if at != one["foreign"]}
        if "acted" not in one:
            continue
        made, path = str(one["made"]), str(one["acted"])
        if made not in intended or (made == ABSENT and path not in deleted):
            yield f"{path} was changed, and nobody had recorded that it would be"
        if made in standing:
            yield f"{path} was written twice"
        if made != ABSENT:
            standing[made] = path


def _left(place: Path, told: Sequence[JsonObject], items: Sequence[Item]) -> Iterator[str]:
    """The files are what the log says, and what somebody else has changed is still theirs."""
    by_path = {path: one for one in told if (path := one.get("acted", one.get("foreign")))}
    foreign = {one["foreign"] for one in told if "foreign" in one}
    for path in sorted(f"{run.name}/{name}" for run in place.iterdir() for name in NAMES):
        file = place / path
        found = digest(file.read_bytes()) if file.exists() else ABSENT
        if path not in foreign:
            may_be = _expected(path, [item for item in items if item.target == path])
            if found not in may_be:
                yield f"{path} is {found[:8]} and not {sorted(one[:8] for one in may_be)}"
        elif "foreign" in by_path[path] and found != by_path[path]["made"]:
            yield f"{path} was changed by somebody else, and that is gone"


def _expected(path: str, items: Sequence[Item]) -> set[str]:
    """What a file may be by what the log says of the effects on it."""
    laid = LAID.get(path.partition("/")[2])
    may_be = {ABSENT if laid is None else digest(laid)}
    for item in items:
        match item.state:
            case ItemState.INTENDED | ItemState.UNDOING:
                may_be = {*may_be, _made(item)}
            case ItemState.APPLIED | ItemState.RESIDUE:
                # an undo that failed or was cut off may have done it
                is_open = item.is_unknown or item.tries or item.cause in _UNSURE
                may_be = {*may_be, _made(item)} if is_open else {_made(item)}
    return may_be


def _made(item: Item) -> str:
    return ABSENT if item.type == "fs.delete" else digest(text_of(item.key or "").encode())

"""What a run costs by its shape and size: processor time a step, memory, replay, recovery.

usage: python tests/bench/engine.py [--rounds N] [--only WORD] [--size N]

A small run, many times over, and a large one take turns in every round; a row gives the medians and
the median of the rounds' ratios.  The targets are those of the design (30-engine, section 7); what
misses its limit ends the program with status 1.  `tests/test_scale.py` takes shapes and driver from
here and counts instead of timing.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from awe_core import commands as c
from awe_core import events as e
from awe_core.analysis import analyse
from awe_core.capability import CapabilitySpec, Risk
from awe_core.decider import compile_workflow, decide, evolve, open_run, replay
from awe_core.documents import load_workflow
from awe_core.events import decode, encode
from awe_core.testing.deployment import Deployment
from awe_core.testing.measuring import machine, packs
from awe_core.workflow import Need, StepSpec, WorkflowSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

AT = "2026-01-02T03:04:05Z"
IS_FULL = os.environ.get("AWE_TEST_SCALE") == "full"
PARKED = 10_000, 100_000  #: runs that wait for a person, the second if all is to be measured
ROOM = 32  #: steps in flight, as the engine has by default
_TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
DO = CapabilitySpec(
    id="do.it",
    version="1.0.0",
    summary="Do it.",
    risk=Risk.LOW,
    input={"type": "object", "properties": {"text": {"type": "string"}}},
    output=_TEXT,
    handler="m:f",
)
CAPABILITIES = {DO.reference: DO}


# ---------------------------------------------------------------------------------------- shapes


def step(name: str, *needs: str, **more: object) -> StepSpec:
    return StepSpec(name, capability=DO.reference, needs=tuple(map(Need, needs)), **more)


def flow(*steps: StepSpec) -> WorkflowSpec:
    return WorkflowSpec(id="t.flow", version="1.0.0", summary="Steps.", steps=steps)


def chain(count: int, name: str = "s") -> WorkflowSpec:
    """Each step reads what the one before it gave."""
    before = [{}, *({"text": f"${{steps.{name}{n}.output.text}}"} for n in range(count - 1))]
    return flow(*(step(f"{name}{n}", with_=with_) for n, with_ in enumerate(before)))


def layers(count: int, name: str = "s") -> WorkflowSpec:
    """Ten steps beside each other need all ten before them."""
    rows = [[f"{name}{n}_{m}" for m in range(10)] for n in range(count // 10)]
    pairs = zip([[], *rows], rows, strict=False)
    return flow(*(step(name, *needs) for needs, row in pairs for name in row))


def wide(count: int, name: str = "s") -> WorkflowSpec:
    """One step, and all others need it."""
    return flow(step("first"), *(step(f"{name}{n}", "first") for n in range(count - 1)))


def gathered(count: int, name: str = "s") -> WorkflowSpec:
    """One step needs all others."""
    names = [f"{name}{n}" for n in range(count - 1)]
    return flow(*map(step, names), step("last", *names))


SHAPES = (chain, layers, wide, gathered)


def compiled(spec: WorkflowSpec):
    return compile_workflow(spec, capabilities=CAPABILITIES, workflows={})


def findings(spec: WorkflowSpec):
    return analyse(spec, capabilities=CAPABILITIES, workflows={})


# ---------------------------------------------------------------------------------------- driver

_OPENED = e.RunOpened(
    workflow=e.WorkflowRef("t.flow", "1.0.0", "0"),
    via="sdk",
    by="person:ana",
    in_=e.Value(c="0", len=0),
    trust="dev-local",
    policies="sha256:0",
    inputs={},
)
_FAILED = e.Failure("step.failed", "as was asked")
_OUTPUT = {"text": "x"}


class Course:
    """A run in memory; every step does one effect and ends at once.  Its facts go to *facts*."""

    def __init__(self, plan, facts: list[e.Fact] | None = None) -> None:
        self.run = open_run(plan, "r1", _OPENED, started_at=AT)
        self.facts = facts
        if facts is not None:
            facts.append(_OPENED)

    def drive(self, *, last: str | None = None, stop: int | None = None) -> Course:
        """Go on until the run has closed; *last* fails; before the start of step *stop*, leave."""
        begun = 0
        while self.run.closed is None:
            for command in decide(self.run, 0, ROOM - self.run.calls).commands:
                begun += type(command) is c.Admit
                if begun - 1 == stop:
                    return self
                for fact in _accepting(self.run, command, last):
                    evolve(self.run, fact)
                    if self.facts is not None:
                        self.facts.append(fact)
        return self


def _accepting(run, command, last: str | None) -> Iterator[e.Fact]:
    match command:
        case c.Admit(step=path):
            effect = {"step": path, "attempt": 1, "effect": f"r1/{path}/1/1"}
            undo = {"strategy": "s"}
            yield e.StepStarted(step=path, attempt=1, in_=_OPENED.in_)
            yield e.EffectIntended(
                **effect, type="fs.write", target=f"out/{path}", request="sha256:0", undo=undo
            )
            yield e.EffectApplied(**effect)
            if path == last:
                yield e.StepFailed(step=path, attempt=1, err=_FAILED, class_="error")
            else:
                yield e.StepCompleted(step=path, attempt=1, dur_us=0, output=_OUTPUT)
        case c.TakeBack(item=effect, step=path, cause=cause):
            yield e.UndoStarted(step=path, effect=effect, strategy="s", try_=1, cause=cause)
            yield e.UndoApplied(step=path, effect=effect)
        case c.Close(state=state, failure=failure):
            count = run.next_rseq + 1
            yield e.RunClosed(
                state=state,
                count=count,
                dur_us=0,
                residue=(),
                standing=command.standing,
                err=failure,
            )
        case _:
            raise TypeError(command)


def forward(plan):
    return Course(plan).drive().run


def back(plan):
    """Run until the last step, which fails, and take everything back."""
    return Course(plan).drive(last=plan.root.steps[-1].spec.id).run


def bytes_a_step(spec: WorkflowSpec) -> float:
    """Memory of an open run, a step: all have begun but the last, effects and all."""
    plan = compiled(spec)
    count = len(spec.steps)
    Course(plan).drive(stop=10)  # what is made once
    gc.collect()
    tracemalloc.start()
    run = Course(plan).drive(stop=count - 1).run
    gc.collect()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert run.closed is None
    return size / count


# ---------------------------------------------------------------------------------- comparisons


class Comparison(NamedTuple):
    """One row: the large and the small, each with how many units one timing of it does."""

    what: str
    beside: str
    large: Callable[[], object]
    units: int
    small: Callable[[], object]
    small_units: int
    most: float = 1.3  #: a larger ratio is a missed target


def by_shape(size: int) -> Iterator[Comparison]:
    """Compile, analyse, run and take back: a step of a large run against one of a small."""
    for shape in SHAPES:
        yield from of_shape(shape, size)


def of_shape(shape: Callable[..., WorkflowSpec], size: int) -> Iterator[Comparison]:
    """Compare one shape.  No two small ones share names: a cache knows as little of them."""
    times = size // 400
    few, many = [shape(100, f"n{n}_") for n in range(times)], shape(size)
    plan, whole = compiled(few[0]), compiled(many)
    works: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "compiled": (lambda: compiled(many), lambda: [compiled(one) for one in few]),
        "analysed": (lambda: findings(many), lambda: [findings(one) for one in few]),
        "run": (lambda: forward(whole), lambda: [forward(plan) for _ in few]),
        "run and back": (lambda: back(whole), lambda: [back(plan) for _ in few]),
    }
    for what, (large, small) in works.items():
        name = f"{shape.__name__} of {size:,} steps, {what}"
        yield Comparison(name, "100 steps", large, size, small, 100 * times)


def measured(comparison: Comparison, rounds: int) -> tuple[float, float, float]:
    """Give the seconds a unit takes, large and small, and the median ratio of the rounds.

    The collector of cycles is off: how often it comes depends on all that lives in the process.
    """
    pairs = []
    sides = [(comparison.large, comparison.units), (comparison.small, comparison.small_units)]
    for n in range(rounds):
        took = {}
        for work, units in sides if n % 2 else reversed(sides):
            gc.collect()
            gc.disable()
            start = time.process_time()
            work()
            took[work] = (time.process_time() - start) / units
            gc.enable()
        pairs.append((took[comparison.large], took[comparison.small]))
    large, small = (statistics.median(side) for side in zip(*pairs, strict=True))
    return large, small, statistics.median(one / other for one, other in pairs)


# --------------------------------------------------------------------------------- single figures


class Figure(NamedTuple):
    """One row that is compared with its target alone."""

    what: str
    found: float
    unit: str
    goal: float | None = None  #: as the limit: None where the design says nothing
    limit: float | None = None

    @property
    def is_missed(self) -> bool:
        """Whether it is beyond its limit, on the side where that is worse."""
        if self.goal is None or self.limit is None:
            return False
        if self.limit < self.goal:
            return self.found < self.limit
        return self.found > self.limit


def memory(size: int) -> Iterator[Figure]:
    for shape in SHAPES:
        found = bytes_a_step(shape(size))
        yield Figure(f"open {shape.__name__} of {size:,} steps, a step", found, "B", 1024, 2048)


def replaying(size: int) -> Iterator[Figure]:
    plan = compiled(chain(size))
    facts = Course(plan, []).drive().facts
    events = [
        json.loads(encode(fact, run="r1", rseq=rseq, values=_described(fact)))
        for rseq, fact in enumerate(facts)
    ]
    works = {
        "folded": lambda: replay(plan, "r1", facts, started_at=AT),
        "decoded": lambda: [decode(event) for event in events],
    }
    for what, work in works.items():
        rates = []
        for _ in range(5):
            gc.collect()
            start = time.process_time()
            work()
            rates.append(len(facts) / (time.process_time() - start))
        yield Figure(f"facts {what}, of {len(facts):,}", statistics.median(rates), "/s", 2e5, 1e5)


def _described(fact: e.Fact) -> dict[str, str]:
    value = '{"c":"0","len":0}'
    parts = {e.RunOpened: "in", e.StepStarted: "in", e.StepCompleted: "out"}
    return {parts[type(fact)]: value} if type(fact) in parts else {}


# --------------------------------------------------------------------------------- the real engine


def document(count: int, *, waits: bool = False) -> WorkflowSpec:
    """A chain of calls that do nothing; or one step that waits for a person."""
    asked = {"confirm": "always"} if waits else {}
    steps = [
        {
            "id": f"s{n}",
            "capability": "id.uuid@1",
            **({"needs": [f"s{n - 1}"]} if n else {}),
            **asked,
        }
        for n in range(count)
    ]
    about = {"awe": "workflow/v1", "id": "t.scale", "version": "1.0.0", "summary": "Steps."}
    return load_workflow(json.dumps({**about, "steps": steps}), file="scale.yaml")


async def run_whole(place: Deployment, few: int, many: int) -> tuple[float, float]:
    """Give what a step costs in a run of *many* against *few*, and facts a second read again."""
    ratios, rates = [], []
    async with place.open() as runtime:
        reader = runtime._door.engine.reader  # noqa: SLF001 - behind the door, to be timed
        for _ in range(4):  # the first compiles, and is not counted
            took = {}
            for count in (few, many):
                gc.collect()
                start = time.process_time()
                for _ in range(many // count):
                    ended = await runtime.run(document(count))
                    assert ended.state == "COMPLETED"
                took[count] = time.process_time() - start
            ratios.append(took[many] / took[few])
            start = time.process_time()
            facts = reader.view(ended.run_id).facts
            rates.append(len(facts) / (time.process_time() - start))
    return statistics.median(ratios[1:]), statistics.median(rates)


async def park(place: Deployment, count: int) -> None:
    """Leave *count* runs that wait for a person."""
    async with place.open() as runtime:
        spec = document(1, waits=True)
        for start in range(0, count, 100):
            some = range(start, min(start + 100, count))
            await asyncio.gather(*(runtime.submit(spec) for _ in some))


async def ready(place: Deployment, count: int) -> tuple[float, float, float]:
    """Give the seconds until an engine is ready, its memory in MiB, and the seconds of a list."""
    before, start = _resident(), time.perf_counter()
    async with place.open() as runtime:
        took, memory = time.perf_counter() - start, _resident() - before
        start = time.perf_counter()
        assert count == sum(1 for _ in runtime.approvals())
        return took, memory / 2**20, time.perf_counter() - start


def _resident() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def apart(work: Callable[[], Coroutine[None, None, object]]) -> list[float]:
    """Do it in a process of its own, so that the memory of others is not counted."""
    reader, writer = os.pipe()
    if not os.fork():
        os.write(writer, json.dumps(asyncio.run(work())).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as found:
        told: list[float] = json.loads(found.read())
    os.wait()
    return told


def main(*, rounds: int, only: str, size: int) -> int:
    """Print the tables; give how many rows miss their limit."""
    missed = 0
    print("| what | beside | a unit | beside | ratio | limit |")
    print("| --- | --- | ---: | ---: | ---: | ---: |")
    for row in by_shape(size):
        if only in row.what:
            large, small, ratio = measured(row, rounds)
            missed += ratio > row.most
            cells = [row.what, row.beside, f"{large * 1e6:.1f} us", f"{small * 1e6:.1f} us"]
            print("|", " | ".join([*cells, f"{ratio:.2f}", f"≤ {row.most}"]), "|", flush=True)
    print("\n| what | found | goal | limit |\n| --- | ---: | ---: | ---: |")
    for figures in (memory(size), replaying(size), engine(size)):
        for figure in figures:
            missed += figure.is_missed
            numbers = (figure.found, figure.goal, figure.limit)
            shown = ("" if one is None else f"{one:,.4g} {figure.unit}" for one in numbers)
            cells = [figure.what, *shown]
            print("|", " | ".join(cells), "|", flush=True)
    return missed


def engine(size: int) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        with Deployment.create(folder / "made", packs()) as made:
            few, many = 100, size // 10
            ratio, again = asyncio.run(run_whole(made.copy(folder / "runs"), few, many))
            yield Figure(f"engine, a step of {many:,} against one of {few}", ratio, "x", 1.1, 1.3)
            yield Figure("facts read, parsed, decoded and folded", again, "/s")
            place = made.copy(folder / "open")
            there = 0
            for count in PARKED[: 1 + IS_FULL]:
                apart(partial(park, place, count - there))
                took, held, listed = apart(partial(ready, place, there := count))
                yield Figure(f"ready with {count:,} parked runs", took, "s", 1, 3)
                yield Figure(f"memory for {count:,} parked runs", held, "MiB", 64, 128)
                yield Figure(f"{count:,} requests listed", listed, "s")
        about = ", ".join(f"{name}: {said}" for name, said in machine(folder).items())
    print(f"\n{about}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=10_000, help="steps of the large run")
    parser.add_argument("--only", default="", help="a part of: chain of, run and taken back, …")
    given = parser.parse_args()
    sys.exit(main(rounds=given.rounds, only=given.only, size=given.size) > 0)

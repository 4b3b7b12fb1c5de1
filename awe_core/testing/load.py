"""``awe bench load``: the published unit of work, on the one road, beside the floor.

A deployment of its own is founded in a temporary folder, with real people, manifest, policies and
pinned packs; each run works in its own folder.  Engine and floor take turns in slices of the same
round, so that what slows the machine down slows both.  Nothing is deleted before the end: after
large deletions file systems make new files slowly for a while.

Every figure stands beside the durability it was measured with: the default's first, then the class
of durable engines for code that does not sync its files (`30-engine.md` section 7).
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import attrs

from awe_core.runtime.owner import Owner
from awe_core.testing.deployment import Deployment
from awe_core.testing.floor import Floor
from awe_core.testing.measuring import (
    Held,
    Parts,
    is_right,
    lay_out,
    leaked,
    machine,
    packs,
    silent,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from awe_core.journal import Isolation
    from awe_core.runtime import AsyncRuntime
    from awe_core.values import JsonObject

_CHECKED = "chain, undo, policy, manifest on"
_SLICES = 4  #: turns that engine and floor take
_WAVES = 10  #: runs each worker must make before Little's law can say anything
_LITTLE = 0.15  #: how far rate times latency may be from the concurrency


@attrs.frozen
class Mode:
    """What has to be durable when."""

    barriers: Literal["output", "step"] = "output"
    effects: Literal["synced", "unsynced"] = "synced"

    @property
    def name(self) -> str:
        """What the mode is for."""
        names = {DEFAULT: "the default", PEERS: "the peers' durability class"}
        return names.get(self, "beside it")

    @property
    def conditions(self) -> str:
        """What is durable when, in words."""
        return f"journal FULL, barriers {self.barriers}, effects {self.effects}"


DEFAULT = Mode()
PEERS = Mode("step", "unsynced")  #: each step durable, file data not synced: what peers promise


@attrs.frozen(kw_only=True)
class LoadOptions:
    """What to measure."""

    runs: int = 1000
    concurrency: int = 20
    failing: bool = False  #: the variant whose last step fails, so that the write is taken back
    isolation: Isolation = "workspace"  #: one journal for what
    barriers: Literal["output", "step"] | None = None  #: with `effects`: beside the default
    effects: Literal["synced", "unsynced"] | None = None
    is_profiled: bool = False  #: further runs, not counted, tell where the time goes

    @property
    def modes(self) -> tuple[Mode, ...]:
        """The default first, then the mode that was asked for, or the peers'."""
        if self.barriers is None and self.effects is None:
            return DEFAULT, PEERS
        asked = Mode(self.barriers or "output", self.effects or "synced")
        return tuple(dict.fromkeys((DEFAULT, asked)))


@attrs.frozen(kw_only=True)
class Figures:
    """One mode, measured."""

    mode: Mode
    runs: int
    rate: float  #: workflows a second
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_ms: float  #: of the whole process, a workflow
    records: float  #: a workflow, as what follows
    barriers: float  #: commits
    flushes: float  #: commits, and flushes of files and folders before a step is done
    floor_rate: float  #: workflows a second by hand, in the same round
    floor_cpu_ms: float
    in_flight: float | None  #: rate times mean latency; None: too few runs to say
    wrong: int  #: runs that ended otherwise than they must, or left other files
    leaks: Held  #: what is still open after the runtime was closed
    latencies_ms: tuple[float, ...] = attrs.field(default=(), repr=False)  #: of each run, sorted
    ended_s: tuple[float, ...] = attrs.field(default=(), repr=False)  #: when, in engine's turns
    cpu_parts: Mapping[str, float] = attrs.field(
        factory=dict
    )  #: share of the loop's thread, by part of AWE

    @property
    def floor_ratio(self) -> float:
        """Our rate by the floor's."""
        return self.rate / self.floor_rate

    def failures(self, concurrency: int) -> list[str]:
        """Name the checks that do not hold."""
        found = []
        if self.wrong:
            found.append(f"{self.wrong} of {self.runs} runs are not as they must be")
        if self.leaks:
            counts = (f"{n} {what}" for what, n in attrs.asdict(self.leaks).items() if n)
            found.append(f"left open: {', '.join(counts)}")
        if self.in_flight is not None and abs(self.in_flight / concurrency - 1) > _LITTLE:
            found.append(f"rate x latency gives {self.in_flight:.1f} in flight, not {concurrency}")
        return found


@attrs.frozen(kw_only=True)
class LoadReport:
    """What came out, with the conditions it stands under."""

    options: LoadOptions
    machine: Mapping[str, str]
    executor: str
    figures: Sequence[Figures]
    peak_mib: float  #: resident, of the whole process

    @property
    def failures(self) -> tuple[str, ...]:
        """The checks that do not hold."""
        many = self.options.concurrency
        return tuple(one for figures in self.figures for one in figures.failures(many))

    @property
    def is_ok(self) -> bool:
        """Whether every check holds; no figure is judged."""
        return not self.failures

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        single = attrs.filters.exclude("latencies_ms", "ended_s")
        rows = [
            {
                **attrs.asdict(one, filter=single),
                "floor_ratio": one.floor_ratio,
                "durability": "full",
            }
            for one in self.figures
        ]
        return {
            "runs": self.options.runs,
            "concurrency": self.options.concurrency,
            "workflow": _workflow(self.options),
            "machine": dict(self.machine),
            "executor": self.executor,
            "isolation": self.options.isolation,
            "modes": rows,
            "peak_mib": self.peak_mib,
            "ok": self.is_ok,
            "failures": list(self.failures),
        }

    def lines(self) -> list[str]:
        """Give the form for people."""
        options, found = self.options, self.machine
        parts = [f"{name} {found[name]}" for name in ("awe", "python", "sqlite")]
        place = f"{found['cores']} cores, {found['system']}, {found['file_system']}"
        head = [
            f"{_workflow(options)}: {options.runs} runs, {options.concurrency} at a time",
            ", ".join([*parts, place]),
            f"executor {self.executor}, isolation {options.isolation}; {_CHECKED}",
        ]
        body = [line for one in self.figures for line in _lines(one)]
        tail = [f"peak memory {self.peak_mib:.0f} MiB (the whole process, floor included)"]
        failed = [f"failed: {one}" for one in self.failures]
        checks = "every file is right, nothing is left open, rate x latency = concurrency"
        return [*head, *body, *tail, *(failed or [f"checked: {checks}"])]


def measure(options: LoadOptions, progress: Callable[[str], None] = silent) -> LoadReport:
    """Measure, in a deployment that is made for it and removed afterwards.

    :param progress: hears what is being done
    :raises PackError: ``pack.not_installed`` when stdlib or load-test is not there
    """
    root = Path(tempfile.mkdtemp(prefix="awe-load-"))
    try:
        with Deployment.create(root / "template", packs()) as made:
            figures = [
                asyncio.run(_measured(made.copy(root / f"mode-{n}"), options, mode, progress))
                for n, mode in enumerate(options.modes)
            ]
        return LoadReport(
            options=options,
            machine=machine(root),
            executor="inproc",
            figures=figures,
            peak_mib=_peak_mib(),
        )
    finally:
        shutil.rmtree(root, ignore_errors=True)


@attrs.define
class _Tally:
    """What one side spent so far."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    latencies: list[float] = attrs.field(factory=list)
    ended: list[float] = attrs.field(factory=list)  #: after so many seconds of its own turns
    wrong: int = 0

    def __enter__(self) -> None:
        self.wall_s -= time.perf_counter()
        self.cpu_s -= time.process_time()

    def __exit__(self, *_: object) -> None:
        self.wall_s += time.perf_counter()
        self.cpu_s += time.process_time()


async def _measured(
    place: Deployment, options: LoadOptions, mode: Mode, progress: Callable[[str], None]
) -> Figures:
    """Measure one mode: a warm-up, then slices of engine and floor in turn."""
    ours, floors, warm = _laid_out(place.workspace, options)
    flags = {
        "engine.barriers": mode.barriers,
        "engine.effects": mode.effects,
        "engine.isolation": options.isolation,
    }
    engine, floor, many = _Tally(), _Tally(), options.concurrency
    parts: Mapping[str, float] = {}
    before = Held.now()
    with Floor(place.root / "floor.db") as by_hand:
        async with place.open(flags=flags) as runtime:
            await _drive(runtime, warm, options, _Tally())
            start = _counted(runtime)
            for mine, its in zip(_sliced(ours, options), _sliced(floors, options), strict=True):
                with engine:
                    await _drive(runtime, mine, options, engine)
                with floor:
                    by_hand.run(its, concurrency=many, is_failing=options.failing)
                done = f"{len(engine.latencies)} of {options.runs} runs"
                progress(f"barriers {mode.barriers}, effects {mode.effects}: {done}")
            spent = {name: n - start[name] for name, n in _counted(runtime).items()}
            if options.is_profiled:
                more = lay_out(place.workspace, (f"profile-{n}" for n in range(5 * many)))
                with Parts() as found:
                    await _drive(runtime, more, options, _Tally())
                parts = found.shares
    leaks = await leaked(before)
    wrong = sum(not is_right(one, is_failing=options.failing) for one in [*ours, *floors])
    figures = _figures(options, mode, engine, floor, spent, wrong=engine.wrong + wrong, leaks=leaks)
    return attrs.evolve(figures, cpu_parts=parts)


def _counted(runtime: AsyncRuntime) -> dict[str, int]:
    """What journal and engine have done since they were opened."""
    owner = runtime._door  # noqa: SLF001 - nothing but a measurement needs what is behind it
    if not isinstance(owner, Owner):
        raise TypeError(type(owner).__name__)
    counters, pool = owner.journal.counters, owner.engine.parts.pool
    return {
        "records": counters.records,
        "commits": counters.commits,
        "flushes": pool.flushes,
    }


def _laid_out(folder: Path, options: LoadOptions) -> tuple[list[Path], ...]:
    ours = lay_out(folder, (f"run-{n}" for n in range(options.runs)))
    floors = lay_out(folder, (f"floor-{n}" for n in range(options.runs)))
    return ours, floors, lay_out(folder, (f"warm-{n}" for n in range(options.concurrency)))


def _sliced(folders: list[Path], options: LoadOptions) -> list[list[Path]]:
    """Cut into turns, each long enough for its start and end not to count."""
    count = max(1, min(_SLICES, options.runs // (_WAVES * options.concurrency)))
    size = -(-len(folders) // count)
    return [folders[start : start + size] for start in range(0, len(folders), size)]


async def _drive(
    runtime: AsyncRuntime, folders: Sequence[Path], options: LoadOptions, tally: _Tally
) -> None:
    """Run the workflow in each of *folders*, a fixed number of callers at a time."""
    rest, workflow = iter(folders), _workflow(options)
    ends = "ROLLED_BACK" if options.failing else "COMPLETED"

    async def caller() -> None:
        for folder in rest:
            started = time.perf_counter()
            found = await runtime.run(workflow, {"dir": folder.name, "name": folder.name})
            now = time.perf_counter()
            tally.latencies.append(now - started)
            tally.ended.append(now + tally.wall_s)
            tally.wrong += found.state != ends

    async with asyncio.TaskGroup() as callers:
        for _ in range(options.concurrency):
            callers.create_task(caller())


def _figures(  # noqa: PLR0913 - what was measured
    options: LoadOptions,
    mode: Mode,
    engine: _Tally,
    floor: _Tally,
    spent: Mapping[str, int],
    *,
    wrong: int,
    leaks: Held,
) -> Figures:
    latencies, runs = sorted(engine.latencies), options.runs

    def at(share: float) -> float:
        return latencies[min(runs - 1, int(runs * share))] * 1e3

    is_long = runs >= _WAVES * options.concurrency
    return Figures(
        mode=mode,
        runs=runs,
        rate=runs / engine.wall_s,
        p50_ms=at(0.50),
        p95_ms=at(0.95),
        p99_ms=at(0.99),
        cpu_ms=engine.cpu_s / runs * 1e3,
        records=spent["records"] / runs,
        barriers=spent["commits"] / runs,
        flushes=(spent["commits"] + spent["flushes"]) / runs,
        floor_rate=runs / floor.wall_s,
        floor_cpu_ms=floor.cpu_s / runs * 1e3,
        in_flight=sum(latencies) / engine.wall_s if is_long else None,
        wrong=wrong,
        leaks=leaks,
        latencies_ms=tuple(one * 1e3 for one in latencies),
        ended_s=tuple(engine.ended),
    )


def _lines(one: Figures) -> list[str]:
    times = {"p50": one.p50_ms, "p95": one.p95_ms, "p99": one.p99_ms}
    spent = [f"{one.cpu_ms:.2f} ms CPU", f"{one.records:.1f} records"]
    spent += [f"{one.barriers:.2f} barriers", f"{one.flushes:.2f} flushes"]
    floor = [f"{one.floor_rate:.0f} workflows/s", f"{one.floor_cpu_ms:.2f} ms CPU"]
    shown = "   ".join(f"{at} {found:.1f} ms" for at, found in times.items())
    return [
        "",
        f"{one.mode.name}: {one.mode.conditions}",
        f"  {one.rate:.0f} workflows/s   {shown}",
        f"  a workflow: {', '.join(spent)}",
        f"  the floor (by hand, each step FULL, files not synced): {', '.join(floor)}",
        f"  ratio to the floor: {one.floor_ratio:.3f}",
    ]


def _workflow(options: LoadOptions) -> str:
    return "load_test_failing" if options.failing else "load_test_quick"


def _peak_mib() -> float:
    """Peak resident memory of this process; 0 where the system does not tell."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)

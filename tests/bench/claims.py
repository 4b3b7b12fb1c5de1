"""What claims on resources cost: parallel items of one run with and without them.

usage: python tests/bench/claims.py [--rounds N] [--items N]

One run fans out over files, 20 items at once, through the real engine.  The first two rows write
files that nobody shares, with the table of claims and with one that lets everybody pass; they take
turns in every round.  ``new folders`` has each item make the folders of its file, which the first
of them claims until it has ended.  ``overlapping`` puts the items on ten files: it must end, and
each file is changed by one item after the other.  The last rows are the table alone.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from awe_core.decider import Claims
from awe_core.documents import load_workflow
from awe_core.engine import active
from awe_core.testing import Deployment, me
from awe_core.testing.measuring import packs

AT_ONCE = 20
SETTINGS = """\
confirm:
  - policy: auto
    cells: {changes.high: approve}
    accept_risk: the workspace is a benchmark's own
"""


class Free:
    """A table in which everything is free."""

    def acquire(self, step, resource):
        """Let *step* change *resource*."""

    def release(self, step, *, to=None):
        """Forget nothing, for nothing was kept."""

    def withdraw(self, step, resource):
        """Wait for nothing."""


def workflow(paths):
    """Give a workflow that writes each of *paths*, `AT_ONCE` of them at a time."""
    text = f"""\
awe: workflow/v1
id: claims
version: 1.0.0
summary: Write many files.
steps:
  - id: each
    foreach: {json.dumps(paths)}
    max_parallel: {AT_ONCE}
    capability: fs.write_text@1
    with: {{path: "${{item}}", text: "${{item}}", parents: true}}
"""
    return load_workflow(text.encode(), file="claims.yaml")


def rate(runtime, paths, *, table):
    """Run once; give the items a second and the µs of CPU an item."""
    active.Claims = table
    begun, busy = time.perf_counter(), time.process_time()
    result = runtime.run(workflow(paths))
    took, busy = time.perf_counter() - begun, time.process_time() - busy
    assert result.is_completed, result
    return len(paths) / took, busy / len(paths) * 1e6


def table_alone(held):
    """Give the microseconds of one claim and its release beside *held* others."""
    claims = Claims()
    for n in range(held):
        claims.acquire(f"held[{n}]", f"fs/folder/{n % 50}/{n}.txt")
    begun = time.perf_counter()
    for n in range(2_000):
        claims.acquire("step", f"fs/folder/{n % 50}/new.txt")
        claims.release("step")
    return (time.perf_counter() - begun) / 2_000 * 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--items", type=int, default=200)
    options = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {"with claims": [], "without": []}
    rates |= {"new folders": [], "overlapping": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        Deployment.create(
            Path(folder), packs()[:1], people=(me(),), workspace="work", settings=SETTINGS
        ) as place,
        place.open() as runtime,
    ):
        for number in range(options.rounds + 1):  # the first one warms up
            names = [f"{number}-{n}.txt" for n in range(options.items)]
            order = [("with claims", names, Claims), ("without", [f"b{n}" for n in names], Free)]
            new = [f"{number}/{n % 10}/{n}.txt" for n in range(options.items)]
            shared = [f"s{number}/{n % 10}.txt" for n in range(options.items)]
            more = [("new folders", new, Claims), ("overlapping", shared, Claims)]
            for what, paths, table in [*order[:: 1 - 2 * (number % 2)], *more]:
                found = rate(runtime, paths, table=table)
                rates[what] += [found] if number else []
    for what, found in rates.items():
        fast, busy = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{what:12} {fast:8.0f} items/s {busy:8.0f} µs of CPU an item")
    pairs = list(zip(rates["with claims"], rates["without"], strict=True))
    for what, column in (("rate", 0), ("CPU", 1)):
        ratio = statistics.median(one[column] / other[column] for one, other in pairs)
        print(f"with/without, {what}: {ratio:.2f}")
    for held in (0, 100, 10_000):
        print(f"claim and release beside {held:6} held: {table_alone(held):6.1f} µs")


if __name__ == "__main__":
    main()

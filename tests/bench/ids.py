"""What a commit costs when the ids of runs at work lie side by side, and when they lie anywhere.

``python tests/bench/ids.py [--runs N]``: the journal's own tables and transaction, the records of
runs of the published workflow, 20 at a time, 46 records a commit.  Prints CPU and pages of the WAL
a run; both forms take turns, and the smallest of the rounds counts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.journal.database import _LOG, _PAYLOAD, TABLES, UPSERTS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_RECORDS, _PAYLOADS = 14, 11  #: of one run of load_test_quick
_AT_ONCE, _A_COMMIT = 20, 46
_PAGE = 4096 + 24  #: of the WAL, its header included


def anywhere() -> Iterator[str]:
    """Give ids of 80 random bits."""
    while True:
        yield os.urandom(10).hex()


def beside() -> Iterator[str]:
    """Give ids each of which is a random step ahead of the one before."""
    last = int.from_bytes(os.urandom(10), "big")
    while True:
        last = (last + (1 << 60) + random.getrandbits(60)) % (1 << 80)
        yield f"{last:020x}"


def commits(ids: Iterator[str], runs: int) -> Iterator[tuple[list, list, list]]:
    """Give the rows of each commit, as concurrent runs would make them."""
    waiting = itertools.islice(ids, runs)
    at_work = [[run, 0] for run in itertools.islice(waiting, _AT_ONCE)]
    log, payloads, rows, seq = [], [], {}, itertools.count()
    while at_work:
        for one in tuple(at_work):
            for _ in range(random.choice((2, 2, 3))):  # noqa: S311 - a bench
                run, rseq = one
                number = next(seq)
                line = os.urandom(480)
                log.append((number, run, rseq, "step.started", 0, os.urandom(32), line))
                if rseq < _PAYLOADS:
                    body = os.urandom(140)
                    head = (number, "in", run, os.urandom(32), 60, None, os.urandom(12))
                    payloads.append((*head, body, None))
                rows[run] = (
                    run,
                    "w",
                    "1.0.0",
                    "RUNNING",
                    "forward",
                    "a",
                    1,
                    number,
                    *[None] * 4,
                    0,
                    rseq,
                )
                one[1] += 1
                if one[1] == _RECORDS:
                    at_work.remove(one)
                    at_work += [[run, 0] for run in itertools.islice(waiting, 1)]
                    break
        if len(log) >= _A_COMMIT or not at_work:
            yield log, payloads, list(rows.values())
            log, payloads, rows = [], [], {}


def measured(ids: Callable[[], Iterator[str]], runs: int) -> tuple[float, float]:
    """Give microseconds of CPU and pages of the WAL a run."""
    made = list(commits(ids(), runs))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "journal.db")
        db = sqlite3.connect(file, isolation_level=None)
        pragmas = ("journal_mode=wal", "wal_autocheckpoint=0", "synchronous=2", "secure_delete=1")
        for pragma in pragmas:
            db.execute(f"PRAGMA {pragma}").fetchall()
        for table in TABLES:
            db.execute(table)
        began = time.process_time()
        for log, payloads, rows in made:
            db.execute("BEGIN IMMEDIATE")
            db.executemany(_LOG, log)
            db.executemany(_PAYLOAD, payloads)
            db.executemany(UPSERTS["run"], rows)
            db.execute("COMMIT")
        spent = time.process_time() - began
        pages = Path(f"{file}-wal").stat().st_size / _PAGE
        db.close()
    return spent / runs * 1e6, pages / runs


def main() -> None:
    """Measure both and print their ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    rounds = [
        (measured(anywhere, asked.runs), measured(beside, asked.runs)) for _ in range(asked.rounds)
    ]
    for name, found in zip(("anywhere", "side by side"), zip(*rounds, strict=True), strict=True):
        spent, pages = min(found)
        print(f"{name:13} {spent:6.0f} us of CPU a run, {pages:5.1f} pages of the WAL")
    ratios = sorted(there[0] / here[0] for there, here in rounds)
    print(
        f"anywhere / side by side, median of {asked.rounds} rounds: {ratios[len(ratios) // 2]:.2f}"
    )


if __name__ == "__main__":
    main()

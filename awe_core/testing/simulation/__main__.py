"""``python -m awe_core.testing.simulation``: live what the command line asks for."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from functools import cache
from typing import TYPE_CHECKING

from awe_core.testing.simulation import Stage, live

if TYPE_CHECKING:
    from collections.abc import Sequence

_SAY_EVERY = 500  #: lives

_stage = cache(Stage.set)  #: one in each process


def main(arguments: Sequence[str] | None = None) -> int:
    """Live what the command line asks for; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m awe_core.testing.simulation")
    parser.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="begin with this one")
    parser.add_argument("--seed", type=int, metavar="N", help="this one alone")
    parser.add_argument(
        "--kill-at", type=int, metavar="N", help="kill at this point, and only once"
    )
    parser.add_argument("--show", action="store_true", help="print the journal, too")
    asked = parser.parse_args(arguments)
    only = "" if asked.kill_at is None else f" --kill-at {asked.kill_at}"
    first, seeds = (asked.first, asked.seeds) if asked.seed is None else (asked.seed, 1)
    lives, failed = [(seed, asked.kill_at) for seed in range(first, first + seeds)], 0
    workers = min(os.cpu_count() or 1, seeds)
    with multiprocessing.get_context("fork").Pool(workers, initializer=_stage) as pool:
        for number, (seed, wrong, journal) in enumerate(pool.imap(_lived, lives, chunksize=5), 1):
            if asked.show:
                sys.stdout.buffer.write(journal + b"\n")
            if wrong:
                failed += 1
                print(f"python -m awe_core.testing.simulation --seed {seed}{only}: {wrong[0]}")
            if not number % _SAY_EVERY:
                print(f"{number} of {seeds} lives, {failed} failed", file=sys.stderr)
    print(f"{seeds} lives, {failed} failed")
    return 1 if failed else 0


def _lived(life: tuple[int, int | None]) -> tuple[int, tuple[str, ...], bytes]:
    seed, kill_at = life
    return seed, *live(seed, _stage(), kill_at=kill_at)


if __name__ == "__main__":
    sys.exit(main())

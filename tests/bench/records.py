"""What it costs to write each record of the published workflow, in microseconds of CPU.

``python tests/bench/records.py [--rounds N]``: runs the workflow once on the one road, keeps the
facts, and drafts each of them again and again: the event's text, and of each value its canonical
form, its commitment and its summary.  In a loop everything lies in the caches; within a run the
same work takes about twice as long.  The smallest of the rounds counts.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awe_core.engine import active, recording
from awe_core.redaction import describe
from awe_core.testing import Deployment
from awe_core.testing.measuring import lay_out, packs

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.events import Fact

_TIMES = 500  #: in a round


def facts() -> list[tuple[Fact, dict[str, Any]]]:
    """Give the facts of one run as the engine drafts them."""
    seen: list[tuple[Fact, dict[str, Any]]] = []
    drafted = active.draft

    def draft(fact: Fact, **about: Any) -> Any:
        seen.append((fact, about))
        return drafted(fact, **about)

    async def run(place: Deployment) -> None:
        (folder,) = lay_out(place.workspace, ["one"])
        async with place.open() as runtime:
            await runtime.run("load_test_quick", {"dir": folder.name, "name": folder.name})

    active.draft = draft
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Deployment.create(Path(folder, "here"), packs()) as place,
        ):
            asyncio.run(run(place))
    finally:
        active.draft = drafted
    return seen


def least_us(work: Callable[[], object], rounds: int) -> float:
    """Give the microseconds that *work* takes at least."""
    spent = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(_TIMES):
            work()
        spent.append((time.process_time() - began) / _TIMES * 1e6)
    return min(spent)


def main() -> None:
    """Print a line for each record, and their sum."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9)
    rounds, whole = parser.parse_args().rounds, 0.0
    print(f"{'record':18} {'all':>6} {'values':>7}  bytes of the event, of its values")
    for fact, about in facts():
        written = recording.draft(fact, **about)
        spent = least_us(lambda: recording.draft(fact, **about), rounds)  # noqa: B023 - at once
        values = sum(
            least_us(lambda: describe(value, part=part, marks=marks), rounds)  # noqa: B023 - at once
            for part, value, marks in recording._values(fact, about.get("marks", ()))  # noqa: SLF001
        )
        sizes = [len(one.body) for one in written.payloads]
        print(f"{fact.kind:18} {spent:6.1f} {values:7.1f}  {len(written.event)} {sizes}")
        whole += spent
    print(f"{'sum':18} {whole:6.1f}")


if __name__ == "__main__":
    main()

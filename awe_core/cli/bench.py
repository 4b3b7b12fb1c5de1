"""``awe bench``: how fast this machine does the published unit of work, and what torment leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from awe_core.cli.render import Answer, answer
from awe_core.cli.shared import group
from awe_core.testing import chaos as tormenting
from awe_core.testing import load as loading

if TYPE_CHECKING:
    from collections.abc import Callable

_MANY = click.IntRange(min=1)
_MODES = {"barriers": ("output", "step"), "effects": ("synced", "unsynced")}


@group()
def bench() -> None:
    """Measure load and torment runs, in a deployment made for it and removed afterwards."""


def _sized(runs: int) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    def add(command: Callable[..., Answer]) -> Callable[..., Answer]:
        for name, default in (("--concurrency", 20), ("--runs", runs)):
            command = click.option(name, type=_MANY, default=default, show_default=True)(command)
        return command

    return add


@bench.command()
@_sized(1000)
@click.option("--failing", is_flag=True, help="The variant whose write must be taken back.")
@click.option("--barriers", type=click.Choice(_MODES["barriers"]), help="Beside the default.")
@click.option("--effects", type=click.Choice(_MODES["effects"]), help="Beside the default.")
def load(**options: Any) -> Answer:  # noqa: ANN401 - click's
    """Measure the published unit of work beside the same work by hand."""
    report = loading.measure(loading.LoadOptions(**options))
    return answer(report, *report.lines(), exit_code=0 if report.is_ok else 7)


@bench.command()
@_sized(100)
@click.option("--probability", type=click.FloatRange(0, 1), default=0.5, show_default=True)
@click.option("--seed", type=int, help="Of all choices; else drawn, and printed.")
@click.option("--kill", type=click.IntRange(min=0), default=0, help="SIGKILL the engine so often.")
def chaos(**options: Any) -> Answer:  # noqa: ANN401 - click's
    """Make runs fail on purpose and compare the files before and after."""
    report = tormenting.measure(tormenting.ChaosOptions(**options))
    return answer(report, *report.lines(), exit_code=0 if report.is_ok else 7)

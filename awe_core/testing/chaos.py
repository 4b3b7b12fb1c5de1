"""``awe bench chaos``: runs that fail on purpose, and an engine that is killed on purpose.

A seeded choice gives each run the published unit of work or its failing variant.  Whatever failed
must have been taken back: a digest of its folder is the same before and after, and as many runs are
ROLLED_BACK as were made to fail.  With ``kill`` a child process drives the runs and is killed
(SIGKILL) at random moments; each new one takes up what the last one left, and nothing may be lost,
done twice or left half done.  Either way the log must verify afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.audit import parse_pins, verify_home
from awe_core.journal import JournalReader
from awe_core.testing.deployment import Deployment
from awe_core.testing.measuring import (
    is_right,
    lay_out,
    machine,
    packs,
    silent,
    tree_digest,
)
from awe_core.testing.victim import WORKFLOWS, drive

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence

    from awe_core.values import JsonObject

_CHILD_S = 600  #: a child that takes longer is a failed check
_TOLD = 100  #: how many runs end between two words of progress
_CHILD = "from awe_core.testing.victim import main; main()"


@attrs.frozen(kw_only=True)
class ChaosOptions:
    """What to torment."""

    runs: int = 100
    concurrency: int = 20
    probability: float = 0.5  #: of a run being made to fail
    seed: int | None = None  #: of all choices; None: drawn, and printed
    kill: int = 0  #: how often a child engine is killed; 0: the runs are driven in this process


@attrs.frozen(kw_only=True)
class ChaosReport:
    """What was injected, and what became of it."""

    options: ChaosOptions
    seed: int
    machine: Mapping[str, str]
    injected_failures: int  #: runs that were made to fail
    rolled_back: int  #: of these, runs that say so
    file_removed: int  #: of these, runs whose folder is as it was
    completed: int  #: of the others, runs that say so and whose report is right
    effects: int  #: changes the failing runs made
    undone: int  #: of these, taken back
    residue: int  #: effects of any run that could not be taken back
    states: Mapping[str, int]  #: how all runs ended
    trees: tuple[str, str]  #: digest of all folders made to fail, before and after
    kills: int
    verdict: str  #: of the log: verified, failed, undecided

    @property
    def failures(self) -> tuple[str, ...]:
        """The checks that do not hold."""
        wanted, rest = self.injected_failures, self.options.runs - self.injected_failures
        checks = {
            f"{self.rolled_back} of {wanted} failing runs are ROLLED_BACK": (
                self.rolled_back == wanted
            ),
            f"{self.file_removed} of {wanted} failing runs left their folder as it was": (
                self.file_removed == wanted and self.trees[0] == self.trees[1]
            ),
            f"{self.undone} of {self.effects} effects were taken back": (
                self.undone == self.effects
            ),
            f"{self.residue} effects remain": not self.residue,
            f"{self.completed} of {rest} other runs are COMPLETED and right": (
                self.completed == rest
            ),
            f"the engine was killed {self.kills} times of {self.options.kill}": (
                self.kills == self.options.kill
            ),
            f"the log is {self.verdict}": self.verdict == "verified",
        }
        return tuple(text for text, holds in checks.items() if not holds)

    @property
    def is_ok(self) -> bool:
        """Whether everything that was made to fail was taken back, and all the rest is right."""
        return not self.failures

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        found = attrs.asdict(self, filter=attrs.filters.exclude("options", "trees"))
        return {
            "runs": self.options.runs,
            "concurrency": self.options.concurrency,
            "probability": self.options.probability,
            **found,
            "tree_before": self.trees[0],
            "tree_after": self.trees[1],
            "ok": self.is_ok,
            "failures": list(self.failures),
        }

    def lines(self) -> list[str]:
        """Give the form for people."""
        options, wanted = self.options, self.injected_failures
        rest = options.runs - wanted
        killed = f", engine killed {self.kills} times" if options.kill else ""
        is_same = "the same" if self.trees[0] == self.trees[1] else self.trees[1][:16]
        return [
            f"{options.runs} runs, {options.concurrency} at a time, seed {self.seed}{killed}",
            "journal FULL, barriers output, effects synced, executor inproc",
            *(
                [", ".join(f"{name} {said}" for name, said in self.machine.items())]
                * bool(self.machine)
            ),
            f"  rolled back   {self.rolled_back}/{wanted} of the runs that were made to fail",
            f"  file removed  {self.file_removed}/{wanted}",
            f"  undone        {self.undone}/{self.effects} effects, residue {self.residue}",
            f"  completed     {self.completed}/{rest} of the others",
            f"  tree          {self.trees[0][:16]} before, {is_same} after",
            f"  log           {self.verdict}",
            *(f"failed: {one}" for one in self.failures),
        ]


def measure(options: ChaosOptions, progress: Callable[[str], None] = silent) -> ChaosReport:
    """Torment, in a deployment that is made for it and removed afterwards.

    :param progress: hears what is being done
    :raises PackError: ``pack.not_installed`` when stdlib or load-test is not there
    """
    seed = secrets.randbits(32) if options.seed is None else options.seed
    root = Path(tempfile.mkdtemp(prefix="awe-chaos-"))
    try:
        return _tormented(root, options, seed, progress)
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _tormented(
    root: Path, options: ChaosOptions, seed: int, progress: Callable[[str], None]
) -> ChaosReport:
    dice = random.Random(seed)  # noqa: S311 - a choice that can be made again, no secret
    fails = [dice.random() < options.probability for _ in range(options.runs)]
    with Deployment.create(root, packs()) as place:
        folders = lay_out(place.workspace, (f"run-{n}" for n in range(options.runs)))
        failing = [folder for folder, is_failing in zip(folders, fails, strict=True) if is_failing]
        apart = {folder: tree_digest([folder]) for folder in failing}
        before = tree_digest(failing)
        if options.kill:
            kills = _kill(place, options, fails, dice, progress)
        else:
            names = itertools.count(1)

            def ended(_: str) -> None:
                if (count := next(names)) % _TOLD == 0:
                    progress(f"{count} of {options.runs} runs")

            asyncio.run(drive(place.config, fails, options.concurrency, ended))
            kills = 0
        progress("comparing files and verifying the log")
        found = _outcome(place.home)
        return ChaosReport(
            options=options,
            seed=seed,
            machine=machine(root),
            injected_failures=len(failing),
            rolled_back=found.count(WORKFLOWS[True], "ROLLED_BACK"),
            file_removed=sum(tree_digest([folder]) == apart[folder] for folder in failing),
            completed=min(found.count(WORKFLOWS[False], "COMPLETED"), _right(folders, fails)),
            effects=found.effects,
            undone=found.undone,
            residue=found.residue,
            states=found.states,
            trees=(before, tree_digest(failing)),
            kills=kills,
            verdict=found.verdict,
        )


def _right(folders: Iterable[Path], fails: Iterable[bool]) -> int:
    """Count the runs that were left alone and whose report is right."""
    pairs = zip(folders, fails, strict=True)
    return sum(is_right(folder, is_failing=False) for folder, failing in pairs if not failing)


# ---- what the log says --------------------------------------------------------------------------
@attrs.frozen(kw_only=True)
class _Outcome:
    """What the log says of all runs."""

    rows: Sequence[tuple[str, str]]  #: workflow and state of each run
    effects: int
    undone: int
    residue: int
    verdict: str

    def count(self, workflow: str, state: str) -> int:
        return sum(row == (workflow, state) for row in self.rows)

    @property
    def states(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for _, state in self.rows:
            found[state] = found.get(state, 0) + 1
        return found


def _outcome(home: Path) -> _Outcome:
    with JournalReader(home) as journal:
        runs = journal.rows("SELECT id, workflow, state, residue FROM run")
        failing = {run for run, workflow, _, _ in runs if workflow == WORKFLOWS[True]}
        effects = _effects(journal, failing)
        changed = effects["effect.intended"] & effects["effect.applied"]
        return _Outcome(
            rows=[(workflow, state) for _, workflow, state, _ in runs],
            effects=len(changed),
            undone=len(changed & effects["undo.applied"]),
            residue=sum(residue for *_, residue in runs),
            verdict=verify_home(journal, pins=parse_pins(_key(journal))).verdict,
        )


def _effects(journal: JournalReader, runs: Container[str]) -> dict[str, set[str]]:
    """Give the ids of what *runs* intended, did and took back; reads were never intended."""
    found: dict[str, set[str]] = {
        kind: set() for kind in ("effect.intended", "effect.applied", "undo.applied")
    }
    for record in journal.read(kinds=tuple(found)):
        if record.run in runs:
            found[record.kind].add(record.event["effect"])
    return found


def _key(journal: JournalReader) -> str:
    """Give the log's own key; nobody else has written here."""
    return next(str(one.event["vkey"]) for one in journal.read(kinds=("log.opened",)))


# ---- killing ------------------------------------------------------------------------------------
def _kill(
    place: Deployment,
    options: ChaosOptions,
    fails: Sequence[bool],
    dice: random.Random,
    progress: Callable[[str], None],
) -> int:
    """Drive the runs in a child that is killed again and again; the last one may end by itself.

    Between two kills enough runs end for each to have got further: that a run which no process
    survives is set aside (`run.crash_loop`) is not what is looked at here.
    """
    kills, ended = 0, set[str]()
    for left in range(options.kill, -1, -1):
        most = max(1, (options.runs - len(ended)) // (left + 1))
        after = dice.randint(min(most, options.concurrency // 2 + 1), most) if left else None
        with _child(place, options, fails) as child:
            kills += _killed(child, ended, after=after, pause_s=dice.random() / 50)
        progress(f"killed {kills} times, {len(ended)} of {options.runs} runs have ended")
    return kills


def _killed(
    child: subprocess.Popen[str], ended: set[str], *, after: int | None, pause_s: float
) -> bool:
    """Kill *child* *pause_s* after so many more runs have ended; tell whether it was in time."""
    more = 0
    for line in child.stdout or ():
        more += line not in ended
        ended.add(line)
        if more == after:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(pause_s)
            child.kill()
            break
    return child.wait(_CHILD_S) == -signal.SIGKILL


def _child(
    place: Deployment, options: ChaosOptions, fails: Sequence[bool]
) -> subprocess.Popen[str]:
    """Start an engine of its own, with the same modules, whatever this one was started from."""
    asked = {
        "config": str(place.config),
        "fails": list(fails),
        "concurrency": options.concurrency,
        "path": sys.path,
    }
    child = subprocess.Popen(  # noqa: S603 - this interpreter, our own code
        [sys.executable, "-c", _CHILD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    if child.stdin is not None:
        with child.stdin:
            json.dump(asked, child.stdin)
    return child

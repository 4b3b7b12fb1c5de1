"""Lives: the processes of one home, one after the other, each in a forked child."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.documents import load_workflow
from awe_core.journal import JournalReader
from awe_core.testing.simulation.flows import LAID, Stage, workflow
from awe_core.testing.simulation.invariants import explained
from awe_core.testing.simulation.machine import Machine
from awe_core.testing.simulation.session import Session
from awe_core.testing.simulation.watched import KILLED, Place, Store, Undo, Witness

if TYPE_CHECKING:
    from awe_core.values import JsonObject


@attrs.frozen(kw_only=True)
class Life:
    """One home from its beginning to the end of its last run."""

    seed: int
    root: Path
    stage: Stage
    kill_at: int | None = None  #: kills the first process at this point, and no other one

    @property
    def home(self) -> Path:
        """The folder of the journal."""
        return self.root / "home"

    @property
    def place(self) -> Path:
        """The workspace."""
        return self.root / "place"

    def documents(self) -> list[JsonObject]:
        """Make the workflows; the same in each process."""
        dice, inner = random.Random(f"{self.seed}/flows"), self.stage.registry.inner
        inner.clear()
        for n in range(dice.randint(0, 2)):
            document = workflow(dice, f"inner{n}", ())
            document |= {"outputs": {"dir": "${inputs.dir}"}}
            inner[f"inner{n}@1"] = load_workflow(json.dumps(document), file="inner")
        self.stage.registry.generation += 1
        return [workflow(dice, f"flow{n}", list(inner)) for n in range(dice.randint(1, 3))]

    def lay(self) -> None:
        """Put the files there that were there before any run."""
        for n in range(len(self.documents())):
            (self.place / f"r{n}").mkdir(parents=True)
            for name, data in LAID.items():
                (self.place / f"r{n}" / name).write_bytes(data)

    def told(self) -> list[JsonObject]:
        """Read what was seen so far."""
        ledger = self.root / "ledger"
        return [json.loads(line) for line in ledger.read_bytes().splitlines()]

    def process(self, number: int, *, is_last: bool) -> int:
        """Run one process in a child; give its exit code."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        try:
            self._live(number, is_last=is_last)
        except BaseException:  # noqa: BLE001 - whatever it is, the child ends here
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def _live(self, number: int, *, is_last: bool) -> None:
        before = self.told() if number else []
        now = {"now_us": before[-1]["us"] + 5_000_000} if before else {}
        machine = Machine(f"{self.seed}/{number}", numbers=self.root / "numbers", **now)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        witness = Witness(machine, os.open(self.root / "ledger", flags, 0o600))
        if self.kill_at is not None:
            witness.kill_at = 0 if number else self.kill_at
        elif not is_last:
            witness.kill_at = machine.dice.randint(1, 90)
            witness.full = machine.dice.choice((0.0, 0.0, 0.05))
        Store.witness = Undo.witness = Place.witness = self.stage.skills.witness = witness
        machine.install()
        loop = machine.loop()
        loop.set_exception_handler(lambda _, about: witness.note(fault=str(about)))
        loop.run_until_complete(Session(self, witness, is_last=is_last).held())


def lived(life: Life) -> tuple[str, ...]:
    """Live one life; give what was wrong with it."""
    life.lay()
    kills = random.Random(f"{life.seed}/kills").randint(0, 3)
    kills = kills if life.kill_at is None else 1
    for number in range(kills + 1):
        code = life.process(number, is_last=number == kills)
        if code not in (0, KILLED):
            return (f"process {number} ended with {code}",)
        wrong = tuple(f"after process {number}: {one}" for one in explained(life))
        if wrong:
            return wrong
        if life.kill_at is not None and code == 0:
            break
    return ()


def lines(life: Life) -> bytes:
    """Give the lines of a life's journal."""
    with JournalReader(life.home) as journal:
        return b"\n".join(record.line for record in journal.read())


def live(seed: int, stage: Stage, *, kill_at: int | None = None) -> tuple[tuple[str, ...], bytes]:
    """Live the life of *seed* in a folder of its own; give what was wrong, and the journal."""
    root = Path(tempfile.mkdtemp(prefix="awe-simulated-"))
    try:
        life = Life(seed=seed, root=root, stage=stage, kill_at=kill_at)
        wrong = lived(life)
        return wrong, lines(life)
    finally:
        shutil.rmtree(root)

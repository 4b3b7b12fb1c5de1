"""The engine's surroundings, watched: what is really done is noted, and killed at a chosen point.

Each class is the real one with an eye in front of it.  They belong to one process: what they share
is the `Witness` that the process sets before anything runs.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Self

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from awe_core.invoke import DaemonPool
from awe_core.journal import Journal
from awe_core.testing.simulation.flows import digest
from awe_core.undo import UndoManager
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from awe_core.events import UndoRecord
    from awe_core.testing.simulation.machine import Machine
    from awe_core.undo import UndoOutcome
    from awe_core.values import Json
    from awe_core.workspace import Staged

KILLED = 9  #: exit code of a process that was killed
ABSENT = ""  #: stands for the digest of a file that is not there
_KEY = Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"the simulated log").digest())


@attrs.define(eq=False)
class Witness:
    """Sees what is really done and told, writes it down at once, and kills at the chosen point."""

    machine: Machine
    ledger: int  #: a descriptor; what is written survives the process
    kill_at: int = 0  #: which point; 0: none
    full: float = 0.0  #: how likely a commit finds the disk full
    points: int = 0

    @property
    def dice(self) -> random.Random:
        """All chance of this process but that of the operating system."""
        return self.machine.dice

    def note(self, **what: Json) -> None:
        """Write down what was seen; it is there whatever happens next."""
        what["us"] = self.machine.clock.now_us
        os.write(self.ledger, json.dumps(what).encode() + b"\n")

    def point(self, where: str) -> None:
        """Pass a moment at which the process may be killed."""
        self.points += 1
        if self.points == self.kill_at:
            self.note(killed=where)
            os._exit(KILLED)


class Store(Journal):
    """The real journal; can be killed before and after each commit, and find the disk full."""

    witness: Witness

    def _write(self, entries: list[Any], *, is_forced: bool = False) -> None:
        here = self.witness
        here.point("before a commit")
        if here.dice.random() < here.full:
            (pages,) = self._db.execute("PRAGMA page_count").fetchone()
            self._db.execute(f"PRAGMA max_page_count={pages}").fetchone()
        try:
            super()._write(entries, is_forced=is_forced)
        finally:
            self._db.execute("PRAGMA max_page_count=1073741823").fetchone()
        here.point("after a commit")


class Undo(UndoManager):
    """The real one; fails at times, before or after it has taken something back."""

    witness: Witness

    def undo(self, record: UndoRecord, key: str) -> UndoOutcome:
        """Take back, or fail."""
        here = self.witness
        here.point("before an undo")
        self._fail()
        outcome = super().undo(record, key)
        here.note(undone=key, outcome=type(outcome).__name__)
        here.point("after an undo")
        self._fail()
        return outcome

    def _fail(self) -> None:
        if self.witness.dice.random() < 0.05:
            raise OSError(5, "an error of the system")


class Place(Workspace):
    """The real workspace; what is acted there is noted."""

    witness: Witness

    def stage_write(self, path: str, data: bytes, **how: Any) -> Any:
        """Stage a file whose act is seen."""
        return _Act(super().stage_write(path, data, **how), self.witness, digest(data))

    def stage_delete(self, path: str, **how: Any) -> Any:
        """Stage a removal whose act is seen."""
        return _Act(super().stage_delete(path, **how), self.witness, ABSENT)


@attrs.define
class _Act:
    """A `Staged` whose act is seen."""

    staged: Staged
    witness: Witness
    made: str

    def act(self) -> None:
        self.witness.point("before an act")
        self.staged.act()
        self.witness.note(acted=self.staged.path, made=self.made)
        self.witness.point("after an act")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.staged, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.staged.__exit__(*raised)


class Inline(DaemonPool):
    """Does the work on the loop, a while after it was asked for; its answer may be late."""

    def __init__(self, witness: Witness) -> None:
        super().__init__(0, name="simulated")
        self._dice = witness.dice

    async def run(self, work: Callable[[], Any]) -> Any:
        """Do *work* before or after the delay."""
        is_slow = self._dice.random() < 0.01
        slow = 90 if is_slow else self._dice.choice((0, 0.001, 0.2))
        is_before = self._dice.random() < 0.5
        await asyncio.sleep(slow if is_before else 0)
        found = work()
        await asyncio.sleep(0 if is_before else slow)
        return found


class Signer:
    """Signs checkpoints with a key that is the same in every life."""

    public = _KEY.public_key().public_bytes_raw()

    def sign(self, text: bytes, /) -> bytes:
        """Sign."""
        return _KEY.sign(text)

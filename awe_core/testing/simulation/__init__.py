"""Deterministic simulation: random workflows on the real engine, killed where it hurts most.

    python -m awe_core.testing.simulation --seeds 300      seeds 0 to 299
    python -m awe_core.testing.simulation --seed 47 --show   one again, and its journal

One seed is one *life* of one home: a few random workflows, people who answer, an operator who
pauses, cancels and rolls back, a neighbour who changes files, disks that are full for a while, and
processes that are killed.  Every process is a forked child on a `Machine`, so its crash is a real
one: what it had in memory is gone, what is in the files is there.  `Witness` notes
what was really done to the workspace and what callers were told; after each process the journal
must explain all of it, and the last process, which nobody kills, must bring every run to its end.

The engine, the journal, the broker and the workspace are the real ones.  Governance is not played:
the capabilities below are registered by the program.  Threads are not either: the pool runs its
work on the loop, after a random delay.
"""

from awe_core.testing.simulation.flows import Stage
from awe_core.testing.simulation.invariants import explained
from awe_core.testing.simulation.lives import Life, live, lived

__all__ = ["Life", "Stage", "explained", "live", "lived"]

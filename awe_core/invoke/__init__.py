"""One step: arguments → contract → gate → grant → handshake → handler → contract.

The engine says *which* step and records what comes of it; here is how one is prepared (`prepare`),
asked about (`granted`, `ask`, `fold`) and run (`perform`).  What goes wrong comes out as a `Fault`.
"""

from awe_core.invoke.failure import Fault, fault_of
from awe_core.invoke.inprocess import PROMISES, DaemonPool, InProcess
from awe_core.invoke.step import Handshake, Invoker, Prepared

__all__ = [
    "PROMISES",
    "DaemonPool",
    "Fault",
    "Handshake",
    "InProcess",
    "Invoker",
    "Prepared",
    "fault_of",
]

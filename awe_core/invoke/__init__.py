"""One step: arguments → contract → gate → grant → handshake → handler → contract.

The engine says *which* step and records what comes of it; here is how one is prepared (`prepare`),
asked about (`judge`) and run (`perform`).  What goes wrong comes out as a `Fault`.
"""

from awe_core.invoke.failure import Fault, fault_of
from awe_core.invoke.handlers import PROMISES, InProcess
from awe_core.invoke.step import Handshake, Invoker, Prepared
from awe_core.invoke.threads import DaemonPool

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

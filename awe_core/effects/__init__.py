"""The effect broker: performs every effect, for every pack, whoever wrote it.

Handlers only ask.  So undo capture, confinement, narrowing to the call's arguments and the record
are written once.  What a call may do is its `Grant`; who performs it is its `StepBroker`; what the
broker needs of the engine is its `Port`.
"""

from awe_core.effects.asking import StepRef
from awe_core.effects.broker import StepBroker
from awe_core.effects.dry import DryBroker
from awe_core.effects.grants import CORE_KINDS, Grant, GrantPlan, Narrowed
from awe_core.effects.port import Capture, Port, Prior

__all__ = [
    "CORE_KINDS",
    "Capture",
    "DryBroker",
    "Grant",
    "GrantPlan",
    "Narrowed",
    "Port",
    "Prior",
    "StepBroker",
    "StepRef",
]

"""How a deployment is doing: `status` on one screen, `doctor` check by check.

Neither changes anything.  The same functions feed the terminal, ``--json`` and a readiness probe.
"""

from awe_core.health.doctor import TOPICS, Check, Level, doctor
from awe_core.health.startup import hardening_unit as hardening_unit
from awe_core.health.status import Status, status

__all__ = ["TOPICS", "Check", "Level", "Status", "doctor", "status"]

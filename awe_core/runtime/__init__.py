"""The composition root and the only door: `Runtime.open`.

`owner` holds a home · `guest` asks who does · `runtime` is the SDK, `waiting` the same without a
loop · `handles` and `results` are about single runs · `deployment` says what may run · `control` is
the socket between processes.
"""

from awe_core.runtime.deployment import Deployment
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.results import ItemView, RunResult, RunRow, RunView, StepView
from awe_core.runtime.runtime import AsyncRuntime
from awe_core.runtime.waiting import RunHandle, Runtime

__all__ = [
    "AsyncRunHandle",
    "AsyncRuntime",
    "Deployment",
    "ItemView",
    "RunHandle",
    "RunResult",
    "RunRow",
    "RunView",
    "Runtime",
    "StepView",
]

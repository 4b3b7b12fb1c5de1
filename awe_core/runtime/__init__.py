"""The composition root and the only door: `Runtime.open`.

`owner` holds a home, or asks who does over `control` · `runtime` and `handles` are the SDK,
`waiting` the same without a loop · `deployment` says what may run, `wiring` from which parts ·
`requests` and `results` are what goes in and comes out.
"""

from awe_core.runtime.deployment import Deployment
from awe_core.runtime.handles import AsyncRunHandle
from awe_core.runtime.owner import known_mark, repin
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
    "known_mark",
    "repin",
]

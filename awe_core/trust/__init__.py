"""Trust."""

from awe_core.trust.verdict import (
    Absent,
    FacadeVerdict,
    Mark,
    PackVerdict,
    Phase,
    Stop,
    StoreBytes,
    Verdict,
)

__all__ = [
    "Absent",
    "FacadeVerdict",
    "Mark",
    "PackVerdict",
    "Phase",
    "Stop",
    "StoreBytes",
    "Verdict",
]

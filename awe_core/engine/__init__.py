"""The embedded engine: drives runs on one event loop and one journal.

`engine` is the door (submit, decide, control) · `turns` does what the decider says · `steps` admits
and runs steps · `undoing` takes back · `recovery` reads runs again from the journal · `recording`
turns facts into records · `active` is one run in memory.  What follows from what is the decider's
affair alone.
"""

from awe_core.engine.control import wound_back
from awe_core.engine.engine import RuntimeEngine, Submission
from awe_core.engine.parts import Parts, Settings
from awe_core.engine.plans import Plans
from awe_core.engine.recovery import Reader, View, open_questions

__all__ = [
    "Parts",
    "Plans",
    "Reader",
    "RuntimeEngine",
    "Settings",
    "Submission",
    "View",
    "open_questions",
    "wound_back",
]

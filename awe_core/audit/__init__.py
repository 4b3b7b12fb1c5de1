"""The audit trail for those who read it: verify, export, show, sinks.

=============  ==========================================================================
`verify`       what a stranger with a file and a pinned key can establish
`export`       a prefix, a range or one run as files that prove themselves
`show`         records for people
`logger`       `AuditLogger`: every record to every sink; `jsonl`: the sink that is built in
=============  ==========================================================================

It writes no records of its own but those that say what left the home.
"""

from __future__ import annotations

from awe_core.audit.export import Exported, Selection, export
from awe_core.audit.jsonl import JsonlSink
from awe_core.audit.logger import Attached, AuditLogger, SinkStatus
from awe_core.audit.pins import Pins, parse_pins
from awe_core.audit.report import Finding, Report
from awe_core.audit.verify import verify_file, verify_home

__all__ = [
    "Attached",
    "AuditLogger",
    "Exported",
    "Finding",
    "JsonlSink",
    "Pins",
    "Report",
    "Selection",
    "SinkStatus",
    "export",
    "parse_pins",
    "verify_file",
    "verify_home",
]

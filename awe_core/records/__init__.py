"""The documents of governance as values: what they hold and their one form in JSON.

=================  ======================  =====================================================
`PackRecord`       ``pack-record/v1``      one wheel and all it is granted
`FacadeRecord`     ``facade-record/v1``    one public entry and the contracts it reaches
`Statement`        ``statement/v1``        one person's decision about one record
`Manifest`         ``manifest/v1``         which records are in force in one deployment
`Root`             ``trust-root/v1``       keys, roles and policy
=================  ======================  =====================================================

Rules: `from_json` is strict (exact types, every field, no other field) and `to_json` gives back
exactly what it took, so a document and its value stand for each other.  Times are whole seconds
here and RFC 3339 text in JSON.  Nothing here knows bytes, digests or signatures: see `trust`.
"""

from awe_core.records.decisions import (
    DECISIONS,
    MANIFEST,
    MANIFEST_STATES,
    STATEMENT,
    Manifest,
    ManifestFacade,
    ManifestPack,
    Statement,
)
from awe_core.records.forms import Digest, Seconds, parse_timestamp, timestamp
from awe_core.records.roots import (
    SCHEMES,
    TRUST_ROOT,
    ApprovalRule,
    Key,
    Policy,
    Retired,
    Role,
    Root,
    When,
)
from awe_core.records.subjects import (
    FACADE_RECORD,
    PACK_RECORD,
    RISKS,
    CapabilityEntry,
    Evidence,
    FacadeRecord,
    PackRecord,
    PinnedFile,
    Reach,
    Requirement,
    Unenforced,
    Wheel,
    WorkflowEntry,
)

__all__ = [
    "DECISIONS",
    "FACADE_RECORD",
    "MANIFEST",
    "MANIFEST_STATES",
    "PACK_RECORD",
    "RISKS",
    "SCHEMES",
    "STATEMENT",
    "TRUST_ROOT",
    "ApprovalRule",
    "CapabilityEntry",
    "Digest",
    "Evidence",
    "FacadeRecord",
    "Key",
    "Manifest",
    "ManifestFacade",
    "ManifestPack",
    "PackRecord",
    "PinnedFile",
    "Policy",
    "Reach",
    "Requirement",
    "Retired",
    "Role",
    "Root",
    "Seconds",
    "Statement",
    "Unenforced",
    "Wheel",
    "When",
    "WorkflowEntry",
    "parse_timestamp",
    "timestamp",
]

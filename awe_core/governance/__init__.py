"""Who may let what run, as a folder of signed documents and the verbs people use on it.

=================  =============================================================================
`Governance`       the verbs: propose, approve, reject, withdraw, suspend, resume, revoke,
                   activate, deprecate, renew, rotate, sign; and looking: verdict, states, find
`StoreFolder`      the store on disk: read whole, written durably, nothing overwritten
`init_dev`         keys and a development root
`survey`           where every record stands, also before any manifest knows it
`differences`      what a newer record has otherwise
`events_of`        from a verdict to the events that the journal still lacks
`views`            YAML for pull requests, never read
=================  =============================================================================

Rules: `trust` judges, `lifecycle` allows, this package only writes down what people decide.  Time
and keys are arguments.  Every document is judged in memory before it is written.
"""

from awe_core.governance.adoption import Adopted, events_of, fold, mark_from_json, mark_to_json
from awe_core.governance.desk import Released
from awe_core.governance.difference import Difference, differences
from awe_core.governance.documents import Subject, facade_record, record_file, subject_of
from awe_core.governance.governing import SUNSET_S, Governance
from awe_core.governance.profiles import (
    ROLES,
    STDLIB,
    init_dev,
    load_person,
    people_of,
    unsigned_root,
)
from awe_core.governance.store import PENDING, StoreFolder
from awe_core.governance.survey import (
    SubjectState,
    find,
    matching,
    read_statements,
    read_subjects,
    survey,
)
from awe_core.governance.views import check_views, views

__all__ = [
    "PENDING",
    "ROLES",
    "STDLIB",
    "SUNSET_S",
    "Adopted",
    "Difference",
    "Governance",
    "Released",
    "StoreFolder",
    "Subject",
    "SubjectState",
    "check_views",
    "differences",
    "events_of",
    "facade_record",
    "find",
    "fold",
    "init_dev",
    "load_person",
    "mark_from_json",
    "mark_to_json",
    "matching",
    "people_of",
    "read_statements",
    "read_subjects",
    "record_file",
    "subject_of",
    "survey",
    "unsigned_root",
    "views",
]

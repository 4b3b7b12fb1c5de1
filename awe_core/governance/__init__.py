"""Who may let what run, as a folder of signed documents and the verbs people use on it.

Rules: `trust` judges, `lifecycle` allows, this package only writes down what people decide.  Time
and keys are arguments.  Every document is judged in memory before it is written.
"""

from awe_core.governance.adoption import events_of as events_of
from awe_core.governance.adoption import fold as fold
from awe_core.governance.copying import copied as copied
from awe_core.governance.difference import differences as differences
from awe_core.governance.governing import SUNSET_S as SUNSET_S
from awe_core.governance.governing import Governance as Governance
from awe_core.governance.governing import Released as Released
from awe_core.governance.governing import pending as pending
from awe_core.governance.marks import MarkFile as MarkFile
from awe_core.governance.marks import mark_from_json as mark_from_json
from awe_core.governance.marks import mark_to_json as mark_to_json
from awe_core.governance.profiles import init_dev as init_dev
from awe_core.governance.profiles import load_person as load_person
from awe_core.governance.profiles import unsigned_root as unsigned_root
from awe_core.governance.roots import first_root as first_root
from awe_core.governance.roots import read_root as read_root
from awe_core.governance.roots import write_root as write_root
from awe_core.governance.store import StoreFolder as StoreFolder
from awe_core.governance.survey import Subject as Subject
from awe_core.governance.survey import SubjectState as SubjectState
from awe_core.governance.survey import record_file as record_file
from awe_core.governance.survey import subject_of as subject_of
from awe_core.governance.views import as_yaml as as_yaml

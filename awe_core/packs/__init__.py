"""Packs: found as text, inspected without import, compared by bytes, imported from these bytes.

The road of a pack::

    a wheel    inspect_wheel → WheelReport → record_from_wheel → PackRecord (people approve it)
    at start   discover → Found → verify_installed (against its record) → VerifiedPack
    first call PinnedFinder.admit → VerifiedPack.handler("module:function")

Rule of the whole package: not one byte of a pack is imported before its record is ACTIVE and its
installed files are the bytes of that record.  Who may approve is `trust`'s affair, what may run now
the `gate`'s.
"""

from awe_core.packs.archive import rebuild_wheel as rebuild_wheel
from awe_core.packs.codecache import CodeCache as CodeCache
from awe_core.packs.contents import Written as Written
from awe_core.packs.discovery import Found as Found
from awe_core.packs.discovery import discover as discover
from awe_core.packs.discovery import installed_top_levels as installed_top_levels
from awe_core.packs.discovery import normalised as normalised
from awe_core.packs.installed import verify_installed as verify_installed
from awe_core.packs.pinned import ImportBlockedError as ImportBlockedError
from awe_core.packs.pinned import PinnedFiles as PinnedFiles
from awe_core.packs.pinned import PinnedFinder as PinnedFinder
from awe_core.packs.proposal import asked_for as asked_for
from awe_core.packs.proposal import check_requirements as check_requirements
from awe_core.packs.proposal import facade_record as facade_record
from awe_core.packs.proposal import installed_requirements as installed_requirements
from awe_core.packs.proposal import record_from_wheel as record_from_wheel
from awe_core.packs.verified import VerifiedPack as VerifiedPack
from awe_core.packs.verified import record_digest as record_digest
from awe_core.packs.wheel import WheelReport as WheelReport
from awe_core.packs.wheel import inspect_wheel as inspect_wheel

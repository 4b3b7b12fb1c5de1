"""Packs: found as text, inspected without import, compared by bytes, imported from these bytes.

The road of a pack::

    a wheel    inspect_wheel → WheelReport → record_from_wheel → PackRecord (people approve it)
    at start   discover → Found → verify_installed (against its record) → VerifiedPack
    first call PinnedFinder.admit → VerifiedPack.handler("module:function")

Rule of the whole package: not one byte of a pack is imported before its record is ACTIVE and its
installed files are the bytes of that record.  Who may approve is `trust`'s affair, what may run now
the `gate`'s.
"""

from awe_core.packs.codecache import CodeCache
from awe_core.packs.contents import Contents, Written, read_contents
from awe_core.packs.discovery import Found, discover, installed_top_levels, normalised
from awe_core.packs.installed import verify_installed
from awe_core.packs.kept import keep, kept
from awe_core.packs.pinned import ImportBlockedError, PinnedFiles, PinnedFinder, PinnedLoader
from awe_core.packs.proposal import (
    asked_for,
    check_requirements,
    facade_record,
    installed_requirements,
    reaches,
    record_from_wheel,
)
from awe_core.packs.rebuilding import rebuild_wheel
from awe_core.packs.verified import VerifiedPack, record_digest, tree_digest
from awe_core.packs.wheel import WheelReport, inspect_wheel

__all__ = [
    "CodeCache",
    "Contents",
    "Found",
    "ImportBlockedError",
    "PinnedFiles",
    "PinnedFinder",
    "PinnedLoader",
    "VerifiedPack",
    "WheelReport",
    "Written",
    "asked_for",
    "check_requirements",
    "discover",
    "facade_record",
    "inspect_wheel",
    "installed_requirements",
    "installed_top_levels",
    "keep",
    "kept",
    "normalised",
    "reaches",
    "read_contents",
    "rebuild_wheel",
    "record_digest",
    "record_from_wheel",
    "tree_digest",
    "verify_installed",
]

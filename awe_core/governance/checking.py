"""Is the store whole?  Every file in its place, its digest its name, its signatures, its view.

What a server needs is judged at each start; this is the check of a pull request, where somebody may
have added a file that nobody reads today, or changed a view that people read instead of the signed
document.  Everything found is named; nothing stops at the first.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from awe_core import canonical
from awe_core.errors import AweError, TrustError
from awe_core.governance.survey import RECORD
from awe_core.governance.views import views
from awe_core.records import FacadeRecord, PackRecord
from awe_core.trust import decisions, envelopes, history
from awe_core.trust.judgement import record_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.governance.store import StoreFolder
    from awe_core.trust import Chain, StoreBytes

_DIGEST = r"[0-9a-f]{64}"
#: Where files of a store lie; group 1 is the digest that its bytes must have.
_PLACES = tuple(
    re.compile(place)
    for place in (
        r"\.gitattributes|README\.md|pending/.+\.dsse|views/.+\.yaml",
        r"root/\d{5}\.dsse|manifests/\d{5}-\d{7,15}\.dsse",
        rf"(?:statements|stops)/({_DIGEST})\.dsse",
        rf"(?:packs/[^/]+/[^/]+|facades/[^/]+)/(?:record|report)-({_DIGEST})\.json",
        r"(?:packs/[^/]+/[^/]+|facades/[^/]+)/proposal\.yaml",
        rf"packs/[^/]+/[^/]+/evidence/({_DIGEST})\.json",
    )
)

#: What is said of statements by people who no longer hold the role: history, and no fault.
_LEFT_SINCE = frozenset({"signer.not_in_role", "trust.unknown_role"})

Fault = tuple[str, AweError]  # file, and what is wrong with it


def faults(folder: StoreFolder, store: StoreBytes, chain: Chain) -> Iterator[Fault]:
    """Name every file that is not as it should be."""
    there = set(folder.names())
    checks = [(file, partial(_in_place, folder, file)) for file in sorted(there)]
    for file in sorted(store):
        if file.startswith("manifests/"):
            checks.append((file, partial(_manifest, store, file, chain)))
        elif RECORD.fullmatch(file):
            checks.append((file, partial(_record, store, file, there)))
    for file, check in checks:
        try:
            check()
        except AweError as error:
            yield file, error
    for each in decisions.every(store, chain):
        if isinstance(each, AweError) and each.code not in _LEFT_SINCE:
            yield "statements", each
    shown = views(store)
    for file in sorted(shown.keys() | {file for file in there if file.startswith("views/")}):
        if shown.get(file) != folder.read_one(file):
            yield file, TrustError("store.view_differs", file=file)


def _in_place(folder: StoreFolder, file: str) -> None:
    found = next(filter(None, (place.fullmatch(file) for place in _PLACES)), None)
    if found is None:
        raise TrustError("store.misplaced", file=file)
    data = folder.read_one(file)
    if data is None:
        raise TrustError("store.not_regular", file=file)
    if found.re.groups and canonical.sha256_hex(data) != found[1]:
        raise TrustError("store.digest", file=file)


def _manifest(store: StoreBytes, file: str, chain: Chain) -> None:
    version = int(file.partition("/")[2][:5])
    if not 1 <= version <= len(chain.roots):
        raise chain.mismatch(version, at=file)
    history.read_manifest(store, file, chain.roots[version - 1])


def _record(store: StoreBytes, file: str, there: set[str]) -> None:
    kind: type[PackRecord | FacadeRecord] = (
        PackRecord if file.startswith("packs/") else FacadeRecord
    )
    record = kind.from_json(envelopes.parse_document(store[file], at=file), at=file)
    folder, _, name = file.rpartition("/")
    if record_file(record, name[len("record-") : -len(".json")]) != file:
        raise TrustError("store.misplaced", file=file)
    if isinstance(record, PackRecord):
        report = f"{folder}/report-{record.report}.json"
        if report not in there:
            raise TrustError("store.no_file", file=report)

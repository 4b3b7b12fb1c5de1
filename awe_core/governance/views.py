"""``views/``: the store as YAML, for diffs in pull requests.  Generated, compared, never read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from awe_core import canonical
from awe_core.errors import AweError, TrustError
from awe_core.governance.survey import RECORD
from awe_core.trust import envelopes, history

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.trust import StoreBytes

_HEAD = "# Generated from signed documents; nobody signs or reads this file.\n"


def views(store: StoreBytes) -> dict[str, bytes]:
    """Generate every view of *store*; documents that cannot be read have none."""
    sources = {
        f"views/{m[1]}/{m[2]}/{m[3][:12]}.yaml": (m[0], "")
        for m in map(RECORD.fullmatch, store)
        if m
    }
    if root := history.newest_root(store):
        sources["views/root.yaml"] = history.root_file(root), "trust-root"
    if number := history.newest_manifest(store):
        sources["views/manifest.yaml"] = history.manifest_file(*number), "manifest"
    found: dict[str, bytes] = {}
    for name, (file, kind) in sorted(sources.items()):
        try:
            data = envelopes.parse(store[file], kind, at=file).payload if kind else store[file]
            document = canonical.parse_document(data)
        except AweError:
            continue
        writer = YAML(typ="safe", pure=True)
        writer.default_flow_style, writer.allow_unicode, writer.width = False, False, 100
        out = io.StringIO()
        writer.dump(document, out)
        found[name] = (_HEAD + out.getvalue()).encode()
    return found


def check_views(store: StoreBytes, written: Callable[[str], bytes | None]) -> None:
    """Compare the views that lie in the store with those it would generate.

    :param written: gives the bytes of a view as it lies there, None where it is missing
    :raises TrustError: ``store.view_differs``
    """
    for name, data in sorted(views(store).items()):
        if written(name) != data:
            raise TrustError("store.view_differs", file=name)

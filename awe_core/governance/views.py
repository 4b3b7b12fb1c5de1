"""``views/``: the store as YAML, for diffs in pull requests.  Generated, compared, never read."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from awe_core import canonical
from awe_core.errors import AweError
from awe_core.governance.survey import RECORD
from awe_core.trust import envelopes, history

if TYPE_CHECKING:
    from awe_core.trust import StoreBytes
    from awe_core.values import JsonObject

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
        found[name] = (_HEAD + as_yaml(document)).encode()
    return found


def as_yaml(document: JsonObject) -> str:
    """Write a document for people."""
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style, writer.allow_unicode, writer.width = False, False, 100
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # typed by its default
    out = io.StringIO()
    writer.dump(document, out)
    return out.getvalue()

"""``views/``: the store as YAML, for diffs in pull requests.  Generated, compared, never read."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from ruamel.yaml import YAML

from awe_core.errors import AweError, TrustError
from awe_core.trust import dsse, manifests, roots

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.trust import StoreBytes
    from awe_core.values import JsonObject

_RECORD = re.compile(r"(packs|facades)/(.+)/record-([0-9a-f]{64})\.json")
_HEAD = "# Generated from signed documents; nobody signs or reads this file.\n"


def views(store: StoreBytes) -> dict[str, bytes]:
    """Generate every view of *store*; documents that cannot be read have none."""
    sources = {
        f"views/{m[1]}/{m[2]}/{m[3][:12]}.yaml": m[0] for m in map(_RECORD.fullmatch, store) if m
    }
    if root := roots.newest_root(store):
        sources["views/root.yaml"] = roots.root_file(root)
    if number := manifests.newest(store):
        sources["views/manifest.yaml"] = manifests.manifest_file(*number)
    found: dict[str, bytes] = {}
    for name, file in sorted(sources.items()):
        try:
            found[name] = _yaml(_document(file, store[file]))
        except AweError:
            continue
    return found


def check_views(store: StoreBytes, written: Callable[[str], bytes | None]) -> None:
    """Compare the views that lie in the store with those it would generate.

    :param written: gives the bytes of a view as it lies there, None where it is missing
    :raises TrustError: ``store.view_differs``
    """
    for name, data in sorted(views(store).items()):
        if written(name) != data:
            raise TrustError("store.view_differs", file=name)


def _document(file: str, data: bytes) -> JsonObject:
    if not file.endswith(".dsse"):
        return dsse.parse_document(data, at=file)
    kind = "trust-root" if file.startswith("root/") else "manifest"
    return dsse.parse(data, kind, at=file).document()


def _yaml(document: JsonObject) -> bytes:
    writer = YAML(typ="safe", pure=True)
    writer.default_flow_style = False
    writer.allow_unicode = False
    writer.width = 100
    out = io.StringIO()
    writer.dump(document, out)
    return (_HEAD + out.getvalue()).encode()

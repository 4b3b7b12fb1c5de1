"""The published JSON Schemas (2020-12) of every file people write, one ``KIND.json`` each.

Editors complete and check with them; `awe_core.documents` refuses with them.  They are part of
the code: read from the package, never from the network.
"""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awe_core.values import JsonObject

#: Kinds of documents; the document itself says ``awe: KIND/v1``.
KINDS: tuple[str, ...] = (
    "capability",
    "workflow",
    "facade",
    "pack",
    "deployment",
    "people",
    "proposal",
    "root",
    "review",
    "binding",
    "allow-list",
)


@cache
def schema(kind: str) -> JsonObject:
    """Give the schema of *kind*, one of `KINDS`; treat it as read-only."""
    text = resources.files(__name__).joinpath(f"{kind}.json").read_text("utf-8")
    found: JsonObject = json.loads(text)
    return found

"""Packs and facades: from checked documents to `PackSpec` and `FacadeSpec`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from awe_core.pack import AcceptUnenforced, FacadeLimits, FacadeSpec, PackSpec

if TYPE_CHECKING:
    from awe_core.documents.reading import Parsed
    from awe_core.values import Json, JsonObject


def pack(parsed: Parsed) -> PackSpec:
    """Build the spec from a document that fits its schema."""
    value: JsonObject = parsed.value
    return PackSpec(
        name=value["name"],
        publisher=value.get("publisher", ""),
        contracts=_globs(value.get("contracts")),
        workflows=_globs(value.get("workflows")),
        facades=_globs(value.get("facades")),
        bindings=_globs(value.get("bindings")),
        interpreter=value.get("interpreter"),
        source=value.get("source"),
        executor=value.get("executor", "worker"),
        reuse=value.get("reuse", "run"),
        native=value.get("native", False),
        hooks=tuple(value.get("hooks", ())),
        accept_unenforced=unenforced(value),
    )


def facade(parsed: Parsed) -> FacadeSpec:
    """Build the spec from a document that fits its schema."""
    value: JsonObject = parsed.value
    limits = value.get("limits", {})
    rate = limits.get("rate")
    return FacadeSpec(
        id=value["id"],
        summary=value["summary"],
        description=value.get("description", ""),
        capability=value["exposes"].get("capability"),
        workflow=value["exposes"].get("workflow"),
        channels=tuple(value["channels"]),
        fixed=value.get("fixed", {}),
        roles=tuple(value.get("callers", {}).get("roles", ())),
        limits=FacadeLimits(
            None if rate is None else int(rate.partition("/")[0]), limits.get("concurrent")
        ),
        options=value.get("options", {}),
    )


def unenforced(value: JsonObject) -> tuple[AcceptUnenforced, ...]:
    """Read ``accept_unenforced`` of a pack or proposal."""
    found = value.get("accept_unenforced", ())
    return tuple(AcceptUnenforced(entry["right"], entry["reason"]) for entry in found)


def _globs(found: Json) -> tuple[str, ...]:
    if isinstance(found, str):
        return (found,)
    return tuple(found or ())

"""Contracts: from a checked document to `CapabilitySpec`, with what a schema cannot say.

Rules: effects get their long form and their defaults; ``confirm: never`` stands at risk low only;
``undo: captured`` only where every effect that changes the world is one the broker captures; what
changes the world says how it is undone; ``reveal: true`` is at least high.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from awe_core.capability import (
    CapabilityCall,
    CapabilitySpec,
    Confirm,
    EffectDeclaration,
    Example,
    ExampleError,
    ExampleMatch,
    ExampleOutcome,
    ExampleOutput,
    FileContent,
    Risk,
    ServiceStates,
    Undo,
    UndoCaptured,
    UndoCompensate,
    UndoNone,
    UndoNotNeeded,
    UndoStrategyNamed,
)
from awe_core.documents.quantities import duration_us, size_bytes
from awe_core.documents.shape import check_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.documents.reading import Parsed
    from awe_core.values import Json, JsonObject

_MIB = 1 << 20

#: What a declaration that is silent means (40-effects-and-isolation, section 1).
EFFECT_DEFAULTS: Mapping[str, JsonObject] = {
    "fs.read": {"max_bytes": 8 * _MIB, "max_files": 1000, "view": False},
    "fs.list": {"max_entries": 10_000, "depth": 32},
    "fs.write": {
        "modes": ["create", "replace", "append"],
        "max_bytes": 8 * _MIB,
        "max_files": 100,
    },
    "fs.delete": {"recursive": False, "max_files": 1000},
    "net.http": {
        "ports": [443],
        "paths": ["/**"],
        "max_request": _MIB,
        "max_response": 4 * _MIB,
        "redirects": 0,
        "idempotency": "none",
        "dry_run": "refuse",
    },
    "process.exec": {
        "inputs": [],
        "outputs": [],
        "net": "none",
        "max_output": _MIB,
        "dry_run": False,
    },
    "secret.use": {"hosts": [], "programs": [], "reveal": False},
    "env.read": {},
    "clock": {},
    "random": {},
}
_SIZES = frozenset({"max_bytes", "max_request", "max_response", "max_output"})


def capability(parsed: Parsed) -> CapabilitySpec:
    """Build the spec from a document that fits its schema.

    :raises DocumentError: ``capability.…`` or ``document.schema``
    """
    value: JsonObject = parsed.value
    check_schema(parsed, ("input",), value["input"])
    check_schema(parsed, ("output",), value["output"])
    examples = value.get("examples", [])
    for index, found in enumerate(examples):
        if "output_matches" in found:
            check_schema(parsed, ("examples", index, "output_matches"), found["output_matches"])
    spec = CapabilitySpec(
        id=value["id"],
        version=value["version"],
        summary=value["summary"],
        description=value.get("description", ""),
        risk=Risk(value["risk"]),
        effects=tuple(_effect(found) for found in value.get("effects", [])),
        undo=undo(value.get("undo", "not_needed")),
        confirm=Confirm(value.get("confirm", "policy")),
        idempotent=value.get("idempotent", False),
        timeout_us=duration_us(value.get("timeout", "5m")),
        output_bytes=size_bytes(value.get("limits", {}).get("output_bytes", "1MiB")),
        input=closed(value["input"]),
        output=value["output"],
        errors=value.get("errors", {}),
        examples=tuple(_example(found) for found in examples),
        aliases=tuple(value.get("aliases", ())),
        handler=value["handler"],
        binding=value.get("binding"),
    )
    _check_promises(spec, parsed)
    return spec


def closed(schema: JsonObject) -> JsonObject:
    """Give the schema of an object that takes no unknown members unless it says otherwise."""
    says = "additionalProperties" in schema or "unevaluatedProperties" in schema
    return schema if says else {**schema, "additionalProperties": False}


def undo(found: Json) -> Undo:
    """Take the words of ``undo`` apart."""
    match found:
        case "captured":
            return UndoCaptured()
        case {"none": why}:
            return UndoNone(why)
        case {"strategy": name}:
            return UndoStrategyNamed(name, found.get("with", {}))
        case {"compensate": _}:
            return compensation(found)
        case _:
            return UndoNotNeeded()


def compensation(found: JsonObject) -> UndoCompensate:
    """Take a compensating call with its helpers apart."""
    before, lookup = found.get("before"), found.get("lookup")
    return UndoCompensate(
        _call(found["compensate"]),
        before=_call(before) if before else None,
        lookup=_call(lookup) if lookup else None,
    )


def _call(found: JsonObject) -> CapabilityCall:
    return CapabilityCall(found["capability"], found.get("with", {}), when=found.get("when"))


def _effect(found: Json) -> EffectDeclaration:
    """Give a declaration its long form: paths alone stand for ``{paths: […]}``."""
    kind, fields = (found, {}) if isinstance(found, str) else next(iter(found.items()))
    match fields:
        case str():
            fields = {"paths": [fields]}
        case list():
            fields = {"paths": fields}
        case None:
            fields = {}
    sized = {k: size_bytes(v) if k in _SIZES else v for k, v in fields.items()}
    known = kind in EFFECT_DEFAULTS
    return EffectDeclaration(kind, {**EFFECT_DEFAULTS[kind], **sized} if known else fields)


def _example(found: JsonObject) -> Example:
    service = found.get("service")
    undone = found.get("undone")
    return Example(
        name=found["name"],
        input=found["input"],
        outcome=_outcome(found),
        before=_files(found.get("before", {})),
        after=_files(found.get("after", {})),
        undone=None if undone is None else _files(undone),
        service=None if service is None else ServiceStates(**service),
        secrets=tuple(found.get("secrets", ())),
    )


def _outcome(found: JsonObject) -> ExampleOutcome:
    match found:
        case {"output": value}:
            return ExampleOutput(value)
        case {"output_matches": schema}:
            return ExampleMatch(schema)
        case _:
            return ExampleError(found["error"])


def _files(found: JsonObject) -> dict[str, FileContent]:
    return {
        path: base64.b64decode(content["base64"]) if isinstance(content, dict) else content
        for path, content in found.items()
    }


def _check_promises(spec: CapabilitySpec, parsed: Parsed) -> None:
    """Refuse what contradicts itself."""
    if spec.confirm is Confirm.NEVER and spec.risk is not Risk.LOW:
        raise parsed.error(
            "capability.confirm_never", ("confirm",), capability=spec.id, risk=spec.risk.value
        )
    if spec.changes_world and "undo" not in parsed.value:
        raise parsed.error("capability.undo_missing", ("effects",), capability=spec.id)
    for index, effect in enumerate(spec.effects):
        loose = effect.changes_world and not effect.is_captured
        if isinstance(spec.undo, UndoCaptured) and loose:
            raise parsed.error(
                "capability.undo_not_captured",
                ("undo",),
                capability=spec.id,
                kind=effect.kind,
            )
        if effect.fields.get("reveal") is True and spec.risk < Risk.HIGH:
            raise parsed.error(
                "capability.reveal_risk",
                ("effects", index),
                capability=spec.id,
                risk=spec.risk.value,
            )
    if spec.id in spec.aliases:
        raise parsed.error("capability.alias_of_itself", ("aliases",), capability=spec.id)

"""From a checked document to its frozen value, with what no schema can say.

Keys are fields: `_built` takes what a document says under a field's name and leaves the rest to the
class's defaults, which are the document's.  What is written otherwise than it is kept (durations,
sizes, words, short forms) is read here, and what contradicts itself is refused.
"""

from __future__ import annotations

import base64
import datetime as dt
from functools import cache
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.capability import (
    CapabilityCall,
    CapabilitySpec,
    Confirm,
    EffectDeclaration,
    Example,
    ExampleError,
    ExampleMatch,
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
from awe_core.compensation import READS
from awe_core.documents.governance import (
    AllowList,
    AllowListEntry,
    ChannelKey,
    DeploymentSpec,
    Login,
    People,
    Person,
    ProposalSpec,
    PublicKey,
)
from awe_core.documents.quantities import duration_us, size_bytes
from awe_core.documents.shape import check_schema, nearest
from awe_core.errors import ExpressionError
from awe_core.expressions import Template
from awe_core.pack import AcceptUnenforced, FacadeLimits, FacadeSpec, PackSpec
from awe_core.schemas import schema
from awe_core.workflow import (
    Concurrency,
    InFlight,
    Jitter,
    Need,
    OnFailure,
    PlanConfirm,
    Retry,
    StepConfirm,
    StepSpec,
    WorkflowSpec,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from awe_core.documents.reading import Parsed, Pointer
    from awe_core.values import Json, JsonObject

T = TypeVar("T")
U = TypeVar("U")


def _built(kind: type[T], found: JsonObject, **read: object) -> T:
    """Make a *kind* of what is *found*; what was *read* already goes first, None is the default."""
    names = {field.name for field in attrs.fields(kind)}  # type: ignore[arg-type]  # attrs classes
    said = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in found.items()
        if key in names
    }
    return kind(**{**said, **{key: value for key, value in read.items() if value is not None}})


def _read(read: Callable[[Json], U], found: Json) -> U | None:
    """Read what may be absent."""
    return None if found is None else read(found)


# ---- contracts ------------------------------------------------------------------------------
def capability(parsed: Parsed) -> CapabilitySpec:
    """Build a contract.

    :raises DocumentError: ``capability.…`` or ``document.schema``
    """
    value: JsonObject = parsed.value
    examples = value.get("examples", [])
    matches = [("examples", n, "output_matches") for n, one in enumerate(examples)]
    for at in (("input",), ("output",), *matches):
        if parsed.has(at):
            check_schema(parsed, at)
    spec = _built(
        CapabilitySpec,
        value,
        risk=Risk(value["risk"]),
        effects=tuple(map(_effect, value.get("effects", ()))),
        undo=_undo(value.get("undo")),
        confirm=_read(Confirm, value.get("confirm")),
        timeout_us=_read(duration_us, value.get("timeout")),
        output_bytes=_read(size_bytes, value.get("limits", {}).get("output_bytes")),
        input=_closed(value["input"]),
        examples=tuple(map(_example, examples)),
    )
    _check_promises(spec, parsed)
    return spec


def _closed(found: JsonObject) -> JsonObject:
    """Give the schema of an object that takes no unknown members unless it says otherwise."""
    says = "additionalProperties" in found or "unevaluatedProperties" in found
    return found if says else {**found, "additionalProperties": False}


def _undo(found: Json) -> Undo:
    match found:
        case "captured":
            return UndoCaptured()
        case {"none": why}:
            return UndoNone(why)
        case {"strategy": name}:
            return UndoStrategyNamed(name, found.get("with", {}))
        case {"compensate": _}:
            return _compensation(found)
    return UndoNotNeeded()


def _compensation(found: JsonObject) -> UndoCompensate:
    return UndoCompensate(**{role: _call(found[role]) for role in _CALLS & found.keys()})


_CALLS = {"compensate", "before", "lookup"}


def _call(found: JsonObject) -> CapabilityCall:
    return _built(CapabilityCall, found, with_=found.get("with"))


def _effect(found: Json) -> EffectDeclaration:
    """Give a declaration its long form: paths alone stand for ``{paths: […]}``."""
    kind, fields = (found, {}) if isinstance(found, str) else next(iter(found.items()))
    match fields:
        case str():
            fields = {"paths": [fields]}
        case list():
            fields = {"paths": fields}
    defaults, sizes = _of_kind(kind)
    said = {**defaults, **(fields or {})}
    return EffectDeclaration(kind, {k: size_bytes(v) if k in sizes else v for k, v in said.items()})


@cache
def _of_kind(kind: str) -> tuple[JsonObject, frozenset[str]]:
    """What a silent declaration means, by the published schema, and which fields are sizes."""
    known = schema("capability")["properties"]["effects"]["items"]["oneOf"][1]["properties"]
    whole = known.get(kind, {})
    forms = (one.get("properties", {}) for one in (whole, *whole.get("oneOf", ())))
    fields: JsonObject = next(filter(None, forms), {})
    sizes = (name for name, one in fields.items() if one.get("$ref") == "#/$defs/size")
    return {k: one["default"] for k, one in fields.items() if "default" in one}, frozenset(sizes)


def _example(found: JsonObject) -> Example:
    match found:
        case {"output": value}:
            outcome: object = ExampleOutput(value)
        case {"output_matches": value}:
            outcome = ExampleMatch(value)
        case _:
            outcome = ExampleError(found["error"])
    return _built(
        Example,
        found,
        outcome=outcome,
        before=_read(_files, found.get("before")),
        after=_read(_files, found.get("after")),
        undone=_read(_files, found.get("undone")),
        service=_read(lambda states: ServiceStates(**states), found.get("service")),
    )


def _files(found: JsonObject) -> dict[str, FileContent]:
    return {
        path: base64.b64decode(content["base64"]) if isinstance(content, dict) else content
        for path, content in found.items()
    }


def _check_promises(spec: CapabilitySpec, parsed: Parsed) -> None:
    """Refuse what contradicts itself."""
    about, risk = spec.id, spec.risk.value
    if spec.confirm is Confirm.NEVER and spec.risk is not Risk.LOW:
        raise parsed.error("capability.confirm_never", ("confirm",), capability=about, risk=risk)
    if spec.changes_world and "undo" not in parsed.value:
        raise parsed.error("capability.undo_missing", ("effects",), capability=about)
    _check_templates(spec, parsed)
    for index, effect in enumerate(spec.effects):
        loose = effect.changes_world and not effect.is_captured
        if isinstance(spec.undo, UndoCaptured) and loose:
            raise parsed.error(
                "capability.undo_not_captured", ("undo",), capability=about, kind=effect.kind
            )
        if effect.fields.get("reveal") is True and spec.risk < Risk.HIGH:
            at = ("effects", index)
            raise parsed.error("capability.reveal_risk", at, capability=about, risk=risk)
    if spec.id in spec.aliases:
        raise parsed.error("capability.alias_of_itself", ("aliases",), capability=about)


def _templates(undo: Undo) -> Iterable[tuple[tuple[str, ...], Json, frozenset[str]]]:
    match undo:
        case UndoCompensate():
            return undo.templates()
        case UndoStrategyNamed(with_=given):
            return ((("with",), given, READS["before"]),)
        case _:
            return ()


def _check_templates(spec: CapabilitySpec, parsed: Parsed) -> None:
    """Refuse a compensation that reads what there is not."""
    for at, value, roots in _templates(spec.undo):
        try:
            Template.compile(value, where=".".join(at), roots=roots)
        except ExpressionError as error:
            code, why = "capability.undo_template", error.summary
            raise parsed.error(code, ("undo", *at), capability=spec.id, why=why) from None


# ---- workflows ------------------------------------------------------------------------------
def workflow(parsed: Parsed) -> WorkflowSpec:
    """Build a workflow; what takes the whole graph or the contracts is for `analysis`.

    :raises DocumentError: ``workflow.…`` or ``document.schema``
    """
    value: JsonObject = parsed.value
    if parsed.has(("inputs",)):
        check_schema(parsed, ("inputs",))
    _check_steps(parsed)
    return _built(
        WorkflowSpec,
        value,
        inputs=_closed(value.get("inputs", {"type": "object"})),
        expires_us=_read(duration_us, value.get("expires")),
        in_flight=_read(InFlight, value.get("in_flight")),
        concurrency=_read(lambda found: Concurrency(**found), value.get("concurrency")),
        confirm=_read(PlanConfirm, value.get("confirm")),
        steps=tuple(map(_step, value["steps"])),
    )


def _step(found: JsonObject) -> StepSpec:
    return _built(
        StepSpec,
        found,
        with_=found.get("with"),
        needs=tuple(map(_need, found.get("needs", ()))),
        foreach=found.get("foreach"),
        retry=_read(_retry, found.get("retry")),
        timeout_us=_read(duration_us, found.get("timeout")),
        confirm=_read(StepConfirm, found.get("confirm")),
        on_failure=_read(OnFailure, found.get("on_failure")),
        compensation=_read(_compensation, found.get("compensation")),
    )


def _need(found: Json) -> Need:
    return Need(found) if isinstance(found, str) else Need(found["step"], "even_if" in found)


def _retry(found: JsonObject) -> Retry:
    return _built(
        Retry,
        found,
        backoff_us=_read(duration_us, found.get("backoff")),
        max_us=_read(duration_us, found.get("max")),
        jitter=_read(Jitter, found.get("jitter")),
    )


def _check_steps(parsed: Parsed) -> None:
    steps = parsed.value["steps"]
    for index, step in enumerate(steps):
        if ("capability" in step) == ("workflow" in step):
            raise parsed.error("workflow.step_target", ("steps", index), step=step["id"])
    ids = [(("steps", index, "id"), step["id"]) for index, step in enumerate(steps)]
    for at, step, first in _repeated(parsed, ids):
        raise parsed.error("workflow.duplicate", at, step=step, first=first)
    known = {step for _, step in ids}
    for index, step in enumerate(steps):
        for place, found in enumerate(step.get("needs", ())):
            need = _need(found).step
            if need not in known - {step["id"]}:
                close = nearest(need, (one for _, one in ids if one != step["id"]))
                raise parsed.error(
                    "workflow.unknown_need",
                    ("steps", index, "needs", place),
                    step=step["id"],
                    need=need,
                    fix=f"write {close}" if close else "name a step of this workflow",
                )


def _repeated(
    parsed: Parsed, entries: Iterable[tuple[Pointer, U]]
) -> Iterable[tuple[Pointer, U, str]]:
    """Give what stands twice: its second place, itself, line and column of the first."""
    seen: dict[U, Pointer] = {}
    for at, entry in entries:
        if entry in seen:
            line, column = parsed.position_of(seen[entry])
            yield at, entry, f"{line}:{column}"
        seen.setdefault(entry, at)


# ---- packs and facades ----------------------------------------------------------------------
def pack(parsed: Parsed) -> PackSpec:
    """Build what a pack says of itself."""
    value: JsonObject = parsed.value
    globs = {key: (value[key],) for key in _GLOBS if isinstance(value.get(key), str)}
    return _built(PackSpec, value, accept_unenforced=_unenforced(value), **globs)


_GLOBS = ("contracts", "workflows", "facades", "bindings")


def facade(parsed: Parsed) -> FacadeSpec:
    """Build a facade."""
    value: JsonObject = parsed.value
    limits = value.get("limits", {})
    rate = _read(lambda text: int(text.partition("/")[0]), limits.get("rate"))
    return _built(
        FacadeSpec,
        {**value, **value["exposes"], **value.get("callers", {})},
        limits=FacadeLimits(rate, limits.get("concurrent")),
    )


def _unenforced(value: JsonObject) -> tuple[AcceptUnenforced, ...]:
    return tuple(AcceptUnenforced(**one) for one in value.get("accept_unenforced", ()))


# ---- what governs a deployment --------------------------------------------------------------
def people(parsed: Parsed) -> People:
    """Build people; ids, logins and keys belong to one each.

    :raises DocumentError: ``document.duplicate_entry``
    """
    keyed = parsed.value.get("channels", ())
    found = People(
        tuple(map(_person, parsed.value["people"])),
        tuple(ChannelKey(one["name"], PublicKey(**one["key"])) for one in keyed),
    )
    everyone = [(("people", i), person) for i, person in enumerate(found.people)]
    channels = [(("channels", i), channel) for i, channel in enumerate(found.channels)]
    keys = [((*at, "keys", n), key) for at, one in everyone for n, key in enumerate(one.keys)]
    logins = [((*at, "logins", n), x) for at, one in everyone for n, x in enumerate(one.logins)]
    owned: Mapping[str, Iterable[tuple[Pointer, Hashable]]] = {
        "person": [((*at, "id"), one.id) for at, one in everyone],
        "login": logins,
        "key": [*keys, *(((*at, "key"), one.key) for at, one in channels)],
        "channel": [((*at, "name"), one.name) for at, one in channels],
    }
    for what, entries in owned.items():
        for at, _, first in _repeated(parsed, entries):
            raise parsed.error("document.duplicate_entry", at, what=what, first=first)
    return found


def _person(found: JsonObject) -> Person:
    return _built(
        Person,
        found,
        logins=tuple(Login(**one) for one in found.get("logins", ())),
        keys=tuple(PublicKey(**one) for one in found.get("keys", ())),
    )


def proposal(parsed: Parsed) -> ProposalSpec:
    """Build a proposal."""
    return _built(ProposalSpec, parsed.value, accept_unenforced=_unenforced(parsed.value))


def allow_list(parsed: Parsed) -> AllowList:
    """Build an allow list."""
    return AllowList(
        tuple(
            _built(AllowListEntry, found, until_us=_read(_instant_us, found.get("until")))
            for found in parsed.value["entries"]
        )
    )


def _instant_us(text: str) -> int:
    return int(dt.datetime.fromisoformat(text).timestamp()) * 1_000_000


def deployment(parsed: Parsed) -> DeploymentSpec:
    """Build a deployment; ``workspace: PATH`` becomes its long form."""
    settings = {key: table for key, table in parsed.value.items() if key not in {"awe", "name"}}
    if isinstance(settings.get("workspace"), str):
        settings["workspace"] = {"root": settings["workspace"]}
    return DeploymentSpec(parsed.value["name"], settings, parsed)

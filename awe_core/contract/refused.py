"""Builds the errors of this package: what the schema expects, what *type* was found, and where."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from jsonschema.exceptions import best_match

from awe_core.contract.formats import WORKSPACE_PATH, escape_rule
from awe_core.errors import AweError, ContractError, EffectRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from jsonschema.exceptions import ValidationError

    from awe_core.values import Json, JsonObject

#: Where the prepared copy of a schema keeps a pattern as its author wrote it.
AS_WRITTEN = "x-awe-as-written"

Side: TypeAlias = Literal["input", "output"]


_CODES: dict[Side, str] = {"input": "contract.input", "output": "contract.output"}


def unusable(where: str, *, pointer: str, why: str) -> ContractError:
    """Build ``contract.schema``: the schema itself cannot be used."""
    return ContractError(
        "contract.schema", side="schema", where=where, pointer=pointer or "the top", why=why
    )


def too_large(where: str, *, side: Side) -> ContractError:
    """Build the error for a value whose nesting or numbers no validator can follow."""
    return ContractError(
        _CODES[side],
        side=side,
        where=where,
        pointer="the top",
        keyword="(limits)",
        details=["expected: a value that can be checked; it nests too deeply or a number is huge"],
    )


def broken(
    errors: list[ValidationError], *, where: str, side: Side, marked: frozenset[str]
) -> AweError:
    """Build the error for a value that does not fit, from jsonschema's findings.

    A path that leads out of the workspace is an effect that was refused, not a slip of the pen.
    It is shown, as the one value that ever is, unless its pointer is among those *marked*.
    """
    if side == "input" and (escape := _escape(errors, marked)) is not None:
        return escape
    first = best_match(errors)
    lines = list(dict.fromkeys(map(_line, (first, *errors))))
    return ContractError(
        _CODES[side],
        side=side,
        where=where,
        pointer=_pointer(first) or "the top",
        keyword=str(first.validator),
        details=[*lines[:_SHOWN], *(["… and more"] if len(lines) > _SHOWN else [])],
    )


_SHOWN = 8


def pointer_of(steps: Iterable[str | int]) -> str:
    """Give the JSON Pointer (RFC 6901) of *steps*."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def type_name(value: Json) -> str:
    """Name the JSON type of *value*."""
    for kind, name in _TYPES:
        if isinstance(value, kind):
            return name
    return "null" if value is None else "something that is not JSON"


_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (dict, "object"),
    (list, "array"),
)


def _escape(errors: Iterable[ValidationError], marked: frozenset[str]) -> EffectRefusedError | None:
    for error in errors:
        if error.validator == "format" and error.validator_value == WORKSPACE_PATH:
            path: str = _instance(error)
            rule = escape_rule(path)
            if rule is not None:
                is_shown = marked.isdisjoint(_above(error.absolute_path))
                shown = ascii(path[:200])[1:-1] if is_shown else "a path that is not shown"
                return EffectRefusedError("workspace.escape", path=shown, rule=rule)
        if (inner := _escape(error.context or (), marked)) is not None:
            return inner
    return None


def _above(steps: Iterable[str | int]) -> Iterator[str]:
    path = tuple(steps)
    return (pointer_of(path[:length]) for length in range(len(path) + 1))


def _instance(error: ValidationError) -> Json:
    return error.instance


def _schema(error: ValidationError) -> JsonObject:
    return dict(error.schema) if isinstance(error.schema, Mapping) else {}


def _line(error: ValidationError) -> str:
    place = _pointer(error) or "the top"
    return f"{place}: {_expected(error)}"


def _expected(error: ValidationError) -> str:
    match error.validator:
        case "required":
            wanted = _schema(error)["required"]
            missing = [name for name in wanted if name not in _instance(error)]
            return f"expected {', '.join(missing)} beside what is there"
        case "additionalProperties" | "unevaluatedProperties" if error.validator_value is False:
            known = ", ".join(sorted(_schema(error).get("properties", ())))
            return f"expected no members but {known or 'none'}"
        case None:
            return f"expected nothing, found {type_name(error.instance)}"
        case keyword:
            wanted = _schema(error).get(AS_WRITTEN) if keyword == "pattern" else None
            value = json.dumps(wanted or error.validator_value, ensure_ascii=False)
            short = value if len(value) <= _WIDTH else value[: _WIDTH - 1] + "…"
            return f"expected {keyword} {short}, found {type_name(error.instance)}"


_WIDTH = 120


def _pointer(error: ValidationError) -> str:
    """Where the finding is; for one unexpected member, that member."""
    steps = list(error.absolute_path)
    if error.validator == "additionalProperties" and error.validator_value is False:
        schema = _schema(error)
        if "patternProperties" not in schema:
            known = schema.get("properties", {})
            steps.extend([name for name in _instance(error) if name not in known][:1])
    pointer = pointer_of(steps)
    return pointer if len(pointer) <= _LONGEST else pointer[: _LONGEST - 1] + "…"


_LONGEST = 256

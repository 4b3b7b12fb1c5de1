"""Builds the errors of this package: what the schema expects, what *type* was found, and where."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal, TypeAlias

from jsonschema.exceptions import best_match

from awe_core.contract.formats import WORKSPACE_PATH, escape_rule
from awe_core.errors import AweError, ContractError, EffectRefusedError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from jsonschema.exceptions import ValidationError

    from awe_core.values import Json

#: Where the prepared copy of a schema keeps a pattern as its author wrote it.
AS_WRITTEN = "x-awe-as-written"

Side: TypeAlias = Literal["input", "output"]

_CODES: dict[Side, str] = {"input": "contract.input", "output": "contract.output"}
_SHOWN = 8  #: findings
_WIDTH = 120  #: characters of what was expected
_LONGEST = 256  #: characters of a pointer
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (str, "string"),
    (int, "integer"),
    (float, "number"),
    (dict, "object"),
    (list, "array"),
    (type(None), "null"),
)


def unusable(where: str, *, pointer: str, why: str) -> ContractError:
    """Build ``contract.schema``: the schema itself cannot be used."""
    at = pointer or "the top"
    return ContractError("contract.schema", side="schema", where=where, pointer=at, why=why)


def too_large(where: str, *, side: Side) -> ContractError:
    """Build the error for a value whose nesting or numbers no validator can follow."""
    line = "expected: a value that can be checked; it nests too deeply or a number is huge"
    return ContractError(
        _CODES[side],
        side=side,
        where=where,
        pointer="the top",
        keyword="(limits)",
        details=[line],
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
    lines = list(
        dict.fromkeys(f"{_place(error)}: {_expected(error)}" for error in (first, *errors))
    )
    return ContractError(
        _CODES[side],
        side=side,
        where=where,
        pointer=_place(first),
        keyword=str(first.validator),
        details=[*lines[:_SHOWN], *(["… and more"] if len(lines) > _SHOWN else [])],
    )


def pointer_of(steps: Iterable[str | int]) -> str:
    """Give the JSON Pointer (RFC 6901) of *steps*."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def _escape(errors: Iterable[ValidationError], marked: frozenset[str]) -> EffectRefusedError | None:
    for error in errors:
        if error.validator == "format" and error.validator_value == WORKSPACE_PATH:
            path = str(error.instance)
            if (rule := escape_rule(path)) is not None:
                steps = tuple(error.absolute_path)
                above = (pointer_of(steps[:length]) for length in range(len(steps) + 1))
                is_shown = marked.isdisjoint(above)
                shown = ascii(path[:200])[1:-1] if is_shown else "a path that is not shown"
                return EffectRefusedError("workspace.escape", path=shown, rule=rule)
        if (inner := _escape(error.context or (), marked)) is not None:
            return inner
    return None


def _expected(error: ValidationError) -> str:
    schema: Json = error.schema
    value: Json = error.validator_value
    instance: Json = error.instance
    found = next((name for kind, name in _TYPES if isinstance(instance, kind)), None)
    match error.validator:
        case "required":
            missing = [name for name in value if name not in instance]
            return f"expected {', '.join(missing)} beside what is there"
        case "additionalProperties" | "unevaluatedProperties" if value is False:
            known = ", ".join(sorted(schema.get("properties", ())))
            return f"expected no members but {known or 'none'}"
        case None:
            wanted = "nothing"
        case keyword:
            written = schema[AS_WRITTEN] if keyword == "pattern" else value
            text = json.dumps(written, ensure_ascii=False)
            short = text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"
            wanted = f"{keyword} {short}"
    return f"expected {wanted}, found {found or 'something that is not JSON'}"


def _place(error: ValidationError) -> str:
    """Where the finding is; for one unexpected member, that member."""
    steps = list(error.absolute_path)
    schema: Json = error.schema
    instance: Json = error.instance
    is_closed = error.validator == "additionalProperties" and error.validator_value is False
    if is_closed and "patternProperties" not in schema:
        known = schema.get("properties", {})
        steps.extend([name for name in instance if name not in known][:1])
    pointer = pointer_of(steps) or "the top"
    return pointer if len(pointer) <= _LONGEST else pointer[: _LONGEST - 1] + "…"

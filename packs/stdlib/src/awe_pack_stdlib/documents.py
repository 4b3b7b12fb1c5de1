"""``json.*``: pure work on JSON values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jmespath
from awe_core import CapabilityError, Schema
from awe_core.errors import AweError, ContractError

if TYPE_CHECKING:
    from awe_core import ExecutionContext

_DEEPEST = 64


def query(ctx: ExecutionContext, *, value: Any, expression: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Evaluate a JMESPath expression."""
    del ctx
    try:
        return {"result": jmespath.search(expression, value)}
    except (jmespath.exceptions.JMESPathError, TypeError, ValueError, RecursionError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CapabilityError("bad_expression", line) from None


async def merge_patch(ctx: Any, *, value: Any, patch: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Apply a JSON merge patch (RFC 7396)."""
    del ctx
    return {"result": _merged(value, patch, 0)}


def validate(ctx: ExecutionContext, *, value: Any, schema: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Check a value against a JSON Schema (2020-12)."""
    del ctx
    try:
        compiled = Schema.compile(schema, where="json.validate")
    except AweError as error:
        raise CapabilityError("bad_schema", error.summary) from None
    try:
        compiled.apply(value, side="input")
    except ContractError as error:
        return {
            "valid": False,
            "pointer": str(error.attributes["pointer"]),
            "keyword": str(error.attributes["keyword"]),
        }
    return {"valid": True}


def _merged(value: Any, patch: Any, depth: int) -> Any:  # noqa: ANN401 - any JSON
    if depth > _DEEPEST:
        raise CapabilityError("too_deep", f"the patch is deeper than {_DEEPEST} levels")
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), change, depth + 1)
    return merged

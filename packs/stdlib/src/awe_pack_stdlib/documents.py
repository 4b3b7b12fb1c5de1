"""``json.*``: pure work on JSON values; in a thread, and each bounded by itself (see `text`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jmespath import functions, parser, visitor

from awe_core import AweError, CapabilityError, Schema
from awe_pack_stdlib.purse import Purse, PurseEmptyError, no_json

if TYPE_CHECKING:
    from awe_core import ExecutionContext

_MOST_BYTES = 32 * 1024 * 1024  #: made by one query, all together
_MOST_SECONDS = 5.0  #: of one query
_STEP = 16  #: bytes that one node of an expression costs each time
_MOST_UNIQUE = 1_000  #: items of an array where ``uniqueItems`` may compare each with each
#: Nodes of an expression that make a new value.
_MAKING = frozenset(
    {"filter_projection", "flatten", "function_expression", "multi_select_dict"}
    | {"multi_select_list", "projection", "slice", "value_projection"}
)
#: Keywords that are regular expressions: Python's can take for ever, and a thread cannot be killed.
_PATTERNS = frozenset({"pattern", "patternProperties"})


def query(ctx: ExecutionContext, *, value: Any, expression: str) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Evaluate a JMESPath expression."""
    del ctx
    try:
        parsed = parser.Parser().parse(expression).parsed
        result = _Interpreter(Purse(_MOST_BYTES, seconds=_MOST_SECONDS)).visit(parsed, value)
    except PurseEmptyError as error:
        raise CapabilityError("query_limit", str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever Python says while it runs a stranger's text
        line = (str(error).splitlines() or [type(error).__name__])[0]
        raise CapabilityError("bad_expression", line) from None
    if (found := no_json(result)) is not None:
        message = f"the result holds a {type(found).__name__}, which JSON does not have"
        raise CapabilityError("bad_expression", message)
    return {"result": result}


def merge_patch(ctx: ExecutionContext, *, value: Any, patch: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Apply a JSON merge patch (RFC 7396)."""
    del ctx
    return {"result": _merged(value, patch)}


def validate(ctx: ExecutionContext, *, value: Any, schema: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """Check a value against a JSON Schema (2020-12)."""
    del ctx
    _check_price(schema, value)
    try:
        compiled = Schema.compile(_as_object(schema), where="json.validate")
    except AweError as error:
        raise CapabilityError("bad_schema", "; ".join([error.summary, *error.details])) from None
    try:
        compiled.apply(value, side="input")
    except AweError as error:
        if error.code != "contract.input":
            raise
        return {
            "valid": False,
            "pointer": str(error.attributes["pointer"]),
            "keyword": str(error.attributes["keyword"]),
        }
    return {"valid": True}


class _Functions(functions.Functions):
    """The standard ones; `join` looks first at what it makes: a product of two lengths."""

    def __init__(self, purse: Purse) -> None:
        self._purse = purse

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, separator: str, array: list[str]) -> str:
        self._purse.pay(4 * len(separator) * len(array))
        return separator.join(array)


class _Interpreter(visitor.TreeInterpreter):
    """Evaluates an expression and pays for each step and for what it makes."""

    def __init__(self, purse: Purse) -> None:
        super().__init__(visitor.Options(custom_functions=_Functions(purse)))
        self._purse = purse

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any JSON
        self._purse.pay(_STEP)
        found = super().visit(node, *args, **kwargs)
        if node["type"] in _MAKING:
            self._purse.pay_for(found)
        return found


def _merged(value: Any, patch: Any) -> Any:  # noqa: ANN401 - any JSON
    """Merge as RFC 7396, section 2 does; arguments nest 128 levels at most."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(value) if isinstance(value, dict) else {}
    for key, change in patch.items():
        if change is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), change)
    return merged


def _check_price(schema: Any, value: Any) -> None:  # noqa: ANN401 - any JSON
    """Refuse what a stranger's schema may cost beyond measure; `Schema` bounds the rest."""
    names = _names(schema)
    if found := sorted(_PATTERNS & names):
        message = f"{found[0]} is not taken here; text.search finds patterns in linear time"
        raise CapabilityError("bad_schema", message)
    if "uniqueItems" in names and _longest(value) > _MOST_UNIQUE:
        message = f"uniqueItems is taken for arrays of at most {_MOST_UNIQUE} items"
        raise CapabilityError("bad_schema", message)


def _as_object(schema: Any) -> Any:  # noqa: ANN401 - any JSON
    """Give the schemas ``true`` and ``false`` the form of an object, which `Schema` asks for."""
    return {True: {}, False: {"not": {}}}[schema] if isinstance(schema, bool) else schema


def _names(schema: Any) -> set[str]:  # noqa: ANN401 - any JSON
    """Give every key anywhere in *schema*, also where it is no keyword."""
    found: set[str] = set()
    waiting = [schema]
    while waiting:
        match waiting.pop():
            case dict() as one:
                found |= one.keys()
                waiting += one.values()
            case list() as one:
                waiting += one
    return found


def _longest(value: Any) -> int:  # noqa: ANN401 - any JSON
    longest, waiting = 0, [value]
    while waiting:
        match waiting.pop():
            case dict() as one:
                waiting += one.values()
            case list() as one:
                longest = max(longest, len(one))
                waiting += one
    return longest

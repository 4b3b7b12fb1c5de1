"""Parses JMESPath by the library and refuses what would be wrong or too dear at run time.

jmespath parses and visits recursively, so the depth of what it made is bounded here; and chains of
``[@, @]`` double their value each time, so growth is bounded too.
"""

from __future__ import annotations

from difflib import get_close_matches
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from jmespath import exceptions, functions, visitor
from jmespath.parser import Parser

from awe_core.errors import ExpressionError
from awe_core.expressions.scan import refuse, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from awe_core.values import Json

#: A node of jmespath's tree: ``type``, ``children``, and ``value`` where it has one.  Read-only.
Node: TypeAlias = dict[str, Any]

DEEPEST = 64  #: levels of one tree
GROWTH = 1024  #: how often a value may stand in the result of one expression
JOINED = 16 * 1024 * 1024  #: characters that one `join` may make

#: Functions that take ``&expression``, and which argument it is.
_BY_EXPRESSION = {"sort_by": 1, "max_by": 1, "min_by": 1, "map": 0}


def parse(text: str, *, where: str) -> Node:
    """Give the tree of *text*.

    :raises ExpressionError: ``expression.syntax`` or ``expression.limit``
    """
    try:
        tree = cast("Node", Parser().parse(text).parsed)
    except RecursionError:
        raise _limit(text, where=where) from None
    except Exception as error:  # noqa: BLE001 - foreign code: it also raises IndexError, TypeError
        refuse(text, where=where, why=_syntax(error))
    if _depth(tree) > DEEPEST:
        raise _limit(text, where=where)
    for flaw in _flaws(tree):
        refuse(text, where=where, why=flaw)
    if _growth(tree) > GROWTH:
        raise ExpressionError(
            "expression.limit", where=where, text=shown(text), limit=f"growth by {GROWTH}"
        )
    return tree


def search(tree: Node, scope: Json, *, where: str, text: str) -> Json:
    """Evaluate *tree*.

    :raises ExpressionError: ``expression.failed``, with types and never with values
    """
    try:
        found = _INTERPRETER.visit(tree, scope)
    except Exception as error:  # noqa: BLE001 - foreign code on data nobody has seen before
        why = _failure(error)
    else:
        if type(found) is not float or found - found == 0:
            return found
        why = "the result is not a finite number"
    raise ExpressionError("expression.failed", where=where, text=shown(text), why=why)


class _Functions(functions.Functions):
    """The standard ones; `join` with a limit, since its result is a product of two lengths."""

    @functions.signature({"types": ["string"]}, {"types": ["array-string"]})
    def _func_join(self, glue: str, parts: list[str]) -> str:
        if len(glue) * len(parts) > JOINED:
            raise OverflowError
        return glue.join(parts)


_INTERPRETER: Any = visitor.TreeInterpreter(visitor.Options(custom_functions=_Functions()))
_TABLE: dict[str, dict[str, Any]] = _Functions.FUNCTION_TABLE


def _limit(text: str, *, where: str) -> ExpressionError:
    return ExpressionError(
        "expression.limit", where=where, text=shown(text), limit=f"{DEEPEST} levels"
    )


def _depth(tree: Node) -> int:
    """How deep *tree* is, the JSON of its literals included; without recursion."""
    deepest = 0
    level: list[Node] = [tree]
    literals: list[Json] = []
    while (level or literals) and deepest <= DEEPEST:
        deepest += 1
        inner = [item for value in literals for item in _items(value)]
        literals = inner + [node["value"] for node in level if node["type"] == "literal"]
        level = [child for node in level if node["type"] != "slice" for child in node["children"]]
    return deepest


def _items(value: Json) -> Iterable[Json]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _flaws(node: Node, *, takes_expression: bool = False) -> Iterator[str]:
    """Name unknown functions, wrong numbers of arguments, ``&`` where nothing takes it."""
    kind, children = node["type"], node["children"]
    if kind == "expref" and not takes_expression:
        yield "'&' stands only where a function takes an expression"
    if kind == "slice":
        if children[2] == 0:
            yield "the step of a slice cannot be 0"
        return
    place = None
    if kind == "function_expression":
        yield from _call_flaws(node["value"], len(children))
        place = _BY_EXPRESSION.get(node["value"])
    for index, child in enumerate(children):
        yield from _flaws(child, takes_expression=index == place)


def _call_flaws(name: str, given: int) -> Iterator[str]:
    if name not in _TABLE:
        near = get_close_matches(name, _TABLE, n=1)
        yield f"there is no function {name}()" + (f"; did you mean {near[0]}()?" if near else "")
    elif not _takes(signature := _TABLE[name]["signature"], given):
        more = " or more" if _is_variadic(signature) else ""
        yield f"{name}() takes {len(signature)}{more} arguments, {given} are given"


def _takes(signature: list[dict[str, Any]], given: int) -> bool:
    return given == len(signature) or (given > len(signature) and _is_variadic(signature))


def _is_variadic(signature: list[dict[str, Any]]) -> bool:
    return bool(signature) and bool(signature[-1].get("variadic"))


def _growth(node: Node) -> int:
    """Bound how many copies of what it is given *node* can make."""
    kind, children = node["type"], node["children"]
    if kind == "slice":
        return 1
    parts = [_growth(child) for child in children]
    match kind:
        case "multi_select_list" | "multi_select_dict":
            return max(1, sum(parts))
        case "function_expression" if node["value"] not in _BY_EXPRESSION:
            # a quoted string quoted again has twice the backslashes
            return max(1, sum(parts)) * (2 if node["value"] == "to_string" else 1)
        case "or_expression" | "and_expression" | "comparator":
            return max(parts)
        case _:  # each child takes what the one before it made
            return prod(parts)


def _syntax(error: Exception) -> str:
    if not isinstance(error, exceptions.ParseError):
        return "it is empty" if isinstance(error, exceptions.EmptyExpressionError) else "it breaks"
    token = str(error.token_value)[:20]
    if not token:
        return "it ends too early"
    return f"{token!r} cannot stand at character {error.lex_position}"


def _failure(error: Exception) -> str:
    """Say what failed in words of types; jmespath's own message quotes the value."""
    if isinstance(error, exceptions.JMESPathTypeError):
        found = _JSON_TYPES.get(error.actual_type, error.actual_type)
        expected = ", ".join(error.expected_types)
        return f"{error.function_name}() takes {expected}, found {found}"
    if isinstance(error, RecursionError):
        return "the value is nested too deeply"
    if isinstance(error, OverflowError):
        return f"join() would make more than {JOINED} characters"
    return f"a value of a kind it cannot take ({type(error).__name__})"


#: For the items of a list jmespath names Python's types.
_JSON_TYPES = {
    "str": "string",
    "int": "number",
    "float": "number",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "NoneType": "null",
}

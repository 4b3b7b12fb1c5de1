"""The type of an expression, followed through its tree; and what in it can never be there.

Followed are names, indices, projections, literals, ``||``, pipes, selections and functions with a
fixed result; all else is `Unknown`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from awe_core.analysis.types import (
    NOTHING,
    UNKNOWN,
    Either,
    ListOf,
    Members,
    Nothing,
    Type,
    element,
    kinds,
    member,
    names,
    of_kind,
    of_value,
)
from awe_core.documents import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.expressions import Expression

_RESULTS: Mapping[str, tuple[str, ...]] = {
    "abs": ("number",),
    "ceil": ("number",),
    "contains": ("boolean",),
    "ends_with": ("boolean",),
    "floor": ("number",),
    "join": ("string",),
    "keys": ("array",),
    "length": ("integer",),
    "map": ("array",),
    "merge": ("object",),
    "sort": ("array",),
    "sort_by": ("array",),
    "starts_with": ("boolean",),
    "sum": ("number",),
    "to_array": ("array",),
    "to_string": ("string",),
    "type": ("string",),
    "values": ("array",),
}


@attrs.frozen
class Impossible:
    """A part of an expression that is null on every valid instance."""

    reference: str  #: as far as it can be written
    near: str | None  #: the known name that was probably meant


@attrs.frozen
class Flow:
    """The type of one expression and what was seen on the way."""

    type: Type
    impossible: tuple[Impossible, ...]
    optional: tuple[str, ...]  #: members read that a valid instance may lack


def follow(expression: Expression, scope: Mapping[str, Type]) -> Flow:
    """Give the type of *expression* over roots of known types."""
    walk = _Walk()
    found = walk.visit(expression.ast, Members(scope), "")[0]
    return Flow(found, tuple(walk.impossible), tuple(walk.optional))


@attrs.frozen
class _Walk:
    impossible: list[Impossible] = attrs.field(factory=list)
    optional: list[str] = attrs.field(factory=list)

    def visit(self, node: Any, at: Type, path: str) -> tuple[Type, str]:  # noqa: ANN401 - jmespath's tree
        """Give the type of *node* where the current value is *at*, written as *path*."""
        children = node["children"]
        match node["type"]:
            case "field":
                return self.field(node["value"], at, path)
            case "index":
                return self.index(node["value"], at, path)
            case "subexpression" | "index_expression" | "pipe":
                for child in children:
                    at, path = self.visit(child, at, path)
                return at, path
            case "identity" | "current":
                return at, path
            case "literal":
                return of_value(node["value"]), "`…`"
            case "projection" | "filter_projection":
                return self.projection(children, at, path)
            case "or_expression":
                return self.either(children, at, path)
            case "multi_select_dict":
                return self.selection(children, at, path), "{…}"
            case "not_expression":
                self.visit(children[0], at, path)
                return of_kind("boolean"), "!…"
            case "function_expression":
                return self.function(node["value"], children, at), f"{node['value']}(…)"
            case _:
                return UNKNOWN, "…"

    def field(self, name: str, at: Type, path: str) -> tuple[Type, str]:
        here = f"{path}.{name}" if path else name
        found, is_there = member(at, name)
        if isinstance(found, Nothing) and not isinstance(at, Nothing):
            self.impossible.append(Impossible(here, nearest(name, names(at))))
        elif not is_there:
            self.optional.append(here)
        return found, here

    def index(self, index: int, at: Type, path: str) -> tuple[Type, str]:
        here = f"{path}[{index}]"
        found = element(at, index)
        if isinstance(found, Nothing) and not isinstance(at, Nothing):
            self.impossible.append(Impossible(here, None))
        return found, here

    def projection(self, children: list[Any], at: Type, path: str) -> tuple[Type, str]:
        """Follow ``a[*].b``: every item of the left, through the right; nulls fall out."""
        at, path = self.visit(children[0], at, path)
        if children[0]["type"] in {"flatten", "slice"} or _is_slice(children[0]):
            return of_kind("array", "null"), f"{path}[…]"
        if "array" not in kinds(at):
            if not isinstance(at, Nothing):
                self.impossible.append(Impossible(f"{path}[*]", None))
            return NOTHING, f"{path}[*]"
        inner = _Walk(self.impossible)  # an item without the member falls out, so none is missing
        item, _ = inner.visit(children[1], element(at), f"{path}[*]")
        return Either(ListOf(item), of_kind("null")), f"{path}[*]"

    def either(self, children: list[Any], at: Type, path: str) -> tuple[Type, str]:
        left, _ = _Walk(self.impossible).visit(children[0], at, path)  # may be missing: that is why
        right, _ = self.visit(children[1], at, path)
        return (right if isinstance(left, Nothing) else Either(left, right)), "… || …"

    def selection(self, children: list[Any], at: Type, path: str) -> Type:
        pairs = {pair["value"]: pair["children"][0] for pair in children}
        found = {name: self.visit(node, at, path)[0] for name, node in pairs.items()}
        return Either(Members(found), of_kind("null"))

    def function(self, name: str, children: list[Any], at: Type) -> Type:
        for child in children:
            if child["type"] != "expref":
                _Walk(self.impossible).visit(child, at, "")
        known = _RESULTS.get(name)
        return of_kind(*known) if known else UNKNOWN


def _is_slice(node: Any) -> bool:  # noqa: ANN401 - jmespath's tree
    return node["type"] == "index_expression" and node["children"][-1]["type"] == "slice"

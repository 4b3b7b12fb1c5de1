"""The type of an expression, followed through its tree; and what in it can never be there.

Followed are names, indices, projections, literals, ``||``, pipes, selections and functions with a
fixed result; all else is unknown.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

import attrs

from awe_core.analysis.types import (
    NOTHING,
    UNKNOWN,
    Either,
    Fits,
    Type,
    element,
    kinds,
    list_of,
    member,
    names,
    object_of,
    of_kind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awe_core.expressions import Expression
    from awe_core.expressions.syntax import Node

_RESULTS: Mapping[str, str] = {
    **dict.fromkeys(("abs", "ceil", "floor", "sum"), "number"),
    **dict.fromkeys(("contains", "ends_with", "starts_with"), "boolean"),
    **dict.fromkeys(("join", "to_string", "type"), "string"),
    **dict.fromkeys(("keys", "map", "sort", "sort_by", "to_array", "values"), "array"),
    "length": "integer",
    "merge": "object",
}


@attrs.frozen
class Flow:
    """The type of one expression and what was seen on the way."""

    type: Type
    impossible: Mapping[str, str | None]  #: null on every instance: the known name meant instead
    optional: tuple[str, ...]  #: members read that a valid instance may lack


def follow(expression: Expression, scope: Mapping[str, Type]) -> Flow:
    """Give the type of *expression* over roots of known types."""
    walk = _Walk({}, [])
    found = walk.visit(expression.ast, object_of(scope), "")[0]
    return Flow(found, walk.impossible, tuple(walk.optional))


@attrs.frozen
class _Walk:
    impossible: dict[str, str | None]
    optional: list[str]

    def visit(self, node: Node, at: Type, path: str) -> tuple[Type, str]:
        """Give the type of *node* where the current value is *at*, written as *path*."""
        match node["type"]:
            case "subexpression" | "index_expression" | "pipe":
                for child in node["children"]:
                    at, path = self.visit(child, at, path)
                return at, path
            case "identity" | "current":
                return at, path
            case "field":
                return self.field(node["value"], at, path)
            case "index":
                here = f"{path}[{node['value']}]"
                return self.possible(element(at, node["value"]), at, here), here
            case "projection" | "filter_projection":
                return self.projection(node["children"], at, path)
            case _:
                return self.made(node, at), "…"

    def made(self, node: Node, at: Type) -> Type:
        """Give the type of what is not a path into something: it has no name of its own."""
        children = node["children"]
        match node["type"]:
            case "literal":
                return Fits({"const": node["value"]})
            case "or_expression":
                left = self.guarded(children[:1], at)  # may be missing: hence the ||
                right = self.visit(children[1], at, "")[0]
                return right if left is NOTHING else Either(left, right)
            case "multi_select_dict":
                pairs = {pair["value"]: pair["children"][0] for pair in children}
                found = {name: self.visit(node, at, "")[0] for name, node in pairs.items()}
                return Either(object_of(found), of_kind("null"))
            case "not_expression":
                self.guarded(children, at)
                return of_kind("boolean")
            case "function_expression":
                self.guarded(children, at)
                known = _RESULTS.get(node["value"])
                return of_kind(known) if known else UNKNOWN
            case _:
                return UNKNOWN

    def possible(self, found: Type, at: Type, here: str, near: str | None = None) -> Type:
        """Note *here* if it can never be there; what is below it then is told with it."""
        if found is NOTHING and at is not NOTHING:
            self.impossible[here] = near
        return found

    def field(self, name: str, at: Type, path: str) -> tuple[Type, str]:
        here = f"{path}.{name}" if path else name
        found, is_there = member(at, name)
        if found is not NOTHING:
            self.optional.extend([] if is_there else [here])
        elif name not in (known := names(at)):
            close = get_close_matches(name, known, n=1)
            self.possible(found, at, here, close[0] if close else None)
        return found, here

    def projection(self, children: Sequence[Node], at: Type, path: str) -> tuple[Type, str]:
        """Follow ``a[*].b``: every item of the left, through the right; nulls fall out."""
        left, right = children[:2]
        is_slice = left["type"] == "index_expression" and left["children"][-1]["type"] == "slice"
        if is_slice or left["type"] == "flatten":
            self.guarded(left["children"][:1], at)  # a list of another make
            return of_kind("array", "null"), f"{path}[…]"
        at, path = self.visit(left, at, path)
        here = f"{path}[*]"
        if "array" not in kinds(at):
            return self.possible(NOTHING, at, here), here
        # an item that lacks the member falls out, so nothing is missing
        item, _ = _Walk(self.impossible, []).visit(right, element(at), here)
        return Either(list_of(item), of_kind("null")), here

    def guarded(self, children: Sequence[Node], at: Type) -> Type:
        """Follow what may as well be missing, for what is impossible in it."""
        found: Type = UNKNOWN
        for child in children:
            if child["type"] != "expref":
                found = _Walk(self.impossible, []).visit(child, at, "")[0]
        return found

"""The type of an expression, followed through its tree; and what in it can never be there.

Followed are names, indices, projections, literals, ``||``, pipes, selections and functions with a
fixed result; all else is `Unknown`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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
    from collections.abc import Mapping, Sequence

    from awe_core.expressions import Expression
    from awe_core.expressions.syntax import Node

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

    def visit(self, node: Node, at: Type, path: str) -> tuple[Type, str]:
        """Give the type of *node* where the current value is *at*, written as *path*."""
        kind, children = node["type"], node["children"]
        if kind in {"subexpression", "index_expression", "pipe"}:
            for child in children:
                at, path = self.visit(child, at, path)
            return at, path
        if kind in {"identity", "current"}:
            return at, path
        follow_ = {
            "field": self.field,
            "index": self.index,
            "projection": self.projection,
            "filter_projection": self.projection,
        }.get(kind)
        if follow_ is not None:
            return follow_(node, at, path)
        return self.made(node, at), "…"

    def made(self, node: Node, at: Type) -> Type:
        """Give the type of what is not a path into something: it has no name of its own."""
        children = node["children"]
        match node["type"]:
            case "literal":
                return of_value(node["value"])
            case "or_expression":
                return self.either(children, at)
            case "multi_select_dict":
                return self.selection(children, at)
            case "not_expression":
                self.guarded(children, at)
                return of_kind("boolean")
            case "function_expression":
                self.guarded(children, at)
                known = _RESULTS.get(node["value"])
                return of_kind(*known) if known else UNKNOWN
            case _:
                return UNKNOWN

    def field(self, node: Node, at: Type, path: str) -> tuple[Type, str]:
        name = node["value"]
        here = f"{path}.{name}" if path else name
        found, is_there = member(at, name)
        if isinstance(found, Nothing):
            if not isinstance(at, Nothing) and name not in names(at):
                self.impossible.append(Impossible(here, nearest(name, names(at))))
        elif not is_there:
            self.optional.append(here)
        return found, here

    def index(self, node: Node, at: Type, path: str) -> tuple[Type, str]:
        here = f"{path}[{node['value']}]"
        found = element(at, node["value"])
        if isinstance(found, Nothing) and not isinstance(at, Nothing):
            self.impossible.append(Impossible(here, None))
        return found, here

    def projection(self, node: Node, at: Type, path: str) -> tuple[Type, str]:
        """Follow ``a[*].b``: every item of the left, through the right; nulls fall out."""
        left, right = node["children"][:2]
        if _changes_list(left):
            self.guarded(left["children"][:1], at)
            return of_kind("array", "null"), f"{path}[…]"
        at, path = self.visit(left, at, path)
        here = f"{path}[*]"
        if "array" not in kinds(at):
            if not isinstance(at, Nothing):
                self.impossible.append(Impossible(here, None))
            return NOTHING, here
        # an item that lacks the member falls out, so nothing is missing
        item, _ = _Walk(self.impossible).visit(right, element(at), here)
        return Either(ListOf(item), of_kind("null")), here

    def either(self, children: Sequence[Node], at: Type) -> Type:
        left, _ = _Walk(self.impossible).visit(children[0], at, "")  # may be missing: hence the ||
        right, _ = self.visit(children[1], at, "")
        return right if isinstance(left, Nothing) else Either(left, right)

    def selection(self, children: Sequence[Node], at: Type) -> Type:
        pairs = {pair["value"]: pair["children"][0] for pair in children}
        found = {name: self.visit(node, at, "")[0] for name, node in pairs.items()}
        return Either(Members(found), of_kind("null"))

    def guarded(self, children: Sequence[Node], at: Type) -> None:
        """Follow what may as well be missing, for what is impossible in it."""
        for child in children:
            if child["type"] != "expref":
                _Walk(self.impossible).visit(child, at, "")


def _changes_list(node: Node) -> bool:
    """Whether *node* is ``a[]`` or ``a[1:2]``, whose result is a list of another make."""
    is_slice = node["type"] == "index_expression" and node["children"][-1]["type"] == "slice"
    return node["type"] == "flatten" or bool(is_slice)

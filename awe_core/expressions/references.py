"""Which parts of which roots an expression can reach, found without running it.

JMESPath has no way back to the roots from inside a projection, a filter or ``&expression``, so one
walk that follows "what is the current value here" sees every use.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, assert_never

import attrs

from awe_core.errors import ExpressionError
from awe_core.expressions.scan import refuse, shown

if TYPE_CHECKING:
    from awe_core.expressions.syntax import Node


@attrs.frozen
class Reference:
    """One use of a root.  Everything below `path` may be read."""

    root: str  #: ``inputs``, ``steps`` …
    path: tuple[str | int, ...] = ()  #: the names and indices known before the run

    def __str__(self) -> str:
        """Give the reference as it would be written."""
        return self.root + "".join(
            f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path
        )


def references(
    tree: Node, *, text: str, where: str, roots: frozenset[str]
) -> tuple[Reference, ...]:
    """Give the uses of roots in *tree*, each once, in the order of the text.

    :raises ExpressionError: ``expression.unknown_root``, or ``expression.syntax`` for a use of all
        roots at once
    """
    walk = _Walk(text=text, where=where, roots=roots)
    walk.use(walk.visit(tree, _Roots()))
    return tuple(walk.found)


@attrs.frozen
class _Roots:
    """The current value is the mapping of all roots."""


@attrs.frozen
class _Derived:
    """The current value was made of uses already noted, or is a literal."""


_Current = _Roots | Reference | _Derived


@attrs.frozen
class _Walk:
    text: str
    where: str
    roots: frozenset[str]
    found: dict[Reference, None] = attrs.field(factory=dict, init=False)

    def use(self, current: _Current) -> _Derived:
        """Note that the value itself is needed here, not only something inside it."""
        match current:
            case _Roots():
                refuse(self.text, where=self.where, why="it takes all roots at once; name one")
            case Reference():
                self.found[current] = None
            case _Derived():
                pass
            case _:
                assert_never(current)
        return _Derived()

    def visit(self, node: Node, current: _Current) -> _Current:
        """Follow *node* from *current*; what comes out is not noted yet."""
        children = node["children"]
        match node["type"]:
            case "field" | "index":
                return self.step(node["value"], current)
            case "identity" | "current":
                return current
            case "subexpression" | "index_expression" | "pipe":
                for child in children:
                    current = self.visit(child, current)
                return current
            case "slice" | "literal":
                return _Derived() if node["type"] == "literal" else self.use(current)
            case "projection" | "value_projection" | "filter_projection":
                self.use(self.visit(children[0], current))
                for child in children[1:]:
                    self.use(self.visit(child, _Derived()))
            case "expref":
                self.use(self.visit(children[0], _Derived()))
            case _:  # functions, selects, comparisons, flatten: all see the same current value
                for child in children:
                    self.use(self.visit(child, current))
        return _Derived()

    def step(self, name: str | int, current: _Current) -> _Current:
        match current:
            case Reference(root=root, path=path):
                return Reference(root, (*path, name))
            case _Derived():
                return current
            case _Roots() if name in self.roots:
                return Reference(str(name))
            case _Roots():
                raise self.unknown(str(name))
            case _:
                assert_never(current)

    def unknown(self, name: str) -> ExpressionError:
        near = get_close_matches(name, self.roots, n=1)
        known = ", ".join(sorted(self.roots)) or "nothing"
        return ExpressionError(
            "expression.unknown_root",
            where=self.where,
            root=shown(name),
            nearest=near[0] if near else known,
            details=[f"in ${{{shown(self.text)}}}", f"known here: {known}"],
        )

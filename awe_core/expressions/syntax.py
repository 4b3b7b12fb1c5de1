"""Parses and evaluates by jmespath, and refuses what would be wrong or too dear at run time.

jmespath parses and visits recursively, so the depth of what it made is bounded here; and chains of
``[@, @]`` double their value each time, so growth is bounded too.  The language has no way back to
the roots from inside a projection, a filter or ``&expression``, so one walk that follows "what is
the current value here" sees every use of a root.
"""

from __future__ import annotations

from difflib import get_close_matches
from math import prod
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import attrs
from jmespath import exceptions, functions, visitor
from jmespath.parser import Parser

from awe_core.errors import ExpressionError
from awe_core.expressions.scan import limit, refuse, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from awe_core.values import Json

#: A node of jmespath's tree: ``type``, ``children``, and ``value`` where it has one.  Read-only.
Node: TypeAlias = dict[str, Any]
#: The current value: a path from the roots (all of them: empty), None: made of uses noted already.
_Current: TypeAlias = tuple[str | int, ...] | None

DEEPEST = 64  #: levels of one tree
GROWTH = 1024  #: how often a value may stand in the result of one expression
JOINED = 16 * 1024 * 1024  #: characters that one `join` may make

#: Functions that take ``&expression``, and which argument it is.
_BY_EXPRESSION = {"sort_by": 1, "max_by": 1, "min_by": 1, "map": 0}


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


def parse(text: str, *, where: str, roots: frozenset[str]) -> tuple[Node, tuple[Reference, ...]]:
    """Give the tree of *text*, and the uses of roots in it, each once, in the order of the text.

    :raises ExpressionError: ``expression.syntax``, ``.limit`` or ``.unknown_root``
    """
    try:
        tree = cast("Node", Parser().parse(text).parsed)
    except RecursionError:
        raise limit(text, where=where, limit=f"{DEEPEST} levels") from None
    except Exception as error:  # noqa: BLE001 - foreign code: it also raises IndexError, TypeError
        refuse(text, where=where, why=_syntax(error))
    if _depth(tree) > DEEPEST:
        raise limit(text, where=where, limit=f"{DEEPEST} levels")
    walk = _Walk(text, where, roots)
    current, growth = walk.visit(tree, ())
    if growth > GROWTH:
        raise limit(text, where=where, limit=f"growth by {GROWTH}")
    walk.use(current)
    return tree, tuple(walk.found)


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


def _depth(tree: Node) -> int:
    """How deep *tree* is, the JSON of its literals included; without recursion."""
    deepest = 0
    level: list[Node] = [tree]
    literals: list[Json] = []
    while (level or literals) and deepest <= DEEPEST:
        deepest += 1
        literals = [item for value in literals for item in _items(value)]
        literals += [node["value"] for node in level if node["type"] == "literal"]
        level = [child for node in level if node["type"] != "slice" for child in node["children"]]
    return deepest


def _items(value: Json) -> Iterable[Json]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


@attrs.frozen
class _Walk:
    text: str
    where: str
    roots: frozenset[str]
    found: dict[Reference, None] = attrs.field(factory=dict, init=False)

    def use(self, current: _Current) -> None:
        """Note that the value itself is needed here, not only something inside it."""
        if current == ():
            self.refuse("it takes all roots at once; name one")
        if current:
            self.found[Reference(str(current[0]), current[1:])] = None

    def refuse(self, why: str) -> None:
        refuse(self.text, where=self.where, why=why)

    def visit(self, node: Node, current: _Current) -> tuple[_Current, int]:
        """Follow *node*: give what comes out, not noted yet, and how often it copies its input."""
        kind, children = node["type"], node["children"]
        match kind:
            case "field" | "index":
                return self.step(node["value"], current), 1
            case "identity" | "current":
                return current, 1
            case "literal":
                return None, 1
            case "slice":
                self.use(current)
                if children[2] == 0:
                    self.refuse("the step of a slice cannot be 0")
                return None, 1
            case "subexpression" | "index_expression" | "pipe":
                growth = 1
                for child in children:
                    current, times = self.visit(child, current)
                    growth *= times
                return current, growth
            case _:
                return None, self.made(node, current)

    def made(self, node: Node, current: _Current) -> int:
        """Follow what makes a value of its own; give how often that may hold what was given."""
        kind, children = node["type"], node["children"]
        if kind == "function_expression":
            return self.call(node["value"], children, current)
        if kind == "expref":
            self.refuse("'&' stands only where a function takes an expression")
        if kind.endswith("projection"):
            first = self.used(children[0], current)
            return first * prod(self.used(child, None) for child in children[1:])
        parts = [self.used(child, current) for child in children]
        if kind in {"multi_select_list", "multi_select_dict"}:
            return max(1, sum(parts))
        if kind in {"or_expression", "and_expression", "comparator"}:
            return max(parts)
        return prod(parts)  # each child takes what the one before it made

    def used(self, node: Node, current: _Current) -> int:
        current, growth = self.visit(node, current)
        self.use(current)
        return growth

    def call(self, name: str, arguments: list[Node], current: _Current) -> int:
        """Check a call; give how often its result may hold what it was given."""
        if name not in _TABLE:
            near = get_close_matches(name, _TABLE, n=1)
            more = f"; did you mean {near[0]}()?" if near else ""
            self.refuse(f"there is no function {name}()" + more)
        signature = _TABLE[name]["signature"]
        given, taken = len(arguments), len(signature)
        is_variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if given != taken and not (given > taken and is_variadic):
            more = " or more" if is_variadic else ""
            self.refuse(f"{name}() takes {taken}{more} arguments, {given} are given")
        place = _BY_EXPRESSION.get(name)
        parts = [
            self.used(node["children"][0], None)
            if index == place and node["type"] == "expref"
            else self.used(node, current)
            for index, node in enumerate(arguments)
        ]
        if place is not None:
            return prod(parts)
        # a quoted string quoted again has twice the backslashes
        return max(1, sum(parts)) * (2 if name == "to_string" else 1)

    def step(self, name: str | int, current: _Current) -> _Current:
        if current is None:
            return None
        if not current and name not in self.roots:
            near = get_close_matches(str(name), self.roots, n=1)
            known = ", ".join(sorted(self.roots)) or "nothing"
            raise ExpressionError(
                "expression.unknown_root",
                where=self.where,
                root=shown(str(name)),
                nearest=near[0] if near else known,
                details=[f"in ${{{shown(self.text)}}}", f"known here: {known}"],
            )
        return (*current, name)


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
        return f"{error.function_name}() takes {', '.join(error.expected_types)}, found {found}"
    if isinstance(error, RecursionError):
        return "the value is nested too deeply"
    if isinstance(error, OverflowError):
        return f"join() would make more than {JOINED} characters"
    return f"a value of a kind it cannot take ({type(error).__name__})"


#: For the items of a list jmespath names Python's types.
_JSON_TYPES = dict.fromkeys(("int", "float"), "number") | {
    "str": "string",
    "bool": "boolean",
    "dict": "object",
    "list": "array",
    "NoneType": "null",
}

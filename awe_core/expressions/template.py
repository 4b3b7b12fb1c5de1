"""The two things others use: one expression, and a JSON value with expressions in its strings."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import ExpressionError
from awe_core.expressions.scan import Source, limit, pieces, refuse, shown
from awe_core.expressions.syntax import DEEPEST, Node, Reference, parse, search

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from awe_core.values import Json

_Path: TypeAlias = "tuple[str | int, ...]"
_Fill: TypeAlias = "Callable[[Mapping[str, Json]], Json]"


@attrs.frozen
class Expression:
    """One ``${…}``."""

    text: str  #: without ``${`` and ``}``
    where: str  #: for messages: file, step and field
    ast: Node = attrs.field(repr=False, eq=False)  #: jmespath's tree; read-only
    references: tuple[Reference, ...]  #: every use of a root
    _steps: _Path | None = attrs.field(repr=False, eq=False)  #: of a plain ``a.b[0].c``

    @classmethod
    def compile(cls, text: str, *, where: str, roots: frozenset[str]) -> Expression:
        """Compile *text*, which is one whole ``${…}``, or the `Source` in it.

        :raises ExpressionError: ``expression.syntax``, ``.limit`` or ``.unknown_root``
        """
        source = text
        if not isinstance(text, Source):
            source, *more = pieces(text, where=where)
            if more or not isinstance(source, Source):
                refuse(text, where=where, why="one whole ${…} is expected here")
        source = str(source)
        tree, uses = parse(source, where=where, roots=roots)
        is_plain = _PLAIN.fullmatch(source.strip()) is not None
        steps = (uses[0].root, *uses[0].path) if is_plain else None
        return cls(text=source, where=where, ast=tree, references=uses, steps=steps)

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Give the result over *scope*, which is shared with it; what is missing is None.

        :raises ExpressionError: ``expression.failed``
        """
        if self._steps is None:
            return search(self.ast, scope, where=self.where, text=self.text)
        found: Json = scope
        for step in self._steps:  # as jmespath: a wrong kind or place is null
            if isinstance(step, str):
                try:
                    found = found.get(step)
                except AttributeError:
                    return None
            elif isinstance(found, list) and -len(found) <= step < len(found):
                found = found[step]
            else:
                return None
        return found

    def render(self, scope: Mapping[str, Json]) -> str:
        """Give the result as it stands inside a longer string: other than text as compact JSON.

        :raises ExpressionError: ``expression.failed``
        """
        found = self.evaluate(scope)
        if type(found) is str:
            return found
        try:
            return _COMPACT(found)
        except (TypeError, ValueError, RecursionError):
            why = "the result cannot be written as text"
            text = shown(self.text)
            raise ExpressionError(
                "expression.failed", where=self.where, text=text, why=why
            ) from None


def truthy(found: Json) -> bool:
    """JMESPath's truth: false, null and what is empty are not."""
    return found is not None and found is not False and found not in ("", [], {})


#: Names and indices only: walked here instead of by jmespath, about ten times faster.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[-?[0-9]{1,9}\])*")

_COMPACT = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


@attrs.frozen
class Placed:
    """An expression and where in the template's value it stands."""

    path: _Path  #: keys and indices from the top of the template
    expression: Expression  #: what stands there, or in the string there
    is_whole: bool  #: the string is this one expression, so the type is kept


@attrs.frozen
class Template:
    """A JSON value whose strings may hold expressions."""

    placed: tuple[Placed, ...]  #: every expression of the template, in the order of the text
    references: tuple[Reference, ...]  #: every use of a root, each once
    _fill: _Fill = attrs.field(repr=False)

    @classmethod
    def compile(cls, value: Json, *, where: str, roots: frozenset[str]) -> Template:
        """Compile any JSON value; *where* names it in messages, `roots` what it may use.

        :raises ExpressionError: ``expression.syntax``, ``.limit`` or ``.unknown_root``
        """
        placed: list[Placed] = []
        fill = _fill(value, (), where, roots=roots, placed=placed)
        uses = dict.fromkeys(use for at in placed for use in at.expression.references)
        return cls(tuple(placed), tuple(uses), fill)

    @property
    def is_constant(self) -> bool:
        """Whether it gives the same value for every scope."""
        return not self.references

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Fill the template.  Its own lists and objects are fresh; results share with *scope*.

        :raises ExpressionError: ``expression.failed``
        """
        return self._fill(scope)


def _fill(
    value: Json, path: _Path, where: str, *, roots: frozenset[str], placed: list[Placed]
) -> _Fill:
    """Compile *value* to what fills it, and note its expressions."""

    def inside(key: str | int, inner: Json) -> _Fill:
        at = f"{where}[{key}]" if isinstance(key, int) else f"{where}.{key}"
        return _fill(inner, (*path, key), at, roots=roots, placed=placed)

    if len(path) > DEEPEST:
        raise limit("…", where=where[:200], limit=f"{DEEPEST} levels")
    match value:
        case str():
            return _fill_text(value, path, where, roots=roots, placed=placed)
        case list() | tuple():
            items = [inside(index, item) for index, item in enumerate(value)]
            return lambda scope: [item(scope) for item in items]
        case dict():
            pairs = [(key, inside(key, item)) for key, item in value.items()]
            return lambda scope: {key: item(scope) for key, item in pairs}
        case _:
            return lambda _: value


def _fill_text(
    value: str, path: _Path, where: str, *, roots: frozenset[str], placed: list[Placed]
) -> _Fill:
    found = pieces(value, where=where)
    is_whole = len(found) == 1
    parts: list[str | Expression] = []
    for part in found:
        if not isinstance(part, Source):
            parts.append(part)
            continue
        expression = Expression.compile(part, where=where, roots=roots)
        parts.append(expression)
        placed.append(Placed(path, expression, is_whole))
    if is_whole:
        only = parts[0]
        return only.evaluate if isinstance(only, Expression) else lambda _: only
    return lambda scope: "".join(
        part if isinstance(part, str) else part.render(scope) for part in parts
    )

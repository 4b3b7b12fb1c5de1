"""The two things others use: one expression, and a JSON value with expressions in its strings."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, TypeAlias

import attrs

from awe_core.errors import ExpressionError
from awe_core.expressions.references import Reference, references
from awe_core.expressions.scan import Source, pieces, refuse, shown
from awe_core.expressions.syntax import DEEPEST, Node, parse, search

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.values import Json

_Path: TypeAlias = tuple[str | int, ...]


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
        """Compile *text*, which is one whole ``${…}``.

        :raises ExpressionError: ``expression.syntax``, ``.limit`` or ``.unknown_root``
        """
        match pieces(text, where=where):
            case (Source() as source,):
                return cls._of(source, where=where, roots=roots)
            case _:
                return refuse(text, where=where, why="one whole ${…} is expected here")

    @classmethod
    def _of(cls, source: Source, *, where: str, roots: frozenset[str]) -> Expression:
        text = str(source)
        tree = parse(text, where=where)
        uses = references(tree, text=text, where=where, roots=roots)
        is_plain = _PLAIN.fullmatch(text.strip()) is not None
        steps = (uses[0].root, *uses[0].path) if is_plain else None
        return cls(text=text, where=where, ast=tree, references=uses, steps=steps)

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


#: Names and indices only: walked here instead of by jmespath, about ten times faster.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*|\[-?[0-9]{1,9}\])*")


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
    _plan: _Plan = attrs.field(repr=False)

    @classmethod
    def compile(cls, value: Json, *, where: str, roots: frozenset[str]) -> Template:
        """Compile any JSON value; *where* names it in messages, `roots` what it may use.

        :raises ExpressionError: ``expression.syntax``, ``.limit`` or ``.unknown_root``
        """
        placed: list[Placed] = []
        plan = _Compiler(roots=roots, placed=placed).plan(value, (), where)
        return cls(placed=tuple(placed), plan=plan)

    @property
    def is_constant(self) -> bool:
        """Whether it gives the same value for every scope."""
        return not any(at.expression.references for at in self.placed)

    @property
    def references(self) -> tuple[Reference, ...]:
        """Every use of a root, each once."""
        return tuple(dict.fromkeys(self._references()))

    def _references(self) -> Iterator[Reference]:
        for at in self.placed:
            yield from at.expression.references

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        """Fill the template.  Its own lists and objects are fresh; results share with *scope*.

        :raises ExpressionError: ``expression.failed``
        """
        return self._plan.evaluate(scope)


@attrs.frozen
class _Constant:
    value: Json

    def evaluate(self, _: Mapping[str, Json]) -> Json:
        return self.value


@attrs.frozen
class _Text:
    parts: tuple[str | Expression, ...]

    def evaluate(self, scope: Mapping[str, Json]) -> str:
        return "".join(
            part if isinstance(part, str) else _rendered(part, scope) for part in self.parts
        )


@attrs.frozen
class _List:
    items: tuple[_Plan, ...]

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        return [item.evaluate(scope) for item in self.items]


@attrs.frozen
class _Object:
    items: tuple[tuple[str, _Plan], ...]

    def evaluate(self, scope: Mapping[str, Json]) -> Json:
        return {key: item.evaluate(scope) for key, item in self.items}


_Plan: TypeAlias = _Constant | Expression | _Text | _List | _Object


def _rendered(expression: Expression, scope: Mapping[str, Json]) -> str:
    found = expression.evaluate(scope)
    if type(found) is str:
        return found
    try:
        return _COMPACT(found)
    except (TypeError, ValueError, RecursionError):
        raise ExpressionError(
            "expression.failed",
            where=expression.where,
            text=shown(expression.text),
            why="the result cannot be written as text",
        ) from None


_COMPACT = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
).encode


@attrs.frozen
class _Compiler:
    roots: frozenset[str]
    placed: list[Placed]

    def plan(self, value: Json, path: _Path, where: str) -> _Plan:
        if len(path) > DEEPEST:
            raise ExpressionError(
                "expression.limit", where=where[:200], text="…", limit=f"{DEEPEST} levels"
            )
        match value:
            case str():
                return self.text(value, path, where)
            case list() | tuple():
                return _List(
                    tuple(
                        self.plan(item, (*path, index), f"{where}[{index}]")
                        for index, item in enumerate(value)
                    )
                )
            case dict():
                return _Object(
                    tuple(
                        (key, self.plan(item, (*path, key), f"{where}.{key}"))
                        for key, item in value.items()
                    )
                )
            case _:
                return _Constant(value)

    def text(self, value: str, path: _Path, where: str) -> _Plan:
        parts = pieces(value, where=where)
        if len(parts) == 1 and not isinstance(parts[0], Source):
            return _Constant(parts[0])
        made = tuple(
            self.expression(part, path, where, is_whole=len(parts) == 1)
            if isinstance(part, Source)
            else part
            for part in parts
        )
        match made:
            case (Expression() as whole,):
                return whole
            case _:
                return _Text(made)

    def expression(self, source: Source, path: _Path, where: str, *, is_whole: bool) -> Expression:
        made = Expression._of(source, where=where, roots=self.roots)  # noqa: SLF001 - same module
        self.placed.append(Placed(path=path, expression=made, is_whole=is_whole))
        return made

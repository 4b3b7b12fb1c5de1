"""Finds the ``${…}`` in a string, with respect for quotes, literals and braces inside them."""

from __future__ import annotations

import json
import re
from typing import NoReturn

from awe_core.errors import ExpressionError

LONGEST = 4096  #: characters of one expression

#: Inside an expression: quoted text (perhaps never closed) or a brace.
_INNER = re.compile(
    r"""(?P<open>['"`])(?:\\.|(?!(?P=open))[^\\])*+(?P<close>(?P=open))?|(?P<brace>[{}])""",
    re.DOTALL,
)


class Source(str):
    """The text of an expression, without ``${`` and ``}``."""

    __slots__ = ()


def pieces(text: str, *, where: str) -> tuple[str | Source, ...]:
    """Split *text* into literal strings and the sources of its expressions, in order.

    :raises ExpressionError: ``expression.syntax`` for one that is not closed
    """
    found: list[str | Source] = []
    literal = ""
    at = 0
    while (start := text.find("${", at)) >= 0:
        if start > at and text[start - 1] == "$":
            literal += text[at : start - 1] + "${"
            at = start + 2
            continue
        literal += text[at:start]
        end = _end(text, start + 2, where=where)
        found += [literal] if literal else []
        found.append(Source(text[start + 2 : end]))
        literal, at = "", end + 1
    literal += text[at:]
    return (*found, literal) if literal or not found else tuple(found)


def _end(text: str, start: int, *, where: str) -> int:
    """Where the closing brace of the expression that begins at *start* stands."""
    depth = 0
    for token in _INNER.finditer(text, start, start + LONGEST + 1):
        if token["brace"] is None:
            _check_quoted(token, text[start:], where=where)
        elif token["brace"] == "{":
            depth += 1
        elif depth:
            depth -= 1
        else:
            return token.start()
    if len(text) - start > LONGEST:
        raise limit(text[start:], where=where, limit=f"{LONGEST} characters")
    return refuse(text[start:], where=where, why="its closing brace is missing")


def _check_quoted(token: re.Match[str], text: str, *, where: str) -> None:
    if token["close"] is None:
        refuse(text, where=where, why=f"a {token['open']} is never closed")
    if token["open"] == "`":
        try:
            json.loads(token[0][1:-1].replace("\\`", "`"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            refuse(text, where=where, why="what stands in backticks is JSON; write text in '…'")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def refuse(text: str, *, where: str, why: str) -> NoReturn:
    """Raise ``expression.syntax``."""
    raise ExpressionError("expression.syntax", where=where, text=shown(text), why=why)


def limit(text: str, *, where: str, limit: str) -> ExpressionError:
    """Make ``expression.limit``."""
    return ExpressionError("expression.limit", where=where, text=shown(text), limit=limit)


def shown(text: str) -> str:
    """Cut *text* for a message, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"  # noqa: PLR2004 - a line of a terminal

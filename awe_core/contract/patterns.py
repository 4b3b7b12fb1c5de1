r"""Regular expressions as JSON Schema means them (ECMA-262, unicode), in Python's dialect.

Where the two read one text differently the difference can let something through: in Python ``$``
also matches before a last line feed, ``\d`` and ``\w`` take digits and letters of every script.
Those are rewritten; what Python cannot express is refused when the schema is compiled.  Costs of
a pattern are its author's: see ADR 0002.
"""

from __future__ import annotations

import re

LONGEST = 1024  #: characters of one pattern


class PatternError(ValueError):
    """A pattern that is not one, or that Python cannot express."""


def python_pattern(pattern: str) -> str:
    """Give the Python pattern that finds what ECMA-262 finds.

    :raises PatternError: with the reason
    """
    if len(pattern) > LONGEST:
        raise PatternError(_TOO_LONG)
    parts: list[str] = []
    in_class = False
    for piece in _PIECE.findall(pattern):
        parts.append(_rewritten(piece, in_class=in_class))
        if in_class:
            in_class = piece != "]"
        elif piece in _CLASS:
            in_class = True
    python = "".join(parts)
    try:
        re.compile(python)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(_NOT_PYTHON) from error
    return python


#: An escape, a group's head, the head of a class, or one character.
_PIECE = re.compile(r"\\.|\(\?<(?![=!])|\[\^?|.|\\", re.DOTALL)
_CLASS = frozenset({"[", "[^"})
_TOO_LONG = f"it is longer than {LONGEST} characters"
_NOT_PYTHON = "it is not a regular expression that can be used"
_NOT_ECMA = "ECMA-262 has no such escape"

_SPACE = r"\t\n\x0b\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_OUTSIDE = {
    "$": r"\Z",
    ".": r"[^\n\r\u2028\u2029]",
    "(?<": "(?P<",
    r"\d": "[0-9]",
    r"\D": "[^0-9]",
    r"\w": "[A-Za-z0-9_]",
    r"\W": "[^A-Za-z0-9_]",
    r"\s": f"[{_SPACE}]",
    r"\S": f"[^{_SPACE}]",
    r"\b": r"(?:(?<![A-Za-z0-9_])(?=[A-Za-z0-9_])|(?<=[A-Za-z0-9_])(?![A-Za-z0-9_]))",
    r"\B": r"(?:(?<![A-Za-z0-9_])(?![A-Za-z0-9_])|(?<=[A-Za-z0-9_])(?=[A-Za-z0-9_]))",
    r"\/": "/",
}
_INSIDE = {r"\d": "0-9", r"\w": "A-Za-z0-9_", r"\s": _SPACE, r"\/": "/", r"\b": r"\x08", "[": r"\["}


def _rewritten(piece: str, *, in_class: bool) -> str:
    if piece in {r"\A", r"\Z", r"\z", r"\a", r"\G"}:
        raise PatternError(_NOT_ECMA)
    if in_class and piece in {r"\D", r"\W", r"\S"}:
        raise PatternError(_NOT_PYTHON)
    return (_INSIDE if in_class else _OUTSIDE).get(piece, piece)

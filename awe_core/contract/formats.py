r"""The formats that are asserted, each a predicate over one string; patterns as ECMA-262 has them.

A name that is not in `FORMATS` is refused when a schema is compiled: a format that nobody checks
reads like one that somebody does (ADR 0002).  In a pattern Python's ``$`` also matches before a
last line feed and its ``\d`` and ``\w`` take digits and letters of every script; those are
rewritten, and what Python cannot express is refused.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORKSPACE_PATH = "workspace-path"
LONGEST_PATTERN = 1024  #: characters


# ---- paths ----------------------------------------------------------------------------------
def normalised_path(path: str) -> str:
    """Drop ``./`` in front and one ``/`` at the end; everything else stays as it was written."""
    if not path.startswith("./") and not path.endswith("/"):
        return path
    short = path
    while short.startswith("./"):
        short = short[2:]
    if not short.endswith("//"):
        short = short.removesuffix("/")
    return short or ("." if path.startswith("./") else path)


def escape_rule(path: str) -> str | None:
    """Say which rule *path* breaks by leading out of the workspace, if it does."""
    if path.startswith("/"):
        return "a path is relative to the workspace"
    return "no component .." if ".." in path.split("/") else None


_PART = r"(?!\.{1,2}(?:/|\Z))[^/\x00-\x1f\x7f\\\ud800-\udfff]+"
_PATH = re.compile(rf"\.|{_PART}(?:/{_PART})*")


# ---- patterns -------------------------------------------------------------------------------
class PatternError(ValueError):
    """A pattern that is not one, or that Python cannot express."""


def python_pattern(pattern: str) -> str:
    """Give the Python pattern that finds what ECMA-262 finds.

    :raises PatternError: with the reason
    """
    if len(pattern) > LONGEST_PATTERN:
        raise PatternError(len(pattern))
    parts: list[str] = []
    in_class = False
    for piece in _PIECE.findall(pattern):
        if piece in _NOT_ECMA or (in_class and piece in _NOT_IN_CLASS):
            raise PatternError(piece)
        parts.append((_IN_CLASS if in_class else _OUTSIDE).get(piece, piece))
        in_class = piece != "]" if in_class else piece in {"[", "[^"}
    try:
        re.compile("".join(parts))
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(str(error)) from error
    return "".join(parts)


#: An escape, a group's head, the head of a class, or one character.
_PIECE = re.compile(r"\\.|\(\?<(?![=!])|\[\^?|.|\\", re.DOTALL)
_NOT_ECMA = frozenset({r"\A", r"\Z", r"\z", r"\a", r"\G"})
_NOT_IN_CLASS = frozenset({r"\D", r"\W", r"\S"})
_WORD, _SPACE = (
    "A-Za-z0-9_",
    r"\t\n\x0b\f\r \xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff",
)
_OUTSIDE = {
    "$": r"\Z",
    ".": r"[^\n\r\u2028\u2029]",
    "(?<": "(?P<",
    r"\d": "[0-9]",
    r"\D": "[^0-9]",
    r"\w": f"[{_WORD}]",
    r"\W": f"[^{_WORD}]",
    r"\s": f"[{_SPACE}]",
    r"\S": f"[^{_SPACE}]",
    r"\b": rf"(?:(?<![{_WORD}])(?=[{_WORD}])|(?<=[{_WORD}])(?![{_WORD}]))",
    r"\B": rf"(?:(?<![{_WORD}])(?![{_WORD}])|(?<=[{_WORD}])(?=[{_WORD}]))",
    r"\/": "/",
}
_IN_CLASS = {r"\d": "0-9", r"\w": _WORD, r"\s": _SPACE, r"\/": "/", r"\b": r"\x08", "[": r"\["}


# ---- what Python can say itself -------------------------------------------------------------
def _accepts(read: Callable[[str], object]) -> Callable[[str], bool]:
    def holds(text: str) -> bool:
        try:
            read(text)
        except ValueError:
            return False
        return True

    return holds


def _matches(pattern: str) -> Callable[[str], bool]:
    matcher = re.compile(pattern).fullmatch
    return lambda text: matcher(text) is not None


# ---- dates and times (RFC 3339) -------------------------------------------------------------
_has_form_of_date = _matches(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_exists = _accepts(date.fromisoformat)
_TIME = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)
_DAY = 24 * 60


def _is_date(text: str) -> bool:
    return _has_form_of_date(text) and _exists(text)


def _is_time(text: str) -> bool:
    """``full-time``; second 60 only where a leap second can be, at 23:59 UTC."""
    found = _TIME.fullmatch(text)
    if found is None or found[3] != "60":
        return found is not None
    offset = int(f"{found[4]}1") * (int(found[5]) * 60 + int(found[6])) if found[4] else 0
    return (int(found[1]) * 60 + int(found[2]) - offset) % _DAY == _DAY - 1


def _is_date_time(text: str) -> bool:
    return text[10:11] in {"T", "t"} and _is_date(text[:10]) and _is_time(text[11:])


# ---- names and addresses --------------------------------------------------------------------
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_is_local = _matches(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*"')
_is_label = _matches(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_is_ipv4 = _accepts(ipaddress.IPv4Address)
_reads_as_ipv6 = _accepts(ipaddress.IPv6Address)
_LONGEST_NAME, _LONGEST_LOCAL = 253, 64


def _is_ipv6(text: str) -> bool:
    return "%" not in text and text.isascii() and _reads_as_ipv6(text)


def _is_hostname(text: str) -> bool:
    """RFC 1123; ``--`` in third place only for A-labels."""
    return len(text) <= _LONGEST_NAME and all(
        _is_label(label) and (label[2:4] != "--" or label[:2].lower() == "xn")
        for label in text.split(".")
    )


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if not at or len(local) > _LONGEST_LOCAL or not _is_local(local):
        return False
    if domain.startswith("[") and domain.endswith("]"):
        address = domain[1:-1]
        return _is_ipv6(address[5:]) if address[:5].lower() == "ipv6:" else _is_ipv4(address)
    return _is_hostname(domain)


_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON, _NO_AT = _CHAR.replace("=:@", "=@"), _CHAR.replace("=:@", "=")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_is_future_address = _matches(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
#: RFC 3986 appendix A.
_URI = re.compile(
    rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    rf"(?://(?:(?:{_NO_AT}|:)*@)?(?:\[(?P<address>[^\]]*)\]|{_NO_AT}*)(?::[0-9]*)?(?:/{_CHAR}*)*"
    rf"|/(?:{_CHAR}+(?:/{_CHAR}*)*)?"
    rf"|(?(scheme){_CHAR}+|{_NO_COLON}+)(?:/{_CHAR}*)*|)"
    rf"(?:\?(?:{_CHAR}|[/?])*)?(?:\#(?:{_CHAR}|[/?])*)?"
)


def _is_uri_reference(text: str) -> bool:
    found = _URI.fullmatch(text)
    address = found and found["address"]
    return found is not None and (
        address is None or _is_future_address(address) or _is_ipv6(address)
    )


#: Every format a schema may name.
FORMATS: Mapping[str, Callable[[str], bool]] = {
    "date": _is_date,
    "date-time": _is_date_time,
    "duration": _matches(
        r"P(?=[0-9T])(?:[0-9]+W|(?:[0-9]+Y(?:[0-9]+M(?:[0-9]+D)?)?|[0-9]+M(?:[0-9]+D)?|[0-9]+D)?"
        r"(?:T(?:[0-9]+H(?:[0-9]+M(?:[0-9]+S)?)?|[0-9]+M(?:[0-9]+S)?|[0-9]+S))?)"
    ),
    "email": _is_email,
    "hostname": _is_hostname,
    "ipv4": _is_ipv4,
    "ipv6": _is_ipv6,
    "json-pointer": _matches(r"(?:/(?:[^~/]|~[01])*)*"),
    "password": lambda _: True,
    "regex": _accepts(python_pattern),
    "time": _is_time,
    "uri": lambda text: _SCHEME.match(text) is not None and _is_uri_reference(text),
    "uri-reference": _is_uri_reference,
    "uuid": _matches(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
    WORKSPACE_PATH: lambda text: _PATH.fullmatch(normalised_path(text)) is not None,
}

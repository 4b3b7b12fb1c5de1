"""The formats that are asserted, each a predicate over one string.

Small functions instead of the packages jsonschema would need for them (ADR 0002).  A name that is
not in `FORMATS` is refused when a schema is compiled, because a format that nobody checks reads
like one that somebody does.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import date
from typing import TYPE_CHECKING

from awe_core.contract.patterns import PatternError, python_pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

WORKSPACE_PATH = "workspace-path"


def normalised_path(path: str) -> str:
    """Drop ``./`` in front and one ``/`` at the end; everything else stays as it was written."""
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
    if ".." in path.split("/"):
        return "no component .."
    return None


def _is_workspace_path(text: str) -> bool:
    path = normalised_path(text)
    if path == ".":
        return True
    return (
        not _UNFIT.search(path)
        and escape_rule(path) is None
        and all(part not in {"", "."} for part in path.split("/"))
    )


_UNFIT = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")


def _is_date(text: str) -> bool:
    return _DATE.fullmatch(text) is not None and _exists(text)


def _exists(day: str) -> bool:
    try:
        date.fromisoformat(day)
    except ValueError:
        return False
    return True


_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = re.compile(
    r"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"(?:[Zz]|([+-])([01][0-9]|2[0-3]):([0-5][0-9]))"
)


def _is_time(text: str) -> bool:
    """RFC 3339 ``full-time``; second 60 only where a leap second can be, at 23:59 UTC."""
    found = _TIME.fullmatch(text)
    if found is None:
        return False
    if found[3] != "60":
        return True
    minutes = int(found[1]) * 60 + int(found[2])
    if found[4]:
        offset = int(found[5]) * 60 + int(found[6])
        minutes -= offset if found[4] == "+" else -offset
    return minutes % _DAY == _DAY - 1


_DAY = 24 * 60


def _is_date_time(text: str) -> bool:
    day, separator, time = text[:10], text[10:11], text[11:]
    return separator in {"T", "t"} and _is_date(day) and _is_time(time)


def _is_hostname(text: str) -> bool:
    """RFC 1123: letters, digits and hyphens; ``--`` in third place only for A-labels."""
    return len(text) <= _LONGEST_NAME and all(
        _LABEL.fullmatch(label) and (label[2:4] != "--" or label[:2].lower() == "xn")
        for label in text.split(".")
    )


_LONGEST_NAME = 253
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")


def _is_email(text: str) -> bool:
    local, at, domain = text.rpartition("@")
    if not at or len(local) > _LONGEST_LOCAL or not _LOCAL.fullmatch(local):
        return False
    if domain.startswith("[") and domain.endswith("]"):
        address = domain[1:-1]
        return _is_ipv6(address[5:]) if address[:5].lower() == "ipv6:" else _is_ipv4(address)
    return _is_hostname(domain)


_LONGEST_LOCAL = 64
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LOCAL = re.compile(rf'{_ATOM}(?:\.{_ATOM})*|"(?:[ !#-\[\]-~]|\\[ -~])*"')


def _is_ipv4(text: str) -> bool:
    return _IPV4.fullmatch(text) is not None


_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(?:\.{_OCTET}){{3}}")


def _is_ipv6(text: str) -> bool:
    if "%" in text or not text.isascii():
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _is_uri_reference(text: str) -> bool:
    found = _URI.fullmatch(text)
    if found is None:
        return False
    address = found["address"]
    return address is None or _FUTURE.fullmatch(address) is not None or _is_ipv6(address)


def _is_uri(text: str) -> bool:
    return _SCHEME.match(text) is not None and _is_uri_reference(text)


_CHAR = r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})"
_NO_COLON = r"(?:[A-Za-z0-9._~!$&'()*+,;=@-]|%[0-9A-Fa-f]{2})"
_NO_AT = r"(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_FUTURE = re.compile(r"[vV][0-9A-Fa-f]+\.[A-Za-z0-9._~!$&'()*+,;=:-]+")
#: RFC 3986 appendix A.
_URI = re.compile(
    rf"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*):)?"
    rf"(?://(?:(?:{_NO_AT}|:)*@)?(?:\[(?P<address>[^\]]*)\]|{_NO_AT}*)(?::[0-9]*)?(?:/{_CHAR}*)*"
    rf"|/(?:{_CHAR}+(?:/{_CHAR}*)*)?"
    rf"|(?(scheme){_CHAR}+|{_NO_COLON}+)(?:/{_CHAR}*)*|)"
    rf"(?:\?(?:{_CHAR}|[/?])*)?(?:\#(?:{_CHAR}|[/?])*)?"
)


def _is_regex(text: str) -> bool:
    try:
        python_pattern(text)
    except PatternError:
        return False
    return True


def _matches(pattern: str) -> Callable[[str], bool]:
    matcher = re.compile(pattern).fullmatch
    return lambda text: matcher(text) is not None


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
    "regex": _is_regex,
    "time": _is_time,
    "uri": _is_uri,
    "uri-reference": _is_uri_reference,
    "uuid": _matches(r"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}"),
    WORKSPACE_PATH: _is_workspace_path,
}

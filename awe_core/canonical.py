"""The one way a JSON value becomes bytes, and the digests of those bytes.

Three domains.  In the first two the bytes equal RFC 8785 and
``json.dumps(x, sort_keys=True, separators=(",", ":"), ensure_ascii=False)``, so one walk checks
and the C encoder writes.

============  ===========================================  =====================================
domain        for                                          rules beside RFC 8785
============  ===========================================  =====================================
`line`        records of the journal                       no floats, integers to ±(2^53-1), keys
                                                           ``[A-Za-z0-9_.-]{1,64}``, nesting 16,
                                                           256 KiB
`document`    what is signed                               no floats, integers to ±(2^53-1),
                                                           printable ASCII keys, nesting 32, 4 MiB
`value`       what users hand in: payloads, arguments      any integer as exact decimals, nesting
                                                           128
============  ===========================================  =====================================

Rules: exact types only (`True` is not an integer, an enum is not a string; tuples count as arrays);
scalar values only, never normalised; whoever reads checks ``encode(parse(data)) == data`` **as
bytes**, so that two parsers cannot read two meanings.  Nothing here recurses deeper than a domain's
nesting, whatever is handed in.  A message names a place and a rule and never quotes a value.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from itertools import accumulate
from json.encoder import c_make_encoder, encode_basestring  # type: ignore[attr-defined]
from typing import TYPE_CHECKING, NoReturn

import attrs

from awe_core.errors import CanonicalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from awe_core.values import Json, JsonObject

MAX_INTEGER = 2**53 - 1  #: the largest integer every JSON reader keeps exactly
LINE_BYTES = 256 * 1024  #: of one record
LINE_DEPTH = 16  #: of one record; the record itself is 1
DOCUMENT_BYTES = 4 * 1024 * 1024  #: of one signed document
DOCUMENT_DEPTH = 32  #: of one signed document; the document itself is 1
VALUE_DEPTH = 128  #: of one value


def line(x: JsonObject) -> bytes:
    """Encode one record of the journal.

    :raises CanonicalError: ``canonical.domain`` (where, why) or ``canonical.too_large``
    """
    return sized(_LINE.encode(x), LINE_BYTES)


def fragment(x: Json, depth: int) -> str:
    """Write a part of a record that stands on level *depth* of its line.

    Whoever joins parts sorts the keys and encodes with `sized`: a lone surrogate is found then.

    :raises CanonicalError: ``canonical.domain``, with the place inside *x*
    """
    kind = type(x)
    if kind is str:
        return encode_basestring(x)
    if kind is int and -MAX_INTEGER <= x <= MAX_INTEGER:
        return str(x)
    try:
        _LINE.check(x, depth)
    except _OutsideError as outside:
        raise _refusal(outside.why, outside.path) from None
    return _plain(x)


def parse_line(data: bytes) -> JsonObject:
    """Read the bytes of one record; they must be its only form.

    :raises CanonicalError: also ``canonical.parse`` and ``canonical.not_canonical``
    """
    return _parse(data, _LINE, max_bytes=LINE_BYTES)


def document(x: JsonObject) -> bytes:
    """Encode a document that people sign, or that is named by its digest.

    :raises CanonicalError: ``canonical.domain`` (where, why) or ``canonical.too_large``
    """
    return sized(_DOCUMENT.encode(x), DOCUMENT_BYTES)


def parse_document(
    data: bytes, *, max_bytes: int = DOCUMENT_BYTES, max_depth: int = DOCUMENT_DEPTH
) -> JsonObject:
    """Read a signed document; the bytes must be its only form, and an object stands at the top.

    :raises CanonicalError: also ``canonical.parse`` and ``canonical.not_canonical``
    """
    domain = _DOCUMENT if max_depth == DOCUMENT_DEPTH else attrs.evolve(_DOCUMENT, depth=max_depth)
    return _parse(data, domain, max_bytes=max_bytes)


def value(x: Json) -> bytes:
    """Encode what a user handed in: RFC 8785, with integers of any size as exact decimals.

    :raises CanonicalError: ``canonical.domain``: NaN, infinities, lone surrogates, other types
    """
    return _VALUE.encode(x)


def sha256_hex(data: bytes) -> str:
    """SHA-256 as governance documents write it: bare lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def digest(data: bytes) -> str:
    """SHA-256 as the journal and the channels write it: ``sha256:`` and hex."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_value(x: Json) -> str:
    """`digest` of the `value` bytes of *x*."""
    return digest(value(x))


def nesting(data: bytes) -> int:
    """How deep brackets nest outside strings in JSON text, found without recursion."""
    brackets = _STRING.sub(b"", data).translate(None, _NOT_BRACKETS)
    return max(accumulate(1 if byte in b"[{" else -1 for byte in brackets), default=0)


#: A string, also one that never ends: consuming it whole keeps the scan linear.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


class _OutsideError(Exception):
    """Carries the place outwards while the walk unwinds."""

    def __init__(self, why: str, *path: str | int) -> None:
        super().__init__(why)
        self.why = why
        self.path = list(path)  #: keys and indices, the innermost first


@attrs.frozen
class _Domain:
    """What may be written, and where in it something may not."""

    depth: int
    key: re.Pattern[str] | None = None  #: what a key must match whole; None: anything
    key_rule: str = ""
    known: set[str] = attrs.field(factory=set, init=False, repr=False, eq=False)  #: good keys

    def encode(self, x: Json) -> bytes:
        try:
            is_odd = self.check(x, 1)
            return (_ecmascript(x) if is_odd else _plain(x)).encode()
        except _OutsideError as outside:
            raise _refusal(outside.why, outside.path) from None
        except UnicodeEncodeError:
            raise _refusal(_SURROGATE, next(_surrogates(x))) from None

    def check(self, x: Json, depth: int) -> bool:
        """Tell whether the C encoder would write *x* otherwise than RFC 8785 does.

        Strings are looked into when they are encoded.
        """
        kind = type(x)
        if kind is str or kind is bool or x is None:
            return False
        if kind is int or kind is float:
            return self.number(x)
        if kind is not dict and kind is not list and kind is not tuple:
            _refuse(f"not JSON but a Python {kind.__name__}")
        if depth > self.depth:
            _refuse(f"nesting beyond {self.depth}")
        is_odd = self.keys(x) if kind is dict else False
        for step, item in x.items() if kind is dict else enumerate(x):
            if type(item) is not str:  # most are
                try:
                    is_odd = self.check(item, depth + 1) or is_odd
                except _OutsideError as outside:
                    outside.path.append(step)
                    raise
        return is_odd

    def keys(self, x: JsonObject) -> bool:
        is_odd = False
        for key in x:
            if type(key) is not str:
                _refuse("a key that is not a string")
            if self.key is None:
                is_odd = is_odd or not key.isascii()
            elif key not in self.known:
                if not self.key.fullmatch(key):
                    _refuse(f"a key that is not {self.key_rule}", key)
                if len(self.known) < _REMEMBERED and len(key) <= _SHORT:
                    self.known.add(key)
        return is_odd

    def number(self, x: float) -> bool:
        kind = type(x)
        if kind is int and -MAX_INTEGER <= x <= MAX_INTEGER:
            return False
        if self.key is not None:
            _refuse("an integer outside ±(2^53-1)" if kind is int else "a float")
        if kind is float:
            return math.isfinite(x) or _refuse("NaN or an infinity")
        try:
            str(x)
        except ValueError:  # CPython's own limit, 4,300 digits
            _refuse("an integer of more digits than Python writes")
        return False


def _refuse(why: str, *path: str | int) -> NoReturn:
    raise _OutsideError(why, *path)


#: Records use the same few hundred keys again and again.
_REMEMBERED = 4096
_SHORT = 64

_LINE = _Domain(LINE_DEPTH, re.compile(r"[A-Za-z0-9_.-]{1,64}"), "1 to 64 of [A-Za-z0-9_.-]")
_DOCUMENT = _Domain(
    DOCUMENT_DEPTH, re.compile(r"[ -~]{1,4096}"), "1 to 4096 printable ASCII characters"
)
_VALUE = _Domain(VALUE_DEPTH)

#: What `json.dumps` makes anew at each call, with a domain that was checked before.
_encoder = c_make_encoder(None, None, encode_basestring, None, ":", ",", True, False, False)  # noqa: FBT003


def _plain(x: Json) -> str:
    return "".join(_encoder(x, 0))


def _ecmascript(x: Json) -> str:
    """Write what `_plain` would not: fractions, and keys in the order of UTF-16 code units."""
    kind = type(x)
    if kind is float:
        return _fraction(x)
    if kind is dict:
        keys = sorted(x, key=lambda key: key.encode("utf-16-be", "surrogatepass"))
        return f"{{{','.join(f'{encode_basestring(k)}:{_ecmascript(x[k])}' for k in keys)}}}"
    if kind is list or kind is tuple:
        return f"[{','.join(map(_ecmascript, x))}]"
    return _plain(x)


_WHOLE_DIGITS, _LEADING_ZEROS = 21, 6  # where ECMAScript changes to an exponent


def _fraction(number: float) -> str:
    """Write a finite *number* as ECMAScript does (RFC 8785 section 3.2.2.3)."""
    if number == 0:
        return "0"
    sign = "-" if number < 0 else ""
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, rest = mantissa.partition(".")
    digits = (whole + rest).lstrip("0")
    # `point` digits stand before the decimal point, in ECMAScript's words n; k is len(digits)
    point = len(whole) + int(exponent or 0) - (len(whole + rest) - len(digits))
    digits = digits.rstrip("0")
    if len(digits) <= point <= _WHOLE_DIGITS:
        return sign + digits.ljust(point, "0")
    if 0 < point <= _WHOLE_DIGITS:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -_LEADING_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"


def _surrogates(x: Json) -> Iterator[list[str | int]]:
    """Places of lone surrogates, the innermost step first."""
    if type(x) is str:
        if _SURROGATES.search(x):
            yield []
        return
    if type(x) is dict:
        yield from ([key] for key in sorted(x) if _SURROGATES.search(key))
    steps = x.items() if type(x) is dict else enumerate(x) if type(x) in {list, tuple} else ()
    for step, item in steps:
        yield from ([*path, step] for path in _surrogates(item))


_SURROGATE = "a lone surrogate"
_SURROGATES = re.compile("[\ud800-\udfff]")
_SHOWN = 256  #: of a pointer; keys can be as long as their author likes


def _refusal(why: str, path: list[str | int]) -> CanonicalError:
    steps = (str(step).replace("~", "~0").replace("/", "~1") for step in reversed(path))
    pointer = "".join(f"/{step}" for step in steps)
    shown = pointer[:_SHOWN].encode("ascii", "backslashreplace").decode() or "the top"
    return CanonicalError("canonical.domain", pointer=shown, why=why)


def sized(data: bytes, limit: int = LINE_BYTES) -> bytes:
    """Give *data* back; refuse what is longer than *limit*, ``canonical.too_large``."""
    if len(data) > limit:
        raise CanonicalError("canonical.too_large", size_bytes=len(data), limit_bytes=limit)
    return data


def _parse(data: bytes, domain: _Domain, *, max_bytes: int) -> JsonObject:
    sized(data, max_bytes)
    found = _strict(data, domain.depth)
    if type(found) is not dict:
        raise CanonicalError("canonical.parse", why="it is not an object at the top")
    if domain.encode(found) != data:
        raise CanonicalError("canonical.not_canonical", size_bytes=len(data))
    return found


def _strict(data: bytes, depth: int) -> Json:
    """Read JSON as the RFC has it; what Python's reader adds to it is refused."""
    if data.startswith(b"\xef\xbb\xbf"):
        raise CanonicalError("canonical.parse", why="it begins with a byte order mark")
    try:
        text = str(data, "utf-8")
    except UnicodeDecodeError as error:
        raise CanonicalError(
            "canonical.parse", why=f"it is not UTF-8 at byte {error.start}"
        ) from None
    if data.count(b"[") + data.count(b"{") > depth and nesting(data) > depth:
        raise CanonicalError("canonical.parse", why=f"it nests deeper than {depth}")
    try:
        return _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise CanonicalError(
            "canonical.parse", why=f"it is not JSON at character {error.pos}"
        ) from None
    except (
        ValueError,
        RecursionError,
    ):  # an integer beyond CPython's limit; too deep a caller
        raise CanonicalError("canonical.parse", why="it is beyond what can be read") from None


def _unique(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise CanonicalError("canonical.parse", why="a key stands twice in one object")
    return found


def _refuse_number(_: str) -> NoReturn:
    raise CanonicalError("canonical.parse", why="a number in it is not an integer")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_float=_refuse_number, parse_constant=_refuse_number
)

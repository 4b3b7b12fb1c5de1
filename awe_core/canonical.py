"""The one way a JSON value becomes bytes, and the digests of those bytes.

Three domains, one writer.  In the first two the bytes equal RFC 8785 and
``json.dumps(x, sort_keys=True, separators=(",", ":"), ensure_ascii=False)``.

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
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NoReturn

import attrs

from awe_core.errors import CanonicalError

if TYPE_CHECKING:
    from collections.abc import Callable

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
    return _sized(_LINE.encode(x), LINE_BYTES)


def parse_line(data: bytes) -> JsonObject:
    """Read the bytes of one record; they must be its only form.

    :raises CanonicalError: also ``canonical.parse`` and ``canonical.not_canonical``
    """
    return _parse(data, _LINE, max_bytes=LINE_BYTES)


def document(x: JsonObject) -> bytes:
    """Encode a document that people sign, or that is named by its digest.

    :raises CanonicalError: ``canonical.domain`` (where, why) or ``canonical.too_large``
    """
    return _sized(_DOCUMENT.encode(x), DOCUMENT_BYTES)


def parse_document(
    data: bytes, *, max_bytes: int = DOCUMENT_BYTES, max_depth: int = DOCUMENT_DEPTH
) -> JsonObject:
    """Read a signed document; the bytes must be its only form, and an object stands at the top.

    :raises CanonicalError: also ``canonical.parse`` and ``canonical.not_canonical``
    """
    writer = _DOCUMENT if max_depth == DOCUMENT_DEPTH else attrs.evolve(_DOCUMENT, depth=max_depth)
    return _parse(data, writer, max_bytes=max_bytes)


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


_NO_INTEGER = "an integer outside ±(2^53-1)"
_NO_FRACTION = "a float"
_TOO_LONG = "an integer of more digits than Python writes"
_NOT_FINITE = "NaN or an infinity"
_SURROGATE = "a lone surrogate"
_NO_STRING = "a key that is not a string"
_FOREIGN = "not JSON but a Python "
_TOO_DEEP = "nesting beyond "
_BAD_KEY = "a key that is not "


class _OutsideError(Exception):
    """Carries the place outwards while the writer unwinds."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why
        self.path: list[object] = []  #: keys and indices, the innermost first

    @property
    def pointer(self) -> str:
        steps = (str(step).replace("~", "~0").replace("/", "~1") for step in reversed(self.path))
        return "".join(f"/{step}" for step in steps)


def _no_integer(_: int) -> NoReturn:
    raise _OutsideError(_NO_INTEGER)


def _no_fraction(_: float) -> NoReturn:
    raise _OutsideError(_NO_FRACTION)


def _any_integer(number: int) -> str:
    try:
        return str(number)
    except ValueError:  # CPython's own limit, 4,300 digits
        raise _OutsideError(_TOO_LONG) from None


_WHOLE_DIGITS, _LEADING_ZEROS = 21, 6  # where ECMAScript changes to an exponent


def _fraction(number: float) -> str:
    """Write *number* as ECMAScript does (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(number):
        raise _OutsideError(_NOT_FINITE)
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


def _scalar(text: str) -> str:
    """Quote like `encode_basestring`, but stop at a lone surrogate; run only to name its place."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _OutsideError(_SURROGATE) from None
    return encode_basestring(text)


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


_WORDS = {None: "null", True: "true", False: "false"}

#: Names that were found good, already quoted.  Records use the same few hundred again and again.
_REMEMBERED = 4096
_SHORT = 64


@attrs.frozen
class _Writer:
    """Checks and writes in one walk: cheaper than a walk before the C encoder."""

    depth: int
    key: re.Pattern[str] | None  #: what a key must match whole; None: anything
    key_rule: str
    integer: Callable[[int], str]  #: for those outside ±(2^53-1)
    fraction: Callable[[float], str]
    quote: Callable[[str], str] = encode_basestring
    known: dict[str, str] = attrs.field(factory=dict, init=False, repr=False, eq=False)

    def encode(self, x: Json) -> bytes:
        try:
            return self.write(x, 1).encode()
        except _OutsideError as outside:
            raise _domain(outside) from None
        except UnicodeEncodeError:  # a second walk, only to name the place
            return attrs.evolve(self, quote=_scalar).encode(x)

    def write(self, x: Json, depth: int) -> str:
        """Write one value; objects and strings, the common ones, first."""
        kind = type(x)
        if kind is dict:
            return self.object(x, depth)
        if kind is str:
            return self.quote(x)
        if kind is int:
            return str(x) if -MAX_INTEGER <= x <= MAX_INTEGER else self.integer(x)
        if x is None or kind is bool:
            return _WORDS[x]
        if kind is list or kind is tuple:
            return self.array(x, depth)
        if kind is float:
            return self.fraction(x)
        raise _OutsideError(_FOREIGN + kind.__name__)

    def object(self, x: JsonObject, depth: int) -> str:
        """Write an object.  Strings and objects are written in place: this is the hot loop."""
        if depth > self.depth:
            raise _OutsideError(_TOO_DEEP + str(self.depth))
        known, quote = self.known, self.quote
        parts = []
        keys = self.order(x)
        key = ""
        try:
            for key in keys:
                name = (known.get(key) if type(key) is str else None) or self.name(key)
                item = x[key]
                kind = type(item)
                if kind is str:
                    parts.append(name + quote(item))
                elif kind is dict:
                    parts.append(name + self.object(item, depth + 1))
                else:
                    parts.append(name + self.write(item, depth + 1))
        except _OutsideError as outside:
            outside.path.append(key)
            raise
        return "{" + ",".join(parts) + "}"

    def array(self, x: list[Json] | tuple[Json, ...], depth: int) -> str:
        if depth > self.depth:
            raise _OutsideError(_TOO_DEEP + str(self.depth))
        parts: list[str] = []
        try:
            for item in x:
                parts.append(self.write(item, depth + 1))  # noqa: PERF401 - its length is the place
        except _OutsideError as outside:
            outside.path.append(len(parts))
            raise
        return "[" + ",".join(parts) + "]"

    def order(self, x: JsonObject) -> list[str]:
        """Sort by code points, or by UTF-16 code units where that can differ."""
        try:
            keys = sorted(x)
            if self.key is None and not "".join(keys).isascii():
                keys.sort(key=_utf16)
        except (TypeError, AttributeError):
            raise _OutsideError(_NO_STRING) from None
        return keys

    def name(self, key: str) -> str:
        if type(key) is not str:
            raise _OutsideError(_NO_STRING)
        if self.key is not None and not self.key.fullmatch(key):
            raise _OutsideError(_BAD_KEY + self.key_rule)
        name = self.quote(key) + ":"
        if len(self.known) < _REMEMBERED and len(key) <= _SHORT:
            self.known[key] = name
        return name


_LINE = _Writer(
    depth=LINE_DEPTH,
    key=re.compile(r"[A-Za-z0-9_.-]{1,64}"),
    key_rule="1 to 64 of [A-Za-z0-9_.-]",
    integer=_no_integer,
    fraction=_no_fraction,
)
_DOCUMENT = _Writer(
    depth=DOCUMENT_DEPTH,
    key=re.compile(r"[ -~]{1,4096}"),
    key_rule="1 to 4096 printable ASCII characters",
    integer=_no_integer,
    fraction=_no_fraction,
)
_VALUE = _Writer(depth=VALUE_DEPTH, key=None, key_rule="", integer=_any_integer, fraction=_fraction)


_SHOWN = 256  #: of a pointer; keys can be as long as their author likes


def _domain(outside: _OutsideError) -> CanonicalError:
    pointer = outside.pointer
    shown = pointer[:_SHOWN].encode("ascii", "backslashreplace").decode() or "the top"
    return CanonicalError("canonical.domain", pointer=shown, why=outside.why)


def _sized(data: bytes, limit: int) -> bytes:
    if len(data) > limit:
        raise CanonicalError("canonical.too_large", size_bytes=len(data), limit_bytes=limit)
    return data


def _parse(data: bytes, writer: _Writer, *, max_bytes: int) -> JsonObject:
    _sized(data, max_bytes)
    found = _strict(data, writer.depth)
    if type(found) is not dict:
        raise CanonicalError("canonical.parse", why="it is not an object at the top")
    if writer.encode(found) != data:
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

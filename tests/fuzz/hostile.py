"""Bytes that no reader of governance may stumble over, and what may happen at most."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.errors import AweError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MOST_BYTES = 64 * 1024 * 1024
MANY = 10_000_000

#: No document of ours is any of these.
DOCUMENTS = {
    "nothing": b"",
    "a white space": b" \n",
    "10 MB of brackets": b"[" * MANY,
    "10 MB of braces": b'{"a":' * (MANY // 5),
    "3 MB of brackets": b"[" * 3_000_000,
    "900 KB of brackets": b"[" * 900_000,
    "nested 5,000 deep": b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
    "nested 65 deep": b'{"a":' * 65 + b"1" + b"}" * 65,
    "a long string": b'{"a":"' + b"x" * MANY + b'"}',
    "an open string": b'{"a":"' + b"\\" * 900_001,
    "many members": b"{" + b",".join(b'"%d":0' % n for n in range(20_000)) + b"}",
    "UTF-16": '{"awe":"manifest/v1"}'.encode("utf-16"),
    "UTF-16 without a mark": '{"awe":"manifest/v1"}'.encode("utf-16-be"),
    "UTF-32": '{"awe":"manifest/v1"}'.encode("utf-32"),
    "a byte order mark": b'\xef\xbb\xbf{"awe":"manifest/v1"}',
    "Latin-1": b'{"awe":"\xe9"}',
    "a surrogate's bytes": b'{"awe":"\xed\xa0\x80"}',
    "a lone surrogate": b'{"awe":"\\ud800"}',
    "overlong UTF-8": b'{"awe":"\xc0\xaf"}',
    "UTF-8 beyond Unicode": b'{"awe":"\xf4\x90\x80\x80"}',
    "NaN": b'{"awe":NaN}',
    "Infinity": b'{"awe":-Infinity}',
    "1e400": b'{"awe":1e400}',
    "a fraction": b'{"awe":1.5}',
    "minus zero": b'{"awe":-0}',
    "an integer of 100,000 digits": b'{"awe":' + b"9" * 100_000 + b"}",
    "an integer of 64 bits": b'{"awe":9223372036854775808}',
    "a key twice": b'{"awe":"manifest/v1","awe":"manifest/v1"}',
    "a key twice, once escaped": b'{"awe":"manifest/v1","\\u0061we":"manifest/v1"}',
    "__proto__": b'{"__proto__":{"awe":"manifest/v1"}}',
    "__class__": b'{"__class__":"Root","__init__":{}}',
    "null bytes": b"\0" * 1_000,
    "a null byte behind": b'{"awe":"manifest/v1"}\0',
    "two documents": b'{"awe":"manifest/v1"}{}',
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "an anchor": b"a: &a [1]\nb: [*a, *a]\n",
    "a million laughs": b"a: &a [x]\n"
    + b"".join(b"%c: &%c [*%c,*%c]\n" % (n, n, n - 1, n - 1) for n in range(98, 120)),
    "a tag": b"!!python/object/apply:os.system ['true']\n",
}

#: The same text to the eye.
LOOK_ALIKES: dict[str, Callable[[str], str]] = {
    "a Cyrillic letter": lambda text: (
        text.replace("a", "\u0430") if "a" in text else f"\u0430{text}"
    ),
    "full-width digits": lambda text: f"{text}\uff11".translate(
        {n: n + 0xFEE0 for n in range(48, 58)}
    ),
    "Arabic digits": lambda text: f"{text}\u0661".translate({n: n + 0x630 for n in range(48, 58)}),
    "a combining mark": lambda text: f"{text}\u0301",
    "a bidi control": lambda text: f"\u202e{text}",
    "a space of no width": lambda text: f"{text[:1]}\u200b{text[1:]}",
    "a line end": lambda text: f"{text}\n",
    "a null character": lambda text: f"{text}\0",
    "a lone surrogate": lambda text: f"{text}\ud800",
}


def refusal(call: Callable[[], object]) -> str:
    """Give the code of the error that *call* ends in; empty: in none."""
    with within_bounds():
        try:
            call()
        except AweError as error:
            return error.code
    return ""


@contextlib.contextmanager
def within_bounds() -> Iterator[None]:
    """Let what happens inside have `MOST_BYTES` more than there are, and then a `MemoryError`."""
    pages = Path("/proc/self/statm")
    if not pages.exists():
        yield
        return
    taken = int(pages.read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (taken + MOST_BYTES, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)

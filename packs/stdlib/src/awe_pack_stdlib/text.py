"""``text.*``: pure work on texts.

It runs in a thread: what a caller writes may be dear, and the engine's loop must not wait for it;
a template is tried on the loop first, with so little that nobody notices.
Since a thread cannot be killed, each is bounded by itself too: templates by a purse, searches by
RE2, whose time is linear, and what multiplies two lengths looks at the product first.
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

import re2  # type: ignore[import-untyped]  # it has no types
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from awe_core import CapabilityError
from awe_pack_stdlib import templates
from awe_pack_stdlib.purse import Purse, PurseEmptyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core import AsyncExecutionContext, ExecutionContext

_SHORT = 4096  #: characters of a template that is compiled in less time than a thread takes
_LITTLE_BYTES, _LITTLE_S = 256 * 1024, 0.005
_MOST_CHARACTERS = 8 * 1024 * 1024  #: of a text that comes out
_MOST_PARTS = 100_000  #: of a text that is split
_MOST_GROUPS = 32  #: of a pattern: each may hold the whole text again


async def template(
    ctx: AsyncExecutionContext, *, template: str, values: dict[str, Any]
) -> dict[str, Any]:
    """Fill a Jinja template in, in a sandbox with bounds; an unknown name is an error."""
    del ctx
    try:
        if len(template) <= _SHORT:
            purse = Purse(_LITTLE_BYTES, seconds=_LITTLE_S)
            with contextlib.suppress(PurseEmptyError):
                return {"text": templates.render(template, values, purse=purse)}
        return {"text": await _in_a_thread(lambda: templates.render(template, values))}
    except PurseEmptyError as error:
        raise CapabilityError("template_limit", str(error)) from None
    except SecurityError as error:
        raise CapabilityError("template_refused", str(error)) from None
    except TemplateError as error:
        raise CapabilityError("template_error", str(error)) from None
    except Exception as error:  # noqa: BLE001 - whatever Python says while it runs a stranger's text
        message = f"{type(error).__name__} while the template was filled in"
        raise CapabilityError("template_error", message) from None


async def _in_a_thread(work: Callable[[], str]) -> str:
    """Work beside the loop, in a thread that goes with its work."""
    pool = ThreadPoolExecutor(1)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, work)
    finally:
        pool.shutdown(wait=False)


def replace(
    ctx: ExecutionContext, *, text: str, find: str, replacement: str, count: int
) -> dict[str, Any]:
    """Replace a literal text."""
    del ctx
    found = text.count(find)
    replaced = min(found, count) if count else found
    size = len(text) + replaced * (len(replacement) - len(find))
    if size > _MOST_CHARACTERS:
        message = f"the text would have {size} characters; at most {_MOST_CHARACTERS} are made"
        raise CapabilityError("too_large", message)
    return {"text": text.replace(find, replacement, replaced), "replaced": replaced}


def search(ctx: ExecutionContext, *, text: str, pattern: str, limit: int) -> dict[str, Any]:
    """Find what matches a regular expression (RE2 syntax)."""
    del ctx
    compiled = _compiled(pattern)
    return {
        "matches": [
            {"text": match[0], "start": match.start(), "groups": list(match.groups())}
            for match in islice(compiled.finditer(text), limit)
        ]
    }


def split(ctx: ExecutionContext, *, text: str, separator: str, keep_empty: bool) -> dict[str, Any]:
    """Split a text at a literal separator."""
    del ctx
    if text.count(separator) >= _MOST_PARTS:
        message = f"the text falls into more than {_MOST_PARTS} parts"
        raise CapabilityError("too_many_parts", message)
    parts = text.split(separator)
    return {"parts": parts if keep_empty else [part for part in parts if part]}


def _compiled(pattern: str) -> Any:  # noqa: ANN401 - re2 has no types
    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        why = error.args[0] if error.args else "unreadable"
        text = why.decode(errors="replace") if isinstance(why, bytes) else str(why)
        raise CapabilityError("bad_pattern", f"the pattern cannot be used: {text}") from None
    if compiled.groups > _MOST_GROUPS:
        message = f"the pattern has {compiled.groups} groups; at most {_MOST_GROUPS} are taken"
        raise CapabilityError("bad_pattern", message)
    return compiled

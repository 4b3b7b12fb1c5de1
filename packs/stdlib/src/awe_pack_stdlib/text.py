"""``text.*``: pure work on texts.

Templates and searches run in a thread with the step's timeout: what a caller writes there may be
dear, and the engine's loop must not wait for it.  Searches use RE2, whose time is linear.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import re2
from awe_core import CapabilityError
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment, SecurityError

if TYPE_CHECKING:
    from awe_core import AsyncExecutionContext, ExecutionContext

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True
)


def template(ctx: ExecutionContext, *, template: str, values: dict[str, Any]) -> dict[str, Any]:
    """Fill a Jinja template in, in Jinja's sandbox; an unknown name is an error."""
    del ctx
    try:
        return {"text": _ENVIRONMENT.from_string(template).render(values)}
    except SecurityError as error:
        raise CapabilityError("template_refused", str(error)) from None
    except TemplateError as error:
        raise CapabilityError("template_error", str(error)) from None
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        message = f"{type(error).__name__} while the template was filled in"
        raise CapabilityError("template_error", message) from None


async def replace(
    ctx: AsyncExecutionContext, *, text: str, find: str, replacement: str, count: int
) -> dict[str, Any]:
    """Replace a literal text."""
    del ctx
    found = text.count(find)
    return {
        "text": text.replace(find, replacement, count if count else -1),
        "replaced": min(found, count) if count else found,
    }


def search(ctx: ExecutionContext, *, text: str, pattern: str, limit: int) -> dict[str, Any]:
    """Find what matches a regular expression (RE2 syntax)."""
    del ctx
    try:
        compiled = re2.compile(pattern)
    except re2.error as error:
        message = str(error.args[0]) if error.args else "unreadable"
        raise CapabilityError("bad_pattern", f"the pattern cannot be used: {message}") from None
    matches = []
    for match in compiled.finditer(text):
        if len(matches) == limit:
            break
        matches.append({"text": match[0], "start": match.start(), "groups": list(match.groups())})
    return {"matches": matches}


async def split(
    ctx: AsyncExecutionContext, *, text: str, separator: str, keep_empty: bool
) -> dict[str, Any]:
    """Split a text at a literal separator."""
    del ctx
    parts = text.split(separator)
    return {"parts": parts if keep_empty else [part for part in parts if part]}

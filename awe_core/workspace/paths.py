"""What a path inside the workspace may look like, on every operating system.

One file has one spelling: paths are relative, separated by ``/``, without ``.``, ``..`` or empty
components, and nothing is decoded, normalised or expanded.  What is refused is refused before the
file system is asked.  ``portable_names`` adds what Windows would read differently (device names,
trailing dots, ``:`` …), so that a workspace written here can be checked out there.

The name ``.awe`` is reserved at every depth, in any case: no effect reaches, lists or globs it.
It does not look at files; links, mounts and file types are the matter of `confined`.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from typing import TypeAlias

from awe_core.errors import EffectRefusedError

MAX_COMPONENT_BYTES = 255
MAX_PATH_BYTES = 4096
MAX_COMPONENTS = 128

#: The workspace itself, for lists and digests only; no effect accepts it.
ROOT = "."

Parts: TypeAlias = tuple[str, ...]

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_WINDOWS_CHARACTERS = re.compile(r'[<>:"|?*\\]')
_WINDOWS_DEVICE = re.compile(r"(?i)(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])\s*(\.|$)")
#: Breaks none of the rules below: nearly every name there is.
_ORDINARY = re.compile(
    r"(?ia)(?!con|prn|aux|nul|com|lpt)[a-z0-9_-](?:[a-z0-9_. -]{0,250}[a-z0-9_-])?"
)
#: What HFS+ leaves out when it compares names; ``.g\u200cit`` is ``.git`` there (CVE-2014-9390).
_IGNORED = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u206a-\u206f\ufeff]")


def parse(path: str, *, portable_names: bool = True, root: bool = False) -> Parts:
    """Take *path* apart, or refuse it; ``"/".join`` of the result is *path* again.

    :param root: accept ``.`` for the workspace itself (an empty tuple)
    :raises EffectRefusedError: ``workspace.escape`` with the rule that was broken
    """
    return () if root and path == ROOT else _parsed(path, portable_names)


@functools.lru_cache(maxsize=1024)  # one effect asks several times, in each layer for itself
def _parsed(path: str, portable_names: bool) -> Parts:  # noqa: FBT001 - part of the cache's key
    parts = tuple(path.split("/"))
    rule = _broken_by_text(path, len(parts)) or next(
        (rule for part in parts if (rule := _broken_by(part, portable_names=portable_names))), ""
    )
    if rule:
        raise escape(path, rule)
    return parts


def is_reserved(part: str) -> bool:
    """Say whether a component belongs to AWE itself."""
    folded = fold(part)
    return folded == ".awe" or folded.startswith(".awe-probe-")


def fold(text: str) -> str:
    """Give the form in which names are compared where it is about protection, not identity."""
    if text.isascii():
        return text.lower()
    bare = _IGNORED.sub("", unicodedata.normalize("NFC", text))
    return unicodedata.normalize("NFC", bare.casefold())


def escape(path: str, rule: str) -> EffectRefusedError:
    """Build the refusal; the path is shown as it was asked, cut and made printable."""
    return EffectRefusedError("workspace.escape", path=shown(path), rule=rule)


def shown(path: str) -> str:
    """Make a path fit to be printed: control and bidi characters escaped, at most 200 long."""
    cut = path if len(path) <= 200 else path[:199] + "…"  # noqa: PLR2004 - the width of a message
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def _broken_by_text(path: str, components: int) -> str:
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return "a path is valid UTF-8"
    rules = (
        ("a path is not empty", not path),
        ("a path is relative to the workspace", path.startswith("/")),
        (f"at most {MAX_PATH_BYTES} bytes", size > MAX_PATH_BYTES),
        ("no control characters", _CONTROL.search(path)),
        ("no characters that change the direction of text", _BIDI.search(path)),
        (f"at most {MAX_COMPONENTS} components", components > MAX_COMPONENTS),
    )
    return next((rule for rule, is_broken in rules if is_broken), "")


def _broken_by(part: str, *, portable_names: bool) -> str:
    if _ORDINARY.fullmatch(part):
        return ""
    windows = _WINDOWS_CHARACTERS.search(part) if portable_names else None
    rules = (
        ("no empty component, and no slash at the end", not part),
        (f"no component {part}", part in {".", ".."}),
        (
            f"at most {MAX_COMPONENT_BYTES} bytes in a component",
            len(part.encode()) > MAX_COMPONENT_BYTES,
        ),
        ("the name .awe is reserved", is_reserved(part)),
        ("no dot or space at the end of a component", portable_names and part[-1:] in {".", " "}),
        (f"no {windows and windows[0]} in a portable name", windows),
        ("no device name of Windows", portable_names and _WINDOWS_DEVICE.match(part)),
    )
    return next((rule for rule, is_broken in rules if is_broken), "")

"""Arguments as people and digests see them: what is sensitive stands there as its MAC.

Sensitive is what the schema marks and what stands under a telling name (``password``, ``api_key``);
a name can be sensitive itself.  Equal values have equal MACs, so an approval still binds them, and
the plain hash of a PIN, which could be guessed, never leaves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from awe_core import canonical
from awe_core.contract import Mark
from awe_core.redaction import is_telling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from awe_core.values import Json

_tells = lru_cache(4096)(is_telling)


def masked(value: Json, marks: Sequence[tuple[str, Mark]], mac: Callable[[bytes], str]) -> Json:
    """Replace what is sensitive by ``{redacted, mac, len}``: comparable, not guessable.

    :param marks: JSON pointers into *value*, as `contract` finds them
    """
    if not marks and not _has_telling(value):  # nearly always
        return value
    values = {pointer for pointer, mark in marks if mark in {Mark.SENSITIVE, Mark.HIDDEN}}
    keys = {pointer for pointer, mark in marks if mark is Mark.KEY}

    def hidden(value: Json) -> Json:
        written = canonical.value(value)
        return {"redacted": "sensitive", "mac": mac(written), "len": len(written)}

    def shown(value: Json, at: str) -> Json:
        if at in values:
            return hidden(value)
        if isinstance(value, dict):
            return dict(member(at, key, one) for key, one in value.items())
        if isinstance(value, list):
            return [shown(one, f"{at}/{i}") for i, one in enumerate(value)]
        return value

    def member(at: str, key: str, value: Json) -> tuple[str, Json]:
        at = f"{at}/{key.replace('~', '~0').replace('/', '~1')}"  # RFC 6901
        name = mac(canonical.value(key)) if at in keys else key
        return name, hidden(value) if _tells(key) else shown(value, at)

    return shown(value, "")


def _has_telling(value: Json) -> bool:
    kind = type(value)
    if kind is dict:
        for key, one in value.items():
            if _tells(key) or (type(one) is not str and _has_telling(one)):
                return True
    elif kind is list:
        return any(map(_has_telling, value))
    elif isinstance(value, dict | list):  # of a kind of its own: looked at member by member
        return True
    return False

"""Arguments as people and digests see them: what is sensitive stands there as its MAC.

Sensitive is what the schema marks and what stands under a telling name (``password``, ``api_key``);
a name can be sensitive itself.  Equal values have equal MACs, so an approval still binds them, and
the plain hash of a PIN, which could be guessed, never leaves.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import attrs

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
    values = {pointer for pointer, mark in marks if mark in {Mark.SENSITIVE, Mark.HIDDEN}}
    keys = {pointer for pointer, mark in marks if mark is Mark.KEY}
    return _Masking(values, keys, mac).of(value, "")


@attrs.frozen
class _Masking:
    values: set[str]
    keys: set[str]
    mac: Callable[[bytes], str]

    def of(self, value: Json, at: str) -> Json:
        if at in self.values:
            return self._hidden(value)
        match value:
            case dict():
                return dict(self._member(f"{at}/{_escaped(k)}", k, v) for k, v in value.items())
            case list():
                return [self.of(one, f"{at}/{i}") for i, one in enumerate(value)]
            case _:
                return value

    def _member(self, at: str, key: str, value: Json) -> tuple[str, Json]:
        shown = self.mac(canonical.value(key)) if at in self.keys else key
        return shown, self._hidden(value) if _tells(key) else self.of(value, at)

    def _hidden(self, value: Json) -> Json:
        written = canonical.value(value)
        return {"redacted": "sensitive", "mac": self.mac(written), "len": len(written)}


def _escaped(key: str) -> str:
    """A key as a step of a JSON pointer (RFC 6901)."""
    return key.replace("~", "~0").replace("/", "~1")

"""How a contract or a step names the call that takes its effect back: values only.

Contracts (`capability`) and workflows (`workflow`) both speak of compensation, so the two classes
stand below them.  Templates stay the raw JSON people wrote; `expressions` compiles them.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.values import Json, JsonObject

_BEFORE = frozenset({"input", "config", "idempotency_key"})
#: What the templates of each call may read; those of a step read the step's own scope, too.
READS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "compensate": _BEFORE | {"before", "effect", "output"},
        "before": _BEFORE,
        "lookup": _BEFORE | {"before"},
    }
)


@attrs.frozen
class CapabilityCall:
    """A call of another capability, with templates in its arguments."""

    capability: str  #: ``id`` or ``id@major``
    with_: JsonObject = attrs.field(factory=dict)  #: arguments, ``${…}`` not yet compiled
    when: Json = None  #: an expression; null: always


@attrs.frozen
class UndoCompensate:
    """Another capability takes the effect back (40-effects-and-isolation, section 6)."""

    compensate: CapabilityCall  #: the taking back
    before: CapabilityCall | None = None  #: reads first; its output is the root ``before``
    lookup: CapabilityCall | None = None  #: asks after a crash whether the effect came about

    def calls(self) -> Iterator[tuple[str, CapabilityCall]]:
        """Give each call with its role, a key of `READS`."""
        for role in READS:
            call: CapabilityCall | None = getattr(self, role)
            if call is not None:
                yield role, call

    def templates(self) -> Iterator[tuple[tuple[str, str], Json, frozenset[str]]]:
        """Give each template with its place and the roots that it may read."""
        unread = frozenset() if self.before else frozenset({"before"})
        for role, call in self.calls():
            yield (role, "with"), call.with_, READS[role] - unread
            if call.when is not None:
                yield (role, "when"), call.when, READS[role] - unread

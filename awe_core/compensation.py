"""How a contract or a step names the call that takes its effect back: values only.

Contracts (`capability`) and workflows (`workflow`) both speak of compensation, so the two classes
stand below them.  Templates stay the raw JSON people wrote; `expressions` compiles them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from awe_core.values import Json, JsonObject


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

"""The catalogue: what each code says, what is the case then, and what to do next.

One module an area.  ``says``, ``state`` and ``next`` are format strings over the attributes of
the error that carries the code.  Codes are stable for ever; each has a page under
``docs/errors/``.
"""

from collections.abc import Mapping
from types import MappingProxyType

from awe_core.errors.codes.audit import AUDIT
from awe_core.errors.codes.channels import CHANNELS
from awe_core.errors.codes.code import Code
from awe_core.errors.codes.documents import DOCUMENTS
from awe_core.errors.codes.effects import EFFECTS
from awe_core.errors.codes.engine import ENGINE
from awe_core.errors.codes.governance import GOVERNANCE
from awe_core.errors.codes.handshake import HANDSHAKE

__all__ = ["CATALOGUE", "Code"]

#: Every code AWE can raise.
CATALOGUE: Mapping[str, Code] = MappingProxyType(
    {**DOCUMENTS, **GOVERNANCE, **ENGINE, **EFFECTS, **HANDSHAKE, **AUDIT, **CHANNELS}
)

"""What an approval is bound to: the digest of one exact call (50-handshake, section 2)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.values import Json, JsonObject

_PREFIX = b"awe:call:v1\n"


@attrs.frozen
class Call:
    """The seven members that an approval covers; any drift of one voids it."""

    capability: str
    version: str
    pack: str  #: digest of the approved record
    arguments: Json  #: exact, defaults applied; sensitive ones as their keyed MAC
    workspace: str  #: deployment id and workspace id
    preimages: Sequence[JsonObject]  #: {path, kind, sha256 or "absent", mode} of all it may change

    @property
    def digest(self) -> str:
        """``sha256:`` and the hex SHA-256 over the canonical call."""
        return digest_of(
            {
                "capability": self.capability,
                "version": self.version,
                "pack": self.pack,
                "arguments": self.arguments,
                "workspace": self.workspace,
                "preimages": sorted(self.preimages, key=lambda p: str(p["path"])),
            }
        )


def digest_of(call: JsonObject) -> str:
    """Digest the seven members, as they stand in a request as well."""
    return "sha256:" + hashlib.sha256(_PREFIX + canonical.value(call)).hexdigest()

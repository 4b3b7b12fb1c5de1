"""One effect that changes the world: how it is asked for, and what it left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core import canonical

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.values import JsonObject
    from awe_core.workspace import Staged


@attrs.frozen(kw_only=True)
class Change:
    """One effect that changes the world, as it is asked for."""

    kind: str
    target: str
    claims: tuple[str, ...]  #: resources it changes
    request: JsonObject  #: what is asked, so that the same key with another request is noticed
    stage: Callable[[], Staged]

    @property
    def digest(self) -> str:
        """Digest of what is asked."""
        return canonical.digest_value({"kind": self.kind, "target": self.target, **self.request})


@attrs.frozen
class Done:
    """What an effect left behind."""

    is_created: bool
    sha256: str | None  #: hex, of a file
    size: int | None  #: bytes, of a file

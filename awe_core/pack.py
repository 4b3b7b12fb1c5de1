"""What a pack and a facade say of themselves, as people write it: `PackSpec` and `FacadeSpec`.

Values only.  What is *granted* to a pack stands in the signed records, not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import Json, JsonObject

ExecutorName: TypeAlias = Literal["inproc", "worker", "bwrap"]
Reuse: TypeAlias = Literal["run", "workspace"]
ChannelName: TypeAlias = Literal["cli", "mcp", "rest", "functions"]


@attrs.frozen
class AcceptUnenforced:
    """A right the platform need not enforce for this pack, and why that is all right."""

    right: str
    reason: str


@attrs.frozen(kw_only=True)
class PackSpec:
    """The ``pack.yaml`` of a distribution: what it holds and what it asks to be granted."""

    name: str  #: distribution ``awe-pack-NAME``
    publisher: str = ""
    contracts: tuple[str, ...] = ()  #: globs inside the package
    workflows: tuple[str, ...] = ()
    facades: tuple[str, ...] = ()
    bindings: tuple[str, ...] = ()  #: of a declarative pack
    interpreter: str | None = None  #: ``plugin:interpreter`` of a declarative pack
    source: JsonObject | None = None  #: where a declarative pack was imported from
    executor: ExecutorName = "worker"  #: asked for; the signed record decides
    reuse: Reuse = "run"
    native: bool = False
    hooks: tuple[str, ...] = ()  #: hookspecs asked for
    accept_unenforced: tuple[AcceptUnenforced, ...] = ()


@attrs.frozen
class FacadeLimits:
    """How often a facade may be called; None: unlimited."""

    rate_per_minute: int | None = None
    concurrent: int | None = None


@attrs.frozen(kw_only=True)
class FacadeSpec:
    """A named public entry: agents see facades and nothing else.

    Exactly one of *capability* and *workflow* is set.
    """

    id: str
    summary: str
    description: str = ""
    capability: str | None = None  #: ``id@major``
    workflow: str | None = None  #: ``id@major``
    channels: tuple[ChannelName, ...] = ()
    fixed: Mapping[str, Json] = attrs.field(factory=dict)  #: inputs that callers cannot set
    roles: tuple[str, ...] = ()  #: of callers; empty: any authenticated actor
    limits: FacadeLimits = FacadeLimits()
    options: Mapping[str, JsonObject] = attrs.field(factory=dict)  #: one table a channel

    @property
    def target(self) -> str:
        """What is called, as ``id@major``."""
        return self.capability or self.workflow or ""

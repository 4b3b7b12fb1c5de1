"""Time, randomness, settings: effects that read, and whose answers are recorded."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Protocol

from awe_core import canonical
from awe_core.errors import AweError, EffectError

if TYPE_CHECKING:
    from awe_core.effects.grants import Grant
    from awe_core.effects.port import Port
    from awe_core.values import JsonObject

_MOST_RANDOM = 65_536  #: bytes of one request


class _Broker(Protocol):
    """What the kinds need of `StepBroker`."""

    port: Port
    grant: Grant
    config: JsonObject

    def check(self, kind: str, target: str) -> None: ...
    def refuse(self, kind: str, target: str, error: AweError) -> AweError: ...
    def observed(self, kind: str, target: str, post: str | None) -> None: ...


class Observed:
    """``clock``, ``random`` and ``env.read`` for one attempt of one step."""

    async def now_us(self: _Broker) -> int:
        """Give the wall clock in microseconds."""
        _granted(self, "clock")
        now = self.port.now_us()
        self.observed("clock", str(now), None)
        return now

    async def sleep(self: _Broker, seconds: float) -> None:
        """Wait; the step's timeout bounds it."""
        _granted(self, "clock")
        self.observed("clock", f"sleep {seconds:g} s", None)
        await asyncio.sleep(max(0.0, seconds))

    async def random(self: _Broker, size: int) -> bytes:
        """Give random bytes of the operating system."""
        _granted(self, "random")
        if not 0 < size <= _MOST_RANDOM:
            raise EffectError("effect.limit", which="bytes", limit=_MOST_RANDOM, target="random")
        drawn = secrets.token_bytes(size)
        self.observed("random", f"{size} bytes", canonical.digest(drawn))
        return drawn

    async def env(self: _Broker, name: str) -> str:
        """Give a key of the pack's own table under ``config:``; never of the environment."""
        self.check("env.read", name)
        try:
            self.grant.find("env.read", name)
        except AweError as error:
            raise self.refuse("env.read", name, error) from None
        found = self.config.get(name)
        if found is None:
            raise EffectError("effect.env_missing", name=name)
        self.observed("env.read", name, canonical.digest_value(found))
        return str(found)


def _granted(broker: _Broker, kind: str) -> None:
    broker.check(kind, "")
    try:
        broker.grant.find_kind(kind)
    except AweError as error:
        raise broker.refuse(kind, "", error) from None

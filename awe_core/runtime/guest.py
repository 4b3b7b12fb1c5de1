"""A process beside the owner of a home: it asks over the control socket and reads the journal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from awe_core.engine import Plans
from awe_core.errors import EngineError
from awe_core.journal import JournalReader
from awe_core.runtime.control import Client
from awe_core.runtime.deployment import Deployment, load
from awe_core.runtime.owner import read_mark

if TYPE_CHECKING:
    from awe_core.config import Config
    from awe_core.values import Json, JsonObject


class Guest:
    """Carries requests to the owner; holds no right and no lock."""

    def __init__(
        self, journal: JournalReader, deployment: Deployment, client: Client | None
    ) -> None:
        """Take what `open` has made; without *client* it only reads."""
        self.role = "observer" if client is None else "guest"
        self.journal = journal
        self.deployment = deployment
        self.plans = Plans(deployment.registry)
        self._client = client

    @classmethod
    async def open(cls, config: Config, *, is_observer: bool) -> Guest:
        """Reach the owner of the home, or with *is_observer* only read.

        :raises EngineError: ``engine.no_owner`` when nobody listens
        """
        client = None if is_observer else await Client.connect(config.home)
        journal = JournalReader(config.home)
        mark = read_mark(journal, config.name)
        deployment = load(config, now_s=int(time.time()), mark=mark)
        return cls(journal, deployment, client)

    async def answer(self, method: str, params: JsonObject) -> Json:
        """Have the owner answer."""
        if self._client is None:
            raise EngineError("engine.observer", method=method)
        if method != "settled":
            return await self._client.ask(method, params)
        waiting = await Client.connect(self.deployment.config.home)  # it blocks its connection
        try:
            return await waiting.ask(method, params)
        finally:
            await waiting.close()

    async def close(self) -> None:
        """Let go."""
        if self._client is not None:
            await self._client.close()
        self.journal.close()

"""The audit sinks as ``awe.yaml`` names them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.audit import Attached, AuditLogger, JsonlSink
from awe_core.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from awe_core.config import Config
    from awe_core.config.settings import SinkSettings
    from awe_core.hookspecs import AuditSink
    from awe_core.journal import Journal


def logger_of(config: Config, journal: Journal, offered: Sequence[AuditSink]) -> AuditLogger:
    """Attach every sink that is named.

    :raises AuditError: ``sink.unknown`` when one is named that nothing offers
    """
    by_name = {sink.name: sink for sink in offered}
    return AuditLogger(journal, [_attached(one, config, by_name) for one in config.audit.sinks])


def _attached(one: SinkSettings, config: Config, offered: dict[str, AuditSink]) -> Attached:
    if one.sink == "jsonl":
        base = config.file.parent if config.file else config.home
        folder = base / Path(str(one.settings.get("path", "audit")))
        return Attached(JsonlSink(folder), is_required=one.is_required)
    if one.sink not in offered:
        raise AuditError("sink.unknown", sink=one.sink)
    return Attached(offered[one.sink], is_required=one.is_required)

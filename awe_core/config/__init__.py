"""The settings of a deployment: found, laid over each other, resolved.

Precedence: command-line flag, environment (``AWE_…``), ``awe.yaml``, default; every value knows
which of them it came from.  ``awe.yaml`` is looked for from the working directory upwards and must
then belong to this user or to root: a file somebody else left in a shared folder decides nothing.

Not here: whether policies, sinks or packs that settings name exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from awe_core.config.layers import DEFAULTS, VARIABLES, Layers, layered, size_or_none
from awe_core.config.settings import (
    AuditLevel,
    AuditSettings,
    Config,
    EngineSettings,
    HandshakeSettings,
    LevelRule,
    Limits,
    NetSettings,
    PolicySettings,
    Program,
    RequirementSettings,
    SecretBinding,
    SecretSettings,
    Setting,
    SinkSettings,
    TrustSettings,
    UndoSettings,
    WorkspaceSettings,
)
from awe_core.documents import duration_us, load_deployment, size_bytes
from awe_core.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.values import Json, JsonObject

__all__ = [
    "DEFAULTS",
    "FILE",
    "VARIABLES",
    "AuditLevel",
    "AuditSettings",
    "Config",
    "EngineSettings",
    "HandshakeSettings",
    "LevelRule",
    "Limits",
    "NetSettings",
    "PolicySettings",
    "Program",
    "RequirementSettings",
    "SecretBinding",
    "SecretSettings",
    "Setting",
    "SinkSettings",
    "TrustSettings",
    "UndoSettings",
    "WorkspaceSettings",
    "find_file",
    "load_config",
]

FILE = "awe.yaml"
_QUOTA_BYTES, _QUOTA_PERCENT = 2 << 30, 10


def load_config(
    path: Path | None,
    *,
    flags: Mapping[str, Json],
    environ: Mapping[str, str],
    cwd: Path | None = None,
) -> Config:
    """Resolve the settings.

    :param path: the file; None: ``AWE_CONFIG``, else `find_file`, else defaults without a file
    :param flags: dotted keys and values, as in ``{"engine.durability": "normal"}``
    :param cwd: the working directory; None: the process's
    :raises DocumentError: the file is no deployment
    :raises UsageError: ``config.…``: no such file, or a flag or variable that does not fit
    """
    here = (cwd or Path.cwd()).absolute()
    named = path or (Path(environ["AWE_CONFIG"]) if environ.get("AWE_CONFIG") else None)
    file = here / named if named else find_file(here)
    spec = None if file is None else load_deployment(_read(file), file=str(named or file.name))
    folder = here if file is None else file.parent
    return _config(layered(spec, flags=flags, environ=environ, file_folder=folder, cwd=here), file)


def find_file(start: Path) -> Path | None:
    """Give the nearest ``awe.yaml`` in *start* or a folder above it.

    :raises UsageError: ``config.foreign_file``: it belongs to another user
    """
    for folder in (start, *start.parents):
        file = folder / FILE
        if file.is_file():
            owner = file.stat().st_uid
            if hasattr(os, "geteuid") and owner not in {0, os.geteuid()}:
                raise UsageError("config.foreign_file", file=str(file), owner=owner)
            return file
    return None


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageError("config.unreadable", file=str(file), why=why) from None


def _config(at: Layers, file: Path | None) -> Config:
    return Config(
        file=file,
        name=at["name"],
        workspace=WorkspaceSettings(
            root=at.path("workspace.root"),
            protected=tuple(at["workspace.protected"]),
            portable_names=at["workspace.portable_names"],
            hardlinks=at["workspace.hardlinks"],
        ),
        home=at.path("home"),
        trust=TrustSettings(
            root_sha256=at["trust.root_sha256"],
            store=at.path("trust.store"),
            poll_us=at.us("trust.poll"),
        ),
        engine=_engine(at),
        temporal=at["temporal"],
        max_workers=at["isolation.max_workers"],
        confirm=tuple(PolicySettings(e["policy"], _without(e, "policy")) for e in at["confirm"]),
        handshake=_handshake(at),
        audit=_audit(at),
        undo=_undo(at),
        secrets=_secrets(at),
        net=NetSettings(
            hosts={capability: tuple(hosts) for capability, hosts in at["net.hosts"].items()},
            private_allow=tuple(at["net.private_allow"]),
            proxy=at["net.proxy"],
        ),
        programs={
            name: Program(Path(found["path"]), found.get("sha256"))
            for name, found in at["programs"].items()
        },
        config=at["config"],
        settings=tuple(at.settings.values()),
    )


def _engine(at: Layers) -> EngineSettings:
    limits = at.under("engine.limits")
    sizes = {key: size_bytes(value) for key, value in limits.items() if key.endswith("_bytes")}
    words = ("driver", "durability", "effects", "barriers", "isolation", "commit")
    return EngineSettings(
        **{word: at[f"engine.{word}"] for word in words},
        limits=Limits(**{**limits, **sizes}),
        shutdown_us=at.us("engine.shutdown"),
    )


def _handshake(at: Layers) -> HandshakeSettings:
    return HandshakeSettings(
        expires_us=at.us("handshake.expires"),
        ticket_us=at.us("handshake.ticket"),
        session_max_us=at.us("handshake.session_max"),
        budget_open=at["handshake.budget.open"],
        budget_per_hour=at["handshake.budget.per_hour"],
        requirements={
            risk: RequirementSettings(**{**found, "roles": tuple(found["roles"])})
            for risk, found in at.under("handshake.requirements").items()
        },
        people=at.path("handshake.people"),
    )


def _audit(at: Layers) -> AuditSettings:
    level = at["audit.level"]
    rules = level.get("rules", []) if isinstance(level, dict) else []
    return AuditSettings(
        origin=at["audit.origin"] or at["name"],
        level=level["default"] if isinstance(level, dict) else level,
        level_rules=tuple(LevelRule(rule["when"], rule["level"]) for rule in rules),
        keep_us=at.us("audit.keep"),
        payloads=at["audit.payloads"],
        actors=at["audit.actors"],
        ack=at["audit.ack"],
        max_bytes=size_or_none(at["audit.max_bytes"]),
        anchors=tuple(at["audit.anchors"]),
        sinks=tuple(
            SinkSettings(e["sink"], e.get("required", False), _without(e, "sink", "required"))
            for e in at["audit.sinks"]
        ),
    )


def _undo(at: Layers) -> UndoSettings:
    keep, quota = at["undo.keep"], at["undo.quota"]
    is_share = isinstance(quota, str) and quota.endswith("%")
    return UndoSettings(
        keep_us=0 if keep == 0 else duration_us(keep),
        quota_bytes=_QUOTA_BYTES if quota is None else None if is_share else size_bytes(quota),
        quota_percent=_QUOTA_PERCENT if quota is None else int(quota[:-1]) if is_share else None,
        on_quota=at["undo.on_quota"],
    )


def _secrets(at: Layers) -> SecretSettings:
    return SecretSettings(
        provider=at["secrets.provider"],
        prefix=at["secrets.prefix"],
        path=None if at["secrets.path"] is None else at.path("secrets.path"),
        bind={
            name: SecretBinding(tuple(found.get("hosts", ())), tuple(found.get("programs", ())))
            for name, found in at["secrets.bind"].items()
        },
    )


def _without(table: JsonObject, *keys: str) -> JsonObject:
    return {key: value for key, value in table.items() if key not in keys}

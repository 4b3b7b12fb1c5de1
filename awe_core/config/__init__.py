"""The settings of a deployment: found, laid over each other, resolved.

Precedence: command-line flag, environment (``AWE_…``), ``awe.yaml``, default; every value knows
which of them it came from.  ``awe.yaml`` is looked for from the working directory upwards and must
then belong to this user or to root: a file somebody else left in a shared folder decides nothing.

Not here: whether policies, sinks or packs that settings name exist.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from awe_core.config.layers import DEFAULTS, VARIABLES, layered
from awe_core.config.settings import (
    AuditLevel,
    AuditSettings,
    Config,
    EngineSettings,
    HandshakeSettings,
    Limits,
    PolicySettings,
    RequirementSettings,
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
    "Limits",
    "PolicySettings",
    "RequirementSettings",
    "Setting",
    "SinkSettings",
    "TrustSettings",
    "UndoSettings",
    "WorkspaceSettings",
    "find_file",
    "load_config",
]

T = TypeVar("T")

FILE = "awe.yaml"
_RISKS = ("low", "medium", "high", "critical")


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
    settings = layered(spec, flags=flags, environ=environ)
    return _Resolver(settings, here if file is None else file.parent, here).config(file)


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


@attrs.frozen
class _Resolver:
    """Makes what was written what the fields of `Config` are."""

    settings: Mapping[str, Setting]
    file_folder: Path  #: what relative paths of the file and of defaults start from
    cwd: Path  #: what those of flags and environment start from

    def config(self, file: Path | None) -> Config:
        quota, level = self.written("undo.quota"), self.written("audit.level")
        is_share = isinstance(quota, str) and quota.endswith("%")
        keep = self.written("undo.keep")
        requirements = {
            risk: self.section(RequirementSettings, f"handshake.requirements.{risk}")
            for risk in _RISKS
        }
        sinks = [
            SinkSettings(one["sink"], one.get("required", False), _without(one, "sink", "required"))
            for one in self.written("audit.sinks")
        ]
        limits = self.section(Limits, "engine.limits")
        return Config(
            file=file,
            name=self.written("name"),
            workspace=self.section(WorkspaceSettings, "workspace"),
            home=self.path("home"),
            trust=self.section(TrustSettings, "trust"),
            engine=self.section(EngineSettings, "engine", limits=limits),
            confirm=tuple(
                PolicySettings(one["policy"], _without(one, "policy"))
                for one in self.written("confirm")
            ),
            handshake=self.section(HandshakeSettings, "handshake", requirements=requirements),
            audit=self.section(
                AuditSettings,
                "audit",
                origin=self.written("audit.origin") or self.written("name"),
                level=level["default"] if isinstance(level, dict) else level,
                sinks=tuple(sinks),
            ),
            undo=UndoSettings(
                keep_us=duration_us(keep) if keep else 0,
                quota_bytes=None if is_share or quota is None else size_bytes(quota),
                quota_percent=int(quota[:-1]) if is_share else None,
                on_quota=self.written("undo.on_quota"),
            ),
            config=self.written("config"),
            settings=tuple(self.settings.values()),
        )

    def section(self, kind: type[T], section: str, **given: object) -> T:
        """Make a *kind* of the keys of *section*, its fields' names; *given* is there already."""
        whole = self.settings.get(section)  # of requirements: one table
        for field in attrs.fields(kind):  # type: ignore[arg-type]  # attrs classes
            key = f"{section}.{field.name.removesuffix('_us')}"
            if field.name in given:
                continue
            if field.type == "Path":
                given[field.name] = self.path(key)
                continue
            found = whole.value[field.name] if whole else self.written(key)
            if field.name.endswith("_us"):
                found = duration_us(found)
            elif field.name.endswith("_bytes"):
                found = size_bytes(found)
            given[field.name] = tuple(found) if isinstance(found, list) else found
        return kind(**given)

    def written(self, key: str) -> Json:
        return self.settings[key].value

    def path(self, key: str) -> Path:
        """Give an absolute path, relative to where it was written."""
        setting = self.settings[key]
        is_near = setting.origin == "flag" or setting.origin in VARIABLES
        return (self.cwd if is_near else self.file_folder) / str(setting.value)


def _without(table: JsonObject, *keys: str) -> JsonObject:
    return {key: value for key, value in table.items() if key not in keys}

"""Precedence: command-line flag, then environment, then ``awe.yaml``, then default.

One flat table of dotted keys.  Every key has a default; keys whose value is one word or number can
also be set by ``AWE_SECTION_KEY`` and by flag, and are then checked by the same schema.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from awe_core.config.settings import Setting
from awe_core.documents import DeploymentSpec, duration_us, nearest, parse, size_bytes, value_misfit
from awe_core.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from awe_core.values import Json

_CORES = os.cpu_count() or 1

#: Every setting and what it is when nobody says otherwise, as it would be written.
DEFAULTS: Mapping[str, Json] = {
    "name": "local",
    "workspace.root": ".",
    "workspace.protected": [],
    "workspace.portable_names": True,
    "workspace.hardlinks": "refuse",
    "home": ".awe",
    "trust.root_sha256": None,
    "trust.store": "governance",
    "trust.poll": "2s",
    "engine.driver": "embedded",
    "engine.durability": "full",
    "engine.effects": "synced",
    "engine.barriers": "output",
    "engine.isolation": "workspace",
    "engine.commit": "auto",
    "engine.limits.active_runs": 256,
    "engine.limits.steps_in_flight_per_run": 32,
    "engine.limits.steps_in_flight": 128,
    "engine.limits.threads": min(32, 4 * _CORES),
    "engine.limits.queued_submissions": 10_000,
    "engine.limits.uncommitted_records": 10_000,
    "engine.limits.uncommitted_bytes": "16MiB",
    "engine.limits.steps_per_run": 50_000,
    "engine.limits.nesting": 16,
    "engine.limits.foreach_items": 10_000,
    "engine.limits.value_bytes": "1MiB",
    "engine.limits.run_bytes": "64MiB",
    "engine.shutdown": "10s",
    "temporal": None,
    "isolation.max_workers": 4 * _CORES,
    "confirm": [{"policy": "auto"}],
    "handshake.expires": "24h",
    "handshake.ticket": "10m",
    "handshake.session_max": "8h",
    "handshake.budget.open": 20,
    "handshake.budget.per_hour": 60,
    "handshake.requirements.low": {"quorum": 1, "roles": [], "min_assurance": "relayed"},
    "handshake.requirements.medium": {"quorum": 1, "roles": [], "min_assurance": "local"},
    "handshake.requirements.high": {"quorum": 1, "roles": [], "min_assurance": "session"},
    "handshake.requirements.critical": {"quorum": 2, "roles": [], "min_assurance": "session"},
    "handshake.people": "people.yaml",
    "audit.origin": None,
    "audit.level": "metadata",
    "audit.keep": "30d",
    "audit.payloads": "encrypted",
    "audit.actors": "plain",
    "audit.ack": {},
    "audit.max_bytes": None,
    "audit.anchors": [],
    "audit.sinks": [],
    "undo.keep": "7d",
    "undo.quota": None,
    "undo.on_quota": "refuse",
    "secrets.provider": "env",
    "secrets.prefix": "AWE_SECRET_",
    "secrets.path": None,
    "secrets.bind": {},
    "net.hosts": {},
    "net.private_allow": [],
    "net.proxy": None,
    "programs": {},
    "config": {},
}

#: Keys of which only the whole can be written, in the file.
_TABLES = frozenset(
    {"temporal"} | {key for key, value in DEFAULTS.items() if isinstance(value, (dict, list))}
)
_NAMED = {f"AWE_{key.upper().replace('.', '_')}": key for key in DEFAULTS}
#: Environment variables and the keys they set.
VARIABLES: Mapping[str, str] = {
    "AWE_WORKSPACE": "workspace.root",
    **{variable: key for variable, key in _NAMED.items() if key not in _TABLES},
}
_SECTIONS = tuple(
    sorted({f"AWE_{key.partition('.')[0].upper()}_" for key in DEFAULTS if "." in key})
)


@attrs.frozen
class Layers:
    """Every key with the value that won and where it came from."""

    settings: Mapping[str, Setting]
    file_folder: Path  #: what relative paths of the file and of defaults start from
    cwd: Path  #: what those of flags and environment start from

    def __getitem__(self, key: str) -> Json:
        """Give the value as written."""
        return self.settings[key].value

    def under(self, section: str) -> dict[str, Json]:
        """Give a section's own keys and values."""
        return {
            key.removeprefix(f"{section}."): setting.value
            for key, setting in self.settings.items()
            if key.startswith(f"{section}.")
        }

    def us(self, key: str) -> int:
        """Give a duration."""
        return duration_us(self[key])

    def path(self, key: str) -> Path:
        """Give an absolute path, relative to where it was written."""
        is_near = self.settings[key].origin == "flag" or key in self._from_environment
        folder = self.cwd if is_near else self.file_folder
        return folder / str(self[key])

    @property
    def _from_environment(self) -> frozenset[str]:
        return frozenset(k for k, s in self.settings.items() if s.origin in VARIABLES)


def layered(
    spec: DeploymentSpec | None,
    *,
    flags: Mapping[str, Json],
    environ: Mapping[str, str],
    file_folder: Path,
    cwd: Path,
) -> Layers:
    """Lay the four sources over each other.

    :raises UsageError: ``config.unknown_setting``, ``config.unknown_variable``, ``config.value``
    """
    found = {key: Setting(key, value, "default") for key, value in DEFAULTS.items()}
    for setting in (*_file(spec), *_environment(environ), *_flags(flags)):
        found[setting.key] = setting
    return Layers(found, file_folder, cwd)


def size_or_none(value: Json) -> int | None:
    """Give a size that may be absent."""
    return None if value is None else size_bytes(value)


def _file(spec: DeploymentSpec | None) -> Iterable[Setting]:
    if spec is None:
        return
    document = {"name": spec.name, **spec.settings}
    for key in DEFAULTS:
        steps = tuple(key.split("."))
        value: Json = document
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        if value is None:
            continue
        if key.startswith("handshake.requirements."):
            value = {**DEFAULTS[key], **value}
        line, column = spec.parsed.position_of(steps)
        yield Setting(key, value, f"{spec.parsed.file}:{line}:{column}")


def _environment(environ: Mapping[str, str]) -> Iterable[Setting]:
    for variable, text in environ.items():
        if not text:  # set to nothing is how shells and CI systems unset
            continue
        if key := VARIABLES.get(variable):
            yield Setting(key, _typed(key, text, origin=variable), variable)
        elif variable.startswith(_SECTIONS):
            close = None if variable in _NAMED else nearest(variable, VARIABLES)
            fix = f"write {close}" if close else "set it in awe.yaml, or unset the variable"
            raise UsageError("config.unknown_variable", variable=variable[:80], fix=fix)


def _flags(flags: Mapping[str, Json]) -> Iterable[Setting]:
    for key, value in flags.items():
        if key not in DEFAULTS or key in _TABLES:
            close = None if key in _TABLES else nearest(key, VARIABLES.values())
            fix = f"write {close}" if close else "set it in awe.yaml"
            raise UsageError("config.unknown_setting", key=key[:80], fix=fix)
        yield Setting(key, _typed(key, value, origin="flag"), "flag")


def _typed(key: str, value: Json, *, origin: str) -> Json:
    """Take text as it is where the schema takes text, and as YAML where it does not."""
    steps = tuple(key.split("."))
    misfit = value_misfit("deployment", steps, value)
    if misfit is not None and isinstance(value, str):
        try:
            value = parse(value, file=origin).value
        except DocumentError:
            pass
        else:
            misfit = value_misfit("deployment", steps, value)
    if misfit is None:
        return value
    raise UsageError("config.value", key=key, origin=origin, details=[misfit])

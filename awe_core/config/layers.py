"""Precedence: command-line flag, then environment, then ``awe.yaml``, then default.

One flat table of dotted keys.  Every key has a default; keys whose value is one word or number can
also be set by ``AWE_SECTION_KEY`` and by flag, and are then checked by the same schema.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from awe_core.config.settings import Setting
from awe_core.documents import DeploymentSpec, nearest, parse, schema, value_misfit
from awe_core.errors import DocumentError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from awe_core.values import Json, JsonObject

_CORES = os.cpu_count() or 1


def _defaults(part: JsonObject, section: str = "") -> Iterator[tuple[str, Json]]:
    """Give every setting of the published schema: what has a default there is one."""
    for key, below in part["properties"].items():
        inner = next((one for one in (below, *below.get("oneOf", ())) if "properties" in one), None)
        if "default" in below:
            yield f"{section}{key}", below["default"]
        elif inner is not None:
            yield from _defaults(inner, f"{section}{key}.")


#: Every setting and what it is when nobody says otherwise, as it would be written.
DEFAULTS: Mapping[str, Json] = {
    **dict(_defaults(schema("deployment"))),
    "engine.limits.threads": min(32, 4 * _CORES),
    "isolation.max_workers": 4 * _CORES,
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


def layered(
    spec: DeploymentSpec | None, *, flags: Mapping[str, Json], environ: Mapping[str, str]
) -> Mapping[str, Setting]:
    """Lay the four sources over each other.

    :raises UsageError: ``config.unknown_setting``, ``config.unknown_variable``, ``config.value``
    """
    found = {key: Setting(key, value, "default") for key, value in DEFAULTS.items()}
    for setting in (*_file(spec), *_environment(environ), *_flags(flags)):
        found[setting.key] = setting
    return found


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

"""Which installed distributions offer something to AWE: text is read, nothing is imported.

Rule: two installs of one normalised distribution name are both marked, and neither is ever taken
(else the first on ``sys.path`` would win silently).  pluggy's own entry-point loader is not used
anywhere, since it imports at once.
"""

from __future__ import annotations

import configparser
import importlib.metadata
import re
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.hookspecs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@attrs.frozen
class Found:
    """One installed distribution with entry points in the group ``awe``."""

    distribution: str  #: as its metadata spell it
    version: str
    entry_points: Mapping[str, str]  #: of the group ``awe``: name, and module as text
    location: str  #: the folder it is installed in
    metadata_folder: str = ""  #: its ``.dist-info`` there; empty: an egg or zip
    duplicates: tuple[str, ...] = ()  #: every place where the name is installed, if more than one

    @property
    def name(self) -> str:
        """The normalised name, by which records and manifests know it."""
        return normalised(self.distribution)


def normalised(distribution: str) -> str:
    """Spell a distribution's name the one way (PyPA name normalization)."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def discover(path: Iterable[str] | None = None, *, also: Iterable[str] = ()) -> tuple[Found, ...]:
    """Give every distribution that offers something, by name.

    :param path: folders to look in instead of ``sys.path``
    :param also: distributions to find without entry points: declarative packs have none
    """
    wanted = frozenset(also)
    places: defaultdict[str, dict[str, None]] = defaultdict(
        dict
    )  # a folder twice on the path is one
    found: dict[str, Found] = {}
    for distribution in _distributions(path):
        where = _metadata_path(distribution)
        name = _folder_name(where) or normalised(_said(distribution)[0])
        place = str(where.parent if where else distribution.locate_file(""))
        places[name][str(where or place)] = None
        offered = entry_points(_text(distribution)).get(PROJECT)
        if offered or name in wanted:
            spelled, version = _said(distribution)
            one = Found(spelled or name, version, offered or {}, place, _dist_info(where))
            places[one.name][str(where or place)] = None
            found.setdefault(one.name, one)
    return tuple(
        attrs.evolve(one, duplicates=tuple(places[name]) if len(places[name]) > 1 else ())
        for name, one in sorted(found.items())
    )


def installed_top_levels() -> dict[str, str]:
    """Give every installed top level and whose it is; slow, so only where people propose."""
    owners = importlib.metadata.packages_distributions()
    return {top: normalised(names[0]) for top, names in owners.items() if names}


def entry_points(text: str) -> dict[str, dict[str, str]]:
    """Read ``entry_points.txt``: group, name, value.  What is no such file gives nothing."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None, default_section="")
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    try:
        parser.read_string(text)
    except configparser.Error:
        return {}
    return {group: dict(parser[group]) for group in parser.sections()}


def _distributions(path: Iterable[str] | None) -> Iterable[importlib.metadata.Distribution]:
    if path is None:
        return importlib.metadata.distributions()
    return importlib.metadata.distributions(path=list(path))


def _said(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version by its metadata; empty where somebody spoilt it, which verifying finds."""
    try:
        said = distribution.metadata
        name, version = (said[k] if k in said else "" for k in ("Name", "Version"))  # noqa: SIM401 - it has no get
    except (KeyError, TypeError, ValueError, OSError):
        return "", ""
    return name, version


def _text(distribution: importlib.metadata.Distribution) -> str:
    try:
        return distribution.read_text("entry_points.txt") or ""
    except (ValueError, OSError):
        return ""


def _metadata_path(distribution: importlib.metadata.Distribution) -> Path | None:
    """The folder of the metadata, which the public interface does not tell; None inside a zip."""
    where = getattr(distribution, "_path", None)
    return where.resolve() if isinstance(where, Path) else None


def _folder_name(where: Path | None) -> str:
    """The name from the folder's name where it has one: parsing every METADATA costs 20 times."""
    if where is None or where.suffix != ".dist-info":
        return ""
    return normalised(where.name.removesuffix(".dist-info").rpartition("-")[0])


def _dist_info(where: Path | None) -> str:
    return where.name if where and where.suffix == ".dist-info" else ""

"""Which installed distributions offer something to AWE: text is read, nothing is imported.

Rule: two installs of one normalised distribution name are both marked, and neither is ever taken
(else the first on ``sys.path`` would win silently).  pluggy's own entry-point loader is not used
anywhere, since it imports at once.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import sys
from collections import defaultdict
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import PackError
from awe_core.hookspecs import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from awe_core.records import PackRecord


#: One plain line: no comment but ``#``, no continuation, no second delimiter.
_POINT = re.compile(
    r"(#.*)?|\[(?P<group>[^][]++)\]|(?P<name>[^][#;:=\s][^][:=]*+)= *+(?P<value>\S.*)"
)
#: What looks alike (Unicode TS 39, for ASCII); a ``1`` may be read as either of two letters.
_ALIKE = (str.maketrans("1I0", "llo"), str.maketrans("1I0", "iio"))
_MAX_NOTE = 64 * 1024  #: of an entry_points.txt, and of METADATA where name and version stand


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


def lookalike(name: str, known: Iterable[str]) -> str | None:
    """Give the other name among *known* that people could take *name* for; None: there is none."""
    seen = _appearances(name)
    return next((one for one in known if one != name and seen & _appearances(one)), None)


def discover(path: Iterable[str] | None = None, *, also: Iterable[str] = ()) -> tuple[Found, ...]:
    """Give every distribution that offers something, by name.

    :param path: folders to look in instead of ``sys.path``
    :param also: distributions to find without entry points: declarative packs have none
    """
    where_to = sys.path if path is None else list(path)
    wanted = frozenset(also)
    places: defaultdict[str, set[str]] = defaultdict(set)  # a folder twice on the path is one
    found: dict[str, Found] = {}
    for distribution in importlib.metadata.distributions(path=where_to):
        # The public interface does not tell the folder; parsing every METADATA costs 20 times.
        where = getattr(distribution, "_path", None)
        folder = where.resolve() if isinstance(where, Path) else None  # None: inside a zip
        info = folder.name if folder is not None and folder.suffix == ".dist-info" else ""
        name = normalised(info.removesuffix(".dist-info").rpartition("-")[0])
        name = name or normalised(said(distribution)[0])
        root = str(folder.parent if folder else distribution.locate_file(""))
        places[name].add(str(folder or root))
        offered = _offered(distribution)
        if offered or name in wanted:
            spelled, version = said(distribution)
            one = Found(spelled or name, version, offered, root, info)
            places[one.name].add(str(folder or root))
            found.setdefault(one.name, one)
    return tuple(
        attrs.evolve(one, duplicates=tuple(sorted(places[name])) if len(places[name]) > 1 else ())
        for name, one in sorted(found.items())
    )


def installed_top_levels() -> dict[str, frozenset[str]]:
    """Give every installed top level and whose it is; slow, so only where people propose."""
    owners = importlib.metadata.packages_distributions()
    return {top: frozenset(map(normalised, names)) for top, names in owners.items()}


def foreign_top_levels(record: PackRecord) -> list[PackError]:
    """Tell which top levels of a pack somebody else has installed as well; as slow."""
    owners, wheel = installed_top_levels(), record.wheel.filename
    return [
        PackError("pack.top_level", wheel=wheel, top_level=top, why=f"belongs to {other} as well")
        for top in record.top_level
        for other in sorted(owners.get(top, frozenset()) - {record.distribution})
    ]


def entry_points(text: str) -> dict[str, dict[str, str]]:
    """Read ``entry_points.txt``: group, name, value.

    :raises ValueError: a line that installers do not all read alike, so that one could see a script
    """
    groups: dict[str, dict[str, str]] = {}
    points: dict[str, str] = {}
    for line in (line.rstrip(" \r") for line in text.split("\n")):
        found = _POINT.fullmatch(line)
        name = (found["name"] or "").rstrip() if found else ""
        if not found or not line.isprintable() or name in points:
            raise ValueError(line)
        if found["group"]:
            points = groups.setdefault(found["group"], {})
        elif name:
            points[name] = found["value"]
    return groups


def said(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version by its metadata; empty where somebody spoilt it, which verifying finds."""
    text = _note(distribution, "METADATA") or _note(distribution, "PKG-INFO")
    found = HeaderParser().parsestr(text[:_MAX_NOTE])
    return str(found.get("Name", "")), str(found.get("Version", ""))


def _appearances(name: str) -> set[str]:
    read = (name.translate(alike).lower() for alike in _ALIKE)
    return {one.replace("rn", "m").replace("vv", "w") for one in read}


def _offered(distribution: importlib.metadata.Distribution) -> dict[str, str]:
    text = _note(distribution, "entry_points.txt")
    if PROJECT not in text or len(text) > _MAX_NOTE:
        return {}
    with contextlib.suppress(ValueError):
        return entry_points(text).get(PROJECT, {})
    return {}


def _note(distribution: importlib.metadata.Distribution, name: str) -> str:
    where = getattr(distribution, "_path", None)
    try:
        if isinstance(where, Path) and not (where / name).is_file():  # a FIFO would be waited for
            return ""
        return distribution.read_text(name) or ""
    except (ValueError, OSError):
        return ""

"""How far somebody has come in a store's history: the form of the mark, and where people keep it.

A home keeps its mark in the journal, in one transaction with the events that led to it.  Who has no
journal (an approver's laptop, CI) keeps it in a file of their own, mode 0600, one a pinned root;
without it a store that was put back to an older state would look like news.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from awe_core import canonical
from awe_core.errors import CanonicalError, TrustError
from awe_core.trust import Mark, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awe_core.records import Digest
    from awe_core.values import Json, JsonObject


def mark_to_json(mark: Mark) -> JsonObject:
    """Give the form in which a home keeps its mark."""
    stops = sorted([each.statement, each.subject, each.decision] for each in mark.stops)
    return {**attrs.asdict(mark, recurse=False), "stops": stops, "denied": sorted(mark.denied)}


def mark_from_json(x: Json) -> Mark:
    """Read a mark.

    :raises TrustError: ``trust.mark``
    """
    try:
        stops = frozenset(Stop(*each) for each in x["stops"])
        mark = Mark(**{**x, "stops": stops, "denied": frozenset(x["denied"])})
        decisions = {stop.decision for stop in stops}
        numbers = {type(each) for each in (mark.root_version, mark.version, mark.seen_at)}
        if mark_to_json(mark) == x and numbers == {int} and decisions <= {"suspend", "revoke"}:
            return mark
    except (KeyError, TypeError, ValueError):
        pass
    raise TrustError("trust.mark", why="it is not in its form")


@attrs.frozen
class MarkFile:
    """The mark of one pinned root, for whoever has no journal."""

    file: Path

    @classmethod
    def of(cls, pin: Digest, environ: Mapping[str, str]) -> MarkFile:
        """Name it in the user's state folder (XDG Base Directory Specification)."""
        home = Path(environ.get("HOME") or Path.home())
        state = Path(environ.get("XDG_STATE_HOME") or home / ".local" / "state")
        return cls(state / "awe" / "marks" / f"{pin}.json")

    def read(self) -> Mark | None:
        """Read it; None: nothing was seen yet.

        :raises TrustError: ``trust.mark``
        """
        try:
            return mark_from_json(canonical.parse_document(self.file.read_bytes()))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TrustError("trust.mark", why=f"{self.file}: {error.strerror}") from None
        except CanonicalError:
            raise TrustError("trust.mark", why=f"{self.file} is not in its form") from None

    def keep(self, mark: Mark) -> None:
        """Write it, durable before it has its name.

        :raises TrustError: ``trust.mark``
        """
        try:
            self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self.file.parent)  # private by its nature
            with os.fdopen(descriptor, "wb") as out:
                out.write(canonical.document(mark_to_json(mark)))
                out.flush()
                os.fsync(out.fileno())
            Path(name).replace(self.file)
        except OSError as error:
            raise TrustError("trust.mark", why=f"{self.file}: {error.strerror}") from None

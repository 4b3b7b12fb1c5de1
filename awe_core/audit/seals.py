"""The logs that a workspace's log names for runs, and what it seals of them.

Under ``engine.isolation: run`` or ``session`` the workspace's log holds ``run.opened`` of each run
with ``log``, and ``run.closed`` with ``sealed`` {log, size, root}.  Such a log may have grown
since; what was sealed of it must still stand there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from awe_core.audit.report import Finding
from awe_core.journal.tree import Frontier

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from awe_core.errors import AweError
    from awe_core.journal import Reading


@attrs.define
class Named:
    """One log beside the workspace's."""

    log: object  #: its id, as ``run.opened`` says
    run: str  #: the first that lies in it
    place: str
    seals: list[tuple[int, str, str]] = attrs.field(factory=list)  #: size, root, run

    @property
    def where(self) -> str:
        """Name run and file."""
        return f"run {self.run} in {self.place}"

    def check(self, log: Reading) -> Iterator[Finding]:
        """Compare it with its seals."""
        frontier, size = Frontier(), log.head().size
        for sealed, root, run in sorted(self.seals):
            if sealed > size:
                expected, found = f"{sealed} records, as run {run} was sealed", f"{size}"
                yield Finding("audit.truncated", size, expected, found, "")
                return
            frontier.extend(log.hashes(frontier.size, sealed))
            if (found := frontier.root().hex()) != root:
                expected = f"root {root}, as run {run} was sealed"
                yield Finding("audit.forked", sealed, expected, f"root {found}", "")

    def unreadable(self, error: AweError) -> Finding:
        """Say that it is not there, is another one or cannot be read."""
        code = error.code if error.code == "audit.log_id" else "audit.log_lost"
        size = max((sealed for sealed, _, _ in self.seals), default=0)
        expected = f"log {self.log}" + (f" with {size} records, as sealed" if size else "")
        return Finding(code, 0, expected, error.summary, self.where)


def logs_of(workspace: Reading) -> Sequence[Named]:
    """Give every log that *workspace* names, in order of their first run."""
    named: dict[object, Named] = {}
    of_run: dict[str, Named] = {}
    for record in workspace.read(kinds={"run.opened", "run.closed"}):
        log, sealed = record.event.get("log"), record.event.get("sealed")
        if record.kind == "run.opened" and log is not None:
            place = str(workspace.home / "logs" / str(log))
            found = named.setdefault(str(log), Named(log, record.run, place))
            of_run[record.run] = found
        elif record.run in of_run:
            match sealed:
                case {"log": str(log), "size": int(size), "root": str(root)}:
                    of_run[record.run].seals.append((size, root, record.run))
    return tuple(named.values())

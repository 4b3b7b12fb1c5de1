"""Logs beside the workspace's: one for each run, or one for each session (``engine.isolation``).

Such a log lies in ``logs/<its id>`` and holds all that its runs recorded.  The workspace's log
keeps their rows, so that a listing stays one query, and copies of what opens and closes them: the
copy of ``run.opened`` names the log (``log``), that of ``run.closed`` seals it (``sealed``).

1. What opens a run again is durable in the workspace first, what closes it in its own log first: a
   crash between the two leaves a row that is open, and who takes the run up writes what is missing.
2. A run is begun in its own log first, so that a log that the workspace names is never missing.
   Who dies between the two leaves a log that no run names; nothing has acted.
3. A handle costs three file descriptors.  It is closed soon after its runs have ended; and to make
   room, the one used least lately that has nothing queued and no run at work.
"""

from __future__ import annotations

import json
import os
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from weakref import WeakSet

from awe_core import canonical
from awe_core.errors import AuditError
from awe_core.journal.chain import at
from awe_core.journal.database import RUN_COLUMNS
from awe_core.journal.reading import JournalReader, check_id
from awe_core.journal.records import Draft

if sys.platform != "win32":
    import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from awe_core.errors import JournalUnwritableError
    from awe_core.journal.reading import Reading
    from awe_core.journal.records import Upsert
    from awe_core.journal.writer import Journal
    from awe_core.values import JsonObject

Isolation = Literal["workspace", "session", "run"]

_COPIED = frozenset({"run.opened", "run.resumed", "run.closed"})
_LOG = "SELECT json_extract(CAST(body AS TEXT), '$.event.log') FROM log WHERE run=? AND rseq=0"
_OWN = frozenset({"handshake_ticket"})  #: projections that stand beside the records
_CLOSED_US = RUN_COLUMNS.index("closed_us")
_READERS = 8  #: handles for reading alone
_FILES = next((p for p in map(Path, ("/proc/self/fd", "/dev/fd")) if p.is_dir()), None)


def folder_of(workspace: Reading, log: object) -> Path:
    """Give where *log* lies.

    :raises AuditError: ``audit.not_canonical`` when it is no id
    """
    if isinstance(log, str) and re.fullmatch(r"[0-9a-f]{32}", log):
        return workspace.home / "logs" / log
    raise AuditError("audit.not_canonical", **at("run.opened", 0, "a log's id", f"{log!r:.80}"))


def _allowed() -> int:
    """How many descriptors this process may have."""
    return 1 << 20 if sys.platform == "win32" else resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def read_beside(folder: Path, workspace: Reading) -> JournalReader:
    """Open the log named as *folder* for reading.

    :raises JournalError: ``journal.missing`` and as `JournalReader`
    :raises AuditError: ``audit.log_id``
    """
    reader = JournalReader(folder, host=workspace)
    if reader.log != folder.name:
        reader.close()
    check_id(reader, folder.name)
    return reader


class Readings:
    """Finds the log that a run lies in.  What it gives is good until the next call."""

    def __init__(self, workspace: Reading) -> None:
        """Look in the workspace's log first."""
        self._workspace = workspace
        self._readers: dict[Path, JournalReader] = {}

    def reading(self, run: str) -> Reading:
        """Give the log that *run* lies in, the workspace's for one that is not known.

        :raises AweError: as `read_beside`
        """
        folder = self._folder(run)
        return self._workspace if folder is None else self._read(folder)

    def is_apart(self, run: str) -> bool:
        """Whether *run* lies in another log than the workspace's."""
        return self._folder(run) is not None

    def exporting(self, run: str) -> Reading:
        """Give the log that *run* lies in so that all of it can be signed, where that is ours."""
        return self.reading(run)

    def close(self) -> None:
        """Close what was opened here for reading."""
        while self._readers:
            self._readers.popitem()[1].close()

    def _folder(self, run: str) -> Path | None:
        for (log,) in self._workspace.rows(_LOG, (run,)):
            if log is not None:
                return folder_of(self._workspace, log)
        return None

    def _read(self, folder: Path) -> Reading:
        reader = self._readers.pop(folder, None)
        if reader is None:
            if len(self._readers) >= _READERS:
                self._readers.pop(next(iter(self._readers))).close()
            reader = read_beside(folder, self._workspace)
        self._readers[folder] = reader
        return reader


class Logs(Readings):
    """The logs that one process writes, by run."""

    def __init__(
        self, workspace: Journal, isolation: Isolation = "workspace", limit: int | None = None
    ) -> None:
        """Give new runs logs as *isolation* says.

        :param limit: so many handles at most, but for runs that are at work; by default an eighth
            of the descriptors that the process may have
        """
        super().__init__(workspace)
        self.workspace, self._isolation = workspace, isolation
        allowed = _allowed()
        self._limit = limit or max(1, allowed // 8)
        self.most_files = allowed * 4 // 5  #: with so many open, no such run begins
        self._handles: dict[Path, Journal] = {}  #: the one used last is last
        self.ports = WeakSet[RunLog]()
        self._sessions: dict[str, Path] = {}
        self.is_at_work: Callable[[str], bool] = lambda _: False  #: the engine's word for a run

    def begin(self, run: str, session: str) -> Journal | RunLog:
        """Give the log for a new run of *session*.

        :raises JournalUnwritableError: it could not be made
        """
        if self._isolation == "workspace":
            return self.workspace
        folder = self._sessions.get(session)
        if folder is None:
            log = os.urandom(16).hex()
            folder = folder_of(self.workspace, log)
            name = run if self._isolation == "run" else session
            journal = self._kept(folder, {"id": name, "type": self._isolation})
            if self._isolation == "session":
                journal.commit()  # for runs to come, also when this one fails
                self._sessions[session] = folder
        return RunLog(self, folder, run)

    def of(self, run: str) -> Journal | RunLog:
        """Give the log that *run* goes on in; what a crash left out of the workspace's is owed."""
        folder = self._folder(run)
        if folder is None:
            return self.workspace
        port = RunLog(self, folder, run)
        port.find_missing()
        return port

    def exporting(self, run: str) -> Journal:
        """Give the log that *run* lies in, to sign all of it."""
        folder = self._folder(run)
        return self.workspace if folder is None else self.writing(folder)

    def writing(self, folder: Path) -> Journal:
        """Give the handle of a log that is there."""
        found = self._handles.pop(folder, None)
        if found is None:
            found = self._kept(folder)
            found.commit()
        self._handles[folder] = found
        return found

    def queued_in(self, folder: Path) -> int:
        """How many records wait for a commit of one log."""
        return self._handles[folder].queued if folder in self._handles else 0

    @property
    def queued(self) -> int:
        """Records that wait for a commit."""
        return sum(one.queued for one in (self.workspace, *self._handles.values()))

    @property
    def queued_bytes(self) -> int:
        """The bytes of their events."""
        return sum(one.queued_bytes for one in (self.workspace, *self._handles.values()))

    @property
    def open_files(self) -> int:
        """Descriptors in use, where they count."""
        if self._isolation == "workspace" or _FILES is None:
            return 0
        return sum(1 for _ in _FILES.iterdir())

    @property
    def is_suspended(self) -> bool:
        """Whether the disk is full for one of them; asking resumes those that have room."""
        return any(one.is_suspended for one in (self.workspace, *self._handles.values()))

    async def barrier(self) -> None:
        """Return when all that was recorded so far is durable, wherever it stands."""
        await self.workspace.barrier()
        for port in tuple(self.ports):
            await port.barrier()

    def _read(self, folder: Path) -> Reading:
        return self._handles.get(folder) or super()._read(folder)

    def _kept(self, folder: Path, scope: JsonObject | None = None) -> Journal:
        """Open a log and keep its handle; close others that nobody needs just now."""
        if len(self._handles) >= self._limit:
            busy = {p.folder for p in self.ports if p.queued or self.is_at_work(p.run)}
            for other in [each for each in self._handles if each not in busy]:
                if len(self._handles) < self._limit:
                    break
                self._handles.pop(other).close()
        if folder in self._readers:
            self._readers.pop(folder).close()
        journal = self.workspace.beside(folder, scope)
        journal.on_drop, journal.on_idle = (
            partial(self._dropped, folder),
            partial(self._rest, folder),
        )
        self._handles[folder] = journal
        return journal

    def _rest(self, folder: Path) -> bool:
        """Close a log of which all runs have ended."""
        is_over = all(p.is_over and not p.queued for p in self.ports if p.folder == folder)
        if is_over and not self.queued_in(folder):
            self._handles.pop(folder).close()
            return True
        return False

    def _dropped(self, folder: Path, runs: Sequence[str], failure: JournalUnwritableError) -> None:
        for port in self.ports:
            if port.folder == folder and port.run in runs:
                port.held.clear()
        self.workspace.on_drop(runs, failure)


class RunLog:
    """What one run writes to: its own log, and what the workspace's keeps of it."""

    def __init__(self, logs: Logs, folder: Path, run: str) -> None:
        """Write to the log in *folder*."""
        self.run, self.folder = run, folder
        self._logs = logs
        self.held: list[tuple[int, list[JsonObject], list[Upsert]]] = []  #: until it is durable
        self.is_over = False  #: whether the run is sealed and was not opened again
        self._copied = 0  #: records of the run in the workspace's log
        self._owed = self._paid = 0  #: appends there that this run waits for
        logs.ports.add(self)

    @property
    def queued(self) -> int:
        """Records and rows that are not durable."""
        return self._logs.queued_in(self.folder) + len(self.held)

    def append(self, drafts: Sequence[Draft], upserts: Sequence[Upsert] = ()) -> None:
        """Queue records and projections, as `Journal.append`."""
        if drafts:
            own = [row for row in upserts if row.table in _OWN]
            self._logs.writing(self.folder).append(drafts, own)
        copies = [json.loads(one.event) for one in drafts if one.kind in _COPIED]
        rows = [row for row in upserts if row.table not in _OWN]
        if not copies and not rows:
            return
        opens = all(one["kind"] == "run.resumed" for one in copies) and not any(
            row.table == "run" and row.values[_CLOSED_US] for row in rows
        )
        if opens and not self.held:
            self._tell(copies, rows)
        else:
            self.held.append((self._logs.writing(self.folder).appended, copies, rows))

    async def barrier(self) -> None:
        """Return when all that was queued before is durable here, and in the workspace's log."""
        is_behind = bool(self.queued)  # what comes while this waits is waited for by others
        await self._told()
        if is_behind:
            await self._logs.writing(self.folder).barrier()
            self._pass_on()
            await self._told()

    def commit(self) -> None:
        """Make everything queued durable now."""
        if self.queued:
            self._logs.writing(self.folder).commit()
            self._pass_on()
        self._logs.workspace.commit()

    def find_missing(self) -> None:
        """Owe the workspace's log the seal that a crash kept from it."""
        mine = self._logs.workspace.last(self.run)
        self._copied = 0 if mine is None or mine.rseq is None else mine.rseq + 1
        sealed = (mine.event.get("sealed") if mine else None) or {"size": 0}
        for newest in [*self._logs.reading(self.run).read(run=self.run, kinds=_COPIED)][-1:]:
            if newest.kind == "run.closed" and sealed["size"] <= newest.seq:
                self.held.append((0, [newest.event], []))

    async def _told(self) -> None:
        if self._paid < self._owed:
            owed = self._owed
            await self._logs.workspace.barrier()
            self._paid = owed

    def _pass_on(self) -> None:
        """Give the workspace what waited for records that are durable now."""
        journal = self._logs.writing(self.folder)
        while self.held and self.held[0][0] <= journal.settled:
            _, copies, rows = self.held.pop(0)
            for copy in copies:
                if copy["kind"] == "run.closed":
                    copy["sealed"] = journal.seal()
            self._tell(copies, rows)

    def _tell(self, copies: list[JsonObject], rows: list[Upsert]) -> None:
        drafts = []
        for copy in copies:
            kind, rseq = copy["kind"], self._copied
            more: JsonObject = {"count": rseq + 1} if kind == "run.closed" else {}
            more |= {"log": self.folder.name} if kind == "run.opened" else {}
            event = canonical.line({**copy, **more, "rseq": rseq})
            drafts.append(Draft(event, self.run, rseq, kind))
            self.is_over = kind == "run.closed"
            self._copied += 1
        self._logs.workspace.append(drafts, rows)
        self._owed += 1

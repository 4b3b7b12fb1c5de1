"""What a recording of every write and sync says about a power cut at any moment.

First the order alone: an intent before its act, bytes and names before the record that says they
are there, a record before the word about it.  Then the disks themselves: what was synced is kept,
of the rest any part; a process that finds such a disk must come to the same end as after a crash.
``AWE_CRASH_POINTS=all`` cuts at every call that makes something durable.
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import shutil
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import recorded

from awe_core.engine.active import loaded
from awe_core.journal import JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("tracing")

_WORKSPACE = "work"
_FEW = 4  #: recoveries that are recorded
_SOME = 12  #: power cuts of one run
_ENDS = {"effect.intended": {"effect.applied", "effect.failed"}, "undo.started": {"undo.applied"}}


@attrs.frozen
class Line:
    """One record, with the places that its effect changes."""

    event: dict[str, Any]
    line: bytes
    places: tuple[str, ...]  #: in the workspace
    slot: str | None


@attrs.frozen
class Recording:
    """One run, from an untouched home to the end of its process."""

    one: Any
    disk: recorded.Disk  #: before
    calls: tuple[recorded.Call, ...]
    lines: tuple[Line, ...]
    before: dict[str, bytes | None]
    after: dict[str, bytes | None]

    @property
    def folder(self) -> str:
        return self.disk.root


@pytest.fixture(scope="module")
def recording(
    drill: Any, tracing: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Recording]:
    """Record each sort of run once."""
    del tracing
    made: dict[bool, Recording] = {}

    def record(*, fails: bool) -> Recording:
        if fails not in made:
            one, trace = drill(), tmp_path_factory.mktemp("power") / "trace"
            before, flow = one.begin(), one.flow(fails=fails)
            disk = recorded.Disk.of(one.place.folder)
            told = recorded.options(trace)
            assert 0 == one.host.traced("work", one.place, *told, workflow=flow, inputs={})
            lines = tuple(_lines(one.place))
            calls = tuple(recorded.calls(trace))
            made[fails] = Recording(one, disk, calls, lines, before, one.place.tree())
        return made[fails]

    return record


def _lines(place: Any) -> Iterator[Line]:
    undo: dict[str, dict[str, str]] = {}
    with JournalReader(place.home) as journal:
        for row in journal.read():
            effect = row.event.get("effect", "")
            if row.kind == "effect.intended":
                record: Any = loaded(journal, row.run, row.rseq, "undo")
                undo[effect] = record["payload"]
            known = undo.get(effect, {})
            paths = [str(place.work / known[name]) for name in ("path", "to") if name in known]
            slot = str(place.home / "undo" / known["slot"]) if "slot" in known else None
            yield Line(row.event, row.line, tuple(paths), slot)


@attrs.define
class Watch:
    """Follows a recording and says where its order is wrong."""

    disk: recorded.Disk
    lines: tuple[Line, ...]
    wrong: list[str] = attrs.field(factory=list)
    written: dict[int, int] = attrs.field(factory=dict)  #: number of a record → when
    durable: dict[int, int] = attrs.field(factory=dict)

    def follow(self, call: recorded.Call) -> None:
        path = (call.paths() or [""])[0]
        if path.endswith("/journal.db-wal"):
            self._log(call)
        elif path == f"{self.disk.root}/acks" and call.name == "write":
            self._told(json.loads(recorded.decoded(call.words[1])))
        pending = len(self.disk.pending)
        self.disk.follow(call)
        for change in self.disk.pending[pending:]:
            self._changed(change, call)

    def _log(self, call: recorded.Call) -> None:
        if call.name == "pwrite64":
            data = recorded.decoded(call.words[1])
            for number, line in enumerate(self.lines):
                if number not in self.written and line.line in data:
                    self.written[number] = call.ended
                    self._ended(line)
        elif call.name in {"fsync", "fdatasync"}:
            done = {n: call.ended for n, when in self.written.items() if when < call.entered}
            self.durable = done | self.durable

    def _ended(self, line: Line) -> None:
        """What a record says is there must be there after a power cut, too."""
        kind = line.event["kind"]
        if kind not in {"effect.applied", "undo.applied"}:
            return
        kept: list[str] = []
        if kind == "effect.applied" and line.slot and self.disk.find(line.slot):
            folder = line.slot.rpartition("/")[0]
            kept = [line.slot, folder, folder.rpartition("/")[0]]
        self.wrong += [
            f"{kind} {line.event['effect']} is written, {place} is not durable"
            for place in (*line.places, *kept)
            if self.disk.unsynced(place)
        ]

    def _told(self, said: dict[str, Any]) -> None:
        state = said.get("state")
        kind = {"OPENED": "run.opened"}.get(state or "", "run.closed")
        known = [self.lines[n].event for n in self.durable]
        if state and not any(
            one["kind"] == kind and one["run"] == said["run"] and one.get("state", state) == state
            for one in known
        ):
            self.wrong.append(f"{state} of {said['run']} was told, its record is not durable")

    def _changed(self, change: recorded.Written | recorded.Named, call: recorded.Call) -> None:
        """Whatever changes the workspace has an intent that is durable, and durable bytes."""
        for place in call.paths():
            if not place.startswith(f"{self.disk.root}/{_WORKSPACE}/") or ".awe-probe-" in place:
                continue
            if isinstance(change, recorded.Written):
                if change.node is not self.disk.find(place):
                    continue  # it has no name yet: nobody sees it
            elif {id(node) for _, _, node in change.changes} & self._unwritten():
                self.wrong.append(f"{place} gets its name before its bytes are durable")
            if not any(place in line.places for line in self._open(call.entered)):
                self.wrong.append(f"{call.name} changes {place}, and no intent is durable")

    def _unwritten(self) -> set[int]:
        return {id(one.node) for one in self.disk.pending if isinstance(one, recorded.Written)}

    def _open(self, moment: int) -> Iterator[Line]:
        """Give the intents that are durable and have no end yet."""
        for number, line in enumerate(self.lines):
            ends = _ENDS.get(line.event["kind"])
            if ends and self.durable.get(number, moment) < moment:
                later = [n for n in self.written if n > number]
                mine = [self.lines[n].event for n in later]
                if not any(o["kind"] in ends and o["effect"] == line.event["effect"] for o in mine):
                    yield line


def _wrong(one: Recording, *, without: Callable[[recorded.Call], bool] = lambda _: False):
    watch = Watch(copy.deepcopy(one.disk), one.lines)
    for call in one.calls:
        if not without(call):
            watch.follow(call)
    assert len(watch.written) == len(one.lines)  # each was found in what was written
    return watch.wrong


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_said_before_it_is_durable_nor_done_before_it_is_intended(recording, fails):
    assert [] == _wrong(recording(fails=fails))


@pytest.mark.parametrize(
    "where",
    [
        r"\.awe/journal\.db-wal",
        r"work",  # names there
        r"work/out",
        r"work/log\.txt",  # bytes that were appended
        r"work/out/#.*",  # bytes without a name
        r"\.awe/undo/[^/]*",  # names of slots
        r"\.awe/undo/[^/]*/.*",  # bytes in slots
    ],
)
def test_the_order_is_seen_to_be_wrong_without_the_syncs_of(recording, where):
    one = recording(fails=False)

    def is_missing(call: recorded.Call) -> bool:
        path = (call.paths() or [""])[0]
        return call.name in {"fsync", "fdatasync"} and bool(
            re.fullmatch(f"{re.escape(one.folder)}/{where}", path)
        )

    assert [] != _wrong(one, without=is_missing)


def test_a_recovery_says_nothing_before_it_is_durable(recording, drill, each, tmp_path):
    """What the dead process had not synced is no more durable for being there."""
    counted = {(c.name, c.nth) for c in recording(fails=True).calls if c.name == "fsync"}
    everything = os.environ.get("AWE_CRASH_POINTS") == "all"
    for name, nth in recorded.sampled(sorted(counted), len(counted) if everything else _FEW):
        with each((name, nth)):
            one, traces = drill(), (tmp_path / f"{nth}-dies", tmp_path / f"{nth}-recovers")
            one.begin()
            flow, disk = one.flow(fails=True), recorded.Disk.of(one.place.folder)
            kill = ("-e", f"inject={name}:signal=SIGKILL:when={nth}")
            one.host.traced(
                "work", one.place, *recorded.options(traces[0]), *kill, workflow=flow, inputs={}
            )
            assert 0 == one.host.traced("recover", one.place, *recorded.options(traces[1]))
            watch = Watch(disk, tuple(_lines(one.place)))
            died = recorded.calls(traces[0])
            for process in (died, recorded.calls(traces[1], after=died)):
                watch.disk.held.clear()
                for call in process:
                    watch.follow(call)
            assert [] == watch.wrong


@pytest.mark.parametrize("fails", [False, True])
def test_a_power_cut_at_any_moment_leaves_a_disk_from_which_the_run_is_finished(
    recording, each, tmp_path, fails
):
    one, number = recording(fails=fails), random.Random(7)  # noqa: S311 - to be repeated
    folder = one.one.place.folder
    if not (aside := folder.with_name("aside")).exists():
        folder.rename(aside)
    disk = copy.deepcopy(one.disk)
    moments = [n for n, call in enumerate(one.calls) if call.name in recorded.DURABLE]
    everything = os.environ.get("AWE_CRASH_POINTS") == "all"
    chosen = set(moments if everything else recorded.sampled(moments, _SOME))
    for moment, call in enumerate(one.calls):
        if moment in chosen:
            kept = number.choice((0.0, 0.3, 0.7, 1.0))
            with each(f"before call {moment} of {len(one.calls)}, {call.name}, kept {kept}"):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                inodes = recorded.laid_out(disk.cut(number, kept=kept, told="acks"), folder)
                table = tmp_path / "inodes"
                table.write_text(json.dumps(list(inodes.items())))
                host, place = one.one.host, one.one.place
                assert 0 == host.run("recover", place, inodes=str(table)), host.said(place)
                one.one.check(one.before, one.after, is_tidy=False)
        disk.follow(call)

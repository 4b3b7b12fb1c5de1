"""Disks that are full, read-only or damaged, and homes that somebody meddles with.

File systems of their own are mounted for it; where that is not allowed, those tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from awe_core import signing
from awe_core.config import load_config
from awe_core.errors import AuditError, AweError, JournalError, JournalUnwritableError
from awe_core.health import Level, doctor, status
from awe_core.health.status import troubles
from awe_core.journal import Journal, JournalReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOUNT, _UMOUNT = "/bin/mount", "/bin/umount"
_MIB = 1024 * 1024
_WRITE = '  - {id: w, capability: fs.write_text@1, with: {path: "${inputs.path}", text: x}}\n'
_HOLD = (
    "  - {id: hold, capability: drill.hold@1,"
    ' with: {path: held.txt, text: x, fifo: "${inputs.fifo}"}}\n'
)
_THEN = _HOLD + _WRITE.replace("id: w,", "id: w, needs: [hold],")
_FAIL = _THEN + "  - {id: fail, capability: flow.fail@1, needs: [w]}\n"


@contextmanager
def mounted(folder: Path, *, mib: int) -> Iterator[None]:
    """Have a small file system of its own on *folder*."""
    folder.mkdir(exist_ok=True)
    if not Path(_MOUNT).exists():
        pytest.skip("there is no mount here")
    made = subprocess.run(
        [_MOUNT, "-t", "tmpfs", "-o", f"size={mib}m", "faults", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"may not mount: {made.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([_UMOUNT, "-l", str(folder)], check=True)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    subprocess.run([_MOUNT, "-o", "remount,ro", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run([_MOUNT, "-o", "remount,rw", str(folder)], check=True)


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    with mounted(folder, mib=32):
        yield folder


@pytest.fixture
def small(disk, place_of):
    """Give a deployment that lies whole on a small disk."""
    return place_of(disk / "deployment")


def fill(disk: Path, name: str = "filler") -> Path:
    """Take all room of *disk*; give the file that holds it."""
    filler = disk / name
    with suppress(OSError), filler.open("wb", buffering=0) as out:
        while out.write(bytes(65536)):
            pass
    return filler


def kinds(place) -> list[str]:
    with JournalReader(place.home) as journal:
        return [record.kind for record in journal.read()]


def eventually(found: Callable[[], bool]) -> None:
    """Return once it is so; the test's own time limit ends a wait for what never comes."""
    while not found():
        time.sleep(0.02)


def state(place, run: str) -> object:
    with JournalReader(place.home) as journal:
        row = journal.run_row(run)
    return None if row is None else row["state"]


# ---- a full disk --------------------------------------------------------------------------------
@pytest.mark.parametrize(("steps", "end"), [(_THEN, "COMPLETED"), (_FAIL, "ROLLED_BACK")])
def test_a_run_on_a_disk_that_fills_up_stops_and_ends_by_itself_once_there_is_room(
    small, disk, steps, end
):
    before = small.tree()
    flow, fifo = small.workflow(steps), small.fifo("hold")
    with small.open() as rt:
        run = rt.submit(flow, {"path": "after.txt", "fifo": str(fifo)})
        with fifo.open("w"):  # opens once the handler waits at the other end
            filler = fill(disk)
        with pytest.raises(JournalUnwritableError) as full:
            run.wait()
        assert "journal.full" == full.value.code
        assert str(small.home) == full.value.attributes["path"]
        assert full.value.attributes["free_mib"] in range(4, 9)  # the reserve is in use by now
        last = kinds(small)[-2:]  # in either order: the first may still have had room
        assert {"log.suspended", "effect.applied"} == set(last)  # the world shows it
        with pytest.raises(JournalUnwritableError, match="full"):
            rt.submit(flow, {"path": "b.txt", "fifo": str(fifo)})
        assert not (small.work / "after.txt").exists()
        assert not (small.home / "ballast").exists()
        filler.unlink()
        eventually(lambda: "log.resumed" in kinds(small))
        eventually(lambda: fifo_again(fifo) or state(small, run.run_id) == end)
        eventually(lambda: state(small, run.run_id) == end)
        assert end == rt.attach(run.run_id).wait().state
    assert (small.home / "ballast").stat().st_size == 4 * _MIB
    if end == "ROLLED_BACK":
        assert before == small.tree()
    else:
        assert "x" == (small.work / "after.txt").read_text()
    assert not small.proof().findings


def fifo_again(fifo: Path) -> bool:
    """Let a handler go on that waits at *fifo*; False when none does."""
    try:
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
    except OSError:
        return False
    return True


def test_a_home_does_not_open_on_a_full_disk_and_opens_as_it_was_afterwards(small, disk):
    flow = small.workflow(_WRITE)
    with small.open() as rt:
        assert "COMPLETED" == rt.submit(flow, {"path": "a.txt"}).wait().state
    before = kinds(small)
    fillers = [fill(disk)]
    (small.home / "ballast").unlink()
    fillers.append(fill(disk, "rest"))
    with pytest.raises(JournalUnwritableError) as full, small.open():
        pass
    assert "journal.full" == full.value.code
    assert 8 >= full.value.attributes["free_mib"]
    for filler in fillers:
        filler.unlink()
    with small.open() as rt:
        assert "COMPLETED" == rt.submit(flow, {"path": "b.txt"}).wait().state
    assert before == kinds(small)[: len(before)]
    assert not small.proof().findings


def test_a_workspace_that_is_full_fails_the_step_and_leaves_nothing(place):
    flow = place.workflow(
        '  - {id: w, capability: fs.write_text@1, with: {path: a.txt, text: "${inputs.path}"}}\n'
    )
    with mounted(place.work, mib=1), place.open() as rt:
        fill(place.work)
        before = place.tree()
        run = rt.submit(flow, {"path": "x" * 100_000})
        assert run.wait().state in {"FAILED", "ROLLED_BACK"}
        assert before == place.tree()
        assert "log.suspended" not in kinds(place)


_LONG = (
    "  - {id: swap, capability: fs.write_text@1, with: {path: old.txt, text: ours}}\n"
    "  - {id: grow, capability: fs.append_text@1, needs: [swap],"
    " with: {path: log.txt, text: ours}}\n"
    + _HOLD.replace("id: hold,", "id: hold, needs: [grow],")
    + "  - {id: fail, capability: flow.fail@1, needs: [hold]}\n"
)


@contextmanager
def filled_before_the_rollback(place):
    """Give a run that is taken back on a full disk, what was there before it, and the filler.

    To take the longer file back takes room for a copy; the replaced one trades places.
    """
    fifo = place.fifo("hold")
    with mounted(place.work, mib=8):
        (place.work / "old.txt").write_text("theirs")
        (place.work / "log.txt").write_bytes(b"0123456789abcdef" * (3 * _MIB // 16))
        before = place.tree()
        with place.open() as rt:
            before |= {k: v for k, v in place.tree().items() if k.startswith(".awe ")}
            flow = place.workflow(_LONG)
            run = rt.submit(flow, {"path": "x", "fifo": str(fifo)})
            with fifo.open("w"):  # opens once the handler waits at the other end
                filler = fill(place.work)
            yield run, before, filler


def failed_undos(run):
    return (record.event for record in run.events() if record.kind == "undo.failed")


def seen(place):
    """Give the world without what AWE keeps in it."""
    return {name: found for name, found in place.tree().items() if not name.startswith(".awe/")}


def test_an_undo_for_which_there_is_no_room_is_tried_again_and_ends_once_there_is(place):
    with filled_before_the_rollback(place) as (run, before, filler):
        failed = next(failed_undos(run))
        filler.unlink()
        assert "ROLLED_BACK" == run.wait().state
        assert ("grow", "undo.failed", True) == (
            failed["step"],
            failed["err"]["code"],
            "due_us" in failed,
        )
        assert before == seen(place)
        assert [] == [path for path in place.work.glob(".awe/undo/*/*") if path.is_file()]


def test_an_undo_for_which_there_is_never_room_is_residue_and_loses_no_earlier_version(place):
    with filled_before_the_rollback(place) as (run, before, filler):
        result = run.wait()  # about ten seconds: five tries
        assert "FAILED" == result.state
        assert ["grow"] == [one.step for one in result.residue]
        assert "space" in result.residue[0].why
        assert [] == list(place.work.glob(".awe/undo/*/*.new"))  # half a copy takes room for good
        assert "theirs" == (place.work / "old.txt").read_text()  # unwinding went on below it
        assert not (place.work / "held.txt").exists()
        (log,) = (name for name in before if name.startswith("log.txt "))
        assert (before[log] or b"") + b"ours" == (place.work / "log.txt").read_bytes()
        filler.unlink()
        run.rollback("there is room again")
        assert "ROLLED_BACK" == run.wait().state
        assert before == seen(place)
        assert [] == [path for path in place.work.glob(".awe/undo/*/*") if path.is_file()]


def test_a_log_that_fills_up_while_a_call_takes_something_back_stops_the_rollback_until_then(
    small, disk
):
    small.work.mkdir(exist_ok=True)
    (small.work / "old.txt").write_text("theirs")
    fifo = small.fifo("hold")
    call = 'drill.hold@1, with: {path: back.txt, text: x, fifo: "${inputs.fifo}"}'
    flow = small.workflow(
        "  - {id: swap, capability: fs.write_text@1, with: {path: old.txt, text: ours}}\n"
        "  - {id: w, capability: fs.write_text@1, needs: [swap], with: {path: a.txt, text: x},"
        f" compensation: {{compensate: {{capability: {call}}}}}}}\n"
        "  - {id: fail, capability: flow.fail@1, needs: [w]}\n"
    )
    with small.open() as rt:
        run = rt.submit(flow, {"path": "x", "fifo": str(fifo)})
        with fifo.open("w"):  # opens once the call that takes back waits at the other end
            filler = fill(disk)
        with pytest.raises(JournalUnwritableError):
            run.wait()
        assert "ours" == (small.work / "old.txt").read_text()
        assert ["theirs"] == [path.read_text() for path in small.home.glob("undo/*/*")]
        filler.unlink()
        eventually(lambda: fifo_again(fifo) or state(small, run.run_id) == "ROLLED_BACK")
        eventually(lambda: state(small, run.run_id) == "ROLLED_BACK")
    assert "theirs" == (small.work / "old.txt").read_text()
    assert "x" == (small.work / "back.txt").read_text()
    assert not small.proof().findings


def test_all_runs_that_a_full_disk_stopped_end_and_the_log_has_no_hole(small, disk):
    flow, fifos = small.workflow(_THEN.replace("held.txt", '"held ${inputs.path}"')), {}
    with small.open() as rt:
        for name in "abcdef":
            fifos[name] = small.fifo(name)
            rt.submit(flow, {"path": f"{name}.txt", "fifo": str(fifos[name])})
        with ExitStack() as held:
            for fifo in fifos.values():
                held.enter_context(fifo.open("w"))
            filler = fill(disk)
        eventually(lambda: "log.suspended" in kinds(small))
        filler.unlink()

        def is_over() -> bool:
            waiting = [fifo for fifo in fifos.values() if fifo_again(fifo)]
            return not waiting and {"COMPLETED"} == {row.state for row in rt.runs()}

        eventually(is_over)
    assert {"x"} == {(small.work / f"{name}.txt").read_text() for name in fifos}
    assert not small.proof().findings


@pytest.mark.parametrize("left_kib", [0, 64, 256, 1024])
def test_a_disk_that_is_full_at_recovery_stops_it_and_it_ends_once_there_is_room(
    small, disk, host, left_kib
):
    before, token = small.tree(), small.token("death")
    flow = small.workflow(
        _WRITE.replace("text: x", "text: xx") + "  - {id: die, capability: drill.die@1, needs: [w],"
        f" with: {{path: d.txt, text: x, token: {token}}}}}\n"
        "  - {id: fail, capability: flow.fail@1, needs: [die]}\n"
    )
    inputs = {"path": "w.txt"}
    assert -signal.SIGKILL == host.run("work", small, workflow=str(flow), inputs=inputs)
    filler = fill(disk)
    os.truncate(filler, max(0, filler.stat().st_size - left_kib * 1024))
    with suppress(JournalUnwritableError), small.open() as rt:  # or it does not open at all
        eventually(lambda: "log.suspended" in kinds(small) or rt.runs()[0].state == "ROLLED_BACK")
        filler.unlink()
        eventually(lambda: rt.runs()[0].state == "ROLLED_BACK")
    filler.unlink(missing_ok=True)
    with small.open() as rt:
        (row,) = rt.runs()
        assert "ROLLED_BACK" == rt.attach(row.run_id).wait().state
    assert before == small.tree()
    assert set() == small.leftovers()
    assert not small.proof().findings


_FLUSHES = "fsync,fdatasync"
_COMMITS = """
import sys
from pathlib import Path
from awe_core import canonical, signing
from awe_core.errors import JournalUnwritableError
from awe_core.journal import Draft, Journal

home = Path(sys.argv[1])
signer = signing.log_key(home, may_create=True)
journal = Journal.open(home, signer=signer, origin="drill", opened={"awe": "1.0"})
rseq = 0
for _ in range(12):
    event = {"kind": "step.completed", "rseq": rseq, "run": "r"}
    before = id(journal._db)
    journal.append([Draft(canonical.line(event), "r", rseq, "step.completed")])
    try:
        journal.commit()
        print("ok", rseq, flush=True)
    except JournalUnwritableError as error:
        print(error.code, id(journal._db) != before, flush=True)
    rseq = len(list(journal.read(run="r")))
journal.close()
"""


def traced(home: Path, trace: Path, *more: str) -> list[str]:
    """Run the commits in a process whose flushes are traced; give what it said."""
    home.mkdir(mode=0o700)
    command = [sys.executable, "-c", _COMMITS, str(home)]
    ran = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), "-e", f"trace={_FLUSHES}", *more, *command],  # noqa: S607 - wherever it is
        capture_output=True,
        text=True,
        check=False,
    )
    if "ptrace" in ran.stderr.lower():
        pytest.skip("may not trace")
    assert 0 == ran.returncode, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here")
def test_a_failed_fsync_costs_the_connection_and_no_acknowledged_record(tmp_path):
    trace = tmp_path / "trace"
    assert 12 == len(traced(tmp_path / "sound", trace))
    calls = len(trace.read_text().splitlines())
    failures = []
    for at in range(calls - 12, calls - 4, 2):
        home = tmp_path / str(at)
        said = traced(home, trace, "-e", f"inject={_FLUSHES}:error=EIO:when={at}")
        failures += [line for line in said if not line.startswith("ok ")]
        acknowledged = {int(line[3:]) for line in said if line.startswith("ok ")}
        with JournalReader(home) as journal:
            found = [record.rseq for record in journal.read(run="r")]
        assert list(range(len(found))) == found
        assert acknowledged <= set(found)
    assert {"journal.unwritable True"} == set(failures)  # on a connection of its own each time


_STARVED = """
import resource, sys, time
from pathlib import Path
from awe_core import Runtime
from awe_core.errors import JournalUnwritableError

config, flow, fifo = sys.argv[1:]
# what is set below suffices for the shared memory of a WAL, and not for what is written next
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
with Runtime.open(config) as rt:
    run = rt.submit(Path(flow), {"path": "after.txt", "fifo": fifo})
    print("begun", flush=True)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, (36_864, limit[1]))
    print("starved", flush=True)
    try:
        run.wait()
    except JournalUnwritableError as error:
        print(error.code, flush=True)
    engine = rt._inner._door.engine
    given_up = engine._active[run.run_id]
    while engine._again_s < 4:
        time.sleep(0.01)
    print(engine._active[run.run_id] is given_up, flush=True)
    sys.stdin.readline()
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    while run.status().state == "RUNNING":
        time.sleep(0.01)
    print(run.status().state, flush=True)
    sys.stdin.readline()
"""


def test_a_log_that_keeps_failing_is_tried_ever_less_often_and_comes_back_by_itself(place):
    fifo, flow = place.fifo("hold"), place.workflow(_THEN)
    argv = [sys.executable, "-c", _STARVED, place.file, flow, fifo]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(argv, env=environ, **pipes) as process, ExitStack() as ended:
        ended.callback(process.kill)

        def said() -> str:
            return process.stdout.readline().strip()

        def go_on() -> None:
            process.stdin.write("\n")
            process.stdin.flush()

        assert "begun" == said()
        with fifo.open("w"):
            assert () == troubles(place.home)
            go_on()
            assert "starved" == said()
        assert "journal.unwritable" == said()
        assert "True" == said()  # the run was not read again meanwhile
        (trouble,) = troubles(place.home)
        assert trouble.startswith("journal.unwritable: ")
        with place.open(observer=True) as rt:
            found = status(rt, now_s=0)
        assert ((trouble,), False) == (found.troubles, found.is_ready)
        (row,) = (
            one
            for one in doctor(load_config(place.file, flags={}, environ={}), ["journal"], now_s=0)
            if one.what == "the process that owns it"
        )
        assert (Level.RED, trouble) == (row.level, row.found)
        go_on()
        eventually(lambda: fifo_again(fifo))
        assert "COMPLETED" == said()
        assert () == troubles(place.home)
        go_on()
    assert () == troubles(place.home)
    assert {"held.txt", "after.txt"} == {path.name for path in place.work.iterdir()}
    assert not place.proof().findings


# ---- a read-only medium -------------------------------------------------------------------------
@pytest.mark.parametrize("dies", [False, True], ids=["closed", "killed"])
def test_a_home_on_a_read_only_medium_is_read_whole_and_not_opened(small, disk, host, dies):
    host.run("submit", small, workflow=str(small.workflow(_WRITE)), inputs=[{"path": "a"}],
             dies=dies)  # fmt: skip
    (run,) = {said["run"] for said in host.said(small) if "run" in said}
    with read_only(disk):
        with pytest.raises(JournalUnwritableError) as refused, small.open():
            pass
        assert "journal.unwritable" == refused.value.code
        with small.open(observer=True) as rt:
            assert [run] == [row.run_id for row in rt.runs()]
        assert "COMPLETED" == state(small, run)
        assert not small.proof().findings


@contextmanager
def failing(folder: Path, image: Path) -> Iterator[Callable[[], None]]:
    """Have an ext4 on *folder*; gives what makes the kernel find an error and turn it read-only."""
    folder.mkdir(exist_ok=True)
    if not shutil.which("mkfs.ext4"):
        pytest.skip("there is no mkfs.ext4 here")
    with image.open("wb") as out:
        out.truncate(48 * _MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)  # noqa: S607 - wherever it is
    mount = [_MOUNT, "-o", "loop,errors=remount-ro", str(image), str(folder)]
    made = subprocess.run(mount, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"may not mount: {made.stderr.strip()}")
    lines = Path("/proc/mounts").read_text().splitlines()
    (device,) = (line.split()[0] for line in lines if line.split()[1] == str(folder))

    def fails() -> None:
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("a test")

    try:
        yield fails
    finally:
        subprocess.run([_UMOUNT, str(folder)], check=True)  # nobody holds a file of it any more


def test_a_disk_that_turns_read_only_under_a_running_process_lets_nothing_act(tmp_path, place_of):
    folder, image = tmp_path / "disk", tmp_path / "image"
    with failing(folder, image) as fails:
        place = place_of(folder / "deployment")
        flow, fifo = place.workflow(_THEN), place.fifo("hold")
        os.sync()  # what AWE did not write itself
        with place.open() as rt:
            run = rt.submit(flow, {"path": "after.txt", "fifo": str(fifo)})
            with fifo.open("w"):  # opens once the handler waits at the other end
                fails()
            with pytest.raises(JournalUnwritableError) as refused:
                run.wait()
            assert "journal.unwritable" == refused.value.code
            assert not (place.work / "after.txt").exists()
            assert "RUNNING" == state(place, run.run_id)
            (trouble,) = troubles(place.home)
            assert trouble.startswith("journal.unwritable: ")
    mended = subprocess.run(["e2fsck", "-fy", str(image)], capture_output=True, check=False)  # noqa: S607 - wherever it is
    assert mended.returncode in {0, 1}
    mount = [_MOUNT, "-o", "loop", str(image), str(folder)]
    subprocess.run(mount, check=True)
    try:
        with place.open() as rt:
            eventually(lambda: fifo_again(fifo) or rt.runs()[0].state == "COMPLETED")
            assert "COMPLETED" == rt.attach(run.run_id).wait().state
        assert "x" == (place.work / "after.txt").read_text()
        assert not place.proof().findings
    finally:
        subprocess.run([_UMOUNT, str(folder)], check=True)


def test_a_wal_that_cannot_be_read_is_not_left_out(small, disk, host, tmp_path):
    host.run(
        "submit",
        small,
        workflow=str(small.workflow(_WRITE)),
        inputs=[{"path": "a"}],
        dies=True,
    )
    (small.home / "journal.db-shm").unlink()
    with read_only(disk):
        with pytest.raises(JournalError) as refused, small.open(observer=True):
            pass
        assert "journal.wal_unread" == refused.value.code
        copy = tmp_path / "copy"
        shutil.copytree(small.home, copy, ignore=shutil.ignore_patterns("*.sock"))
    with JournalReader(copy) as journal:
        assert "run.closed" in {record.kind for record in journal.read()}
        ((state,),) = journal.rows("SELECT state FROM run")
    assert "COMPLETED" == state


def test_a_reader_that_fails_where_somebody_may_write_does_not_read_past_the_locks(place):
    with place.open():
        pass
    (place.home / "journal.db-wal").symlink_to(place.folder / "gone" / "wal")
    with pytest.raises(JournalError) as refused, JournalReader(place.home):
        pass
    assert "journal.unreadable" == refused.value.code


# ---- somebody meddles ---------------------------------------------------------------------------
@pytest.mark.parametrize("how", ["removed", "replaced"])
def test_an_owner_whose_lock_file_is_gone_writes_no_more(place, how):
    flow = place.workflow(_WRITE)
    lock = place.home / "owner.lock"
    with place.open() as rt:
        before = kinds(place)
        lock.unlink()
        if how == "replaced":
            lock.touch()
        with pytest.raises(JournalUnwritableError, match=r"owner\.lock") as refused:
            rt.submit(flow, {"path": "a.txt"})
        assert "journal.unwritable" == refused.value.code
        assert before == kinds(place)
    assert not (place.work / "a.txt").exists()
    with place.open() as rt:
        assert "COMPLETED" == rt.submit(flow, {"path": "a.txt"}).wait().state
    assert not place.proof().findings


# ---- a damaged file -----------------------------------------------------------------------------
def pages_of(file: Path) -> dict[str, int]:
    """Give the root page of every table and index."""
    with closing(sqlite3.connect(file)) as db:
        return dict(db.execute("SELECT name, rootpage FROM sqlite_master WHERE rootpage > 0"))


def test_a_damaged_page_of_any_table_or_index_is_named_and_never_a_traceback(place):
    flow = place.workflow(_WRITE)
    with place.open() as rt:
        for name in "abc":
            rt.submit(flow, {"path": name}).wait()
    file = place.home / "journal.db"
    sound = file.read_bytes()
    for page in pages_of(file).values():
        start = (page - 1) * 4096
        file.write_bytes(sound[:start] + b"\xa5" * 4096 + sound[start + 4096 :])
        for more in ({}, {"observer": True}):
            try:
                with place.open(**more) as rt:
                    assert 3 == len(rt.runs())
                place.proof()
            except AweError as error:
                assert isinstance(error, (JournalError, AuditError)), error.code  # noqa: PT017
        for beside in place.home.glob("journal.db-*"):
            beside.unlink()
    file.write_bytes(sound)
    assert not place.proof().findings


def test_no_damaged_page_at_all_hides_a_record_or_ends_in_a_traceback(place):
    flow = place.workflow(_WRITE)
    with place.open() as rt:
        for name in "abcdefgh":
            rt.submit(flow, {"path": name * 64}).wait()
    file, before = place.home / "journal.db", kinds(place)
    sound, roots = file.read_bytes(), set(pages_of(file).values())
    found = []
    for page in sorted(set(range(1, len(sound) // 4096 + 1)) - roots):
        start = (page - 1) * 4096
        file.write_bytes(sound[:start] + b"\xa5" * 4096 + sound[start + 4096 :])
        try:
            whole = kinds(place) == before and not place.proof().findings
        except AweError as error:
            assert isinstance(error, (JournalError, AuditError)), error.code  # noqa: PT017
            whole = False
        found.append(whole)
        for beside in place.home.glob("journal.db-*"):
            beside.unlink()
    file.write_bytes(sound)
    assert found.count(False) > len(found) // 2  # the rest holds indexes, or nothing any more
    assert before == kinds(place)
    assert not place.proof().findings


def copied(place, to: Path) -> Path:
    """Copy the home as a careless person does, file by file, while it is in use or not."""
    shutil.copytree(place.home, to, ignore=shutil.ignore_patterns("*.sock"))
    return to


def test_an_older_journal_that_is_put_back_is_told_from_the_count_of_owners(place):
    """Without an anchor and without a sink the log itself is whole, and nothing else can know."""
    config = load_config(place.file, flags={}, environ={})

    def level() -> str:
        rows = doctor(config, ["journal"], now_s=0)
        return str(next(row.level.value for row in rows if row.what == "newest owner"))

    flow = place.workflow(_WRITE)
    with place.open() as rt:
        rt.submit(flow, {"path": "a"}).wait()
        assert "green" == level()
    older = (place.home / "journal.db").read_bytes()
    with place.open() as rt:
        rt.submit(flow, {"path": "b"}).wait()
    assert "green" == level()
    (place.home / "journal.db").write_bytes(older)
    assert "amber" == level()
    with place.open() as rt:
        assert 1 == len(rt.runs())
        assert "COMPLETED" == rt.submit(flow, {"path": "c"}).wait().state
    assert not place.proof().findings


def test_a_home_copied_while_it_runs_is_another_log_of_the_same_name_and_is_told_by_its_hashes(
    place, tmp_path
):
    flow = place.workflow(_WRITE)
    with place.open() as rt:
        rt.submit(flow, {"path": "a"}).wait()
        copy = copied(place, tmp_path / "copy")
        with place.open(home=copy) as other:
            assert "owner" == other.role  # nothing tells it from a home whose owner died
            assert "COMPLETED" == other.submit(flow, {"path": "theirs"}).wait().state
        assert "COMPLETED" == rt.submit(flow, {"path": "ours"}).wait().state
    anchor = tmp_path / "anchor"
    with JournalReader(place.home) as ours, JournalReader(copy) as theirs:
        anchor.write_text(ours.newest_note()[1])
        assert ours.log == theirs.log
        assert next(ours.hashes(0, 1)) == next(theirs.hashes(0, 1))
        last = min(ours.head().size, theirs.head().size) - 1
        assert next(ours.hashes(last, last + 1)) != next(theirs.hashes(last, last + 1))
    signer = signing.log_key(copy, may_create=False)
    with pytest.raises(AuditError) as told:
        Journal.open(copy, signer=signer, origin="drill", opened={}, anchors=[anchor])
    assert told.value.code in {"audit.forked", "audit.truncated"}
    assert not place.proof().findings


def test_a_journal_that_was_emptied_is_not_silently_begun_anew(place):
    flow = place.workflow(_WRITE)
    with place.open() as rt:
        rt.submit(flow, {"path": "a"}).wait()
    (place.home / "journal.db").write_bytes(b"")
    with pytest.raises(AuditError) as refused, place.open():
        pass
    assert "audit.truncated" == refused.value.code


@pytest.mark.parametrize("share", [0, 1, 2])
def test_a_wal_that_lost_its_end_leaves_a_log_that_is_whole_as_far_as_it_goes(place, host, share):
    flow = place.workflow(_WRITE)
    inputs = [{"path": name} for name in "abc"]
    host.run("submit", place, workflow=str(flow), inputs=inputs, dies=True)
    wal = place.home / "journal.db-wal"
    os.truncate(wal, wal.stat().st_size * share // 3)
    try:
        with place.open() as rt:
            for row in rt.runs():  # a run whose end was lost is taken up where the log ends
                assert "COMPLETED" == rt.attach(row.run_id).wait().state
    except AweError as error:
        assert "audit.truncated" == error.code  # noqa: PT017 - either is right, and nothing else
    else:
        assert not place.proof().findings

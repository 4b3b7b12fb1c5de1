"""A process that owns a home is told to end, as a service manager or a person at a terminal does.

Each is a whole interpreter of its own.  What waits at a FIFO waits as long as the test wants, so a
process that waited for it would never end; the test's own time limit would say so.
"""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from awe_core.errors import JournalError
from awe_core.journal import JournalReader

_SDK = """
import sys
from pathlib import Path
from awe_core import Runtime

with Runtime.open(sys.argv[1]) as rt:
    for flow in sys.argv[2:]:
        run = rt.submit(Path(flow))
    run.wait()
    sys.stdin.read()
"""
_ASYNC = """
import asyncio, sys
from pathlib import Path
from awe_core import Runtime

async def main():
    async with Runtime.open(sys.argv[1]) as rt:
        for flow in sys.argv[2:]:
            run = await rt.submit(Path(flow))
        await run.wait()
        await asyncio.Event().wait()

asyncio.run(main())
"""
_UNDO_THAT_HANGS = """
import sys
from pathlib import Path
from awe_core import Runtime, UndoManager

class Hanging(UndoManager):
    def undo(self, record, key):
        Path(sys.argv[3]).read_bytes()
        return super().undo(record, key)

with Runtime.open(sys.argv[1]) as rt:
    owner = rt._inner._door
    owner.engine.parts.undo = Hanging(owner.journal, owner.workspace)
    rt.run(Path(sys.argv[2]))
"""
_KEEPS_ITS_OWN = """
import signal, sys
from awe_core import Runtime

signal.signal(signal.SIGTERM, lambda *_: print("mine", flush=True))
signal.signal(signal.SIGINT, signal.SIG_IGN)
before = signal.getsignal(signal.SIGTERM)
with Runtime.open(sys.argv[1]) as rt:
    assert signal.getsignal(signal.SIGTERM) is before
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGINT)
"""
_GIVES_BACK = """
import os, signal, sys
from awe_core import Runtime

with Runtime.open(sys.argv[1]) as rt:
    assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    with Runtime.open(sys.argv[1], observer=True):
        pass
    if not (child := os.fork()):
        os.kill(os.getpid(), signal.SIGTERM)
    assert -signal.SIGTERM == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
with Runtime.open(sys.argv[1], observer=True) as rt:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""


@pytest.fixture
def start(place):
    """Start a program of its own on the home."""
    begun = []

    def starting(program, *arguments, **more):
        argv = [sys.executable, *program, *map(str, arguments)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        begun.append(subprocess.Popen(argv, env=environ, text=True, **{**pipes, **more}))
        return begun[-1]

    place.work.mkdir(exist_ok=True)
    yield starting
    for process in begun:
        process.kill()
        process.communicate()


PROGRAMS = {
    "sdk": lambda place, *flows: (("-c", _SDK), place.file, *flows),
    "async": lambda place, *flows: (("-c", _ASYNC), place.file, *flows),
    "awe run": lambda place, flow: (("-m", "awe_core", "run"), flow, "--config", place.file),
}


def told(place):
    """Give the records of the home."""
    with JournalReader(place.home) as journal:
        return list(journal.read())


def until(place, kind, count=1):
    """Return once there are *count* records of *kind*."""
    found = 0
    while found < count:
        with suppress(JournalError):  # there is none yet, or it is just being made
            found = sum(one.kind == kind for one in told(place))
        time.sleep(0.02)


def closed_cleanly(place):
    """Whether the log says so and nothing is left in the WAL."""
    wal = place.home / "journal.db-wal"
    return told(place)[-1].kind == "log.closed" and not (wal.exists() and wal.stat().st_size)


def goes_on(story, fifo=None, *, end="COMPLETED"):
    """Open the home again and see each run to its end."""
    with story.place.open() as rt:
        assert next(r for r in reversed(told(story.place)) if r.kind == "log.opened").event["clean"]
        if fifo is not None:
            story.reached(fifo)
            story.release(fifo)
        assert {end} == {rt.attach(row.run_id).wait().state for row in rt.runs()}
    assert not story.place.proof().findings


# ---- while a handler runs -----------------------------------------------------------------------
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.parametrize("capability", ["drill.hold", "drill.hold_thread"])
@pytest.mark.parametrize("door", PROGRAMS)
def test_a_handler_that_does_not_return_is_left_to_recovery(door, capability, how, story, start):
    if how is signal.SIGINT and capability == "drill.hold" and door != "awe run":
        pytest.skip("Python itself waits for the thread that such a handler asked it for")
    fifo = story.fifo("never")
    flow = story.place.workflow(
        story.call("h", capability, path="held.txt", text="ours", fifo=fifo)
        + story.write("w", "w.txt", needs="h")
    )
    process = start(*PROGRAMS[door](story.place, flow))
    story.reached(fifo)
    if door == "awe run":  # it has shown the start, so it follows the run by now
        assert "h  started" in process.stderr.readline()
    process.send_signal(how)
    _, said = process.communicate()
    assert (
        process.returncode
        == {
            (True, True): 143,
            (True, False): 143,
            (False, True): 130,
            (False, False): -signal.SIGINT,
        }[how is signal.SIGTERM, door == "awe run"]
    )
    assert ("next: awe runs watch" in said) is (door == "awe run")
    assert closed_cleanly(story.place)
    assert {"step.completed", "step.failed", "undo.started"}.isdisjoint(
        one.kind for one in told(story.place)
    )
    story.release(fifo)
    goes_on(story, fifo)
    assert {"held.txt": "ours", "w.txt": "ours"} == story.world()


@pytest.mark.parametrize("door", PROGRAMS)
def test_what_a_handler_ends_in_its_last_second_is_on_the_record(door, story, start):
    flow = story.place.workflow(
        story.call("t", "drill.terminate", path="last.txt", text="ours")
        + story.write("w", "w.txt", needs="t")
    )
    process = start(*PROGRAMS[door](story.place, flow))
    process.communicate()
    assert 143 == process.returncode
    assert closed_cleanly(story.place)
    ended = [one.event["step"] for one in told(story.place) if one.kind == "step.completed"]
    assert "t" == ended[0]
    goes_on(story)
    assert {"last.txt": "ours", "w.txt": "ours"} == story.world()
    assert 1 == sum(one.kind == "step.started" and one.event["step"] == "t"
                    for one in told(story.place))  # fmt: skip


@pytest.mark.parametrize("door", PROGRAMS)
def test_a_second_signal_ends_the_process_at_once_and_that_is_a_crash(door, story, start):
    fifo = story.fifo("never")
    flow = story.place.workflow(
        story.call("h", "drill.hold_thread", path="held.txt", text="ours", fifo=fifo)
    )
    process = start(*PROGRAMS[door](story.place, flow))
    story.reached(fifo)
    process.send_signal(signal.SIGTERM)
    while not _is_default(process.pid, signal.SIGTERM):
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert -signal.SIGTERM == process.wait()
    assert "log.closed" not in {one.kind for one in told(story.place)}
    story.release(fifo)
    with story.place.open() as rt:
        story.reached(fifo)
        story.release(fifo)
        assert ["COMPLETED"] == [rt.attach(row.run_id).wait().state for row in rt.runs()]
    assert not story.place.proof().findings


def _is_default(pid, number):
    """Whether a process catches the signal no more, as the kernel sees it."""
    with open(f"/proc/{pid}/status") as status:  # noqa: PTH123 - no file of ours
        caught = next(line for line in status if line.startswith("SigCgt:"))
    return not int(caught.split()[1], 16) >> (number - 1) & 1


# ---- while effects are taken back, or nothing moves ---------------------------------------------
def test_a_rollback_goes_on_where_it_was(story, start):
    before, fifo = story.world(), story.fifo("never")
    flow = story.place.workflow(
        story.write("a", "a.txt")
        + story.write("b", "b.txt", needs="a")
        + story.call("f", "flow.fail", needs="b")
    )
    process = start(("-c", _UNDO_THAT_HANGS), story.place.file, flow, fifo)
    story.reached(fifo)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert 143 == process.returncode
    assert closed_cleanly(story.place)
    assert {"undo.applied", "undo.failed"}.isdisjoint(one.kind for one in told(story.place))
    assert 1 == sum(one.kind == "undo.started" for one in told(story.place))
    goes_on(story, end="ROLLED_BACK")
    assert before == story.world()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT], ids=lambda how: how.name)
@pytest.mark.parametrize("door", ["sdk", "async"])
def test_a_run_that_waits_for_a_person_waits_on(door, how, story, start):
    flow = story.place.workflow(story.call("ask", "flow.approve", question="go on?"))
    process = start(*PROGRAMS[door](story.place, flow))
    until(story.place, "handshake.requested")
    process.send_signal(how)
    process.communicate()
    assert process.returncode == (143 if how is signal.SIGTERM else -signal.SIGINT)
    assert closed_cleanly(story.place)
    with story.place.open() as rt:
        (asked,) = rt.approvals()
        run = rt.attach(asked.run)
        run.approve(asked.id, asked.digest, asked.version, "fine")
        assert "COMPLETED" == run.wait().state
    assert not story.place.proof().findings


# ---- whose signals they are ---------------------------------------------------------------------
@pytest.mark.parametrize("program", [_KEEPS_ITS_OWN, _GIVES_BACK], ids=["kept", "given back"])
def test_a_program_has_its_own_signals_and_gets_back_what_was_taken(program, place, start):
    process = start(("-c", program), place.file)
    said, why = process.communicate()
    assert 0 == process.returncode, why
    assert said == ("mine\n" if program is _KEEPS_ITS_OWN else "")


# ---- at a terminal ------------------------------------------------------------------------------
def test_ctrl_c_asks_once_what_shall_become_of_the_run_and_then_leaves_it(story, start):
    fifo = story.fifo("never")
    flow = story.place.workflow(
        story.call("h", "drill.hold_thread", path="held.txt", text="ours", fifo=fifo),
        head="in_flight: wait\n",
    )
    near, far = pty.openpty()
    tty = {"stdin": far, "stdout": far, "stderr": far}
    program, *arguments = PROGRAMS["awe run"](story.place, flow)
    process = start(program, *arguments, **tty, start_new_session=True, preexec_fn=_own_terminal)
    os.close(far)
    story.reached(fifo)
    read_until(near, b"started")  # so it follows the run by now
    os.write(near, b"\x03")
    read_until(near, b"[L/c/r]")
    os.write(near, b"r\n")
    read_until(near, b"cancel requested")
    os.write(near, b"\x03")
    shown = read_until(near, None)
    os.close(near)
    assert 130 == process.wait()
    assert b"[L/c/r]" not in shown
    assert b"next: awe runs watch" in shown
    assert closed_cleanly(story.place)
    story.release(fifo)
    goes_on(story, end="ROLLED_BACK")


def _own_terminal():
    """Make the terminal on stdin the one that this process is controlled by."""
    import fcntl  # noqa: PLC0415 - in the child alone
    import termios  # noqa: PLC0415

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(near, end):
    """Read what was shown, as far as *end*; all that is left without one."""
    shown = b""
    while end is None or end not in shown:
        try:
            more = os.read(near, 4096)
        except OSError:  # nobody has it open any more
            break
        if not more:
            break
        shown += more
    return shown

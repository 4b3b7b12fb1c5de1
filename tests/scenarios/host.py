"""A process that is forked for each part of a scenario that must be a process of its own.

It reads orders from standard input, one JSON object a line, and answers each with one.  Forking one
that has imported everything makes a real process in milliseconds.  What a child has to say it
appends to the file ``acks``, one line each.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sqlite3
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awe_core.runtime import Runtime
from awe_core.workspace.syscalls import AtomicRenames

if TYPE_CHECKING:
    from collections.abc import Callable

Order = dict[str, Any]

_PR_SET_PTRACER = 0x59616D61
_NEW = 1 << 40  #: beyond all inodes that were
_AUDITED = {"os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.truncate"}


class Points:
    """Counts the calls by which something becomes durable; kills the process on entry of one.

    That is the n-th of all, or ``[name, n]``: the n-th of one name.
    """

    def __init__(self, kill_at: int | list[Any] | None) -> None:
        self.names: list[str] = []
        self._kill_at = kill_at
        self._lock = threading.Lock()

    def arm(self) -> None:
        for name in ("fsync", "fdatasync", "write"):
            setattr(os, name, self._counted(getattr(os, name), name))
        for name in ("exchange", "exclusive"):
            setattr(AtomicRenames, name, self._counted(getattr(AtomicRenames, name), name))
        sys.addaudithook(self._audited)
        connect = sqlite3.connect

        def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
            connection = connect(*args, **kwargs)
            connection.set_trace_callback(self._traced)
            return connection

        sqlite3.connect = traced

    def hit(self, name: str) -> None:
        with self._lock:
            self.names.append(name)
            if self._kill_at in (len(self.names), [name, self.names.count(name)]):
                os.kill(os.getpid(), signal.SIGKILL)

    def _counted(self, real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.hit(name)
            return real(*args, **kwargs)

        return counted

    def _audited(self, event: str, _: tuple[Any, ...]) -> None:
        if event in _AUDITED:
            self.hit(event)

    def _traced(self, statement: str) -> None:
        if statement.startswith(("COMMIT", "PRAGMA wal_checkpoint")):
            self.hit(statement.partition("(")[0])


class Child:
    """One forked process and its order."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._write = os.write
        self._acks = os.open(order["acks"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if order.get("gate"):
            self.wait_for_tracer(order["gate"])
        if order.get("inodes"):
            see_inodes(dict(json.loads(Path(order["inodes"]).read_text())))
        self.points = Points(order.get("kill_at"))
        if order.get("armed"):
            self.points.arm()

    def ack(self, **said: object) -> None:
        self._write(self._acks, json.dumps(said).encode() + b"\n")

    @staticmethod
    def wait_for_tracer(gate: str) -> None:
        """Let a process of this user trace this one, and go on when the FIFO *gate* is closed."""
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, ctypes.c_ulong(-1))
        Path(gate).read_bytes()

    def open(self, **more: Any) -> Any:
        return Runtime.open(Path(self.order["file"]), **more)

    # ---- roles: each is the whole life of a process ---------------------------------------------
    def work(self) -> None:
        """Open the home, run one workflow, maybe take it back; acknowledge each result."""
        with self.open() as rt:
            run = rt.submit(Path(self.order["workflow"]), self.order["inputs"])
            self.ack(run=run.run_id, state="OPENED")
            self.ack(run=run.run_id, state=run.wait().state)
            if self.order.get("rollback"):
                run.rollback("the drill says so")
                self.ack(run=run.run_id, state=run.wait().state)
        self.ack(points=self.points.names)

    def submit(self) -> None:
        """Open the home, submit, and say what became of it once it is settled."""
        with self.open() as rt:
            self.ack(role=rt.role)
            for inputs in self.order["inputs"]:
                run = rt.submit(
                    Path(self.order["workflow"]), inputs, idempotency_key=self.order.get("key")
                )
                self.ack(run=run.run_id, state="OPENED")
                result = run.wait()
                self.ack(run=run.run_id, state=result.state, waiting=result.waiting)
            if self.order.get("dies"):
                os.kill(os.getpid(), signal.SIGKILL)

    def recover(self) -> None:
        """Open the home and leave once every run has settled."""
        with self.open() as rt:
            for row in rt.runs():
                result = rt.attach(row.run_id).wait()
                self.ack(run=row.run_id, state=result.state, waiting=result.waiting)
        self.ack(points=self.points.names)

    def forget(self) -> None:
        """Open the home and hold it until nothing is kept in its undo store."""
        with self.open():
            while any(Path(self.order["file"]).parent.glob(".awe/undo/*/*")):
                time.sleep(0.01)
        self.ack(points=self.points.names)

    def own(self) -> None:
        """Open the home and hold it until the FIFO ``until`` has been written and closed."""
        with self.open() as rt:
            self.ack(role=rt.role)
            Path(self.order["until"]).read_bytes()

    def approve(self) -> None:
        """Open the home and say yes to everything that waits."""
        with self.open() as rt:
            self.ack(role=rt.role)
            for asked in rt.approvals():
                rt.attach(asked.run).approve(asked.id, asked.digest, asked.version, "fine")
                self.ack(run=asked.run, state=rt.attach(asked.run).wait().state)


def see_inodes(was: dict[int, int]) -> None:
    """Show files that were laid out anew under the inodes they had; undo knows files by them."""

    def shown(real: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def call(*args: Any, **kwargs: Any) -> os.stat_result:
            kind, (seen, more) = real(*args, **kwargs).__reduce__()  # type: ignore[misc]
            found: os.stat_result = kind(
                (seen[0], was.get(seen[1], seen[1] + _NEW), *seen[2:]), more
            )
            return found

        return call

    for name in ("stat", "lstat", "fstat"):
        setattr(os, name, shown(getattr(os, name)))


def fork(order: Order) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        getattr(Child(order), order["role"])()
        status = 0
    except BaseException:  # noqa: BLE001 - the process ends here; its last words go to its acks
        with Path(order["acks"]).open("a") as acks:
            acks.write(json.dumps({"died": traceback.format_exc()}) + "\n")
    finally:
        os._exit(status)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        if order["role"] == "reap":
            _, status = os.waitpid(order["pid"], 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the answer
        else:
            print(fork(order), flush=True)  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
